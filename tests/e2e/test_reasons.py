"""Every reason of the contract that can be raised today, raised by a real daemon and met as the right exception of the real client.

Not raised yet, because nothing of them is built: UNAUTHENTICATED and ROLE_REQUIRED (tokens and roles), BUDGET_PAUSED (a budget's
action PAUSE). DAEMON_FAULT needs a defect and is in `tests/daemon/test_server.py`.
"""

import contextlib
import json
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import aigen
import grpc
import pytest
from aigen.v1 import completion_pb2, completion_pb2_grpc
from aigend.errors import Reason

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, Warm, eventually
from tests.e2e.small_disk import SmallDisk
from tests.e2e.test_stop import asked
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
NOT_BUILT = {"UNAUTHENTICATED", "ROLE_REQUIRED", "BUDGET_PAUSED"}
TOO_LONG = (
    '{"error": {"message": "too long", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}'
)


@dataclass(frozen=True)
class Case:
    """One way to meet a reason."""

    reason: str
    kind: type[aigen.AigenError]
    code: str
    provoke: Callable[[aigen.Client], Any]
    facts: dict[str, str] = field(default_factory=dict)  # metadata; an empty text stands for any
    requests: int = 0  # that reached the provider
    waits: bool = False  # RetryInfo comes along


def complete(prompt: str = "a question", **options: Any) -> Callable[[aigen.Client], Any]:
    """Return what asks once."""
    return lambda client: client.complete(prompt, **({"model": MODEL} | options))


def twice(first: Callable[[aigen.Client], Any], second: Callable[[aigen.Client], Any]) -> Callable[[aigen.Client], Any]:
    """Return what asks twice, the first time whatever comes of it."""

    def provoke(client: aigen.Client) -> Any:
        with contextlib.suppress(aigen.AigenError):
            first(client)
        return second(client)

    return provoke


def _reply_gone(client: aigen.Client) -> Any:
    ask = complete("soon forgotten", request_id="gone-1", mode="bypass")
    ask(client)
    time.sleep(0.11)  # the clock of another process can't be advanced
    return ask(client)


