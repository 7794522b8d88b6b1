"""CompletionService over a real server: bytes in and out, metadata, streams, batches, and what failures carry."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from aigen.v1 import completion_pb2 as pb
from aigen.v1 import message_pb2 as mpb
from aigend.providers.port import FaultKind, ProviderFault
from aigend.telemetry import names
from aigend.types import FinishReason, Part, Text, Thinking, ToolCall

from tests.daemon.completion.test_watch import TRACED, FakeSpan
from tests.daemon.rpc.served import Served, asked, failure, read_status, said, served
from tests.fakes import fake_reply, settle
from tests.spine import eventually


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Served]:
    """A running front."""
    async with served(tmp_path) as running:
        yield running


def _as_id(request_id: str) -> tuple[tuple[str, str], ...]:
    return (("aigen-request-id", request_id),)


def _account(**fields) -> tuple[tuple[str, bytes], ...]:
    return (("aigen-accounting-bin", pb.Accounting(**fields).SerializeToString()),)


async def test_miss_hit_and_repeat_are_counted_as_called(front: Served) -> None:
    """The first call is a MISS, the next a HIT, the third a HIT without a parse, and GetStats says so."""
    responses = [await front.completion.Complete(asked(), metadata=_as_id(f"id-{n}")) for n in range(4)]
    outcomes = [pb.CacheOutcome.Name(response.cache_outcome)[14:] for response in responses]
    assert outcomes == ["MISS", "HIT", "HIT", "HIT"]
    assert [response.request_id for response in responses] == [f"id-{n}" for n in range(4)]
    totals = (await front.house.stats()).totals
    assert (totals.call_count, totals.miss_count, totals.hit_count) == (4, 1, 3)


async def test_request_id_is_made_where_none_is_sent(front: Served) -> None:
    """Without an id the daemon makes one, each time another."""
    first, second = [await front.completion.Complete(asked(mode=pb.CACHE_MODE_BYPASS)) for _ in range(2)]
    assert first.request_id != second.request_id
    assert len(first.request_id) == 36


@pytest.mark.parametrize("request_id", ["x" * 129])
async def test_bad_request_id_is_refused(front: Served, request_id: str) -> None:
    """An id that is too long is refused on the fast path too."""
    await front.completion.Complete(asked())
    await front.completion.Complete(asked(), metadata=_as_id("one"))
    refused = await failure(front.completion.Complete(asked(), metadata=_as_id(request_id)))
    assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", "aigen-request-id")


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"session": "x" * 129}, "accounting.session"),
        ({"task": "a\nb"}, "accounting.task"),
        ({"labels": {str(n): "" for n in range(17)}}, "accounting.labels"),
        ({"labels": {"": "x"}}, "accounting.labels['']"),
        ({"labels": {"k": "x" * 65}}, "accounting.labels['k']"),
        ({"labels": {"k": "a\x00b"}}, "accounting.labels['k']"),
    ],
)
async def test_bad_accounting_is_named(front: Served, fields: dict, named: str) -> None:
    """Accounting out of bounds is INVALID_REQUEST that names the field."""
    refused = await failure(front.completion.Complete(asked(), metadata=_account(**fields)))
    assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", named)


async def test_accounting_that_is_no_message_is_refused(front: Served) -> None:
    """Bytes that are no Accounting are refused by name."""
    refused = await failure(front.completion.Complete(asked(), metadata=(("aigen-accounting-bin", b"\xff"),)))
    assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", "aigen-accounting-bin")


async def test_largest_allowed_accounting_gets_through(front: Served) -> None:
    """All that Accounting may hold fits the transport's bound on metadata."""
    labels = {f"{n:02}" + "\U0001f600" * 62: "\U0001f600" * 64 for n in range(16)}
    account = _account(session="\U0001f600" * 128, task="\U0001f600" * 128, labels=labels)
    for _ in range(20):  # above the default bound calls are refused by chance
        await front.completion.Complete(asked(), metadata=account)
    assert (await front.house.stats()).totals.call_count == 20


