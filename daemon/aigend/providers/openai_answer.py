"""Bodies and events of OpenAI's chat completions as answers in neutral words.

Source:
    OpenAI API reference, chat completions; fields of compatible servers where named. Read 2026-11.
"""

import json
import math
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

from aigend.providers.port import ProviderReply, StreamEvent, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import FinishReason, Part, Text, Thinking, TokenUsage, ToolCall

_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}
_NANOS = 1_000_000_000
_MOST_USD = 1_000_000  # a call that costs more is no figure to believe


class UnreadableAnswerError(ValueError):
    """A body that is JSON but no chat completion."""


def reply_from(body: Any) -> ProviderReply:
    """Return the answer that a whole body holds.

    Raises:
        UnreadableAnswerError: It is no chat completion.
    """
    choice = _choice(body)
    message = choice.get("message") if choice is not None else None
    if not isinstance(message, dict):
        raise UnreadableAnswerError("choices[0].message is missing")
    collected = Collected()
    collected.take_delta(message)
    collected.finish = choice.get("finish_reason") if choice is not None else None
    collected.take_envelope(body)
    return collected.reply()


def usage_from(usage: Any) -> TokenUsage | None:
    """Return reported usage in disjoint buckets, unchecked; None where there is none.

    Cached and written tokens are inside the prompt's there, reasoning inside the completion's. Servers that count reasoning
    beside the completion show it in their total: what the total has more is output.

    Example:
        >>> usage_from({"prompt_tokens": 9, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 4}})
        TokenUsage(input=5, cache_read=4, cache_write_5m=0, cache_write_1h=0, output=3, reasoning=0, searches=0)
    """
    if not isinstance(usage, dict) or not _numbers(usage.get("prompt_tokens"), usage.get("completion_tokens")):
        return None
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    details = _mapping(usage.get("prompt_tokens_details"))
    cached = _count(details.get("cached_tokens"))
    written = _count(details.get("cache_write_tokens"))
    reasoning = _count(_mapping(usage.get("completion_tokens_details")).get("reasoning_tokens"))
    beside = _count(usage.get("total_tokens")) - prompt - output
    return TokenUsage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=output + max(0, beside) if min(prompt, output) >= 0 else output,
        reasoning=reasoning,
        searches=_count(usage.get("num_search_queries")),
    )


def reported_cost(usage: Any) -> int | None:
    """Return the cost that a server states itself in US dollars (`usage.cost`), in nano-dollars.

    Example:
        >>> reported_cost({"cost": 0.0125})
        12500000
    """
    cost: Any = _mapping(usage).get("cost")
    cost = _mapping(cost).get("total_cost") if isinstance(cost, dict) else cost
    if not _numbers(cost) or not math.isfinite(cost) or not 0 <= cost <= _MOST_USD:
        return None
    return int((Decimal(str(cost)) * _NANOS).to_integral_value())


class Collected:
    """An answer as it comes together, from one message or from many deltas."""

    def __init__(self) -> None:
        self.finish: Any = None
        self.seen_bytes = 0
        self.event_count = 0
        self._text: list[str] = []
        self._thinking: list[str] = []
        self._refusal: list[str] = []
        self._calls: dict[int, dict[str, str]] = {}
        self._model = ""
        self._usage: Any = None

    def take_event(self, body: Any) -> Iterator[StreamEvent]:
        """Yield what an event of a stream adds.

        Raises:
            UnreadableAnswerError: It is no event of a chat completion.
        """
        choice = _choice(body)
        self.event_count += 1
        self.take_envelope(body)
        if choice is None:
            return
        self.finish = choice.get("finish_reason") or self.finish
        text, thinking = self.take_delta(_mapping(choice.get("delta")))
        if thinking:
            yield ThinkingDelta(thinking)
        if text:
            yield TextDelta(text)

    def take_envelope(self, body: dict[str, Any]) -> None:
        """Take model and usage, which servers repeat or send last."""
        self._model = str(body.get("model") or self._model)
        self._usage = body.get("usage") or self._usage

    def take_delta(self, delta: dict[str, Any]) -> tuple[str, str]:
        """Add a message or a piece of one; the return value is its text and its reasoning."""
        text = _text(delta.get("content"))
        thinking = _text(delta.get("reasoning_content") or delta.get("reasoning"))
        refusal = _text(delta.get("refusal"))
        self._text.append(text)
        self._thinking.append(thinking)
        self._refusal.append(refusal)
        for position, piece in enumerate(delta.get("tool_calls") or ()):
            self._take_call(_mapping(piece), position)
        self.seen_bytes += len((text + thinking + refusal).encode("utf-8", "surrogatepass"))
        return text or refusal, thinking

    def reply(self) -> ProviderReply:
        """Return the whole answer."""
        refusal = "".join(self._refusal)
        finish = FinishReason.CONTENT_FILTER if refusal else _FINISH_REASONS.get(self.finish, FinishReason.OTHER)
        return ProviderReply(
            parts=tuple(self._parts(refusal)),
            finish_reason=finish,
            resolved_model=self._model,
            usage=usage_from(self._usage),
            provider_usage_json=json.dumps(self._usage, separators=(",", ":")) if self._usage else "",
            reported_cost_nanos=reported_cost(self._usage),
        )

    def ending(self) -> Iterator[StreamEvent]:
        """Yield what ends a stream: the tool calls, whole, and the answer."""
        reply = self.reply()
        for part in reply.parts:
            if isinstance(part.content, ToolCall):
                yield ToolCallDone(part.content)
        yield reply

    def _take_call(self, piece: dict[str, Any], position: int) -> None:
        index = piece.get("index")
        index = index if isinstance(index, int) else position
        before = self._calls.get(index)
        if before is not None and before["id"] and piece.get("id") not in (None, "", before["id"]):
            index = max(self._calls) + 1  # servers that send calls whole number them all 0
        call = self._calls.setdefault(index, {"id": "", "name": "", "arguments": ""})
        function = _mapping(piece.get("function"))
        call["id"] = str(piece.get("id") or call["id"])
        call["name"] += _text(function.get("name"))
        call["arguments"] += _text(function.get("arguments"))
        self.seen_bytes += len(_text(function.get("arguments")))

    def _parts(self, refusal: str) -> Iterator[Part]:
        if thinking := "".join(self._thinking):
            yield Part(Thinking(text=thinking))
        if text := "".join(self._text) + refusal:
            yield Part(Text(text))
        for _, call in sorted(self._calls.items()):
            yield Part(ToolCall(id=call["id"], name=call["name"], arguments_json=call["arguments"]))


def _choice(body: Any) -> dict[str, Any] | None:
    """Return the first choice, or None where there is none, as in the event that holds the usage."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list):
        raise UnreadableAnswerError("choices is missing")
    if choices and not isinstance(choices[0], dict):
        raise UnreadableAnswerError("choices[0] is no object")
    return choices[0] if choices else None


def _text(content: Any) -> str:
    """Return text that stands as a string or as a list of text parts."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _count(value: Any) -> Any:
    return value if _numbers(value) else 0
