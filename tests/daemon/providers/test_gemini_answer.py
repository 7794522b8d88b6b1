"""Answers of Google's generateContent, and what they count."""

import pytest
from aigend.providers.gemini.answer import BrokenOffError, Collected, UnreadableAnswerError, usage_from
from aigend.providers.port import ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import FinishReason, Image, Text, Thinking, TokenUsage, ToolCall


def body(*parts: object, finish: str | None = "STOP", **more: object) -> dict:
    """Return a body."""
    return {"candidates": [{"content": {"parts": list(parts), "role": "model"}, "finishReason": finish}], "responseId": "r"} | more


def collected(*bodies: object) -> tuple[list, Collected]:
    """Return the events of some bodies, and what they came to."""
    answer = Collected()
    return [event for item in bodies for event in answer.take(item)], answer


def reply(*bodies: object) -> ProviderReply:
    """Return the answer that some bodies make up."""
    return collected(*bodies)[1].reply()


def contents(*bodies: object) -> list:
    """Return what the parts of the answer hold."""
    return [part.content for part in reply(*bodies).parts]


FILTERED = ("SAFETY", "RECITATION", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "PUP_LIMITED_DISABLED")
OTHERS = ("MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL", "LANGUAGE", "OTHER", "NEW_ONE", None, 3)


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        *((name, FinishReason.CONTENT_FILTER) for name in FILTERED),
        *((name, FinishReason.OTHER) for name in OTHERS),
    ],
)
def test_finish_reasons(told: object, meant: FinishReason) -> None:
    """Each finish reason has its meaning; what is unknown is OTHER, and so never cached."""
    assert reply(body({"text": "a"}, finish=told)).finish_reason is meant


def test_calls_change_the_meaning_of_a_stop_only() -> None:
    """An answer that ended with calls is TOOL_CALLS, one that was cut in them is not."""
    call = {"functionCall": {"name": "n"}}
    assert reply(body(call)).finish_reason is FinishReason.TOOL_CALLS
    assert reply(body(call, finish="MAX_TOKENS")).finish_reason is FinishReason.LENGTH


def test_calls_without_ids_get_their_own() -> None:
    """Ids are the provider's where it gives some, and else the answer's id with a number: no other answer has them."""
    told = contents(
        body({"functionCall": {"name": "a", "args": {"x": "é"}}}, {"functionCall": {"name": "b", "id": "b7"}}, finish=None),
        body({"functionCall": {"name": "a"}}),
    )
    assert told == [
        ToolCall(id="r-0", name="a", arguments_json='{"x":"é"}'),
        ToolCall(id="b7", name="b", arguments_json="{}"),
        ToolCall(id="r-2", name="a", arguments_json="{}"),
    ]
    assert contents(body({"functionCall": {"name": "a"}}, responseId=None))[0].id == "call-0"


SIGNED = {
    "a call": (
        [{"functionCall": {"name": "n", "id": "c"}, "thoughtSignature": "S"}],
        [Thinking(signature="gemini:S"), ToolCall(id="c", name="n", arguments_json="{}")],
    ),
    "a text": ([{"text": "a", "thoughtSignature": "S"}], [Thinking(signature="gemini:S"), Text("a")]),
    "an empty text": ([{"text": "a"}, {"text": "", "thoughtSignature": "S"}], [Text("a"), Thinking(signature="gemini:S")]),
    "a text that goes on": (
        [{"text": "a"}, {"text": "b", "thoughtSignature": "S"}, {"text": "c"}],
        [Text("a"), Thinking(signature="gemini:S"), Text("b"), Text("c")],
    ),
    "a thought": (
        [{"text": "h", "thought": True}, {"text": "m", "thought": True, "thoughtSignature": "S"}, {"text": "a"}],
        [Thinking(text="h"), Thinking(text="m", signature="gemini:S"), Text("a")],
    ),
    "a search of the provider's": ([{"toolCall": {"id": "x"}, "thoughtSignature": "S"}, {"text": "a"}], [Text("a")]),
    "a picture": (
        [{"inlineData": {"mimeType": "image/png", "data": "AAE="}, "thoughtSignature": "S"}],
        [Thinking(signature="gemini:S"), Image(data=b"\x00\x01", media_type="image/png")],
    ),
}


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("apart", [False, True], ids=["whole", "stream"])
def test_signatures_stand_before_what_they_sign(name: str, *, apart: bool) -> None:
    """A signature is a thinking part of its own directly before its part; a thought has it itself; what is not shown has none."""
    parts, meant = SIGNED[name]
    bodies = [body(part, finish=None) for part in parts] if apart else [body(*parts)]
    assert contents(*bodies) == meant