async def test_garbage_is_no_request(front: Served) -> None:
    """Bytes that are no message are INVALID_REQUEST, not a defect, for every method."""
    for name in ("Complete", "StreamComplete", "BatchComplete", "EstimateCost"):
        path = f"/aigen.v1.CompletionService/{name}"
        if name == "StreamComplete":
            call = front.channel.unary_stream(path)(b"\xff\xff").read()
        else:
            call = front.channel.unary_unary(path)(b"\xff\xff")
        refused = await failure(call)
        assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", "request"), name


async def test_request_above_the_limit_is_too_large(tmp_path: Path) -> None:
    """Above limits.request_bytes each method says PROMPT_TOO_LARGE."""
    async with served(tmp_path, limits={"request_bytes": 1_024}) as front:
        large = asked("x" * 2_000)
        calls = (
            front.completion.Complete(large),
            front.completion.StreamComplete(pb.StreamCompleteRequest(completion=large)).read(),
            front.completion.BatchComplete(pb.BatchCompleteRequest(completions=[large])),
            front.completion.EstimateCost(pb.EstimateCostRequest(completion=large)),
        )
        assert [(await failure(call)).reason for call in calls] == ["PROMPT_TOO_LARGE"] * 4


async def _read(front: Served, message: pb.CompleteRequest, **metadata) -> list[pb.StreamCompleteResponse]:
    return [chunk async for chunk in front.completion.StreamComplete(pb.StreamCompleteRequest(completion=message), **metadata)]


async def test_stream_brings_text_then_the_answer(front: Served) -> None:
    """Deltas joined are the answer's text; the last message is the whole answer; a cached one is one delta and the answer."""
    front.house.one.will("three words here")
    for count, outcome in ((3, pb.CACHE_OUTCOME_MISS), (1, pb.CACHE_OUTCOME_HIT)):
        *chunks, last = await _read(front, asked())
        assert [chunk.WhichOneof("event") for chunk in chunks] == ["text_delta"] * count
        assert "".join(chunk.text_delta for chunk in chunks) == last.response.text == "three words here"
        assert last.response.cache_outcome == outcome


async def test_stream_brings_thinking_and_tool_calls(front: Served) -> None:
    """Reasoning comes as deltas of its own and tool calls whole, fresh or cached."""
    parts = (Part(Thinking(text="hm")), Part(Text("text")), Part(ToolCall(id="1", name="f", arguments_json="{}")))
    front.house.one.will(fake_reply(parts=parts, finish_reason=FinishReason.TOOL_CALLS))
    for _ in range(2):
        chunks = await _read(front, asked())
        assert [chunk.WhichOneof("event") for chunk in chunks] == ["thinking_delta", "text_delta", "tool_call", "response"]
        assert chunks[2].tool_call == mpb.ToolCall(id="1", name="f", arguments_json="{}")


async def test_stream_without_its_request_is_refused(front: Served) -> None:
    """A wrapper without the request inside is refused by name."""
    assert (await failure(front.completion.StreamComplete(pb.StreamCompleteRequest()).read())).metadata["field"] == "completion"
    assert (await failure(front.completion.EstimateCost(pb.EstimateCostRequest()))).metadata["field"] == "completion"


async def test_streaming_can_be_switched_off(tmp_path: Path) -> None:
    """With features.streaming off StreamComplete says what is missing."""
    async with served(tmp_path, features={"streaming": False}) as front:
        refused = await failure(front.completion.StreamComplete(pb.StreamCompleteRequest(completion=asked())).read())
        assert refused.reason == "CAPABILITY_MISSING"


async def test_stream_that_fails_after_text_says_why(front: Served) -> None:
    """After the text that was seen comes the status of what happened to it."""
    front.house.one.will(ProviderFault(FaultKind.CUT, "cut", provider="one", partial_text_len=3))
    call = front.completion.StreamComplete(pb.StreamCompleteRequest(completion=asked()))
    assert (await call.read()).text_delta == "xxx"
    assert (await failure(call.read())).reason == "OUTCOME_UNKNOWN"


async def test_stream_that_is_cancelled_detaches(front: Served) -> None:
    """A reader who goes away leaves the call to be read, settled and cached."""
    front.house.one.hold()
    call = front.completion.StreamComplete(pb.StreamCompleteRequest(completion=asked()))
    reading = asyncio.create_task(call.read())
    await front.house.one.arrived(1)
    call.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    await eventually(lambda: front.house.sharing.detached)
    front.house.one.release()
    await front.house.sharing.settled()
    assert (await front.completion.Complete(asked())).cache_outcome == pb.CACHE_OUTCOME_HIT