CASES = [
    Case(
        "INVALID_REQUEST",
        aigen.InvalidRequest,
        "INVALID_ARGUMENT",
        complete(temperature=9.0),
        {"field": "temperature", "value": "9.0"},
    ),
    Case("INVALID_REQUEST", aigen.InvalidRequest, "INVALID_ARGUMENT", complete(namespace="a b"), {"field": "namespace"}),
    Case(
        "PROMPT_TOO_LARGE",
        aigen.InvalidRequest,
        "INVALID_ARGUMENT",
        complete("x" * 70_000),
        {"field": "request", "limit_bytes": "65536"},
    ),
    Case("UNKNOWN_MODEL", aigen.UnknownModel, "INVALID_ARGUMENT", complete(model="gpt-99"), {"field": "model", "model": "gpt-99"}),
    Case(
        "UNKNOWN_MODEL",
        aigen.UnknownModel,
        "INVALID_ARGUMENT",
        complete(model="unknown-1"),
        {"provider_code": "model_not_found"},
    ),
    Case("UNKNOWN_AGENT", aigen.UnknownModel, "INVALID_ARGUMENT", complete(model=None, agent="nobody"), {"field": "agent"}),
    Case(
        "CONTEXT_TOO_LONG",
        aigen.InvalidRequest,
        "INVALID_ARGUMENT",
        complete("word " * 900, model="tiny"),
        {"context_tokens": "100"},
    ),
    Case(
        "CONTEXT_TOO_LONG",
        aigen.InvalidRequest,
        "INVALID_ARGUMENT",
        complete("CONTEXT"),
        {"provider_code": "context_length_exceeded", "status": "400"},
        1,
    ),
    Case(
        "REQUEST_ID_REUSED",
        aigen.InvalidRequest,
        "INVALID_ARGUMENT",
        twice(complete("one", request_id="used-1", mode="bypass"), complete("two", request_id="used-1")),
        {"request_id": "used-1", "field": "aigen-request-id"},
        1,
    ),
    Case("CAPABILITY_MISSING", aigen.PreconditionFailed, "FAILED_PRECONDITION", complete(lane="deferred"), {"field": "lane"}),
    Case(
        "CAPABILITY_MISSING",
        aigen.PreconditionFailed,
        "FAILED_PRECONDITION",
        complete(reasoning_effort="low"),
        {"field": "reasoning_effort", "model": f"openai/{MODEL}", "capability": "REASONING"},
    ),
    Case(
        "MODEL_NOT_ALLOWED",
        aigen.ModelNotAllowed,
        "PERMISSION_DENIED",
        complete(service="narrow"),
        {"model": f"openai/{MODEL}", "service": "narrow", "allowed": "openai/tiny", "field": "model"},
    ),
    Case("CAPABILITY_MISSING", aigen.PreconditionFailed, "FAILED_PRECONDITION", complete(similarity=0.9), {"field": "similarity"}),
    Case(
        "PROVIDER_NOT_CONFIGURED",
        aigen.PreconditionFailed,
        "FAILED_PRECONDITION",
        complete(model="keyless-1"),
        {"provider": "keyless"},
    ),
    Case(
        "PRICE_UNKNOWN",
        aigen.PreconditionFailed,
        "FAILED_PRECONDITION",
        complete(model="homemade", service="strict"),
        {"budget": "strict"},
    ),
    Case(
        "BUDGET_EXCEEDED",
        aigen.BudgetExceeded,
        "RESOURCE_EXHAUSTED",
        complete(service="poor"),
        {"budget": "poor", "window": "", "limit_usd_nanos": "1000", "spent_usd_nanos": "0", "resets_at": ""},
    ),
    Case(
        "RATE_LIMITED",
        aigen.RateLimited,
        "RESOURCE_EXHAUSTED",
        complete("[[fault:status=429,retry_after=7]] busy"),
        {},
        1,
        waits=True,
    ),
    Case("NOT_CACHED", aigen.NotFound, "NOT_FOUND", complete("never asked", mode="only_if_cached"), {"mode": "ONLY_IF_CACHED"}),
    Case("NOT_FOUND", aigen.NotFound, "NOT_FOUND", lambda client: client.cache_entry("ab" * 32), {"key": "ab" * 32}),
    Case(
        "PROVIDER_UNAVAILABLE",
        aigen.ProviderUnavailable,
        "UNAVAILABLE",
        complete("[[fault:status=503]] down"),
        {"status": "503"},
        1,
    ),
    Case("PROVIDER_UNAVAILABLE", aigen.ProviderUnavailable, "UNAVAILABLE", complete(model="down-1"), {"fault": "unreachable"}),
    Case(
        "PROVIDER_TIMEOUT",
        aigen.ProviderUnavailable,
        "DEADLINE_EXCEEDED",
        complete("[[fault:hang]] late", model="slow-1"),
        {"provider": "slow"},
        1,
    ),
    Case(
        "PROVIDER_REFUSED",
        aigen.ProviderRefused,
        "FAILED_PRECONDITION",
        complete("[[fault:status=401]] key"),
        {"fault": "auth", "status": "401"},
        1,
    ),
    Case(
        "PROVIDER_REFUSED",
        aigen.ProviderRefused,
        "FAILED_PRECONDITION",
        complete("[[fault:status=400]] no"),
        {"fault": "rejected"},
        1,
    ),
    Case(
        "OUTCOME_UNKNOWN",
        aigen.OutcomeUnknown,
        "ABORTED",
        complete("[[fault:reset]] lost"),
        {"fault": "reset", "provider": "openai"},
        1,
    ),
    Case("OUTCOME_UNKNOWN", aigen.OutcomeUnknown, "ABORTED", complete("[[fault:garbage=html]] proxy"), {"fault": "bad_answer"}, 1),
    Case(
        "OUTCOME_UNKNOWN",
        aigen.OutcomeUnknown,
        "ABORTED",
        twice(complete("[[fault:reset]] again", request_id="lost-1"), complete("[[fault:reset]] again", request_id="lost-1")),
        {"request_id": "lost-1", "ledger_entry_id": ""},
        1,
    ),
    Case("REPLY_GONE", aigen.OutcomeUnknown, "ABORTED", _reply_gone, {"request_id": "gone-1", "ledger_entry_id": ""}, 1),
]
ELSEWHERE = {
    "OVERLOADED",
    "STORAGE_FULL",
    "STORAGE_DAMAGED",
    "DRAINING",
    "DAEMON_FAULT",
    "JOB_CANCELLED",
}  # below, in tests/daemon/test_server.py and in tests/daemon/rpc/test_batch_job.py


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, emulator_server: tuple, warm: Warm) -> Iterator[Aigend]:
    """A daemon whose settings make everything go wrong that can."""
    server, _ = emulator_server
    settings = {
        "limits": {"request_bytes": 65_536},
        "features": {"circuit_breaker": False},  # one case's faults are not to keep the next one from the provider
        "retry": {"max_attempts": 1},
        "ledger": {"reply_ttl_s": 0.1},
        "providers": {
            "slow": {"base_url": server.provider_url("slow"), "timeout_s": 0.2},
            "down": {"base_url": "http://127.0.0.1:1/v1"},
            "keyless": {"base_url": "https://keyless.invalid/v1"},
        },
        "models": [
            {"id": "tiny", "provider": "openai", "context_tokens": 100},
            {"id": "homemade", "provider": "openai"},
            {"id": "unknown-1", "provider": "openai"},
            {"id": "slow-1", "provider": "slow"},
            {"id": "down-1", "provider": "down"},
            {"id": "keyless-1", "provider": "keyless"},
        ],
        "services": {"narrow": {"allowed_models": ["openai/tiny"]}},
        "budgets": [
            {"name": "poor", "selector": {"service": "poor"}, "period": "daily", "limit_usd": "0.000001"},
            {
                "name": "strict",
                "selector": {"service": "strict"},
                "period": "daily",
                "limit_usd": "9",
                "require_known_prices": True,
            },
        ],
    }
    folder = tmp_path_factory.mktemp("reasons")
    with closing(Aigend(folder / "a", base_url=server.base_url, settings=settings, warm=warm)) as daemon:
        yield daemon.start()


