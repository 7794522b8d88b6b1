"""OpenAI's Responses: requests, answers, streams and errors as that API spells them.

Source:
    OpenAI API reference, Responses and its streaming events, read 2026-11.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from aigen_emulator.answers import ModelAnswer, ModelToolCall, Question
from aigen_emulator.wire.openai import words
from aigen_emulator.wire.openai_errors import OpenAIManners
from aigen_emulator.wire.port import RefusalError
from aigen_emulator.wire.responses_request import ResponsesQuestion, question_of, sealed_reasoning

Item = dict[str, Any]
Event = tuple[str, dict[str, Any]]

_ARGUMENT_PIECE = 8


class ResponsesWire(OpenAIManners):
    """Responses, unary and streamed."""

    path = re.compile(r"/v1/responses")

    def question(self, body: bytes, path: str) -> Question:  # noqa: ARG002 - the address says nothing more here
        """Return what a request body asks."""
        return question_of(body)

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object: cached tokens inside the input, reasoning inside the output."""
        tokens = answer.tokens
        return {
            "input_tokens": tokens.input,
            "input_tokens_details": {"cached_tokens": tokens.cached, "cache_write_tokens": 0},
            "output_tokens": tokens.output,
            "output_tokens_details": {"reasoning_tokens": tokens.reasoning},
            "total_tokens": tokens.input + tokens.output,
        }

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer."""
        return json.dumps(self.response(question, answer, usage=usage), ensure_ascii=False).encode("utf-8", "surrogatepass")

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: created, those of each item of the output, and the whole answer once more."""
        for number, (kind, fields) in enumerate(self._events(question, answer, usage)):
            yield framed(kind, fields | {"sequence_number": number})

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        told = {"code": refused.code or refused.kind, "message": refused.message, "param": refused.param}
        return framed("error", told | {"sequence_number": 0})

    def output(self, question: Question, answer: ModelAnswer) -> list[Item]:
        """Return the items of the answer: reasoning, a message, tool calls."""
        ended = "incomplete" if answer.finish == "length" else "completed"
        items = [_reasoning(question)] if answer.tokens.reasoning else []
        if answer.text or not (answer.tool_calls or answer.finish == "length"):
            items.append(message_of(question, answer.text, status=ended))
        return [*items, *(_function_call(call, status=ended) for call in answer.tool_calls)]

    def response(self, question: Question, answer: ModelAnswer, *, usage: Any) -> dict[str, Any]:
        """Return the whole answer."""
        cut = answer.finish == "length"
        body = _envelope(question, status="incomplete" if cut else "completed")
        body["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        body["output"] = self.output(question, answer)
        return body if usage is None else body | {"usage": usage}

    def _events(self, question: Question, answer: ModelAnswer, usage: Any) -> Iterator[Event]:
        begun = _envelope(question, status="in_progress") | {"output": []}
        yield "response.created", {"response": begun}
        yield "response.in_progress", {"response": begun}
        for index, item in enumerate(self.output(question, answer)):
            yield from item_events(index, item)
        response = self.response(question, answer, usage=usage)
        yield f"response.{response['status']}", {"response": response}


def framed(kind: str, fields: dict[str, Any]) -> bytes:
    """Return an event of a stream, its name in the frame and in the data."""
    data = json.dumps({"type": kind} | fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
    return b"event: " + kind.encode() + b"\ndata: " + data + b"\n\n"


def message_of(question: Question, text: str, *, status: str) -> Item:
    """Return the item that says a text."""
    piece = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "message", "id": f"msg_{question.seed:024x}", "status": status, "role": "assistant", "content": [piece]}


def item_events(index: int, item: Item) -> Iterator[Event]:
    """Yield the events that show an item coming."""
    place = {"output_index": index}
    pieces = {"message": _message_events, "reasoning": _reasoning_events, "function_call": _call_events}.get(item["type"])
    begun = item | {"status": "in_progress"} if "status" in item else item
    begun = begun | {key: type(item[key])() for key in ("content", "summary", "arguments") if key in item}
    yield "response.output_item.added", place | {"item": begun}
    if pieces is not None:
        yield from pieces(place | {"item_id": item["id"]}, item)
    yield "response.output_item.done", place | {"item": item}


def _message_events(place: Item, item: Item) -> Iterator[Event]:
    place = place | {"content_index": 0}
    piece = item["content"][0]
    yield "response.content_part.added", place | {"part": piece | {"text": ""}}
    for word in words(piece["text"]):
        yield "response.output_text.delta", place | {"delta": word, "logprobs": []}
    yield "response.output_text.done", place | {"text": piece["text"], "logprobs": []}
    yield "response.content_part.done", place | {"part": piece}


def _reasoning_events(place: Item, item: Item) -> Iterator[Event]:
    for number, piece in enumerate(item["summary"]):
        here = place | {"summary_index": number}
        yield "response.reasoning_summary_part.added", here | {"part": piece | {"text": ""}}
        for word in words(piece["text"]):
            yield "response.reasoning_summary_text.delta", here | {"delta": word}
        yield "response.reasoning_summary_text.done", here | {"text": piece["text"]}
        yield "response.reasoning_summary_part.done", here | {"part": piece}


def _call_events(place: Item, item: Item) -> Iterator[Event]:
    arguments = item["arguments"]
    for start in range(0, len(arguments), _ARGUMENT_PIECE):
        yield "response.function_call_arguments.delta", place | {"delta": arguments[start : start + _ARGUMENT_PIECE]}
    yield "response.function_call_arguments.done", place | {"arguments": arguments, "name": item["name"]}


def _reasoning(question: Question) -> Item:
    """Return the reasoning: shown and sealed as far as the request asks for it."""
    asked = question if isinstance(question, ResponsesQuestion) else None
    shown = ["**Looking at the question**\n\nIt asks for one thing.", "**Answering**\n\nOne paragraph will do."]
    item: Item = {"type": "reasoning", "id": f"rs_{question.seed:024x}", "summary": []}
    if asked is not None and asked.summary:
        item["summary"] = [{"type": "summary_text", "text": text} for text in shown]
    if asked is not None and asked.sealed:
        item["encrypted_content"] = sealed_reasoning(question.seed)
    return item


def _function_call(call: ModelToolCall, *, status: str) -> Item:
    identity = "fc_" + call.id.removeprefix("call_")
    told = {"call_id": call.id, "name": call.name, "arguments": call.arguments}
    return {"type": "function_call", "id": identity, "status": status} | told


def _envelope(question: Question, *, status: str) -> dict[str, Any]:
    return {
        "id": f"resp_{question.seed:024x}",
        "object": "response",
        "created_at": int(time.time()),
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": question.max_tokens,
        "model": question.model,
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "service_tier": question.tier or "default",
        "store": False,
        "tool_choice": "auto",
        "tools": [],
        "truncation": "disabled",
        "usage": None,
    }
