"""Bodies and events of Google's generateContent as answers in neutral words.

Source:
    Types of the google-genai SDK 3.4 (GenerateContentResponse, Candidate, Part, UsageMetadata, FinishReason); Google, "Grounding
    with Google Search" (what a search is billed as). Read 2026-11.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aigend.providers.gemini.parts import SEAL, image_from
from aigend.providers.gemini.thinking import generation
from aigend.providers.port import ProviderReply, StreamEvent, TextDelta, ThinkingDelta, ToolCallDone
from aigend.providers.surrogates import PairJoiner, mended
from aigend.types import Content, FinishReason, Image, Part, Processing, Text, Thinking, TokenUsage, ToolCall

_FINISH_REASONS = {
    "STOP": FinishReason.STOP,
    "MAX_TOKENS": FinishReason.LENGTH,
    "CONTINUATION": FinishReason.LENGTH,
    "SAFETY": FinishReason.CONTENT_FILTER,
    "RECITATION": FinishReason.CONTENT_FILTER,
    "BLOCKLIST": FinishReason.CONTENT_FILTER,
    "PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "SPII": FinishReason.CONTENT_FILTER,
    "ESCALATION": FinishReason.CONTENT_FILTER,
    "MODEL_ARMOR": FinishReason.CONTENT_FILTER,
    "PUP_LIMITED_DISABLED": FinishReason.CONTENT_FILTER,
    "IMAGE_SAFETY": FinishReason.CONTENT_FILTER,
    "IMAGE_PROHIBITED_CONTENT": FinishReason.CONTENT_FILTER,
    "IMAGE_RECITATION": FinishReason.CONTENT_FILTER,
}
_FIRST_BILLED_BY_QUERY = (3, 0)  # older models are billed by the answer, however often they searched for it
_FIELDS = ("candidates", "promptFeedback", "usageMetadata")  # an answer has at least one of them


class UnreadableAnswerError(ValueError):
    """A body that is JSON but no answer."""


class BrokenOffError(Exception):
    """An answer that holds an error where more of it should be."""


def usage_from(usage: Any, *, searches: int = 0) -> TokenUsage | None:
    """Return reported usage in disjoint buckets, unchecked; None where there is none.

    Cached tokens are inside the prompt's there, what tools of the provider put in is beside it, thoughts are beside the answer's,
    and a count of nothing is left out.

    Example:
        >>> usage_from({"promptTokenCount": 9, "cachedContentTokenCount": 4, "thoughtsTokenCount": 3})
        TokenUsage(input=5, cache_read=4, cache_write_5m=0, cache_write_1h=0, output=3, reasoning=3, searches=0)
    """
    if not isinstance(usage, dict) or not _is_number(usage.get("promptTokenCount")):
        return None
    cached, thoughts = _count(usage, "cachedContentTokenCount"), _count(usage, "thoughtsTokenCount")
    return TokenUsage(
        input=usage["promptTokenCount"] - cached + _count(usage, "toolUsePromptTokenCount"),
        cache_read=cached,
        output=_count(usage, "candidatesTokenCount") + thoughts,
        reasoning=thoughts,
        searches=searches,
    )


@dataclass(slots=True)
class _Growing:
    """Text or thinking that more may be added to."""

    thought: bool
    pieces: list[str] = field(default_factory=list)
    shown: PairJoiner = field(default_factory=PairJoiner)

    def content(self, signature: str = "") -> Content:
        """Return what it has become."""
        text = mended("".join(self.pieces))
        return Thinking(text=text, signature=signature) if self.thought else Text(text)

    def event(self, text: str) -> Iterator[StreamEvent]:
        """Yield a piece of it that can be shown."""
        if text:
            yield ThinkingDelta(text) if self.thought else TextDelta(text)


class Collected:
    """An answer as it comes together, from one body or from many: those of a stream add to each other."""

    def __init__(self) -> None:
        self.seen_bytes = 0
        self.chunk_count = 0
        self.tier = ""  # at which it is served, as the response's headers say
        self._contents: list[Content] = []
        self._growing: _Growing | None = None
        self._finish: Any = None
        self._blocked = False
        self._model = ""
        self._answer_id = "call"
        self._call_count = 0
        self._usage: dict[str, Any] = {}
        self._queries: dict[str, None] = {}

    @property
    def ended(self) -> bool:
        """Whether the answer came to its own end."""
        return self._finish is not None or self._blocked

    def take(self, body: Any) -> Iterator[StreamEvent]:
        """Yield what a body adds.

        Raises:
            UnreadableAnswerError: It is none of generateContent.
            BrokenOffError: It is an error.
        """
        if not isinstance(body, dict):
            raise UnreadableAnswerError("it is no object")
        if "error" in body and "candidates" not in body:
            raise BrokenOffError("it is an error")
        if not any(name in body for name in _FIELDS):
            raise UnreadableAnswerError("candidates is missing")
        self.chunk_count += 1
        self._take_envelope(body)
        candidates = body.get("candidates")
        candidate = candidates[0] if isinstance(candidates, list) and candidates else {}
        yield from self._take_candidate(_mapping(candidate))

    def rest(self) -> Iterator[StreamEvent]:
        """Yield what was held back of the text, for half of a character was missing."""
        if self._growing is not None:
            yield from self._growing.event(self._growing.shown.rest())

    def reply(self) -> ProviderReply:
        """Return the whole answer."""
        self._close()
        return ProviderReply(
            parts=tuple(Part(content) for content in self._contents),
            finish_reason=self._finish_reason(),
            resolved_model=self._model,
            usage=usage_from(self._usage, searches=self._searches()),
            provider_usage_json=json.dumps(self._usage, separators=(",", ":")) if self._usage else "",
            processing=self._processing(),
        )

    def _take_envelope(self, body: dict[str, Any]) -> None:
        """Take what bodies repeat; counts are sums up to here, and what is not counted again stays as it was."""
        self._model = _text(body.get("modelVersion")) or self._model
        self._answer_id = _text(body.get("responseId")) or self._answer_id
        self._blocked = self._blocked or bool(_mapping(body.get("promptFeedback")).get("blockReason"))
        self._usage |= _mapping(body.get("usageMetadata"))

    def _take_candidate(self, candidate: dict[str, Any]) -> Iterator[StreamEvent]:
        self._finish = candidate.get("finishReason") or self._finish
        queries = _mapping(candidate.get("groundingMetadata")).get("webSearchQueries")
        self._queries |= dict.fromkeys(query for query in queries or () if isinstance(query, str) and query)
        parts = _mapping(candidate.get("content")).get("parts")
        for part in parts if isinstance(parts, list) else ():
            yield from self._take_part(_mapping(part))

    def _take_part(self, part: dict[str, Any]) -> Iterator[StreamEvent]:
        signature = SEAL + told if (told := _text(part.get("thoughtSignature"))) else ""
        if isinstance(part.get("text"), str):
            yield from self._take_text(part["text"], thought=part.get("thought") is True, signature=signature)
        elif isinstance(part.get("functionCall"), dict):
            yield from self._close(signature)
            call = self._call(part["functionCall"])
            self._contents.append(call)
            yield ToolCallDone(call)
        else:  # a picture, or a step of the provider's own tools, which is not shown
            image: Image | None = image_from(part)
            yield from self._close(signature if image is not None else "")
            self._contents += [image] if image is not None else []

    def _take_text(self, text: str, *, thought: bool, signature: str) -> Iterator[StreamEvent]:
        """Add text to what it goes on with; a signed part stands alone, with its signature before it."""
        growing = self._growing
        if growing is None or growing.thought is not thought or signature:
            yield from self._close("" if thought else signature)
            growing = self._growing = _Growing(thought)
        growing.pieces.append(text)
        self.seen_bytes += len(text.encode("utf-8", "surrogatepass"))
        yield from growing.event(growing.shown.take(text))
        if signature:
            yield from self._close(of_thought=signature if thought else "")

    def _close(self, signature: str = "", *, of_thought: str = "") -> list[StreamEvent]:
        """End the text that was growing, and let the signature of what follows stand behind it."""
        held_back = [*self.rest()]
        growing, self._growing = self._growing, None
        if growing is not None and ("".join(growing.pieces) or of_thought):
            self._contents.append(growing.content(of_thought))
        if signature:
            self._contents.append(Thinking(signature=signature))
        return held_back

    def _call(self, told: dict[str, Any]) -> ToolCall:
        """Return a tool call; older models give it no id, so it gets one that no other answer's calls have."""
        arguments = json.dumps(told.get("args") or {}, ensure_ascii=False, separators=(",", ":"))
        self.seen_bytes += len(arguments.encode("utf-8", "surrogatepass"))
        identity = _text(told.get("id")) or f"{self._answer_id}-{self._call_count}"
        self._call_count += 1
        return ToolCall(id=mended(identity), name=mended(_text(told.get("name"))), arguments_json=mended(arguments))

    def _finish_reason(self) -> FinishReason:
        if self._finish is None:
            return FinishReason.CONTENT_FILTER if self._blocked else FinishReason.OTHER
        reason = _FINISH_REASONS.get(_text(self._finish), FinishReason.OTHER)
        return FinishReason.TOOL_CALLS if reason is FinishReason.STOP and self._call_count else reason

    def _processing(self) -> Processing:
        """Return which price applies, by the tier that the usage names, or else the response's headers."""
        return Processing.FLEX if _text(self._usage.get("serviceTier") or self.tier).lower() == "flex" else Processing.STANDARD

    def _searches(self) -> int:
        if generation(self._model) >= _FIRST_BILLED_BY_QUERY:
            return len(self._queries)
        return min(1, len(self._queries))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _count(usage: dict[str, Any], name: str) -> Any:
    value = usage.get(name)
    return value if _is_number(value) else 0
