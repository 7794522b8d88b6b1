"""Bodies and events of Anthropic's Messages as answers in neutral words.

What the provider's own tools did is in an answer's usage alone: callers neither run such tools nor answer them.

Source:
    Types of the anthropic SDK 2.11 (message, raw_message_stream_event, usage). Read 2026-11.
"""

import json
from collections.abc import Iterator
from typing import Any

from aigend.providers.anthropic.blocks import parts_of
from aigend.providers.port import ProviderReply, StreamEvent, TextDelta, ThinkingDelta, ToolCallDone
from aigend.providers.surrogates import PairJoiner, mended
from aigend.types import FinishReason, Part, TokenUsage, ToolCall

_FINISH_REASONS = {
    "end_turn": FinishReason.STOP,
    "stop_sequence": FinishReason.STOP,
    "tool_use": FinishReason.TOOL_CALLS,
    "max_tokens": FinishReason.LENGTH,
    "model_context_window_exceeded": FinishReason.LENGTH,
    "refusal": FinishReason.CONTENT_FILTER,
}
_GROWING = {"text_delta": "text", "thinking_delta": "thinking", "signature_delta": "signature", "input_json_delta": "partial_json"}


class UnreadableAnswerError(ValueError):
    """A body that is JSON but no message."""


def reply_from(body: Any) -> ProviderReply:
    """Return the answer that a whole body holds.

    Raises:
        UnreadableAnswerError: It is no message.
    """
    content = body.get("content") if isinstance(body, dict) else None
    if not isinstance(content, list) or not all(isinstance(block, dict) for block in content):
        raise UnreadableAnswerError("content is missing")
    parts = tuple(part for block in content for part in parts_of(block))
    return _reply(parts, finish=body.get("stop_reason"), model=body.get("model"), usage=_mapping(body.get("usage")))


def usage_from(usage: Any) -> TokenUsage | None:
    """Return reported usage in disjoint buckets, unchecked; None where there is none.

    The provider counts input without what it read from or wrote to its cache. Where the written tokens are more than their
    split by lifetime, the rest is taken for the dearer lifetime; where there is no split, all are taken for 5 minutes.

    Example:
        >>> usage_from({"input_tokens": 9, "output_tokens": 3, "cache_creation_input_tokens": 7, "cache_read_input_tokens": None})
        TokenUsage(input=9, cache_read=0, cache_write_5m=7, cache_write_1h=0, output=3, reasoning=0, searches=0)
    """
    if not isinstance(usage, dict) or not _numbers(usage.get("input_tokens"), usage.get("output_tokens")):
        return None
    written_5m, written_1h = _written(usage)
    return TokenUsage(
        input=usage["input_tokens"],
        cache_read=_count(usage.get("cache_read_input_tokens")),
        cache_write_5m=written_5m,
        cache_write_1h=written_1h,
        output=usage["output_tokens"],
        reasoning=_count(_mapping(usage.get("output_tokens_details")).get("thinking_tokens")),
        searches=_count(_mapping(usage.get("server_tool_use")).get("web_search_requests")),
    )


