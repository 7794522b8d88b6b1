"""Answers of OpenAI and of servers that speak nearly like it."""

import math

import pytest
from aigend.providers.openai_answer import Collected, UnreadableAnswerError, reply_from, reported_cost, usage_from
from aigend.providers.port import TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import FinishReason, TokenUsage


def body(finish: str | None = "stop", *, usage=None, **message) -> dict:
    """Return a body."""
    return {"model": "m-1", "usage": usage, "choices": [{"message": {"content": "hi"} | message, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("stop", FinishReason.STOP),
        ("length", FinishReason.LENGTH),
        ("tool_calls", FinishReason.TOOL_CALLS),
        ("function_call", FinishReason.TOOL_CALLS),
        ("content_filter", FinishReason.CONTENT_FILTER),
        ("eos", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_finish_reasons(told: str | None, meant: FinishReason) -> None:
    """Each finish reason has its meaning; what is unknown is OTHER, and so never cached."""
    assert reply_from(body(told)).finish_reason is meant


def test_a_refusal_is_a_filtered_answer() -> None:
    """A refusal is shown as text, and is no answer worth keeping."""
    reply = reply_from(body(content=None, refusal="I can't help with that."))
    assert (reply.parts[0].content.text, reply.finish_reason) == ("I can't help with that.", FinishReason.CONTENT_FILTER)


def test_text_in_parts_and_reasoning_beside_it() -> None:
    """Text as a list of parts and reasoning in a field of its own are understood."""
    reply = reply_from(body(content=[{"type": "text", "text": "a"}, {"text": "b"}, 3], reasoning="hm"))
    assert [part.content.text for part in reply.parts] == ["hm", "ab"]


def test_an_empty_answer_has_no_parts() -> None:
    """Nothing said is no part."""
    assert reply_from(body(content=None)).parts == ()


@pytest.mark.parametrize(
    "broken",
    [None, [], {}, {"choices": None}, {"choices": []}, {"choices": [1]}, {"choices": [{}]}, {"choices": [{"message": "x"}]}],
)
def test_what_is_no_completion_is_unreadable(broken) -> None:
    """JSON of another shape is not taken for an empty answer."""
    with pytest.raises(UnreadableAnswerError):
        reply_from(broken)


USAGES = {
    "cached inside prompt": (
        {"prompt_tokens": 100, "completion_tokens": 9, "total_tokens": 109, "prompt_tokens_details": {"cached_tokens": 64}},
        TokenUsage(input=36, cache_read=64, output=9),
    ),
    "reasoning inside completion": (
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 14, "completion_tokens_details": {"reasoning_tokens": 7}},
        TokenUsage(input=5, output=9, reasoning=7),
    ),
    "reasoning beside completion": (
        {"prompt_tokens": 5, "completion_tokens": 9, "total_tokens": 21, "completion_tokens_details": {"reasoning_tokens": 7}},
        TokenUsage(input=5, output=16, reasoning=7),
    ),
    "written": (
        {"prompt_tokens": 50, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 10, "cache_write_tokens": 30}},
        TokenUsage(input=10, cache_read=10, cache_write_5m=30, output=1),
    ),
    "searches": ({"prompt_tokens": 1, "completion_tokens": 1, "num_search_queries": 3}, TokenUsage(input=1, output=1, searches=3)),
    "null details": ({"prompt_tokens": 1, "completion_tokens": 1, "prompt_tokens_details": None}, TokenUsage(input=1, output=1)),
    "negative stays visible": ({"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 9}, TokenUsage(input=-1, output=5)),
    "no numbers": ({"prompt_tokens": "7", "completion_tokens": 5}, None),
    "a flag is no number": ({"prompt_tokens": True, "completion_tokens": 5}, None),
    "half": ({"prompt_tokens": 7}, None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_normalised_once(name: str) -> None:
    """Every spelling ends in disjoint buckets, with bad counts left for the ledger to see."""
    told, meant = USAGES[name]
    assert usage_from(told) == meant


@pytest.mark.parametrize(
    ("cost", "nanos"),
    [
        (0.0618, 61_800_000),
        ({"total_cost": 0.005, "input_tokens_cost": 0.001}, 5_000_000),
        (0, 0),
        (-1, None),
        (math.nan, None),
        (math.inf, None),
        (2_000_000, None),
        ("0.1", None),
        (None, None),
        (True, None),
    ],
)
def test_a_stated_cost_is_taken_exactly(cost, nanos: int | None) -> None:
    """US dollars become nano-dollars by decimals, and nonsense is no cost."""
    assert reported_cost({"cost": cost}) == nanos


def stream(*deltas: dict) -> tuple[list, Collected]:
    """Return the events of some deltas, and what they came to."""
    collected = Collected()
    return [event for delta in deltas for event in collected.take_event({"choices": [{"delta": delta}]})], collected


def piece(index: int | None, *, call_id: str | None = None, name: str | None = None, arguments: str | None = None) -> dict:
    """Return a delta that holds a piece of a tool call."""
    told = {"id": call_id, "function": {"name": name, "arguments": arguments}}
    return {"tool_calls": [told | ({} if index is None else {"index": index})]}


def test_pieces_of_parallel_tool_calls_are_joined() -> None:
    """Arguments that come interleaved belong to the call of their index."""
    _, collected = stream(
        piece(0, call_id="a", name="x"),
        piece(1, call_id="b", name="y"),
        piece(0, arguments='{"p"'),
        piece(1, arguments="{}"),
        piece(0, arguments=":1}"),
    )
    done = [event.call for event in collected.ending() if isinstance(event, ToolCallDone)]
    assert [(call.id, call.name, call.arguments_json) for call in done] == [("a", "x", '{"p":1}'), ("b", "y", "{}")]


@pytest.mark.parametrize("index", [0, None])
def test_whole_calls_with_one_index_stay_apart(index: int | None) -> None:
    """Servers that number every call 0, or none, still make two calls of two ids."""
    _, collected = stream(piece(index, call_id="a", name="x", arguments="{}"), piece(index, call_id="b", name="y", arguments="{}"))
    assert [part.content.id for part in collected.reply().parts] == ["a", "b"]


def test_deltas_come_as_they_are() -> None:
    """Text, reasoning and refusals are shown at once and counted in bytes."""
    events, collected = stream({"content": "é"}, {"reasoning_content": "hm"}, {"refusal": "no"}, {"content": ""}, {})
    assert events == [TextDelta("é"), ThinkingDelta("hm"), TextDelta("no")]
    assert collected.seen_bytes == 6
