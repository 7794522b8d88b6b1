"""OpenAI's chat completions: requests, answers, streams and errors as that API spells them.

Source:
    OpenAI API reference, chat completions, read 2026-11.
"""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

from aigen_emulator.answers import ModelAnswer, ModelToolCall, Question, ToolOffer
from aigen_emulator.wire.openai_errors import OpenAIManners, limit_of, parsed, refuse, seed_of, tier_of
from aigen_emulator.wire.port import RefusalError

_WORDS = re.compile(r"\s*\S+|\s+")
_NOT_THE_ANSWER = (
    "stream",
    "stream_options",
    "max_tokens",
    "max_completion_tokens",
    "stop",
    "user",
    "metadata",
    "store",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))


class OpenAIWire(OpenAIManners):
    """Chat completions, unary and streamed."""

    path = re.compile(r"/v1/chat/completions")

    def question(self, body: bytes, path: str) -> Question:  # noqa: ARG002 - the address says nothing more here
        """Return what a request body asks."""
        asked = parsed(body)
        messages = _messages(asked)
        texts, images = _texts(messages)
        last_user = next((message for message in reversed(messages) if message["role"] == "user"), None)
        tools = _tools(asked)
        form = asked.get("response_format") or {}
        stream = bool(asked.get("stream"))
        return Question(
            model=asked["model"],
            seed=seed_of(asked, besides=_NOT_THE_ANSWER),
            prompt="\n".join([*texts, json.dumps(asked["tools"])] if tools else texts),
            last_user_text="\n".join(_texts([last_user])[0]) if last_user else "",
            message_count=len(messages),
            image_count=images,
            max_tokens=_limit(asked),
            stop=_stop(asked.get("stop")),
            tools=tools,
            must_call=_must_call(asked.get("tool_choice")),
            after_tool_result=messages[-1]["role"] == "tool",
            wants_json=form.get("type") in ("json_object", "json_schema"),
            json_schema=(form.get("json_schema") or {}).get("schema"),
            effort=str(asked.get("reasoning_effort") or ""),
            stream=stream,
            include_usage=stream and bool((asked.get("stream_options") or {}).get("include_usage")),
            tier=tier_of(asked),
        )

    def usage(self, answer: ModelAnswer) -> dict[str, Any]:
        """Return the usage object: cached tokens inside the prompt's, reasoning inside the completion's."""
        tokens = answer.tokens
        return {
            "prompt_tokens": tokens.input,
            "completion_tokens": tokens.output,
            "total_tokens": tokens.input + tokens.output,
            "prompt_tokens_details": {"cached_tokens": tokens.cached, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": tokens.reasoning,
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }

    def unary(self, question: Question, answer: ModelAnswer, *, usage: Any) -> bytes:
        """Return the body of a whole answer."""
        message: dict[str, Any] = {"role": "assistant", "content": answer.text or None, "refusal": None, "annotations": []}
        if answer.tool_calls:
            message["tool_calls"] = [_tool_call(call) for call in answer.tool_calls]
        body = envelope(question, "chat.completion")
        body["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}]
        if usage is not None:
            body["usage"] = usage
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: role, one a word or piece of arguments, finish, usage where asked for, [DONE]."""
        frame = envelope(question, "chat.completion.chunk")
        if question.include_usage:
            frame["usage"] = None
        yield _chunk(frame, {"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None})
        for word in words(answer.text):
            yield _chunk(frame, {"content": word})
        for index, call in enumerate(answer.tool_calls):
            yield _chunk(frame, {"tool_calls": [{"index": index} | _tool_call(call, arguments="")]})
            for start in range(0, len(call.arguments), 8):
                piece = {"index": index, "function": {"arguments": call.arguments[start : start + 8]}}
                yield _chunk(frame, {"tool_calls": [piece]})
        yield _chunk(frame, {}, finish=answer.finish)
        if question.include_usage and usage is not None:
            yield _event(frame | {"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        return _event(json.loads(self.error(refused)))


def _messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.", param="messages", code="empty_array"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise refuse(f"Invalid value for 'messages[{index}].role'.", param=f"messages[{index}].role", code="invalid_value")
    return messages


def _texts(messages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return every text of the messages, in order, and how many images and files there are."""
    texts: list[str] = []
    images = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            texts.extend(str(part.get("text", "")) for part in parts if part.get("type") == "text")
            images += sum(part.get("type") in ("image_url", "file") for part in parts)
        texts.extend(json.dumps(call.get("function")) for call in message.get("tool_calls") or ())
    return texts, images


def _tools(asked: dict[str, Any]) -> tuple[ToolOffer, ...]:
    functions = [tool.get("function") or {} for tool in asked.get("tools") or () if isinstance(tool, dict)]
    return tuple(ToolOffer(str(function.get("name", "")), function.get("parameters")) for function in functions)


def _must_call(choice: Any) -> str | None:
    if isinstance(choice, dict):
        return str((choice.get("function") or {}).get("name", "*"))
    return {"none": "", "required": "*"}.get(choice or "")


def _stop(stop: Any) -> tuple[str, ...]:
    return (stop,) if isinstance(stop, str) else tuple(map(str, stop or ()))


def _limit(asked: dict[str, Any]) -> int | None:
    return limit_of(asked, "max_completion_tokens" if asked.get("max_completion_tokens") is not None else "max_tokens")


def words(text: str) -> list[str]:
    """Return a text in the pieces that a stream sends one by one."""
    return _WORDS.findall(text)


def envelope(question: Question, kind: str) -> dict[str, Any]:
    """Return what stands around an answer or an event."""
    return {
        "id": f"chatcmpl-{question.seed:024x}",
        "object": kind,
        "created": int(time.time()),
        "model": question.model,
        "service_tier": question.tier or "default",
        "system_fingerprint": "fp_emulator",
    }


def _tool_call(call: ModelToolCall, *, arguments: str | None = None) -> dict[str, Any]:
    said = call.arguments if arguments is None else arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": said}}


def _chunk(envelope: dict[str, Any], delta: dict[str, Any], *, finish: str | None = None) -> bytes:
    return _event(envelope | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n\n"
