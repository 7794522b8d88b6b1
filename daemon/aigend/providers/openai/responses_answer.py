"""Bodies and events of OpenAI's Responses as answers in neutral words.

Source:
    OpenAI API reference, Responses and its streaming events; Perplexity API reference, Agent API. Read 2026-11.
"""

from collections.abc import Callable, Iterator
from typing import Any

from aigend.providers.openai.answer import FailedAnswerError, UnreadableAnswerError
from aigend.providers.openai.dialect import processing_of
from aigend.providers.openai.responses_items import thinking_of
from aigend.providers.openai.usage import count, mapping, reported_cost, responses_usage, usage_json
from aigend.providers.port import ProviderReply, StreamEvent, TextDelta, ThinkingDelta, ToolCallDone
from aigend.providers.surrogates import PairJoiner, mended
from aigend.types import Document, FinishReason, Part, Text, ToolCall

Item = dict[str, Any]
PartsOf = Callable[[Item], Iterator[Part]]  # the parts that an item of the output becomes

_ENDED = ("completed", "incomplete", "requires_action")
_FINAL_EVENTS = ("response.completed", "response.incomplete")
_CUT_SHORT = {"max_output_tokens": FinishReason.LENGTH, "content_filter": FinishReason.CONTENT_FILTER}
_TEXT_EVENTS = ("response.output_text.delta", "response.refusal.delta")
_THINKING_EVENTS = ("response.reasoning_summary_text.delta", "response.reasoning_text.delta")
_NEXT_SUMMARY = "response.reasoning_summary_part.added"
_BETWEEN_SUMMARIES = "\n\n"


def reply_from(body: Any, *, parts_of: PartsOf | None = None) -> ProviderReply:
    """Return the answer that a whole body holds.

    Args:
        body: The body.
        parts_of: Returns the parts of an item; None: those of OpenAI's own.

    Raises:
        UnreadableAnswerError: It is no response, or one that has not ended.
        FailedAnswerError: It holds an error.
    """
    if not isinstance(body, dict) or not isinstance(body.get("output"), list):
        _raise_error(body)
        raise UnreadableAnswerError("output is missing")
    status = body.get("status", "completed")
    if status not in _ENDED:
        _raise_error(body)
        if status in ("failed", "cancelled"):
            raise FailedAnswerError({"code": status, "message": f"the response has {status}"}, billed=_billed(body))
        raise UnreadableAnswerError(f"its status is {str(status)[:32]}")
    items = [item for item in body["output"] if isinstance(item, dict)]
    found = (part for item in items for part in (parts_of or item_parts)(item))
    parts = tuple(sorted(found, key=lambda part: isinstance(part.content, Document)))  # sources stand behind what refers to them
    usage = body.get("usage")
    return ProviderReply(
        parts=parts,
        finish_reason=_finish(body, items, parts),
        resolved_model=str(body.get("model") or ""),
        usage=responses_usage(usage, searches=sum(_searched(item) for item in items)),
        provider_usage_json=usage_json(usage),
        reported_cost_nanos=reported_cost(usage),
        processing=processing_of(body.get("service_tier")),
    )


def item_parts(item: Item) -> Iterator[Part]:
    """Yield the parts that an item becomes; one that shows what a tool of the provider did becomes none."""
    kind = item.get("type")
    if kind == "message":
        text = mended("".join(str(piece.get("text") or piece.get("refusal") or "") for piece in _pieces(item, "content")))
        if text:
            yield Part(Text(text))
    elif kind == "reasoning":
        shown = _pieces(item, "summary") or _pieces(item, "content")
        thinking = thinking_of(item, mended(_BETWEEN_SUMMARIES.join(str(piece.get("text") or "") for piece in shown)))
        if thinking.text or thinking.signature:
            yield Part(thinking)
    elif kind == "function_call":
        yield Part(
            ToolCall(
                id=mended(str(item.get("call_id") or "")),
                name=mended(str(item.get("name") or "")),
                arguments_json=mended(str(item.get("arguments") or "")),
            )
        )


