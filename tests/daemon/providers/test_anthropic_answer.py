"""Answers of Anthropic's Messages, whole and in events."""

import pytest
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.pricing import cost_nanos
from aigend.ledger.prices.published import PublishedPrices
from aigend.providers.anthropic.answer import Collected, UnreadableAnswerError, reply_from, usage_from
from aigend.providers.anthropic.blocks import block_of
from aigend.providers.port import TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import FinishReason, Text, Thinking, TokenUsage, ToolCall

COUNTED = {"input_tokens": 3, "output_tokens": 2}
AT = 1_795_000_000.0  # wall clock


def body(*blocks: dict, finish: str | None = "end_turn", usage=COUNTED) -> dict:
    """Return a body."""
    return {"model": "m-1", "content": list(blocks), "stop_reason": finish, "usage": usage}


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("end_turn", FinishReason.STOP),
        ("stop_sequence", FinishReason.STOP),
        ("tool_use", FinishReason.TOOL_CALLS),
        ("max_tokens", FinishReason.LENGTH),
        ("model_context_window_exceeded", FinishReason.LENGTH),
        ("refusal", FinishReason.CONTENT_FILTER),
        ("pause_turn", FinishReason.OTHER),
        ("something_new", FinishReason.OTHER),
        (None, FinishReason.OTHER),
    ],
)
def test_finish_reasons(told: str | None, meant: FinishReason) -> None:
    """Each finish reason has its meaning; what is unknown is OTHER, and so never cached."""
    assert reply_from(body(finish=told)).finish_reason is meant


def test_blocks_become_parts_in_order() -> None:
    """Thinking, sealed thinking, text and tool calls keep their order; what the provider's own tools did is left out."""
    blocks = (
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "server_tool_use", "id": "s1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s1", "content": []},
        {"type": "text", "text": ""},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {"city": "Zürich"}},
        {"type": "tool_use", "id": "c2", "name": "wait", "input": {}},
    )
    contents = [part.content for part in reply_from(body(*blocks)).parts]
    assert contents == [
        Thinking(text="hm", signature="c2ln"),
        Thinking(signature="redacted_thinking:c2VhbGVk"),
        Text("Hi"),
        ToolCall(id="c1", name="look", arguments_json='{"city":"Zürich"}'),
        ToolCall(id="c2", name="wait", arguments_json="{}"),
    ]
    assert [block_of(content) for content in contents] == [blocks[place] for place in (0, 1, 5, 6, 7)]


@pytest.mark.parametrize("broken", [None, [], {}, {"content": None}, {"content": [1]}, {"choices": []}])
def test_what_is_no_message_is_unreadable(broken) -> None:
    """JSON of another shape is not taken for an empty answer."""
    with pytest.raises(UnreadableAnswerError):
        reply_from(broken)


def written(total: int | None, short: int, long: int) -> dict:
    """Return a usage with written tokens."""
    split = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
    return COUNTED | {"cache_creation_input_tokens": total, "cache_creation": split}


USAGES = {
    "plain": (COUNTED, TokenUsage(input=3, output=2)),
    "read": (COUNTED | {"cache_read_input_tokens": 90}, TokenUsage(input=3, cache_read=90, output=2)),
    "written without a split": (COUNTED | {"cache_creation_input_tokens": 70}, TokenUsage(input=3, cache_write_5m=70, output=2)),
    "no split after all": (
        COUNTED | {"cache_creation_input_tokens": 70, "cache_creation": None},
        TokenUsage(input=3, cache_write_5m=70, output=2),
    ),
    "written for both": (written(70, 30, 40), TokenUsage(input=3, cache_write_5m=30, cache_write_1h=40, output=2)),
    "the split is less": (written(100, 30, 40), TokenUsage(input=3, cache_write_5m=30, cache_write_1h=70, output=2)),
    "the split is more": (written(50, 30, 40), TokenUsage(input=3, cache_write_5m=30, cache_write_1h=40, output=2)),
    "no total": (written(None, 30, 40), TokenUsage(input=3, cache_write_5m=30, cache_write_1h=40, output=2)),
    "thinking": (COUNTED | {"output_tokens_details": {"thinking_tokens": 1}}, TokenUsage(input=3, output=2, reasoning=1)),
    "searches": (COUNTED | {"server_tool_use": {"web_search_requests": 4}}, TokenUsage(input=3, output=2, searches=4)),
    "null": (COUNTED | {"cache_read_input_tokens": None, "server_tool_use": None}, TokenUsage(input=3, output=2)),
    "negative stays visible": ({"input_tokens": -1, "output_tokens": 5}, TokenUsage(input=-1, output=5)),
    "no numbers": ({"input_tokens": "7", "output_tokens": 5}, None),
    "a flag is no number": ({"input_tokens": True, "output_tokens": 5}, None),
    "half": ({"input_tokens": 7}, None),
    "nothing": (None, None),
}