def test_pieces_join_until_something_else_comes() -> None:
    """Text and thoughts grow from event to event, and what stands between keeps its place."""
    steps = ({"text": "h", "thought": True}, {"text": "m", "thought": True}, {"text": "a"}, {"text": ""}, {"text": "b"})
    more = (
        {"executableCode": {"code": "1+1"}},
        {"text": "c"},
        {"inlineData": {"mimeType": "audio/wav"}},
        {"inlineData": {"mimeType": "image/png", "data": "x"}},
    )
    events, answer = collected(*(body(step, finish=None) for step in (*steps, *more)))
    assert events == [ThinkingDelta("h"), ThinkingDelta("m"), TextDelta("a"), TextDelta("b"), TextDelta("c")]
    assert [part.content for part in answer.reply().parts] == [Thinking(text="hm"), Text("ab"), Text("c")]
    assert (answer.seen_bytes, answer.ended, answer.chunk_count) == (5, False, 9)


def test_calls_are_events_at_once() -> None:
    """A call is whole when it comes."""
    events, _ = collected(body({"text": "a"}, {"functionCall": {"name": "n", "id": "c"}}, finish=None))
    assert events == [TextDelta("a"), ToolCallDone(ToolCall(id="c", name="n", arguments_json="{}"))]


@pytest.mark.parametrize("broken", [None, [], "x", {}, {"result": 1}])
def test_what_is_no_answer_is_unreadable(broken: object) -> None:
    """JSON of another shape is not taken for an empty answer."""
    with pytest.raises(UnreadableAnswerError):
        reply(broken)


def test_an_error_is_no_part_of_an_answer() -> None:
    """An error between the events breaks the answer off."""
    with pytest.raises(BrokenOffError):
        reply({"error": {"code": 503}})


@pytest.mark.parametrize(
    "odd",
    [
        {"candidates": None, "usageMetadata": {}},
        {"candidates": []},
        {"candidates": [3]},
        {"candidates": [{"content": None}]},
        {"candidates": [{"content": {"parts": 3}}]},
        {"candidates": [{"content": {"parts": [3, {"text": 3}, {"functionCall": 3}]}}]},
        {"promptFeedback": 3},
        {"usageMetadata": 3},
    ],
)
def test_odd_answers_are_empty(odd: dict) -> None:
    """What is left out or of another kind adds nothing."""
    told = reply(odd)
    assert (told.parts, told.usage, told.finish_reason) == ((), None, FinishReason.OTHER)


def test_a_blocked_prompt_has_ended() -> None:
    """A block reason is an end, and means that the answer was filtered."""
    _, answer = collected({"promptFeedback": {"blockReason": "SAFETY"}})
    assert (answer.ended, answer.reply().finish_reason) == (True, FinishReason.CONTENT_FILTER)


USAGES = {
    "cached inside prompt": (
        {"promptTokenCount": 100, "candidatesTokenCount": 9, "cachedContentTokenCount": 64},
        TokenUsage(input=36, cache_read=64, output=9),
    ),
    "thoughts beside the answer": (
        {"promptTokenCount": 5, "candidatesTokenCount": 9, "thoughtsTokenCount": 7},
        TokenUsage(input=5, output=16, reasoning=7),
    ),
    "what tools put in": (
        {"promptTokenCount": 5, "candidatesTokenCount": 9, "toolUsePromptTokenCount": 700},
        TokenUsage(input=705, output=9),
    ),
    "nothing said": ({"promptTokenCount": 5}, TokenUsage(input=5)),
    "negative stays visible": ({"promptTokenCount": -1, "candidatesTokenCount": 5}, TokenUsage(input=-1, output=5)),
    "no numbers": ({"promptTokenCount": "7"}, None),
    "a flag is no number": ({"promptTokenCount": True}, None),
    "no prompt": ({"candidatesTokenCount": 7}, None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_normalised_once(name: str) -> None:
    """Counts end in disjoint buckets, with bad ones left for the ledger to see."""
    told, meant = USAGES[name]
    assert usage_from(told) == meant


def test_counts_of_a_stream_are_sums() -> None:
    """The last count of each kind holds; one that is not repeated stays."""
    counts = ({"promptTokenCount": 5, "toolUsePromptTokenCount": 3}, {"promptTokenCount": 5, "candidatesTokenCount": 9})
    told = reply(*(body({"text": "a"}, usageMetadata=count) for count in counts))
    assert told.usage == TokenUsage(input=8, output=9)
    assert told.provider_usage_json == '{"promptTokenCount":5,"toolUsePromptTokenCount":3,"candidatesTokenCount":9}'


@pytest.mark.parametrize(("model", "searches"), [("gemini-3.8-flash", 2), ("gemini-4-argon", 2), ("gemini-2.5-pro", 1)])
@pytest.mark.parametrize("queries", [["a", "b", "a", "", 3], []])
def test_searches_are_counted_as_they_are_billed(model: str, searches: int, queries: list) -> None:
    """Newer models are billed by the query, older ones by the answer; events repeat what they have told before."""
    told = body({"text": "a"}, usageMetadata={"promptTokenCount": 1}, modelVersion=model)
    told["candidates"][0]["groundingMetadata"] = {"webSearchQueries": queries}
    assert reply(told, told).usage.searches == (searches if queries else 0)
