"""A provider that fails in each way, over real sockets: who answers instead, how soon, and who is not asked any more."""

import json
import socket
import time
from collections.abc import Iterator
from typing import Any

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.emulator_server import RunningEmulator

ROUTES = {"model": "first/model-1", "fallback_models": ["second/model-2"]}
DOWN = {"status": 503, "provider": "first", "times": 1_000}


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port of this machine that nobody listens on, held so that nobody begins to."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def daemon_with(make_daemon: MakeDaemon, emulator: RunningEmulator, first: str = "", **settings: Any) -> Aigend:
    """Return a running daemon whose first provider is at the address given, or at the emulator as its second one is."""
    providers = {
        "first": {"base_url": first or emulator.provider_url("first"), "timeout_s": 0.3},
        "second": {"base_url": emulator.provider_url("second")},
    }
    own = providers | settings.pop("providers", {})
    return make_daemon({"providers": own} | settings, base_url="").start()


def asked(emulator: RunningEmulator, provider: str) -> int:
    """Return how many requests have reached a provider, by any test."""
    return emulator.emulator.requests.get(provider, 0)


def events(daemon: Aigend, name: str) -> list[dict[str, Any]]:
    """Return the log's lines of one event."""
    lines = [json.loads(line) for line in daemon.log().splitlines()]
    return [line for line in lines if line["event"] == name]


def test_next_route_answers_within_a_second_where_the_first_refuses_connections(
    make_daemon: MakeDaemon, emulator: RunningEmulator, dead_port: int
):
    """A closed port costs a call next to nothing, unary and streamed."""
    client = daemon_with(make_daemon, emulator, f"http://127.0.0.1:{dead_port}/v1").client()
    client.complete("warm up", model="second/model-2")
    began = time.perf_counter()
    assert client.complete("a question", **ROUTES).provider == "second"
    stream = client.stream("another question", **ROUTES)
    assert "".join(stream)
    assert time.perf_counter() - began < 1.0
    assert stream.completion.provider == "second"