@pytest.mark.parametrize("case", CASES, ids=[f"{case.reason}-{number}" for number, case in enumerate(CASES)])
def test_reason_arrives_as_its_exception(house: Aigend, emulator: RunningEmulator, case: Case):
    """Class, code, reason, facts and retry delay are those of the contract, and the provider was asked once at most."""
    emulator.script({"status": 400, "body": TOO_LONG, "contains": "CONTEXT"})
    with pytest.raises(aigen.AigenError) as met:
        case.provoke(house.client())
    error = met.value
    assert (error.reason, type(error), error.code) == (case.reason, case.kind, case.code), repr(error)
    assert {name: error.metadata.get(name) for name in case.facts} == {
        name: value or error.metadata.get(name, "missing") for name, value in case.facts.items()
    }
    assert (error.retry_after_s is not None) == case.waits
    assert emulator.requests() == case.requests
    assert error.text
    if isinstance(error, aigen.InvalidRequest):
        assert isinstance(error, ValueError)


def test_every_reason_is_met_somewhere():
    """The table, the tests below and the list of what is not built make up the contract."""
    assert {case.reason for case in CASES} | ELSEWHERE | NOT_BUILT == {reason.value for reason in Reason}


def test_refused_calls_cost_nothing_and_unknown_ones_stay_booked(house: Aigend):
    """After all these errors nothing is left reserved, and only what may have been charged is held."""
    status = house.client().status()
    assert {budget.reserved_usd_nanos for budget in status.budgets} <= {0}
    assert not {"sent", "reserved"} & {str(entry.state) for entry in house.client().ledger_entries()}
    assert (status.in_flight_count, status.queued_count) == (0, 0)


