"""Answers of a real daemon through the real client: streams, batches, shared calls, estimates, and what they cost."""

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import aigen
import grpc
import pytest
from aigen.v1 import completion_pb2, completion_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.e2e.running import Aigend, Warm, eventually
from tests.e2e.test_stop import asked
from tests.emulator_server import RunningEmulator

MODEL = "gpt-4o-mini"
WEATHER = aigen.Tool(
    name="weather", description="Tells the weather.", parameters={"type": "object", "properties": {"city": {"type": "string"}}}
)


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory, emulator_server: tuple, warm: Warm) -> Iterator[Aigend]:
    """One daemon for all tests here; each asks questions of its own."""
    server, _ = emulator_server
    folder = tmp_path_factory.mktemp("completions")
    settings = {"limits": {"per_provider": 16}, "retry": {"max_attempts": 1, "base_delay_s": 0.01}}
    with closing(Aigend(folder / "a", base_url=server.base_url, settings=settings, warm=warm)) as daemon:
        yield daemon.start()


@pytest.fixture
def client(house: Aigend, emulator: RunningEmulator) -> aigen.Client:
    """A client of its own, and an emulator that counts from zero."""
    return house.client()


def test_paid_once_then_free(client: aigen.Client, emulator: RunningEmulator):
    """A question is charged what the provider's usage says at the published price; the same again is a hit that costs nothing."""
    first, again = (client.complete("What is a sidecar?", model=MODEL) for _ in range(2))
    charge = emulator.charges()[0]
    assert (first.cache_outcome, again.cache_outcome) == ("miss", "hit")
    assert first.cost_usd_nanos == charge["input_tokens"] * 150 + charge["output_tokens"] * 600
    assert (again.cost_usd_nanos, again.saved_usd_nanos, again.saved_cause) == (0, first.cost_usd_nanos, "cache")
    assert (again.text, again.usage, again.cache_key) == (first.text, first.usage, first.cache_key)
    assert first.ledger_entry_id
    assert not again.ledger_entry_id
    assert charge["request_id"] == first.request_id


def test_64_equal_calls_are_one_charge(house: Aigend, emulator: RunningEmulator):
    """64 identical concurrent calls over real sockets: one provider call, one charged entry, 63 COALESCED."""
    clients = [house.client() for _ in range(8)]
    before = clients[0].stats(period="all").totals
    gate = threading.Barrier(64)

    def ask(number: int) -> aigen.Completion:
        gate.wait()
        return clients[number % 8].complete("[[fault:delay_ms=500]] all at once", model=MODEL)

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(ask, range(64)))
    assert Counter(str(answer.cache_outcome) for answer in answers) == {"miss": 1, "coalesced": 63}
    assert len({answer.text for answer in answers}) == 1
    assert len({answer.request_id for answer in answers}) == 64
    assert (emulator.requests(), len(emulator.charges())) == (1, 1)
    after = clients[0].stats(period="all").totals
    assert (after.miss_count - before.miss_count, after.coalesced_count - before.coalesced_count) == (1, 63)
    paid = next(answer for answer in answers if answer.cache_outcome == "miss")
    assert after.cost_usd_nanos - before.cost_usd_nanos == paid.cost_usd_nanos


def test_control_bypassing_calls_are_each_charged(house: Aigend, emulator: RunningEmulator):
    """Control: calls that join no flight are paid one by one."""
    client = house.client()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: client.complete("each alone", model=MODEL, mode="bypass"), range(4)))
    assert len(emulator.charges()) == 4


def test_stream_comes_in_pieces_and_costs_the_same(client: aigen.Client, emulator: RunningEmulator):
    """Text arrives in deltas that join to the answer; the last message brings the cost, and a unary call then hits."""
    with client.stream("Tell me a story", model=MODEL) as stream:
        pieces = list(stream)
    answer = stream.completion
    assert len(pieces) > 10
    assert "".join(pieces) == answer.text
    assert (answer.cache_outcome, answer.cost_usd_nanos > 0) == ("miss", True)
    unary = client.complete("Tell me a story", model=MODEL)
    assert (unary.cache_outcome, unary.text) == ("hit", answer.text)
    assert len(emulator.charges()) == 1


