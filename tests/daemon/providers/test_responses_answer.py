"""Answers of OpenAI's Responses and of servers that speak nearly like it."""

import pytest
from aigend.providers.openai.answer import FailedAnswerError, UnreadableAnswerError
from aigend.providers.openai.responses_answer import Collected, reply_from
from aigend.providers.port import ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import FinishReason, Text, Thinking, ToolCall

CALL = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "look", "arguments": '{"a":1}'}


def says(text: str, kind: str = "output_text") -> dict:
    """Return an item that says a text."""
    return {"type": "message", "content": [{"type": kind, "refusal" if kind == "refusal" else "text": text}]}


def body(*items: dict, **more) -> dict:
    """Return a body with these items."""
    return {"model": "m-1", "status": "completed", "output": list(items)} | more


def stream(*events: dict) -> tuple[list, Collected]:
    """Return what the events of a stream yield, and where they came together."""
    collected = Collected()
    return [out for event in events for out in collected.take_event(event)], collected


def done(item: dict, index: int = 0) -> dict:
    """Return the event that shows an item whole."""
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def completed(response: dict) -> dict:
    """Return the event that ends a stream."""
    return {"type": "response.completed", "response": response}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        (body(says("hi")), FinishReason.STOP),
        (body(says("hi"), CALL), FinishReason.TOOL_CALLS),
        (body(says("no", "refusal")), FinishReason.CONTENT_FILTER),
        (body(says("hi"), status="incomplete", incomplete_details={"reason": "max_output_tokens"}), FinishReason.LENGTH),
        (body(status="incomplete", incomplete_details={"reason": "content_filter"}), FinishReason.CONTENT_FILTER),
        (body(says("hi"), status="incomplete", incomplete_details={"reason": "steered"}), FinishReason.OTHER),
        (body(says("hi"), status="incomplete", incomplete_details=None), FinishReason.OTHER),
        (body(CALL, status="requires_action"), FinishReason.TOOL_CALLS),
        (body({"type": "tool_search_call", "execution": "client"}), FinishReason.OTHER),
        ({"output": [says("hi")]}, FinishReason.STOP),
    ],
)
def test_finish_reasons(told: dict, meant: FinishReason) -> None:
    """Each way to end has its meaning; what waits for something that we can't give is OTHER, and so never cached."""
    assert reply_from(told).finish_reason is meant


def test_items_become_parts() -> None:
    """Reasoning, texts and calls come in their order; what a tool of the provider did is no part, its searches are counted."""
    shown = [{"type": "summary_text", "text": "one"}, {"type": "summary_text", "text": "two"}]
    reply = reply_from(
        body(
            {"type": "reasoning", "summary": shown, "encrypted_content": "gAAAA"},
            {"type": "web_search_call", "action": {"type": "search"}},
            {"type": "web_search_call", "action": {"type": "open_page"}},
            {"type": "web_search_call"},
            {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "raw"}]},
            {"type": "reasoning", "summary": []},
            says("he\ud83d\ude00"),
            says(""),
            CALL,
            "no item",
            usage={"input_tokens": 1, "output_tokens": 2},
        )
    )
    assert [part.content for part in reply.parts] == [
        Thinking(text="one\n\ntwo", signature="openai-responses:gAAAA"),
        Thinking(text="raw"),
        Text("he\U0001f600"),
        ToolCall(id="c1", name="look", arguments_json='{"a":1}'),
    ]
    assert (reply.usage.searches, reply.resolved_model) == (2, "m-1")


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"output": None}, {"choices": []}, body(status="in_progress"), body(status="queued"), body(status=7)]
)
def test_what_is_no_response_is_unreadable(broken) -> None:
    """JSON of another shape, and a response that has not ended, are not taken for an answer."""
    with pytest.raises(UnreadableAnswerError):
        reply_from(broken)