class Collected:
    """An answer as it comes together from the events of a stream."""

    def __init__(self) -> None:
        self.finish: Any = None
        self.seen_bytes = 0
        self.event_count = 0
        self._model: Any = ""
        self._usage: dict[str, Any] = {}
        self._counted = False  # whether the output was counted at its end: what a stream begins with is only a first guess
        self._blocks: dict[int, dict[str, Any]] = {}
        self._shown: dict[int, PairJoiner] = {}

    def take_event(self, body: Any) -> Iterator[StreamEvent]:
        """Yield what an event adds; kinds that are not known add nothing, as the provider asks of its readers.

        Raises:
            UnreadableAnswerError: It is no event of a message.
        """
        kind = body.get("type") if isinstance(body, dict) else None
        if not isinstance(kind, str):
            raise UnreadableAnswerError("an event has no type")
        self.event_count += 1
        if kind == "message_start":
            self._begin(_mapping(body.get("message")))
        elif kind == "message_delta":
            self._take_end(body)
        elif kind == "content_block_start":
            yield from self._open_block(_index(body), _mapping(body.get("content_block")))
        elif kind == "content_block_delta":
            yield from self._grow_block(_index(body), _mapping(body.get("delta")))
        elif kind == "content_block_stop":
            yield from self._close_block(_index(body))

    def reply(self) -> ProviderReply:
        """Return the whole answer."""
        parts = tuple(part for _, block in sorted(self._blocks.items()) for part in _parts_of_streamed(block))
        usage = self._usage if self._counted else {}
        return _reply(parts, finish=self.finish, model=self._model, usage=usage)

    def _begin(self, message: dict[str, Any]) -> None:
        self._model = message.get("model")
        self._usage = dict(_mapping(message.get("usage")))

    def _take_end(self, body: dict[str, Any]) -> None:
        """Take the reason of the end and the counts, which are sums up to here; what is not counted again stays as it was."""
        self.finish = _mapping(body.get("delta")).get("stop_reason") or self.finish
        usage = {name: value for name, value in _mapping(body.get("usage")).items() if value is not None}
        self._usage |= usage
        self._counted = self._counted or "output_tokens" in usage

    def _open_block(self, index: int, block: dict[str, Any]) -> Iterator[StreamEvent]:
        self._blocks[index] = dict(block)
        yield from self._show(index, "text", _text(block.get("text")))
        yield from self._show(index, "thinking", _text(block.get("thinking")))

    def _grow_block(self, index: int, delta: dict[str, Any]) -> Iterator[StreamEvent]:
        name = _GROWING.get(_text(delta.get("type")))
        if name is None:
            return
        block = self._blocks.setdefault(index, {})
        piece = _text(delta.get(name))
        block[name] = _text(block.get(name)) + piece
        yield from self._show(index, name, piece)

    def _close_block(self, index: int) -> Iterator[StreamEvent]:
        block = self._blocks.get(index, {})
        yield from _delta_of("thinking" if block.get("type") == "thinking" else "text", self._joiner(index).rest())
        for part in _parts_of_streamed(block):
            if isinstance(part.content, ToolCall):
                yield ToolCallDone(part.content)

    def _show(self, index: int, name: str, piece: str) -> Iterator[StreamEvent]:
        """Count a piece of what the model says, and yield it where callers see it piece by piece."""
        if name != "signature":
            self.seen_bytes += len(piece.encode("utf-8", "surrogatepass"))
        if name in ("text", "thinking"):
            yield from _delta_of(name, self._joiner(index).take(piece))

    def _joiner(self, index: int) -> PairJoiner:
        return self._shown.setdefault(index, PairJoiner())


def _delta_of(name: str, text: str) -> Iterator[StreamEvent]:
    if text:
        yield ThinkingDelta(text) if name == "thinking" else TextDelta(text)


def _reply(parts: tuple[Part, ...], *, finish: Any, model: Any, usage: dict[str, Any]) -> ProviderReply:
    return ProviderReply(
        parts=parts,
        finish_reason=_FINISH_REASONS.get(_text(finish), FinishReason.OTHER),
        resolved_model=_text(model),
        usage=usage_from(usage),
        provider_usage_json=json.dumps(usage, separators=(",", ":")) if usage else "",
    )


def _parts_of_streamed(block: dict[str, Any]) -> Iterator[Part]:
    """Yield the part of a block whose tool arguments came as text, which is kept as it came."""
    arguments = _text(block.get("partial_json"))
    if block.get("type") == "tool_use" and arguments:
        name, identity = _text(block.get("name")), _text(block.get("id"))
        yield Part(ToolCall(id=mended(identity), name=mended(name), arguments_json=mended(arguments)))
    else:
        yield from parts_of(block)


def _written(usage: dict[str, Any]) -> tuple[Any, Any]:
    """Return the tokens written to the cache for 5 minutes and for an hour."""
    total = _count(usage.get("cache_creation_input_tokens"))
    split = usage.get("cache_creation")
    if not isinstance(split, dict):
        return total, 0
    written_5m, written_1h = (_count(split.get(f"ephemeral_{ttl}_input_tokens")) for ttl in ("5m", "1h"))
    return written_5m, written_1h + max(0, total - written_5m - written_1h)


def _index(body: dict[str, Any]) -> int:
    index = body.get("index")
    if not isinstance(index, int):
        raise UnreadableAnswerError("an event of a block has no index")
    return index


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _count(value: Any) -> Any:
    return value if _numbers(value) else 0
