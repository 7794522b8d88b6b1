"""OpenAI's chat completions: requests, answers, streams and errors as that API spells them.

Source:
    OpenAI API reference, chat completions, read 2026-11.
"""

import hashlib
import json
import re
import time
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from aigen_emulator.answers import ModelAnswer, ModelToolCall, Question, ToolOffer
from aigen_emulator.limits import Allowance
from aigen_emulator.wire.port import RefusalError

_WORDS = re.compile(r"\s*\S+|\s+")
_NOT_THE_ANSWER = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "stop", "user", "metadata", "store")
_ROLES = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_KINDS = {
    400: ("invalid_request_error", None, "The request was not understood."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "billing_hard_limit_reached", "Billing hard limit has been reached."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", None, "That model is currently overloaded with other requests."),
    504: ("server_error", None, "The server took too long."),
    529: ("overloaded_error", None, "Overloaded."),
}


class OpenAIWire:
    """Chat completions, unary and streamed."""

    path = re.compile(r"/v1/chat/completions")

    def question(self, body: bytes, path: str) -> Question:  # noqa: ARG002 - the address says nothing more here
        """Return what a request body asks."""
        asked = _parsed(body)
        messages = _messages(asked)
        texts, images = _texts(messages)
        last_user = next((message for message in reversed(messages) if message["role"] == "user"), None)
        tools = _tools(asked)
        form = asked.get("response_format") or {}
        stream = bool(asked.get("stream"))
        return Question(
            model=asked["model"],
            seed=_seed(asked),
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
        )

    def headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:
        """Return what OpenAI sends beside every answer."""
        return _headers(allowance)

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
        body = _envelope(question, "chat.completion")
        body["choices"] = [{"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}]
        if usage is not None:
            body["usage"] = usage
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "surrogatepass")

    def events(self, question: Question, answer: ModelAnswer, *, usage: Any) -> Iterator[bytes]:
        """Yield the events: role, one a word or piece of arguments, finish, usage where asked for, [DONE]."""
        envelope = _envelope(question, "chat.completion.chunk")
        if question.include_usage:
            envelope["usage"] = None
        yield _chunk(envelope, {"role": "assistant", "content": None if answer.tool_calls else "", "refusal": None})
        for word in _WORDS.findall(answer.text):
            yield _chunk(envelope, {"content": word})
        for index, call in enumerate(answer.tool_calls):
            yield _chunk(envelope, {"tool_calls": [{"index": index} | _tool_call(call, arguments="")]})
            for start in range(0, len(call.arguments), 8):
                piece = {"index": index, "function": {"arguments": call.arguments[start : start + 8]}}
                yield _chunk(envelope, {"tool_calls": [piece]})
        yield _chunk(envelope, {}, finish=answer.finish)
        if question.include_usage and usage is not None:
            yield _event(envelope | {"choices": [], "usage": usage})
        yield b"data: [DONE]\n\n"

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error."""
        told = {"message": refused.message, "type": refused.kind, "param": refused.param, "code": refused.code}
        return json.dumps({"error": told}, indent=2).encode()

    def error_event(self, refused: RefusalError) -> bytes:
        """Return an error as an event of a stream."""
        return _event(json.loads(self.error(refused)))

    def default_refusal(self, status: int) -> RefusalError:
        """Return what the provider says with a status."""
        fallback = _KINDS[500] if status >= 500 else _KINDS[400]
        kind, code, message = _KINDS.get(status, fallback)
        return RefusalError(status, message, kind=kind, code=code)

    def authorized(self, headers: Mapping[bytes, bytes], api_key: str) -> bool:
        """Return whether the request carries the key."""
        return headers.get(b"authorization") == b"Bearer " + api_key.encode()

    def models(self, names: tuple[str, ...]) -> bytes:
        """Return the body of a list of models."""
        listed = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "emulator"} for name in names]
        return json.dumps({"object": "list", "data": listed}).encode()


@lru_cache(maxsize=1)
def _headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    return [
        (b"openai-processing-ms", b"1"),
        (b"openai-version", b"2020-10-01"),
        (b"x-ratelimit-limit-requests", b"%d" % allowance.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % allowance.remaining),
        (b"x-ratelimit-reset-requests", allowance.reset_text.encode()),
        (b"x-ratelimit-limit-tokens", b"2000000"),
        (b"x-ratelimit-remaining-tokens", b"1999000"),
        (b"x-ratelimit-reset-tokens", b"30ms"),
    ]


def _refuse(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> RefusalError:
    return RefusalError(status, message, kind="invalid_request_error", param=param, code=code)


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise _refuse("We could not parse the JSON body of your request.") from error
    if not isinstance(asked, dict):
        raise _refuse("The JSON body of your request is not an object.")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise _refuse("you must provide a model parameter")
    if model.startswith("unknown"):
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise _refuse(text, code="model_not_found", status=404)
    return asked


def _messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise _refuse(
            "Invalid 'messages': empty array. Expected an array with minimum length 1.", param="messages", code="empty_array"
        )
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise _refuse(f"Invalid value for 'messages[{index}].role'.", param=f"messages[{index}].role", code="invalid_value")
    return messages


def _texts(messages: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return every text of the messages, in order, and how many images there are."""
    texts: list[str] = []
    images = 0
    for message in messages:
        content = message.get("content")
        if isinstance(content, str):
            texts.append(content)
        elif isinstance(content, list):
            parts = [part for part in content if isinstance(part, dict)]
            texts.extend(str(part.get("text", "")) for part in parts if part.get("type") == "text")
            images += sum(part.get("type") == "image_url" for part in parts)
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
    name = "max_completion_tokens" if asked.get("max_completion_tokens") is not None else "max_tokens"
    limit = asked.get(name)
    if limit is None:
        return None
    if not isinstance(limit, int) or limit < 1:
        text = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit} instead."
        raise _refuse(text, param=name, code="integer_below_min_value")
    return limit


def _seed(asked: dict[str, Any]) -> int:
    """Return the digest of all that determines the answer; streaming, length and bookkeeping do not."""
    determining = {key: value for key, value in asked.items() if key not in _NOT_THE_ANSWER}
    return int.from_bytes(hashlib.sha256(json.dumps(determining).encode()).digest()[:12], "big")


def _envelope(question: Question, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{question.seed:024x}",
        "object": kind,
        "created": int(time.time()),
        "model": question.model,
        "service_tier": "default",
        "system_fingerprint": "fp_emulator",
    }


def _tool_call(call: ModelToolCall, *, arguments: str | None = None) -> dict[str, Any]:
    said = call.arguments if arguments is None else arguments
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": said}}


def _chunk(envelope: dict[str, Any], delta: dict[str, Any], *, finish: str | None = None) -> bytes:
    return _event(envelope | {"choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]})


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass") + b"\n\n"