def test_cached_answer_is_replayed_as_a_stream(client: aigen.Client):
    """Who asks for a stream of what is cached gets one, with the same text and tool calls, at no cost."""
    asked_before = client.complete("Which weather?", model=MODEL, tools=[WEATHER], tool_choice="required")
    assert asked_before.tool_calls
    stream = client.stream("Which weather?", model=MODEL, tools=[WEATHER], tool_choice="required")
    events = list(stream.events())
    assert [event for event in events if isinstance(event, aigen.ToolCall)] == list(asked_before.tool_calls)
    assert (events[-1].cache_outcome, events[-1].cost_usd_nanos) == ("hit", 0)


def test_tool_calls_are_streamed_whole(client: aigen.Client):
    """A tool call comes as one event, its arguments complete, before the last message that repeats it."""
    events = list(client.stream("Rain in Seoul?", model=MODEL, tools=[WEATHER], tool_choice="required").events())
    calls = [event for event in events if isinstance(event, aigen.ToolCall)]
    assert [call.name for call in calls] == ["weather"]
    assert tuple(calls) == events[-1].tool_calls
    assert events[-1].finish_reason == "tool_calls"


def test_joiner_gets_the_stream_from_its_beginning(house: Aigend, emulator: RunningEmulator):
    """Who comes while a stream is under way gets all of it from the first word on, and pays nothing."""
    first, second = house.client(), house.client()
    leader = first.stream("[[answer:tokens=30]] [[fault:drip_ms=0]] drop by drop", model=MODEL)
    source = iter(leader)
    began = next(source)
    joiner = second.stream("[[answer:tokens=30]] [[fault:drip_ms=0]] drop by drop", model=MODEL)
    joined = "".join(joiner)
    assert began + "".join(source) == joined == leader.completion.text
    assert (leader.completion.cache_outcome, joiner.completion.cache_outcome) == ("miss", "coalesced")
    assert joiner.completion.cost_usd_nanos == 0
    assert len(emulator.charges()) == 1


def test_unary_caller_joins_a_stream(house: Aigend, emulator: RunningEmulator):
    """A stream and a unary call of the same question share one provider call."""
    leader = house.client().stream("[[answer:tokens=20]] [[fault:drip_ms=0]] both ways", model=MODEL)
    source = iter(leader)
    next(source)
    joined = house.client().complete("[[answer:tokens=20]] [[fault:drip_ms=0]] both ways", model=MODEL)
    for _ in source:
        pass
    assert (joined.cache_outcome, joined.text) == ("coalesced", leader.completion.text)
    assert emulator.requests() == 1


def test_answer_is_read_to_its_end_for_a_caller_who_left(house: Aigend, emulator: RunningEmulator):
    """A caller who leaves a stream in its middle has paid for it: it is read, settled and cached."""
    client, prompt = house.client(), "[[answer:tokens=30]] [[fault:drip_ms=0]] left early"
    entries = client.cache_stats().entry_count
    with client.stream(prompt, model=MODEL, request_id="left-1") as stream:
        next(iter(stream))
    eventually(lambda: client.cache_stats().entry_count == entries + 1)
    assert [str(entry.state) for entry in client.ledger_entries(request_id="left-1")] == ["settled"]
    assert client.complete(prompt, model=MODEL).cache_outcome == "hit"
    assert emulator.requests() == 1


def test_cut_stream_is_unknown_and_not_cached(house: Aigend, emulator: RunningEmulator):
    """After text was seen a cut ends in OutcomeUnknown; booked between what was seen and its bound, and not cached."""
    client, prompt = house.client(), "[[fault:cut_after=12,times=1]] cut short"
    stream, pieces = client.stream(prompt, model=MODEL, request_id="cut-1"), []
    with pytest.raises(aigen.OutcomeUnknown) as met:
        pieces.extend(stream)
    assert met.value.metadata["fault"] == "cut"
    assert pieces
    entry = next(client.ledger_entries(request_id="cut-1"))
    assert str(entry.state) == "unknown"
    again = client.complete(prompt, model=MODEL)
    assert (again.cache_outcome, again.text.startswith("".join(pieces))) == ("miss", True)