async def test_deadline_ends_the_wait_and_not_the_call(front: Served) -> None:
    """When its caller's patience ends the handler ends; the call after SENT is read to its end."""
    front.house.one.hold()
    late = await failure(front.completion.Complete(asked(), timeout=0.2))
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    await eventually(lambda: front.house.sharing.detached)
    front.house.one.release()
    await front.house.sharing.settled()
    assert (await front.completion.Complete(asked())).cache_outcome == pb.CACHE_OUTCOME_HIT


async def test_followers_keep_their_own_deadlines(front: Served) -> None:
    """A follower whose time is up leaves alone; the leader gets the answer."""
    front.house.one.hold()
    leader = asyncio.ensure_future(front.completion.Complete(asked()))
    await front.house.one.arrived(1)
    late = await failure(front.completion.Complete(asked(), timeout=0.1))
    assert late.code is grpc.StatusCode.DEADLINE_EXCEEDED
    front.house.one.release()
    assert (await leader).cache_outcome == pb.CACHE_OUTCOME_MISS


async def test_batch_answers_in_order_each_with_its_own_end(front: Served) -> None:
    """Items are answered in request order; a bad one has its status, and item i the id `<id>/<i>`."""
    front.house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
    batch = pb.BatchCompleteRequest(completions=[asked("first"), asked(""), asked("third")])
    results = (await front.completion.BatchComplete(batch, metadata=_as_id("b"))).results
    assert read_status(results[0].status)[0] == "PROVIDER_REFUSED"
    reason, facts, _ = read_status(results[1].status)
    assert (reason, facts["field"]) == ("INVALID_REQUEST", "prompt")
    assert (results[2].response.text, results[2].response.request_id) == ("answer to: third", "b/2")


async def test_failed_items_of_a_batch_are_counted_as_failures(front: Served) -> None:
    """An item that ends with an error counts by its reason, although the batch itself ends well."""
    front.house.one.will(ProviderFault(FaultKind.AUTH, "no", provider="one", status=401))
    batch = pb.BatchCompleteRequest(completions=[asked("first"), asked("")])
    await front.completion.BatchComplete(batch, metadata=_as_id("b"))
    assert front.house.meter._failed == {"PROVIDER_REFUSED": 1, "INVALID_REQUEST": 1}


async def test_equal_items_of_a_batch_are_paid_once(front: Served) -> None:
    """Items that ask the same share one call, and every one is counted."""
    results = (await front.completion.BatchComplete(pb.BatchCompleteRequest(completions=[asked()] * 5))).results
    assert len({result.response.text for result in results}) == 1
    totals = (await front.house.stats()).totals
    assert (len(front.house.one.calls), totals.call_count) == (1, 5)


@pytest.mark.parametrize("count", [0, 1_001])
async def test_batch_of_wrong_length_is_refused(front: Served, count: int) -> None:
    """An empty batch and one above limits.batch_items are refused whole."""
    refused = await failure(front.completion.BatchComplete(pb.BatchCompleteRequest(completions=[asked()] * count)))
    assert (refused.reason, refused.metadata["field"]) == ("INVALID_REQUEST", "completions")


async def test_estimate_names_each_route(front: Served) -> None:
    """EstimateCost gives an upper bound a route, and costs nothing."""
    message = asked(fallback_models=["two/model-2"])
    response = await front.completion.EstimateCost(pb.EstimateCostRequest(completion=message))
    assert [estimate.provider for estimate in response.estimates] == ["one", "two"]
    assert all(estimate.max_cost_usd_nanos > 0 and estimate.max_output_tokens == 8_192 for estimate in response.estimates)
    assert not response.cached
    await front.completion.Complete(asked())
    assert (await front.completion.EstimateCost(pb.EstimateCostRequest(completion=asked()))).cached
    assert len(front.house.one.calls) == 1