@pytest.mark.parametrize(
    ("told", "code", "billed"),
    [
        (body(status="failed", error={"code": "server_error", "message": "oops"}), "server_error", False),
        (body(status="failed", error={"code": "server_error"}, usage={"output_tokens": 7}), "server_error", True),
        (body(status="cancelled"), "cancelled", False),
        ({"error": {"code": "rate_limit_exceeded"}}, "rate_limit_exceeded", False),
    ],
)
def test_a_failure_is_told(told: dict, code: str, *, billed: bool) -> None:
    """A response that failed says why, and whether tokens were used up."""
    with pytest.raises(FailedAnswerError) as caught:
        reply_from(told)
    assert (caught.value.told["code"], caught.value.billed) == (code, billed)


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "server_error", "message": "oops"},
        {"type": "response.failed", "response": {"error": {"code": "server_error"}}},
        {"type": "response.failed", "error": {"code": "server_error"}, "response": {}},
    ],
)
def test_a_failing_event_is_told(event: dict) -> None:
    """The error stands in the event, in its response, or beside it."""
    with pytest.raises(FailedAnswerError) as caught:
        stream(event)
    assert caught.value.told["code"] == "server_error"


@pytest.mark.parametrize("event", [None, 3, [], {}, {"type": 3}, {"choices": []}])
def test_what_is_no_event_is_unreadable(event) -> None:
    """An event without a type belongs to another format."""
    with pytest.raises(UnreadableAnswerError):
        stream(event)


def test_deltas_come_as_they_are() -> None:
    """Text, refusals and reasoning are shown at once and counted in bytes; other events add nothing."""
    events, collected = stream(
        {"type": "response.created", "response": {}},
        {"type": "response.reasoning_summary_part.added", "summary_index": 0},
        {"type": "response.reasoning_summary_text.delta", "delta": "hm"},
        {"type": "response.reasoning_summary_part.added", "summary_index": 1},
        {"type": "response.reasoning_text.delta", "delta": "so"},
        {"type": "response.output_text.delta", "delta": "\u00e9"},
        {"type": "response.output_text.delta", "delta": ""},
        {"type": "response.refusal.delta", "delta": "no"},
        {"type": "response.something_new"},
    )
    assert events == [ThinkingDelta("hm"), ThinkingDelta("\n\n"), ThinkingDelta("so"), TextDelta("\u00e9"), TextDelta("no")]
    assert collected.seen_bytes == 10
    assert not collected.ended(b"")


def test_a_character_split_between_two_events_comes_whole() -> None:
    """A surrogate pair whose halves come in two events is one character of the second delta."""
    first, second = ({"type": "response.output_text.delta", "delta": half} for half in ("a\ud83d", "\ude00"))
    events, collected = stream(first, second, first, {"type": "response.reasoning_text.delta", "delta": "\ud83d"}, completed({}))
    assert events == [TextDelta("a"), TextDelta("\U0001f600"), TextDelta("a")]
    thinking, text, reply = [*collected.ending()]
    assert (thinking, text) == (ThinkingDelta("\ufffd"), TextDelta("\ufffd"))
    assert [part.content for part in reply.parts] == [Text("a\U0001f600a\ufffd")]


def test_tool_calls_come_whole_and_once() -> None:
    """A call is shown when its item is done, and one that only the last event has at the end."""
    late = CALL | {"call_id": "c2"}
    events, collected = stream(done(CALL), completed(body(CALL, late)))
    assert [event.call.id for event in events] == ["c1"]
    *shown, reply = [*collected.ending()]
    assert [event.call.id for event in shown if isinstance(event, ToolCallDone)] == ["c2"]
    assert isinstance(reply, ProviderReply)
    assert [part.content.id for part in reply.parts] == ["c1", "c2"]


def test_an_empty_last_event_is_filled_from_those_before() -> None:
    """Servers that leave the output of the last event empty have shown its items, in any order, or at least its text."""
    _, collected = stream(
        done(CALL, 1), done(says("hi"), 0), {"type": "response.output_item.done", "item": says("!")}, completed({})
    )
    (*_, reply) = collected.ending()
    assert [type(part.content) for part in reply.parts] == [Text, ToolCall, Text]
    _, collected = stream({"type": "response.output_text.delta", "delta": "hi"}, completed(body(CALL)))
    (*_, reply) = collected.ending()
    assert [type(part.content) for part in reply.parts] == [ToolCall, Text]