def test_settled_id_is_replayed(client: aigen.Client, emulator: RunningEmulator):
    """The same id with the same question brings the same answer without a charge, as a stream too."""
    first = client.complete("Once only", model=MODEL, mode="bypass", request_id="replay-1")
    again = client.complete("Once only", model=MODEL, mode="bypass", request_id="replay-1")
    assert (again.text, again.ledger_entry_id, again.cache_outcome) == (first.text, first.ledger_entry_id, first.cache_outcome)
    assert len(emulator.charges()) == 1
    totals = client.stats(period="all").totals
    assert totals.replay_count == 1


def test_same_id_at_the_same_time_is_one_call(house: Aigend, emulator: RunningEmulator):
    """Two callers with one id and one question share the call, whatever the cache mode."""
    with ThreadPoolExecutor(2) as pool:
        ask = lambda: house.client().complete("[[fault:delay_ms=300]] twins", model=MODEL, mode="bypass", request_id="twin-1")  # noqa: E731
        one = asked(pool, emulator, ask)
        other = pool.submit(ask)
        assert one.result().text == other.result().text
    assert emulator.requests() == 1


def test_batch_is_ordered_with_errors_in_their_place(client: aigen.Client, emulator: RunningEmulator):
    """Items are answered in request order under `<id>/<i>`, each charged under its own id, and one that fails spoils no other."""
    requests = [
        aigen.CompletionRequest("first", model=MODEL),
        aigen.CompletionRequest("second", model="no-such-model"),
        aigen.CompletionRequest("[[fault:status=503]] third", model=MODEL),
        aigen.CompletionRequest("first", model=MODEL),
        aigen.CompletionRequest("fifth", model=MODEL, temperature=9.0),
    ]
    first, second, third, fourth, fifth = client.complete_many(requests, request_id="batch-1")
    assert isinstance(second, aigen.UnknownModel)
    assert isinstance(third, aigen.ProviderUnavailable)
    assert isinstance(fifth, aigen.InvalidRequest)
    assert fifth.field == "temperature"
    assert sorted((str(first.cache_outcome), str(fourth.cache_outcome))) == ["coalesced", "miss"]
    assert (first.request_id, fourth.request_id, second.request_id) == ("batch-1/0", "batch-1/3", "batch-1/1")
    assert first.text == fourth.text
    assert {charge["request_id"] for charge in emulator.charges()} <= {"batch-1/0", "batch-1/3"}
    assert len(emulator.charges()) == 1


def test_batch_bounds_are_said(client: aigen.Client):
    """An empty batch is refused, by name."""
    with pytest.raises(aigen.InvalidRequest):
        client.complete_many([])


def test_estimate_makes_no_call(client: aigen.Client, emulator: RunningEmulator):
    """The upper bound of each route comes without a call, is not passed by the real cost, and says what is cached."""
    before = client.estimate("What would it cost?", model=MODEL, fallback_models=["gpt-4o"], max_output_tokens=300)
    assert [(route.model, route.max_output_tokens) for route in before.routes] == [(MODEL, 300), ("gpt-4o", 300)]
    assert (before.cached, emulator.requests()) == (False, 0)
    real = client.complete("What would it cost?", model=MODEL, fallback_models=["gpt-4o"], max_output_tokens=300)
    assert 0 < real.cost_usd_nanos <= before.routes[0].max_cost_usd_nanos
    assert client.estimate("What would it cost?", model=MODEL, fallback_models=["gpt-4o"], max_output_tokens=300).cached


def test_next_route_answers_for_one_that_is_down(client: aigen.Client, emulator: RunningEmulator):
    """With fallback models a route that fails is followed by the next; each try is an attempt of its own."""
    emulator.script({"status": 503, "model": MODEL})
    answer = client.complete("Plan B?", model=MODEL, fallback_models=["gpt-4o"], request_id="fall-1")
    assert (answer.resolved_model, answer.attempt_count) == ("gpt-4o", 2)
    assert [(entry.model, str(entry.state)) for entry in client.ledger_entries(request_id="fall-1")] == [
        ("gpt-4o", "settled"),
        (MODEL, "released"),
    ]
    assert [(charge["model"], charge["attempt"]) for charge in emulator.charges()] == [("gpt-4o", 2)]


