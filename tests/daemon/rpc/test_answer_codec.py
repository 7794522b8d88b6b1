"""Answers as bytes: what is stored and what is appended make one whole response."""

from aigen.v1 import completion_pb2 as pb
from aigend.rpc.answer_codec import WireCodec
from aigend.types import (
    Answer,
    CacheOutcome,
    CallFacts,
    Cost,
    CostBasis,
    Document,
    FinishReason,
    Image,
    Part,
    Route,
    SavingsCause,
    Text,
    Thinking,
    Timings,
    TokenUsage,
    ToolCall,
    ToolResult,
)
from hypothesis import given
from hypothesis import strategies as st

CODEC = WireCodec()
ANSWER = Answer(
    parts=(
        Part(Thinking(text="hm", signature="sig")),
        Part(Text("hello ")),
        Part(Text("there")),
        Part(ToolCall(id="1", name="f", arguments_json="{}")),
        Part(Image(data=b"p", media_type="image/png")),
        Part(Image(url="https://example.com/a.png")),
        Part(Document(data=b"d", media_type="application/pdf", title="T")),
        Part(Document(url="https://example.com/a.pdf")),
        Part(ToolResult(tool_call_id="1", text="42", is_error=True)),
    ),
    finish_reason=FinishReason.TOOL_CALLS,
    route=Route("openai", "gpt-4o"),
    resolved_model="gpt-4o-2024",
    usage=TokenUsage(input=1, cache_read=2, cache_write_5m=3, cache_write_1h=4, output=5, reasoning=6, searches=7),
    cost=Cost(nanos=9, basis=CostBasis.PRICED, price_entry_id="p"),
)
FACTS = CallFacts(
    request_id="an-id",
    requested_model="gpt-4o",
    outcome=CacheOutcome.MISS,
    cost=ANSWER.cost,
    saved_nanos=-3,
    saved_cause=SavingsCause.PROMPT_CACHE,
    attempt_count=2,
    timings=Timings(queue_us=1, provider_us=2, total_us=3),
    ledger_entry_id="7",
    warnings=("careful",),
)


def test_answer_and_facts_make_one_response() -> None:
    """The stored bytes followed by the call's own are the whole response."""
    response = pb.CompleteResponse.FromString(CODEC.encode_answer(ANSWER, b"k" * 32) + CODEC.encode_call(FACTS))
    assert (response.text, response.provider, response.resolved_model) == ("hello there", "openai", "gpt-4o-2024")
    assert [call.name for call in response.tool_calls] == ["f"]
    assert [part.WhichOneof("content") for part in response.parts] == [
        "thinking",
        "text",
        "text",
        "tool_call",
        "image",
        "image",
        "document",
        "document",
        "tool_result",
    ]
    assert response.usage.cache_write_1h_tokens == 4
    assert (response.cost_usd_nanos, response.cost_basis, response.price_entry_id) == (9, pb.COST_BASIS_PRICED, "p")
    assert (response.saved_usd_nanos, response.saved_cause) == (-3, pb.SAVINGS_CAUSE_PROMPT_CACHE)
    assert (response.timings.queue_us, response.timings.total_us, response.ledger_entry_id) == (1, 3, "7")
    assert list(response.warnings) == ["careful"]


def test_stored_bytes_hold_nothing_of_one_call() -> None:
    """Fields from 20 on are never in what is stored."""
    stored = pb.CompleteResponse.FromString(CODEC.encode_answer(ANSWER, b"k" * 32))
    assert all(descriptor.number < 20 for descriptor, _ in stored.ListFields())


def test_appended_bytes_hold_nothing_of_the_answer() -> None:
    """Fields below 20 are never in what is appended."""
    appended = pb.CompleteResponse.FromString(CODEC.encode_call(FACTS))
    assert all(descriptor.number >= 20 for descriptor, _ in appended.ListFields())


def test_unknown_cost_is_absent_and_no_charge_is_zero() -> None:
    """Unknown is never 0, and 0 is never absent."""
    unpriced = CallFacts(
        request_id="i", requested_model="m", outcome=CacheOutcome.MISS, cost=Cost(nanos=None, basis=CostBasis.UNPRICED)
    )
    unknown = pb.CompleteResponse.FromString(CODEC.encode_call(unpriced))
    assert not unknown.HasField("cost_usd_nanos")
    assert unknown.cost_basis == pb.COST_BASIS_UNPRICED
    free = CallFacts(request_id="i", requested_model="m", outcome=CacheOutcome.HIT)
    response = pb.CompleteResponse.FromString(CODEC.encode_call(free))
    assert response.HasField("cost_usd_nanos")
    assert response.cost_usd_nanos == 0


@given(request_id=st.text(min_size=1, max_size=128), total_us=st.integers(min_value=0, max_value=2**40))
def test_hand_spelled_suffix_reads_as_protobuf(request_id: str, total_us: int) -> None:
    """What a repeat appends by hand is what protobuf would have read."""
    response = pb.CompleteResponse.FromString(CODEC.encode_repeat(request_id, total_us))
    assert (response.request_id, response.timings.total_us) == (request_id, total_us)
