"""Anthropic's Messages: answers, streams and errors as that API spells them.

Source:
    Types of the anthropic SDK 2.11; Anthropic's pages on streaming and errors. Read 2026-11.
"""

import itertools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from aigen_emulator.answers import ModelAnswer, ModelToolCall, Question
from aigen_emulator.dice import Dice
from aigen_emulator.limits import Allowance, Left
from aigen_emulator.prose import sentence, topics
from aigen_emulator.wire.anthropic_request import question_from, signature_of
from aigen_emulator.wire.port import RefusalError

REDACT = "ANTHROPIC_MAGIC_STRING_TRIGGER_REDACTED_THINKING"  # what a prompt begins with to have its thinking sealed
_WORDS = re.compile(r"\s*\S+|\s+")
_PIECE = 12  # characters of arguments in one event
_KINDS = {
    400: ("invalid_request_error", "The request was not understood."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "There is an issue with your billing or payment information."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "The requested resource could not be found."),
    413: ("request_too_large", "Request exceeds the maximum allowed number of bytes."),
    422: ("invalid_request_error", "The request could not be processed."),
    429: ("rate_limit_error", "This request would exceed your organization's rate limit."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out."),
    529: ("overloaded_error", "Overloaded"),
}
_numbers = itertools.count(1)


class AnthropicWire:
    """Messages, unary and streamed."""

    path = re.compile(r"/v1/messages")

    def question(self, body: bytes, path: str) -> Question:  # noqa: ARG002 - the address says nothing more here
        """Return what a request body asks."""
        return question_from(body)

    def headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:
        """Return what Anthropic sends beside every answer."""
        requests, tokens = allowance.requests, allowance.tokens
        answers = replace(tokens, limit=max(1, tokens.limit // 5), remaining=tokens.remaining // 5)  # the smaller limit of output
        return [
            (b"request-id", b"req_%024d" % next(_numbers)),
            (b"anthropic-organization-id", b"00000000-0000-4000-8000-000000000000"),
            *_limit(b"requests", requests),
            *_limit(b"tokens", tokens),
            *_limit(b"input-tokens", tokens),
            *_limit(b"output-tokens", answers),
        ]

    def wait_headers(self, seconds: float) -> dict[str, str]:
        """Return the headers that ask a refused caller to wait, in whole seconds."""
        return {"retry-after": f"{max(1, math.ceil(seconds))}"}

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object: input without what the prompt cache read or wrote, and that by lifetime."""
        tokens = answer.tokens
        written = tokens.written_5m + tokens.written_1h
        return {
            "input_tokens": tokens.input - tokens.cached - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": tokens.cached,
            "cache_creation": {
                "ephemeral_5m_input_tokens": tokens.written_5m,
                "ephemeral_1h_input_tokens": tokens.written_1h,
            },
            "output_tokens": tokens.output,
            "output_tokens_details": {"thinking_tokens": tokens.reasoning},
            "service_tier": "standard",
            "inference_geo": "global",
        }

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer."""
        body = _envelope(question) | {"content": _blocks(question, answer), "stop_reason": _stop_reason(answer)}
        body["stop_sequence"] = answer.stopped_by or None
        if usage is not None:
            body["usage"] = usage
        return _json(body)

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: the message with its input counted, each block in pieces, the end with all counted."""
        start = _envelope(question) | {"content": [], "stop_reason": None, "stop_sequence": None}
        if usage is not None:
            start["usage"] = {key: value for key, value in usage.items() if key != "output_tokens_details"} | {"output_tokens": 1}
        yield _event("message_start", {"message": start})
        for index, block in enumerate(_blocks(question, answer)):
            yield _event("content_block_start", {"index": index, "content_block": block | _emptied(block)})
            if index == 0:
                yield _event("ping", {})
            for delta in _deltas(block):
                yield _event("content_block_delta", {"index": index, "delta": delta})
            yield _event("content_block_stop", {"index": index})
        end: dict[str, Any] = {"delta": {"stop_reason": _stop_reason(answer), "stop_sequence": answer.stopped_by or None}}
        if usage is not None:
            end["usage"] = {key: value for key, value in usage.items() if "tokens" in key}
        yield _event("message_delta", end)
        yield _event("message_stop", {})

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error."""
        return _json(_error(refused))

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        return _event("error", _error(refused))

    def default_refusal(self, status: int) -> RefusalError:
        """Return what the provider says with a status."""
        kind, message = _KINDS.get(status, _KINDS[500] if status >= 500 else _KINDS[400])
        return RefusalError(status, message, kind=kind)

    def authorized(self, headers: Mapping[bytes, bytes], api_key: str) -> bool:
        """Return whether the request carries the key."""
        return api_key.encode() in (headers.get(b"x-api-key"), headers.get(b"authorization", b"").removeprefix(b"Bearer "))

    def models(self, names: tuple[str, ...]) -> bytes:
        """Return the body of a list of models."""
        listed = [{"type": "model", "id": name, "display_name": name, "created_at": "2026-01-01T00:00:00Z"} for name in names]
        return _json({"data": listed, "has_more": False, "first_id": names[0], "last_id": names[-1]})


def _limit(name: bytes, left: Left) -> list[tuple[bytes, bytes]]:
    reset = datetime.now(UTC) + timedelta(seconds=left.reset_s)
    return [
        (b"anthropic-ratelimit-%s-limit" % name, b"%d" % left.limit),
        (b"anthropic-ratelimit-%s-remaining" % name, b"%d" % left.remaining),
        (b"anthropic-ratelimit-%s-reset" % name, reset.strftime("%Y-%m-%dT%H:%M:%SZ").encode()),
    ]


def _envelope(question: Question) -> dict[str, Any]:
    return {"id": f"msg_{question.seed:024x}", "type": "message", "role": "assistant", "model": question.model}


def _stop_reason(answer: ModelAnswer) -> str:
    if answer.finish == "stop":
        return "stop_sequence" if answer.stopped_by else "end_turn"
    return {"length": "max_tokens", "tool_calls": "tool_use"}[answer.finish]


def _blocks(question: Question, answer: ModelAnswer) -> list[dict[str, Any]]:
    blocks = [_thinking(question, answer)] if answer.tokens.reasoning else []
    if answer.text:
        blocks.append({"type": "text", "text": answer.text})
    return [*blocks, *(_tool_use(call) for call in answer.tool_calls)]


def _thinking(question: Question, answer: ModelAnswer) -> dict[str, Any]:
    if REDACT in question.prompt:
        return {"type": "redacted_thinking", "data": signature_of(f"sealed {question.seed}")}
    text = answer.thinking or sentence(Dice(question.seed), topics(question.last_user_text))
    return {"type": "thinking", "thinking": text, "signature": signature_of(text)}


def _tool_use(call: ModelToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments)
    except ValueError:  # the limit cut it
        arguments = {}
    return {"type": "tool_use", "id": f"toolu_{call.id.removeprefix('call_')}", "name": call.name, "input": arguments}


def _emptied(block: dict[str, Any]) -> dict[str, Any]:
    """Return what of a block comes in pieces, empty."""
    empty: dict[str, dict[str, Any]] = {
        "text": {"text": ""},
        "thinking": {"thinking": "", "signature": ""},
        "tool_use": {"input": {}},
    }
    return empty.get(block["type"], {})


def _deltas(block: dict[str, Any]) -> Iterator[dict[str, Any]]:
    kind = block["type"]
    if kind == "text":
        yield from ({"type": "text_delta", "text": word} for word in _WORDS.findall(block["text"]))
    elif kind == "thinking":
        yield from ({"type": "thinking_delta", "thinking": word} for word in _WORDS.findall(block["thinking"]))
        yield {"type": "signature_delta", "signature": block["signature"]}
    elif kind == "tool_use":
        arguments = json.dumps(block["input"], ensure_ascii=False, separators=(",", ":"))
        pieces = [arguments[start : start + _PIECE] for start in range(0, len(arguments), _PIECE)]
        yield from ({"type": "input_json_delta", "partial_json": piece} for piece in ("", *pieces))


def _error(refused: RefusalError) -> dict[str, Any]:
    told = {"type": refused.kind, "message": refused.message}
    return {"type": "error", "error": told, "request_id": f"req_{next(_numbers):024d}"}


def _event(kind: str, body: dict[str, Any]) -> bytes:
    return f"event: {kind}\n".encode() + b"data: " + _json({"type": kind} | body) + b"\n\n"


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")