def test_session_labels_its_calls(client: aigen.Client):
    """Calls inside a session are accounted to it and can be grouped by it."""
    with client.session("run-7", task="draft", labels={"team": "red"}):
        client.complete("in a session", model=MODEL)
        client.complete("in a session", model=MODEL)
    rows = client.stats(period="all", group_by=["session"], task="draft").rows
    assert [(row.group, row.totals.miss_count, row.totals.hit_count) for row in rows] == [(("run-7",), 1, 1)] or rows[
        0
    ].totals.hit_count == 1
    assert client.stats(period="all", labels={"team": "red"}).totals.call_count == 2
    assert next(client.ledger_entries(session="run-7")).labels == {"team": "red"}


def test_asynchronous_client_does_the_same(house: Aigend):
    """AsyncClient: completion, stream and batch against the same daemon."""

    async def run() -> tuple[aigen.Completion, str, list]:
        async with aigen.AsyncClient(house.socket) as client:
            one = await client.complete("async", model=MODEL)
            stream = client.stream("async stream", model=MODEL)
            text = "".join([piece async for piece in stream])
            return one, text, await client.complete_many(["async", "async too"], model=MODEL)

    one, text, many = asyncio.run(run())
    assert (one.cache_outcome, bool(text)) == ("miss", True)
    assert [str(answer.cache_outcome) for answer in many] == ["hit", "miss"]


@pytest.fixture
def channel(house: Aigend) -> Iterator[grpc.Channel]:
    """A bare channel."""
    with grpc.insecure_channel(f"unix:{house.socket}") as channel:
        yield channel


def test_health_is_told_for_all_and_each_service(channel: grpc.Channel):
    """grpc.health.v1 says SERVING overall and by service, and NOT_FOUND for what there is not."""
    stub = health_pb2_grpc.HealthStub(channel)
    for name in ("", "aigen.v1.CompletionService", "aigen.v1.UsageService"):
        assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == health_pb2.HealthCheckResponse.SERVING
    with pytest.raises(grpc.RpcError) as met:
        stub.Check(health_pb2.HealthCheckRequest(service="aigen.v1.Nothing"))
    assert met.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_services(channel: grpc.Channel):
    """Server reflection names every service, so that grpcurl works."""
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    asked_for = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
    named = {service.name for reply in stub.ServerReflectionInfo(asked_for) for service in reply.list_services_response.service}
    own = {"CompletionService", "CacheService", "UsageService", "ModelService", "DaemonService"}
    assert {f"aigen.v1.{name}" for name in own} <= named
    assert "grpc.health.v1.Health" in named


def test_call_without_metadata_gets_an_id(channel: grpc.Channel):
    """A caller that sends no request id is given one."""
    stub = completion_pb2_grpc.CompletionServiceStub(channel)
    answer = stub.Complete(completion_pb2.CompleteRequest(prompt="who am I", model=MODEL))
    assert len(answer.request_id) == 36


def test_unknown_field_is_refused_by_name(channel: grpc.Channel):
    """What a newer client sends and this daemon does not know is not ignored."""
    call = channel.unary_unary("/aigen.v1.CompletionService/Complete")
    request = completion_pb2.CompleteRequest(prompt="x", model=MODEL).SerializeToString() + b"\xca\x3e\x01a"  # field 1001
    with pytest.raises(grpc.RpcError) as met:
        call(request)
    assert met.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "1001" in met.value.details()


def test_unknown_method_is_unimplemented(channel: grpc.Channel):
    """An RPC that is not built says so."""
    with pytest.raises(grpc.RpcError) as met:
        channel.unary_unary("/aigen.v1.CompletionService/RateCompletion")(b"")
    assert met.value.code() is grpc.StatusCode.UNIMPLEMENTED
