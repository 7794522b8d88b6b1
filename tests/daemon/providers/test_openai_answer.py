"""Answers of OpenAI and of servers that speak nearly like it."""

import json

import pytest
from aigend.providers.openai.answer import Collected, FailedAnswerError, UnreadableAnswerError, reply_from
from aigend.providers.port import TextDelta, ThinkingDelta, ToolCallDone
from aigend.providers.surrogates import PairJoiner
from aigend.types import FinishReason


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


def test_a_character_split_between_two_events_comes_whole() -> None:
    """A surrogate pair whose halves come in two events is one character of the second delta, and of the answer."""
    events, collected = stream({"content": "hi \ud83d"}, {"content": "\ude00!"}, {"reasoning_content": "\ud83d"}, {"content": ""})
    assert events == [TextDelta("hi "), TextDelta("\U0001f600!")]
    *_, thinking, reply = [*collected.ending()]
    assert thinking == ThinkingDelta("\ufffd")
    assert [part.content.text for part in reply.parts] == ["\ufffd", "hi \U0001f600!"]
    assert json.dumps([event.text for event in events], ensure_ascii=False).encode()


def test_control_without_the_joiner_no_encoding_holds_the_delta(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: pieces passed on as they come hold half a character, which can't be sent to anybody."""
    monkeypatch.setattr(PairJoiner, "take", lambda _, piece: piece)
    events, _ = stream({"content": "hi \ud83d"}, {"content": "\ude00!"})
    with pytest.raises(UnicodeEncodeError):
        events[0].text.encode()


def test_a_half_at_the_very_end_is_replaced() -> None:
    """An answer cut inside a character ends with U+FFFD, in its deltas and as a whole."""
    events, collected = stream({"content": "hi \ud83d"})
    ending = [*collected.ending()]
    assert [*events, ending[0]] == [TextDelta("hi "), TextDelta("\ufffd")]
    assert ending[-1].parts[0].content.text == "hi \ufffd"


def test_an_error_in_place_of_an_answer_is_told() -> None:
    """A router that answers 200 with an error of its own has failed, and says how."""
    with pytest.raises(FailedAnswerError) as caught:
        reply_from({"error": {"code": 502, "message": "upstream"}})
    assert caught.value.told["code"] == 502
