"""Bodies and events of OpenAI's chat completions as answers in neutral words.

Source:
    OpenAI API reference, chat completions; fields of compatible servers where named. Read 2026-11.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from aigend.providers.openai.dialect import processing_of
from aigend.providers.openai.usage import chat_usage, mapping, reported_cost, usage_json
from aigend.providers.port import ProviderReply, StreamEvent, TextDelta, ThinkingDelta, ToolCallDone
from aigend.providers.surrogates import PairJoiner, mended
from aigend.types import FinishReason, Part, Text, Thinking, TokenUsage, ToolCall

_DONE = b"[DONE]"  # some servers end with it and give no finish reason, others the reverse
_FINISH_REASONS = {
    "stop": FinishReason.STOP,
    "length": FinishReason.LENGTH,
    "tool_calls": FinishReason.TOOL_CALLS,
    "function_call": FinishReason.TOOL_CALLS,
    "content_filter": FinishReason.CONTENT_FILTER,
}


class UnreadableAnswerError(ValueError):
    """A body that is JSON but no answer in the format."""


class FailedAnswerError(Exception):
    """An answer that began well and holds an error instead of an end.

    Args:
        told: The provider's error object.
        billed: Whether the provider says that tokens were used up.
    """

    def __init__(self, told: Mapping[str, Any], *, billed: bool = False) -> None:
        super().__init__("the answer holds an error")
        self.told = told
        self.billed = billed


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
        self._tier: Any = None
        self._text_joiner = PairJoiner()
        self._thinking_joiner = PairJoiner()

    def take_body(self, body: Any) -> None:
        """Take a whole answer.

        Raises:
            UnreadableAnswerError: It is no chat completion.
            FailedAnswerError: It holds an error.
        """
        if isinstance(body, dict) and isinstance(body.get("error"), dict) and not body.get("choices"):
            raise FailedAnswerError(body["error"])
        choice = _choice(body)
        message = choice.get("message") if choice is not None else None
        if choice is None or not isinstance(message, dict):
            raise UnreadableAnswerError("choices[0].message is missing")
        self.take_delta(message)
        self.finish = choice.get("finish_reason")
        self.take_envelope(body)

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
        text, thinking = self.take_delta(mapping(choice.get("delta")))
        if thinking:
            yield ThinkingDelta(thinking)
        if text:
            yield TextDelta(text)

    def take_envelope(self, body: dict[str, Any]) -> None:
        """Take model, tier and usage, which servers repeat or send last."""
        self._model = str(body.get("model") or self._model)
        self._tier = body.get("service_tier") or self._tier
        self._usage = body.get("usage") or self._usage

    def take_delta(self, delta: dict[str, Any]) -> tuple[str, str]:
        """Add a message or a piece of one; the return value is what can be shown of its text and its reasoning."""
        text = _text(delta.get("content"))
        thinking = _text(delta.get("reasoning_content") or delta.get("reasoning"))
        refusal = _text(delta.get("refusal"))
        self._text.append(text)
        self._thinking.append(thinking)
        self._refusal.append(refusal)
        for position, piece in enumerate(delta.get("tool_calls") or ()):
            self._take_call(mapping(piece), position)
        self.seen_bytes += len((text + thinking + refusal).encode("utf-8", "surrogatepass"))
        return self._text_joiner.take(text or refusal), self._thinking_joiner.take(thinking)

    def ended(self, tail: bytes) -> bool:
        """Return whether the answer came to its own end."""
        return self.finish is not None or tail.rstrip().endswith(_DONE)

    def reply(self) -> ProviderReply:
        """Return the whole answer."""
        refusal = "".join(self._refusal)
        finish = FinishReason.CONTENT_FILTER if refusal else _FINISH_REASONS.get(self.finish, FinishReason.OTHER)
        return ProviderReply(
            parts=tuple(self._parts(refusal)),
            finish_reason=finish,
            resolved_model=self._model,
            usage=self.usage(self._usage),
            provider_usage_json=usage_json(self._usage),
            reported_cost_nanos=reported_cost(self._usage),
            processing=processing_of(self._tier),
        )

    def usage(self, told: Any) -> TokenUsage | None:
        """Return the reported usage in disjoint buckets."""
        return chat_usage(told)

    def ending(self) -> Iterator[StreamEvent]:
        """Yield what ends a stream: what was held back of its text, the tool calls, whole, and the answer."""
        if thinking := self._thinking_joiner.rest():
            yield ThinkingDelta(thinking)
        if text := self._text_joiner.rest():
            yield TextDelta(text)
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
        function = mapping(piece.get("function"))
        call["id"] = str(piece.get("id") or call["id"])
        call["name"] += _text(function.get("name"))
        call["arguments"] += _text(function.get("arguments"))
        self.seen_bytes += len(_text(function.get("arguments")))

    def _parts(self, refusal: str) -> Iterator[Part]:
        if thinking := mended("".join(self._thinking)):
            yield Part(Thinking(text=thinking))
        if text := mended("".join(self._text) + refusal):
            yield Part(Text(text))
        for _, call in sorted(self._calls.items()):
            yield Part(ToolCall(id=mended(call["id"]), name=mended(call["name"]), arguments_json=mended(call["arguments"])))


def reply_from(body: Any) -> ProviderReply:
    """Return the answer that a whole body holds.

    Raises:
        UnreadableAnswerError: It is no chat completion.
        FailedAnswerError: It holds an error.
    """
    collected = Collected()
    collected.take_body(body)
    return collected.reply()


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