class Collected:
    """The answer of a stream as it comes together.

    Args:
        parts_of: Returns the parts of an item; None: those of OpenAI's own.
    """

    def __init__(self, *, parts_of: PartsOf | None = None) -> None:
        self.seen_bytes = 0
        self.event_count = 0
        self._parts_of = parts_of
        self._items: dict[int, Item] = {}
        self._text: list[str] = []
        self._response: dict[str, Any] | None = None
        self._text_joiner = PairJoiner()
        self._thinking_joiner = PairJoiner()

    def take_event(self, body: Any) -> Iterator[StreamEvent]:
        """Yield what an event adds.

        Raises:
            UnreadableAnswerError: It is no event of a response.
            FailedAnswerError: It says that the response failed.
        """
        kind = body.get("type") if isinstance(body, dict) else None
        if not isinstance(kind, str):
            raise UnreadableAnswerError("type is missing")
        self.event_count += 1
        if kind == "error" or kind == "response.failed":
            _raise_failure(body)
        elif kind in _TEXT_EVENTS:
            yield from self._text_delta(str(body.get("delta") or ""))
        elif kind in _THINKING_EVENTS:
            yield from self._thinking_delta(str(body.get("delta") or ""))
        elif kind == _NEXT_SUMMARY and count(body.get("summary_index")) > 0:
            yield from self._thinking_delta(_BETWEEN_SUMMARIES)
        elif kind == "response.output_item.done":
            yield from self._item_done(body)
        elif kind in _FINAL_EVENTS:
            self._response = mapping(body.get("response"))

    def ended(self, tail: bytes) -> bool:  # noqa: ARG002 - this format ends with an event of its own
        """Return whether the answer came to its own end."""
        return self._response is not None

    def ending(self) -> Iterator[StreamEvent]:
        """Yield what was held back of the text, the tool calls that were not shown yet, and the answer."""
        if thinking := self._thinking_joiner.rest():
            yield ThinkingDelta(thinking)
        if text := self._text_joiner.rest():
            yield TextDelta(text)
        shown = [_call_id(item) for item in self._items.values()]
        reply = reply_from(self._whole(), parts_of=self._parts_of)
        for part in reply.parts:
            if isinstance(part.content, ToolCall) and part.content.id not in shown:
                yield ToolCallDone(part.content)
        yield reply

    def _text_delta(self, piece: str) -> Iterator[StreamEvent]:
        self._text.append(piece)
        self.seen_bytes += len(piece.encode("utf-8", "surrogatepass"))
        if text := self._text_joiner.take(piece):
            yield TextDelta(text)

    def _thinking_delta(self, piece: str) -> Iterator[StreamEvent]:
        self.seen_bytes += len(piece.encode("utf-8", "surrogatepass"))
        if text := self._thinking_joiner.take(piece):
            yield ThinkingDelta(text)

    def _item_done(self, body: Item) -> Iterator[StreamEvent]:
        item = mapping(body.get("item"))
        index = body.get("output_index")
        self._items[index if isinstance(index, int) else len(self._items)] = item
        if item.get("type") == "function_call":
            self.seen_bytes += len(str(item.get("arguments") or ""))
            yield from (ToolCallDone(part.content) for part in item_parts(item) if isinstance(part.content, ToolCall))

    def _whole(self) -> dict[str, Any]:
        """Return the final response; some servers leave its output empty, which the events before it fill."""
        response = dict(self._response or {})
        if not response.get("output"):
            response["output"] = [item for _, item in sorted(self._items.items())]
        if self._text and not any(item.get("type") == "message" for item in response["output"] if isinstance(item, dict)):
            text = {"type": "output_text", "text": "".join(self._text)}
            response["output"] = [*response["output"], {"type": "message", "content": [text]}]
        return response


def _finish(body: dict[str, Any], items: list[Item], parts: tuple[Part, ...]) -> FinishReason:
    if body.get("status") == "incomplete":
        return _CUT_SHORT.get(str(mapping(body.get("incomplete_details")).get("reason")), FinishReason.OTHER)
    if any(piece.get("type") == "refusal" for item in items for piece in _pieces(item, "content")):
        return FinishReason.CONTENT_FILTER
    if any(isinstance(part.content, ToolCall) for part in parts):
        return FinishReason.TOOL_CALLS
    said = any(item.get("type") == "message" for item in items)
    return FinishReason.STOP if said else FinishReason.OTHER  # it waits for something that is no part


def _searched(item: Item) -> int:
    """Return how many billed searches an item shows: pages that are opened or searched through cost nothing."""
    return int(item.get("type") == "web_search_call" and mapping(item.get("action")).get("type", "search") == "search")


def _pieces(item: Item, name: str) -> list[Item]:
    pieces = item.get(name)
    return [piece for piece in pieces if isinstance(piece, dict)] if isinstance(pieces, list) else []


def _call_id(item: Item) -> str:
    return str(item.get("call_id") or "") if item.get("type") == "function_call" else ""


def _raise_failure(event: dict[str, Any]) -> None:
    """Raise the error that an event tells: in itself, under `error`, or inside its response."""
    response = mapping(event.get("response"))
    for told in (event.get("error"), response.get("error"), event):
        if isinstance(told, dict) and told:
            raise FailedAnswerError(told, billed=_billed(response))


def _raise_error(body: Any) -> None:
    told = mapping(body).get("error")
    if isinstance(told, dict) and told:
        raise FailedAnswerError(told, billed=_billed(body))


def _billed(body: dict[str, Any]) -> bool:
    return bool(count(mapping(body.get("usage")).get("output_tokens")) > 0)