def test_one_that_answers_503_answers_within_its_retry(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """The same route answers at the second attempt, and the next one is not asked."""
    client = daemon_with(make_daemon, emulator).client()
    emulator.script({"status": 503, "provider": "first"})
    before = asked(emulator, "second")
    completion = client.complete("a question", **ROUTES)
    assert (completion.provider, completion.attempt_count) == ("first", 2)
    assert asked(emulator, "second") == before


def test_one_that_hangs_is_unknown_at_its_timeout_and_the_next_route_answers(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """The hanging attempt stays charged at its upper bound; the answer comes from the next route soon after the timeout."""
    client = daemon_with(make_daemon, emulator).client()
    emulator.script({"hang": True, "provider": "first"})
    began = time.perf_counter()
    completion = client.complete("a question", **ROUTES)
    assert 0.3 <= time.perf_counter() - began < 1.3
    assert (completion.provider, completion.attempt_count) == ("second", 2)
    states = {entry.provider: entry.state for entry in client.ledger_entries()}
    assert states == {"first": "unknown", "second": "settled"}


def test_one_that_hangs_is_the_error_where_the_service_says_stop(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """With `on_ambiguous: stop` nobody else is asked, and the id stays unknown."""
    client = daemon_with(make_daemon, emulator, services={"careful": {"on_ambiguous": "stop"}}).client()
    emulator.script({"hang": True, "provider": "first"})
    before = asked(emulator, "second")
    with pytest.raises(aigen.ProviderUnavailable) as met:
        client.complete("a question", service="careful", request_id="stopped", **ROUTES)
    assert met.value.reason == "PROVIDER_TIMEOUT"
    with pytest.raises(aigen.OutcomeUnknown):
        client.complete("a question", service="careful", request_id="stopped", **ROUTES)
    assert asked(emulator, "second") == before


def test_a_bad_request_stops(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """400 in the provider's words is the answer: no other provider gets the request."""
    client = daemon_with(make_daemon, emulator).client()
    emulator.script({"status": 400, "provider": "first"})
    before = asked(emulator, "second")
    with pytest.raises(aigen.ProviderRefused):
        client.complete("a question", **ROUTES)
    assert asked(emulator, "second") == before


def test_an_open_breaker_makes_no_call_and_probes_after_the_cool_down(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """After three failures the dead one gets no request; after the cool-down one, and once that is answered all."""
    breaker = {"consecutive_failures": 3, "cool_down_s": 0.5}
    daemon = daemon_with(make_daemon, emulator, breaker=breaker, retry={"max_attempts": 1})
    client, before = daemon.client(), asked(emulator, "first")
    emulator.script(DOWN)
    for number in range(10):
        assert client.complete(f"question {number}", **ROUTES).provider == "second"
    assert asked(emulator, "first") - before == 3
    with pytest.raises(aigen.ProviderUnavailable) as met:
        client.complete("a question", model="first/model-1")
    assert met.value.metadata["circuit"] == "open"
    assert 0 < met.value.retry_after_s <= 1.0
    emulator.emulator.script.clear()
    time.sleep(0.5)  # the clock of another process can't be advanced
    for number in range(5):
        assert client.complete(f"later question {number}", **ROUTES).provider == "first"
    assert asked(emulator, "first") - before == 3 + 5
    (opened,) = events(daemon, "circuit_opened")
    assert (opened["provider"], opened["key"], opened["failures"]) == ("first", 1, 3)
    assert [len(events(daemon, name)) for name in ("circuit_half_open", "circuit_closed")] == [1, 1]


def test_without_the_breaker_the_dead_one_is_asked_each_time(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """Control: switched off, every call reaches the provider that fails."""
    off = {"features": {"circuit_breaker": False}, "breaker": {"consecutive_failures": 3}, "retry": {"max_attempts": 1}}
    client = daemon_with(make_daemon, emulator, **off).client()
    before = asked(emulator, "first")
    emulator.script(DOWN)
    for number in range(10):
        assert client.complete(f"question {number}", **ROUTES).provider == "second"
    assert asked(emulator, "first") - before == 10


def test_several_keys_share_the_load_and_replace_each_other(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """Two keys of one provider: one that is refused is out, the other answers all; no key is written anywhere."""
    keys = {"base_url": emulator.provider_url("first"), "keys": [{"env": "KEY_A"}, {"command": ["sh", "-c", "echo $KEY_B"]}]}
    secrets = {"KEY_A": "sk-planted-a-0a1b2c3d", "KEY_B": "sk-planted-b-4e5f6071"}
    daemon = make_daemon({"providers": {"first": keys}}, base_url="", environ=secrets | {"PATH": "/usr/bin:/bin"}).start()
    client, before = daemon.client(), asked(emulator, "first")
    emulator.script({"status": 401, "provider": "first"})
    for number in range(6):
        assert client.complete(f"question {number}", model="first/model-1").provider == "first"
    assert asked(emulator, "first") - before == 7
    (opened,) = events(daemon, "circuit_opened")
    assert opened["refused"] is True
    told = repr(client.settings()) + repr(client.status()) + daemon.log()
    assert daemon.stop() == 0
    for secret in secrets.values():
        assert secret not in told
        assert not [path for path in daemon.folder.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]


def test_a_reload_asks_with_new_keys_at_once(make_daemon: MakeDaemon, emulator: RunningEmulator):
    """A key that was refused is forgotten with its replacement: nobody waits for a cool-down."""
    address = emulator.provider_url("first")
    daemon = make_daemon({"providers": {"first": {"base_url": address, "api_key": "sk-old"}}}, base_url="").start()
    client = daemon.client()
    emulator.script({"status": 401, "provider": "first"})
    for question in ("refused by the provider", "refused without a call"):
        with pytest.raises(aigen.ProviderRefused):
            client.complete(question, model="first/model-1")
    daemon.write_settings({"providers": {"first": {"base_url": address, "api_key": "sk-new"}}})
    daemon.signal(1)
    eventually(lambda: events(daemon, "reloaded"))
    assert client.complete("asked with the new key", model="first/model-1").provider == "first"