async def test_draining_is_said_by_every_method(front: Served) -> None:
    """While the daemon stops each method is refused whole, with the wait after which to come again."""
    await front.completion.Complete(asked())
    await front.completion.Complete(asked(), metadata=_as_id("a"))
    front.house.engine.drain()
    calls = (
        front.completion.Complete(asked(), metadata=_as_id("b")),
        front.completion.StreamComplete(pb.StreamCompleteRequest(completion=asked())).read(),
        front.completion.BatchComplete(pb.BatchCompleteRequest(completions=[asked()])),
        front.completion.EstimateCost(pb.EstimateCostRequest(completion=asked())),
    )
    for call in calls:
        refused = await failure(call)
        assert (refused.code, refused.reason, refused.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, "DRAINING", 1.0)
        assert "grpc-retry-pushback-ms" not in refused.trailers


async def test_unavailable_provider_is_not_asked_again_by_the_transport(tmp_path: Path) -> None:
    """An UNAVAILABLE that is not DRAINING carries the pushback that keeps gRPC's own retries away."""
    async with served(tmp_path, retry={"max_attempts": 1}) as front:
        front.house.one.will(ProviderFault(FaultKind.SERVER_ERROR, "down", provider="one", status=503, retry_after_s=2.0))
        failed = await failure(front.completion.Complete(asked()))
        assert (failed.code, failed.reason, failed.retry_after_s) == (grpc.StatusCode.UNAVAILABLE, "PROVIDER_UNAVAILABLE", 2.0)
        assert failed.trailers["grpc-retry-pushback-ms"] == "-1"
        assert len(front.house.one.calls) == 1


async def test_defect_is_a_fault_with_an_id_and_no_details(front: Served, caplog: pytest.LogCaptureFixture) -> None:
    """A defect is DAEMON_FAULT with a fault id; what went wrong stands in the log alone."""
    front.house.one.will(RuntimeError("a secret"))
    failed = await failure(front.completion.Complete(asked()))
    assert (failed.code, failed.reason) == (grpc.StatusCode.INTERNAL, "DAEMON_FAULT")
    assert "secret" not in failed.text
    assert failed.metadata["fault_id"] in [record.fault_id for record in caplog.records if hasattr(record, "fault_id")]


async def test_long_error_fits_the_metadata_of_a_default_client(front: Served) -> None:
    """However much an error could name, its status stays small enough to arrive."""
    tools = [mpb.Tool(name=f"{n:03}" + "x" * 61) for n in range(128)]
    message = asked(tools=tools, tool_choice=mpb.ToolChoice(mode=mpb.ToolChoice.MODE_NAMED, name="missing"))
    failed = await failure(front.completion.Complete(message))
    assert (failed.reason, failed.metadata["field"]) == ("INVALID_REQUEST", "tool_choice.name")
    size = sum(len(key) + len(value) + 32 for key, value in failed.trailers.items()) + len(failed.text)
    assert size <= 6_000


async def test_other_conversation_than_the_prompt_is_not_the_same_key(front: Served) -> None:
    """The prompt and its one-message form share an answer."""
    first = await front.completion.Complete(asked("same"))
    second = await front.completion.Complete(asked("", messages=[said("same")]))
    assert (second.cache_key, second.cache_outcome) == (first.cache_key, pb.CACHE_OUTCOME_HIT)
    await settle()


async def test_traced_call_has_a_span_with_its_outcome(front: Served) -> None:
    """Where the caller traces its call the fast path stands back, and the span says outcome or reason."""
    spans: list[FakeSpan] = []

    def make(name: str, traceparent: str, attributes) -> FakeSpan:
        spans.append(FakeSpan(name, traceparent, attributes))
        return spans[-1]

    front.tracer.arm(make, sample_ratio=0.0)
    metadata = (*_as_id("id"), ("traceparent", TRACED))
    for _ in range(3):
        await front.completion.Complete(asked(mode=pb.CACHE_MODE_READ_ONLY), metadata=metadata)
    assert [span.attributes[names.CACHE_OUTCOME] for span in spans] == ["miss", "replay", "replay"]
    response = await front.completion.Complete(asked("no id"), metadata=(("traceparent", TRACED),))
    assert spans[-1].attributes[names.REQUEST_ID] == response.request_id != ""
    await failure(front.completion.Complete(asked(""), metadata=metadata))
    assert spans[-1].error_type == "INVALID_REQUEST"
    front.house.one.will(RuntimeError("a defect"))
    await failure(front.completion.Complete(asked("other"), metadata=(("traceparent", TRACED),)))
    assert spans[-1].error_type == "RuntimeError"
