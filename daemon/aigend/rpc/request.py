"""A `CompleteRequest` as our own words, every field checked; what is not understood is refused, never ignored."""

import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from aigen.v1 import completion_pb2, message_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import DecodeError

from aigend.errors import DomainError, Reason, invalid
from aigend.rpc.content import refuse_unknown, unpack_messages, unpack_system
from aigend.rpc.enums import EFFORT, FORMAT, LANE, MODE, NORMALIZATION, STRATEGY, TOOL_CHOICE
from aigend.rpc.times import moment_of, seconds_of
from aigend.types import (
    CompletionRequest,
    PromptCaching,
    ResponseFormat,
    ResponseFormatType,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

MAX_NAME = 128
MAX_TOOLS = 128
MAX_STOPS = 16
MAX_FALLBACKS = 3
MAX_DIGEST = 64
MAX_OUTPUT_TOKENS = 1_000_000
MAX_SAMPLE_INDEX = 1_000_000
MAX_TTL_S = 366 * 86_400
_IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")


def parse_request(data: bytes, *, max_bytes: int) -> completion_pb2.CompleteRequest:
    """Return the message in `data`.

    Raises:
        DomainError: PROMPT_TOO_LARGE above `max_bytes`; INVALID_REQUEST for bytes that are no `CompleteRequest`.
    """
    check_size(len(data), max_bytes)
    message = completion_pb2.CompleteRequest()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise invalid("request", "not a protobuf message", "a serialized aigen.v1.CompleteRequest in UTF-8") from error
    return message


def reread_request(data: bytes) -> CompletionRequest:
    """Return a request whose bytes were accepted once; what bounds new ones does not concern it."""
    return unpack_request(completion_pb2.CompleteRequest.FromString(data))


def check_size(size: int, max_bytes: int) -> None:
    """Refuse a request above the limit.

    Raises:
        DomainError: PROMPT_TOO_LARGE.
    """
    if size > max_bytes:
        raise DomainError(
            Reason.PROMPT_TOO_LARGE,
            f"the request has {size} bytes; allowed: {max_bytes} (limits.request_bytes)",
            field="request",
            size_bytes=size,
            limit_bytes=max_bytes,
        )


def unpack_request(message: completion_pb2.CompleteRequest) -> CompletionRequest:
    """Return the request that a message spells.

    Raises:
        DomainError: INVALID_REQUEST naming the field, its value and what is allowed; CAPABILITY_MISSING for a field that this
            version does not know.
    """
    refuse_unknown(message, "request")
    given: dict[str, Any] = {name: read(message) for name, read in (_READERS[field.name] for field, _ in message.ListFields())}
    given["messages"] = unpack_messages(message)
    return CompletionRequest.of(given)


def _name(field: str, value: str) -> str:
    if len(value) > MAX_NAME:
        raise invalid(field, f"{len(value)} characters", f"at most {MAX_NAME} characters")
    if not value.isprintable():
        raise invalid(field, value, "printable characters")
    return value


def _number(field: str, value: float, *, low: float, high: float, above: bool = False) -> float:
    if not math.isfinite(value) or value > high or value < low or (above and value == low):
        raise invalid(field, value, f"{'above ' if above else ''}{low} to {high}")
    return value


def _whole(field: str, value: int, *, low: int, high: int) -> int:
    if not low <= value <= high:
        raise invalid(field, value, f"{low} to {high}")
    return value


def _stops(stops: Iterable[str]) -> tuple[str, ...]:
    given = tuple(stops)
    if len(given) > MAX_STOPS:
        raise invalid("stop_sequences", f"{len(given)} texts", f"at most {MAX_STOPS}")
    if "" in given:
        raise invalid(f"stop_sequences[{given.index('')}]", "", "a text that is not empty")
    return given


def _fallbacks(models: Iterable[str]) -> tuple[str, ...]:
    given = tuple(models)
    if len(given) > MAX_FALLBACKS:
        raise invalid("fallback_models", f"{len(given)} models", f"at most {MAX_FALLBACKS}")
    if "" in given:
        raise invalid(f"fallback_models[{given.index('')}]", "", "a model id or alias")
    return tuple(_name(f"fallback_models[{index}]", model) for index, model in enumerate(given))


def _digest(digest: bytes) -> bytes:
    if len(digest) > MAX_DIGEST:
        raise invalid("context_digest", f"{len(digest)} bytes", f"at most {MAX_DIGEST} bytes")
    return digest


def _namespace(namespace: str) -> str:
    if not _NAMESPACE.match(namespace):
        raise invalid("namespace", namespace, "1 to 64 letters, digits, '.', '_' or '-'")
    return namespace


def _ttl(ttl: Duration) -> float:
    seconds = seconds_of(ttl)
    if not 0 < seconds <= MAX_TTL_S:
        raise invalid("ttl", f"{seconds} s", f"above 0 to {MAX_TTL_S} s")
    return seconds


def _options(text: str) -> str:
    if not isinstance(read_json("provider_options_json", text), dict):
        raise invalid("provider_options_json", text, "a JSON object")
    return text


def read_json(field: str, text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        DomainError: INVALID_REQUEST naming the field and where its text is not JSON.
    """
    try:
        value = json.loads(text, parse_constant=_no_number)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()  # half of a surrogate pair can't be sent
    except ValueError as error:
        raise invalid(field, text, f"JSON ({error})") from error
    except RecursionError as error:
        raise invalid(field, text, "JSON that is not nested that deep") from error
    return value


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no JSON number")


def _tools(tools: Sequence[message_pb2.Tool]) -> tuple[Tool, ...]:
    if len(tools) > MAX_TOOLS:
        raise invalid("tools", f"{len(tools)} tools", f"at most {MAX_TOOLS}")
    given = tuple(_tool(tool, f"tools[{index}]") for index, tool in enumerate(tools))
    names = [tool.name for tool in given]
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise invalid("tools", twice, "names that differ from each other")
    return given


def _tool(tool: message_pb2.Tool, field: str) -> Tool:
    refuse_unknown(tool, field)
    _check_identifier(f"{field}.name", tool.name)
    schema = tool.parameters_json_schema
    if schema and not isinstance(read_json(f"{field}.parameters_json_schema", schema), dict):
        raise invalid(f"{field}.parameters_json_schema", schema, "a JSON object")
    strict = tool.strict if tool.HasField("strict") else None
    return Tool(name=tool.name, description=tool.description, parameters_json_schema=schema, strict=strict)


def _check_identifier(field: str, value: str) -> None:
    if not _IDENTIFIER.match(value):
        raise invalid(field, value, "1 to 64 letters, digits, '_' or '-'")


def _tool_choice(message: completion_pb2.CompleteRequest) -> ToolChoice:
    choice = message.tool_choice
    refuse_unknown(choice, "tool_choice")
    mode = TOOL_CHOICE.unpack(choice.mode, "tool_choice.mode") or ToolChoiceMode.AUTO
    names = [tool.name for tool in message.tools]
    if mode is ToolChoiceMode.NAMED and choice.name not in names:
        raise invalid("tool_choice.name", choice.name, "the name of one of the tools: " + ", ".join(names))
    if mode is not ToolChoiceMode.NAMED and choice.name:
        raise invalid("tool_choice.name", choice.name, "empty, except with mode NAMED")
    if mode is ToolChoiceMode.REQUIRED and not names:
        raise invalid("tool_choice.mode", "REQUIRED", "AUTO or NONE where no tools are given")
    return ToolChoice(mode=mode, name=choice.name)


def _response_format(given: message_pb2.ResponseFormat) -> ResponseFormat:
    refuse_unknown(given, "response_format")
    kind = FORMAT.unpack(given.type, "response_format.type") or ResponseFormatType.TEXT
    if (kind is ResponseFormatType.JSON_SCHEMA) != bool(given.json_schema):
        raise invalid("response_format.json_schema", given.json_schema, "a JSON Schema exactly with type JSON_SCHEMA")
    if given.json_schema and not isinstance(read_json("response_format.json_schema", given.json_schema), dict):
        raise invalid("response_format.json_schema", given.json_schema, "a JSON object")
    if given.schema_name:
        _check_identifier("response_format.schema_name", given.schema_name)
    return ResponseFormat(type=kind, json_schema=given.json_schema, schema_name=given.schema_name)


def _prompt_caching(given: completion_pb2.PromptCaching) -> PromptCaching:
    refuse_unknown(given, "prompt_caching")
    if given.ttl_seconds not in (0, 300, 3_600):
        raise invalid("prompt_caching.ttl_seconds", given.ttl_seconds, "0, 300 or 3600")
    return PromptCaching(enabled=given.enabled if given.HasField("enabled") else None, ttl_s=given.ttl_seconds)


# by the contract's field name: our field and how it is read; only fields that are set are asked
_READERS: dict[str, tuple[str, Callable[[completion_pb2.CompleteRequest], object]]] = {
    "messages": ("messages", lambda _: ()),  # read together with `prompt`
    "prompt": ("messages", lambda _: ()),
    "system": ("system", lambda m: unpack_system(m.system)),
    "tools": ("tools", lambda m: _tools(m.tools)),
    "tool_choice": ("tool_choice", _tool_choice),
    "response_format": ("response_format", lambda m: _response_format(m.response_format)),
    "temperature": ("temperature", lambda m: _number("temperature", m.temperature, low=0, high=2)),
    "top_p": ("top_p", lambda m: _number("top_p", m.top_p, low=0, high=1, above=True)),
    "max_output_tokens": (
        "max_output_tokens",
        lambda m: _whole("max_output_tokens", m.max_output_tokens, low=1, high=MAX_OUTPUT_TOKENS),
    ),
    "stop_sequences": ("stop_sequences", lambda m: _stops(m.stop_sequences)),
    "seed": ("seed", lambda m: m.seed),
    "reasoning_effort": ("reasoning_effort", lambda m: EFFORT.unpack(m.reasoning_effort, "reasoning_effort")),
    "provider_options_json": ("provider_options_json", lambda m: _options(m.provider_options_json)),
    "sample_index": ("sample_index", lambda m: _whole("sample_index", m.sample_index, low=0, high=MAX_SAMPLE_INDEX)),
    "model": ("model", lambda m: _name("model", m.model)),
    "agent": ("agent", lambda m: _name("agent", m.agent)),
    "service": ("service", lambda m: _name("service", m.service)),
    "phase": ("phase", lambda m: _name("phase", m.phase)),
    "strategy": ("strategy", lambda m: STRATEGY.unpack(m.strategy, "strategy")),
    "fallback_models": ("fallback_models", lambda m: _fallbacks(m.fallback_models)),
    "context_digest": ("context_digest", lambda m: _digest(m.context_digest)),
    "mode": ("mode", lambda m: MODE.unpack(m.mode, "mode")),
    "ttl": ("ttl_s", lambda m: _ttl(m.ttl)),
    "namespace": ("namespace", lambda m: _namespace(m.namespace)),
    "normalization": ("normalization", lambda m: NORMALIZATION.unpack(m.normalization, "normalization")),
    "similarity": ("similarity", lambda m: _number("similarity", m.similarity, low=0, high=1, above=True)),
    "lane": ("lane", lambda m: LANE.unpack(m.lane, "lane")),
    "complete_by": ("complete_by", lambda m: moment_of("complete_by", m.complete_by)),
    "prompt_caching": ("prompt_caching", lambda m: _prompt_caching(m.prompt_caching)),
}