@pytest.mark.parametrize("name", USAGES)
def test_usage_is_normalised_once(name: str) -> None:
    """Every spelling ends in disjoint buckets, with bad counts left for the ledger to see."""
    told, meant = USAGES[name]
    assert usage_from(told) == meant


@pytest.mark.parametrize(
    ("told", "nanos"),
    [
        (COUNTED | {"input_tokens": 1_000, "output_tokens": 100}, 4_500_000),
        (COUNTED | {"input_tokens": 0, "output_tokens": 0, "cache_read_input_tokens": 10_000}, 3_000_000),
        (written(10_000, 10_000, 0) | {"input_tokens": 0, "output_tokens": 0}, 37_500_000),
        (written(10_000, 0, 10_000) | {"input_tokens": 0, "output_tokens": 0}, 60_000_000),
        (written(10_000, 4_000, 0) | {"input_tokens": 0, "output_tokens": 0}, 15_000_000 + 36_000_000),
        ({"input_tokens": 100_000, "cache_read_input_tokens": 100_000, "output_tokens": 0}, 330_000_000),
        ({"input_tokens": 100_000, "cache_read_input_tokens": 100_001, "output_tokens": 10}, 660_000_000 + 600 + 225_000),
    ],
)
def test_usage_of_a_known_model_costs_what_the_price_page_says(told: dict, nanos: int) -> None:
    """Each bucket of claude-sonnet-4-5 has its own rate, and beyond 200,000 input tokens the whole request costs the long one's."""
    published = PublishedPrices()
    published.load()
    price = PriceCatalog(published=published).lookup("anthropic", "claude-sonnet-4-5", AT)
    assert cost_nanos(usage_from(told), price) == nanos


def stream(*events: dict) -> tuple[list, Collected]:
    """Return what some events add, and what they came to."""
    collected = Collected()
    return [made for event in events for made in collected.take_event(event)], collected


def block(index: int, start: dict, *deltas: dict) -> list[dict]:
    """Return the events of a block."""
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


def start(**usage) -> dict:
    """Return the event that begins a message."""
    return {"type": "message_start", "message": {"model": "m-1", "usage": usage}}


def end(**usage) -> dict:
    """Return the event that says why it ended."""
    return {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}