def test_overloaded(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """With the slot taken and the queue full the next call is refused at once, with the time after which to come back."""
    daemon = make_daemon({"limits": {"total": 1, "per_provider": 1, "queue": 1}}).start()
    with ThreadPoolExecutor() as pool:
        slow = asked(pool, emulator, lambda: daemon.client().complete("[[fault:delay_ms=700]] slow", model=MODEL))
        waiting = pool.submit(daemon.client().complete, "waits", model=MODEL)
        client = daemon.client()
        eventually(lambda: client.status().queued_count == 1)
        with pytest.raises(aigen.Overloaded) as met:
            client.complete("too many", model=MODEL)
        assert (met.value.reason, met.value.code) == ("OVERLOADED", "RESOURCE_EXHAUSTED")
        assert met.value.metadata == {"queued": "1", "limit": "1"}
        assert met.value.retry_after_s == 1.0
        assert slow.result().text
        assert waiting.result().text


def test_draining(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """What waits for a slot when the daemon's patience ends was not sent, and is told so; what was sent is unknown."""
    daemon = make_daemon({"limits": {"per_provider": 1}, "drain": {"provider_timeout_s": 0.2}}).start()
    with ThreadPoolExecutor() as pool:
        many = asked(pool, emulator, lambda: daemon.client().complete_many(["[[fault:hang]] stuck", "waits"], model=MODEL))
        assert daemon.stop() == 0
        stuck, waits = many.result()
    assert (type(stuck), stuck.reason) == (aigen.OutcomeUnknown, "OUTCOME_UNKNOWN")
    assert (type(waits), waits.reason, waits.code) == (aigen.DaemonUnavailable, "DRAINING", "UNAVAILABLE")
    assert waits.retry_after_s is not None


def test_provider_down_is_one_run_of_the_engine(house: Aigend, emulator: RunningEmulator):
    """The transport's own retries keep away from an error that is ours: one call of the client makes one attempt."""
    client = house.client()
    with pytest.raises(aigen.ProviderUnavailable):
        client.complete("one run", model="down-1", request_id="one-run")
    assert [str(entry.state) for entry in client.ledger_entries(request_id="one-run")] == ["released"]


def test_foreign_client_that_retries_runs_the_engine_once(house: Aigend, emulator: RunningEmulator):
    """Retries of the transport, which somebody else's client may have switched on, are pushed back: the provider is asked once."""
    policy = {"maxAttempts": 5, "initialBackoff": "0.01s", "maxBackoff": "0.02s", "backoffMultiplier": 1}
    config = {"methodConfig": [{"name": [{}], "retryPolicy": policy | {"retryableStatusCodes": ["UNAVAILABLE"]}}]}
    message = completion_pb2.CompleteRequest(prompt="[[fault:status=503]] retried", model=MODEL)
    with grpc.insecure_channel(f"unix:{house.socket}", options=[("grpc.service_config", json.dumps(config))]) as channel:
        with pytest.raises(grpc.RpcError) as met:
            completion_pb2_grpc.CompletionServiceStub(channel).Complete(message)
        assert met.value.code() is grpc.StatusCode.UNAVAILABLE
    assert emulator.requests() == 1


def test_released_id_is_a_new_attempt(house: Aigend, emulator: RunningEmulator):
    """What was certainly free may be asked again under its id, and is booked as the next attempt of the same operation."""
    client = house.client()
    ask = complete("[[fault:status=503,times=1]] once", request_id="once-1")
    with pytest.raises(aigen.ProviderUnavailable):
        ask(client)
    assert ask(client).cache_outcome == "miss"
    assert [(entry.attempt_number, str(entry.state)) for entry in client.ledger_entries(request_id="once-1")] == [
        (2, "settled"),
        (1, "released"),
    ]
    assert [charge["attempt"] for charge in emulator.charges()] == [2]


def test_deadline_of_the_caller_detaches_it(daemon: Aigend, emulator: RunningEmulator):
    """The caller gets DeadlineExceeded, a TimeoutError; the answer is read all the same, paid once, and cached."""
    client = daemon.client()
    with pytest.raises(aigen.DeadlineExceeded) as met:
        client.complete("[[fault:delay_ms=600]] patience", model=MODEL, timeout=0.3)
    assert isinstance(met.value, TimeoutError)
    assert client.status().detached_count == 1
    eventually(lambda: client.cache_stats().entry_count == 1)
    assert client.complete("[[fault:delay_ms=600]] patience", model=MODEL).cache_outcome == "hit"
    assert (len(emulator.charges()), client.status().detached_count) == (1, 0)


def test_budget_for_five_lets_five_through(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """200 concurrent calls on a budget for five: never more than fits is reserved, so that the limit is not passed."""
    probe = make_daemon(name="probe").start().client().estimate("[[fault:delay_ms=100]] 000", model=MODEL, max_output_tokens=20)
    each = probe.routes[0].max_cost_usd_nanos
    limit = f"{each * 5 / 1e9:.9f}"
    settings = {"limits": {"per_provider": 50}, "budgets": [{"name": "five", "period": "daily", "limit_usd": limit}]}
    daemon = make_daemon(settings).start()
    client = daemon.client()
    refused, answered, lock = [], [], threading.Lock()

    def ask(number: int) -> None:
        try:
            answer = client.complete(f"[[fault:delay_ms=100]] {number:03}", model=MODEL, max_output_tokens=20)
        except aigen.BudgetExceeded as error:
            with lock:
                refused.append(error)
        else:
            with lock:
                answered.append(answer)

    with ThreadPoolExecutor(40) as pool:
        list(pool.map(ask, range(200)))
    budget = client.status().budgets[0]
    assert budget.spent_usd_nanos == sum(answer.cost_usd_nanos for answer in answered) <= budget.limit_usd_nanos
    assert (len(answered) + len(refused), len(emulator.charges())) == (200, len(answered))
    assert len(answered) >= 5
    assert refused


def _fill(client: aigen.Client, emulator: RunningEmulator) -> aigen.DaemonFault:
    """Ask until a call is refused; return the refusal, which must have come before anything was sent."""
    for number in range(300):
        before = emulator.requests()
        try:
            client.complete(f"[[answer:tokens=4000]] number {number}", model=MODEL)
        except aigen.DaemonFault as error:
            assert emulator.requests() == before
            return error
    raise AssertionError("the disk was never full")


def test_full_disk_refuses_paid_calls_and_serves_hits(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """STORAGE_FULL before anything is sent, hits go on, and paid calls too as soon as there is room again; nothing is lost."""
    disk = SmallDisk(make_daemon(), mib=1)
    client = disk.start().client()
    client.complete("kept", model=MODEL)
    disk.take(256 * 1024)
    met = _fill(client, emulator)
    assert (met.reason, met.code, met.metadata["storage"]) == ("STORAGE_FULL", "RESOURCE_EXHAUSTED", "ledger")
    assert client.complete("kept", model=MODEL).cache_outcome == "hit"
    assert client.status().state == "cache_only"
    assert client.status().warnings
    disk.empty()
    eventually(lambda: client.status().state == "serving")
    assert client.complete("room again", model=MODEL).cache_outcome == "miss"
    assert [str(entry.state) for entry in client.ledger_entries()] == ["settled"] * len(emulator.charges())


def test_broken_disk_refuses_paid_calls_for_good(daemon: Aigend, emulator: RunningEmulator):
    """STORAGE_DAMAGED once a write fails, and no retry of it; hits go on, and a restart finds all that was acknowledged."""
    client = daemon.client()
    client.complete("kept", model=MODEL)
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
    with pytest.raises(aigen.DaemonFault) as met:
        client.complete("another", model=MODEL)
    assert (met.value.reason, met.value.code) == ("STORAGE_DAMAGED", "DATA_LOSS")
    resource.prlimit(daemon.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    with pytest.raises(aigen.DaemonFault):
        client.complete("and another", model=MODEL)
    assert emulator.requests() == 1
    assert client.complete("kept", model=MODEL).cache_outcome == "hit"
    assert client.status().state == "cache_only"
    assert daemon.stop() == 0
    assert daemon.breaches(emulator.charges()) == []
    assert daemon.start().client().complete("another", model=MODEL).cache_outcome == "miss"