def test_a_stream_of_everything() -> None:
    """Pieces come as they arrive, a tool call when it is whole, and all of it is in the reply."""
    events, collected = stream(
        start(input_tokens=3, output_tokens=1),
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "h"},
            {"type": "thinking_delta", "thinking": "m"},
            {"type": "signature_delta", "signature": "c2ln"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "c2VhbGVk"}),
        *block(
            2,
            {"type": "text", "text": "O"},
            {"type": "text_delta", "text": "h"},
            {"type": "citations_delta", "citation": {}},
            {"type": "something_new", "text": "x"},
        ),
        *block(
            3,
            {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
            {"type": "input_json_delta", "partial_json": "{}"},
        ),
        *block(
            4,
            {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a": '},
            {"type": "input_json_delta", "partial_json": "1}"},
        ),
        *block(5, {"type": "tool_use", "id": "c2", "name": "wait", "input": {}}),
        {"type": "something_new"},
        end(output_tokens=9),
        {"type": "message_stop"},
    )
    calls = [ToolCall(id="c1", name="look", arguments_json='{"a": 1}'), ToolCall(id="c2", name="wait", arguments_json="{}")]
    assert events == [ThinkingDelta("h"), ThinkingDelta("m"), TextDelta("O"), TextDelta("h"), *map(ToolCallDone, calls)]
    reply = collected.reply()
    assert [part.content for part in reply.parts] == [
        Thinking(text="hm", signature="c2ln"),
        Thinking(signature="redacted_thinking:c2VhbGVk"),
        Text("Oh"),
        *calls,
    ]
    assert (reply.finish_reason, reply.resolved_model, reply.usage) == (FinishReason.STOP, "m-1", TokenUsage(input=3, output=9))


def test_usage_of_a_stream_is_merged() -> None:
    """What begins a stream counts unless its end counts again: with tools of the provider only the last figures are complete."""
    split = {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0}
    begun = start(input_tokens=10, cache_creation_input_tokens=50, cache_read_input_tokens=7, cache_creation=split, output_tokens=1)
    _, plain = stream(begun, end(output_tokens=20))
    assert plain.reply().usage == TokenUsage(input=10, cache_read=7, cache_write_5m=50, output=20)
    searched = end(
        input_tokens=900,
        cache_creation_input_tokens=80,
        cache_read_input_tokens=None,
        output_tokens=40,
        server_tool_use={"web_search_requests": 2},
    )
    _, collected = stream(begun, end(output_tokens=20), searched)
    expected = TokenUsage(input=900, cache_read=7, cache_write_5m=50, cache_write_1h=30, output=40, searches=2)
    assert collected.reply().usage == expected
    assert '"web_search_requests":2' in collected.reply().provider_usage_json


def test_output_that_was_never_counted_is_no_usage() -> None:
    """The count at a stream's beginning is a first guess: alone it would book an answer of one token."""
    _, collected = stream(start(input_tokens=10, output_tokens=1), end())
    assert (collected.reply().usage, collected.reply().provider_usage_json) == (None, "")


def test_what_has_come_is_counted_in_bytes() -> None:
    """Text, thinking and arguments count towards a partial answer."""
    _, collected = stream(
        start(),
        *block(0, {"type": "thinking"}, {"type": "thinking_delta", "thinking": "ä"}),
        *block(1, {"type": "text"}, {"type": "text_delta", "text": "안"}),
        *block(2, {"type": "tool_use"}, {"type": "input_json_delta", "partial_json": "{}"}),
    )
    assert collected.seen_bytes == 2 + 3 + 2


def test_characters_in_halves_are_joined() -> None:
    """A character that breaks between two pieces is shown whole, and a half that stays alone is replaced."""
    for kind, made in (("text", TextDelta), ("thinking", ThinkingDelta)):
        deltas = [{"type": f"{kind}_delta", kind: piece} for piece in ("a\ud83d", "\ude00b", "c\ud83d")]
        events, collected = stream(start(), *block(0, {"type": kind}, *deltas), end())
        assert events == [made("a"), made("\U0001f600b"), made("c"), made("\ufffd")]
        assert collected.reply().parts[0].content.text == "a\U0001f600bc\ufffd"
    reply = reply_from(body({"type": "tool_use", "id": "c", "name": "n", "input": {"a": "\ud83d"}}, finish=["odd"]))
    assert reply.parts[0].content.arguments_json == '{"a":"\ufffd"}'
    assert reply.finish_reason is FinishReason.OTHER


@pytest.mark.parametrize(
    "event", [None, 3, {}, {"type": 7}, {"type": "content_block_delta", "delta": {}}, {"type": "content_block_stop"}]
)
def test_a_broken_event_is_unreadable(event) -> None:
    """An event without a type, or one of a block without its index, is no answer's."""
    with pytest.raises(UnreadableAnswerError):
        stream(event)
