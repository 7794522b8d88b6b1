"""Python arguments → the bytes of a request, checked for what the transport would refuse without naming a field.

Serialization is deterministic, so that equal questions are equal bytes in every process. Meaning (ranges, known models) is the
daemon's to judge; here stand only types, Unicode and sizes. One field is the matter of `_fields.py`.
"""

import importlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NoReturn

from google.protobuf.message import EncodeError
from google.protobuf.message import Message as ProtoMessage

from aigen import presets, types
from aigen._fields import (
    NOT_TAKEN,
    Within,
    Words,
    WrongValue,
    copy_fields,
    json_text,
    number_of,
    refused,
    set_duration,
    set_field,
    set_timestamp,
    words,
)
from aigen._session import Context
from aigen.errors import InvalidRequest, invalid
from aigen.v1 import completion_pb2, message_pb2

MAX_MESSAGE_BYTES = 32 * 1024 * 1024
MAX_BATCH = 1_000

_ROLES = words(message_pb2.Role, "ROLE_")
_STABILITIES = words(message_pb2.Stability, "STABILITY_")
_TOOL_MODES = words(message_pb2.ToolChoice.Mode, "MODE_")
_FORMATS = words(message_pb2.ResponseFormat.Type, "TYPE_")
_EFFORTS = words(message_pb2.ReasoningEffort, "REASONING_EFFORT_")
_STRATEGIES = words(completion_pb2.Strategy, "STRATEGY_")
_LANES = words(completion_pb2.Lane, "LANE_")
_MODES = words(completion_pb2.CacheMode, "CACHE_MODE_")
_NORMALIZATIONS = words(completion_pb2.Normalization, "NORMALIZATION_")


def complete_bytes(prompt: types.Prompt, options: Mapping[str, Any], context: Context, service: str) -> bytes:
    """Return the serialized CompleteRequest of a prompt and its options."""
    message = completion_pb2.CompleteRequest()
    fill(message, prompt, options, context, service)
    return serialize(message)


def stream_bytes(prompt: types.Prompt, options: Mapping[str, Any], context: Context, service: str) -> bytes:
    """Return the serialized StreamCompleteRequest of a prompt and its options."""
    message = completion_pb2.StreamCompleteRequest()
    fill(message.completion, prompt, options, context, service)
    return serialize(message)


def estimate_bytes(prompt: types.Prompt, options: Mapping[str, Any], context: Context, service: str) -> bytes:
    """Return the serialized EstimateCostRequest of a prompt and its options."""
    message = completion_pb2.EstimateCostRequest()
    fill(message.completion, prompt, options, context, service)
    return serialize(message)


def batch_bytes(prompts: Iterable[types.Prompt], options: Mapping[str, Any], context: Context, service: str) -> bytes:
    """Return the serialized BatchCompleteRequest of many prompts that share options."""
    message = completion_pb2.BatchCompleteRequest()
    if isinstance(prompts, str | types.CompletionRequest | types.Message):
        raise invalid("requests", f"one {type(prompts).__name__}", "a list of prompts or CompletionRequest")
    for index, prompt in enumerate(prompts):
        with Within(f"requests[{index}]."):
            fill(message.completions.add(), prompt, options, context, service)
    if not 1 <= len(message.completions) <= MAX_BATCH:
        raise invalid("requests", f"{len(message.completions)} long", f"1 to {MAX_BATCH:,} requests")
    return serialize(message)


def fill(
    message: completion_pb2.CompleteRequest,
    prompt: types.Prompt,
    options: Mapping[str, Any],
    context: Context,
    service: str,
) -> None:
    """Write a prompt and its options; the session's and the client's defaults fill service and phase."""
    if isinstance(prompt, types.CompletionRequest):
        options = {**options, **prompt.options}
        prompt = prompt.prompt_or_messages
    if "preset" in options:
        options = presets.expand(options)
    name, value = "prompt", prompt  # what is being written, for the case that protobuf refuses it
    try:
        if isinstance(prompt, str):
            message.prompt = prompt
        else:
            name = "messages"
            _set_messages(message, prompt)
        for name, value in options.items():
            if value is not None:
                (_SETTERS.get(name) or _no_option(name))(message, value)
        name, value = "service", service
        if options.get("service") is None and (default := context.service or service):
            message.service = default
        if context.phase and options.get("phase") is None:
            message.phase = context.phase
    except InvalidRequest:
        raise  # names its field already
    except NOT_TAKEN as error:
        raise refused(name, value, error) from None


def serialize(message: ProtoMessage) -> bytes:
    """Return a message as deterministic bytes; one over 32 MiB is refused with the name of its largest field."""
    try:
        payload = message.SerializeToString(deterministic=True)
    except EncodeError as error:
        raise _too_large(message, "over 2 GiB") from error
    if len(payload) > MAX_MESSAGE_BYTES:
        raise _too_large(message, f"{len(payload):,} bytes")
    return payload


def _set_messages(message: completion_pb2.CompleteRequest, given: Any) -> None:
    turns = (given,) if isinstance(given, types.Message) else given
    if not isinstance(turns, Sequence) or isinstance(turns, bytes):
        raise WrongValue("a text or a list of messages")
    for index, turn in enumerate(turns):
        target = message.messages.add()
        role, parts = _turn(turn, index)
        with Within(f"messages[{index}].role", role):
            target.role = number_of(role, _ROLES)
        with Within(f"messages[{index}].parts"):
            _add_parts(target.parts, parts)


def _turn(turn: Any, index: int) -> tuple[Any, Any]:
    """Return role and parts of a message, given as Message or as the mapping that other libraries use."""
    if isinstance(turn, types.Message):
        return turn.role, turn.parts
    if isinstance(turn, Mapping):
        unknown = sorted(set(turn) - {"role", "content", "parts"})
        if unknown:
            raise invalid(f"messages[{index}]", f"with the key {unknown[0]!r}", "'role' and 'content'")
        return turn.get("role"), turn.get("content", turn.get("parts", ()))
    raise invalid(f"messages[{index}]", f"of type {type(turn).__name__}", "a Message or a mapping with 'role' and 'content'")


def _add_parts(target: Any, given: Any) -> None:
    if isinstance(given, str):
        target.add().text = given
        return
    parts = given if isinstance(given, list | tuple) else (given,)
    for index, part in enumerate(parts):
        with Within(f"[{index}]."):
            _add_part(target.add(), part)


def _add_part(target: message_pb2.Part, given: Any) -> None:
    content = given.content if isinstance(given, types.Part) else given
    setter = _CONTENTS.get(type(content))
    if setter is None:
        raise invalid(
            "content", f"of type {type(content).__name__}", "str, Text, Image, Document, ToolCall, ToolResult or Thinking"
        )
    setter(target, content)
    if isinstance(given, types.Part):
        if given.stability is not None:
            with Within("stability", given.stability):
                target.stability = number_of(given.stability, _STABILITIES)
        if given.prompt_cache_mark_s is not None:
            with Within("prompt_cache_mark_s", given.prompt_cache_mark_s):
                target.prompt_cache_mark.ttl_seconds = given.prompt_cache_mark_s
                target.prompt_cache_mark.SetInParent()


def _set_text(target: message_pb2.Part, content: Any) -> None:
    with Within("text"):
        target.text = content if isinstance(content, str) else content.text


def _set_file(name: str) -> Callable[[message_pb2.Part, Any], None]:
    def setter(target: message_pb2.Part, content: Any) -> None:
        where = getattr(target, name)
        where.SetInParent()
        fields: tuple[str, ...] = ("data",) if content.data or not content.url else ()
        fields += ("url",) if content.url else ()
        if len(fields) > 1:
            raise invalid(name, "given by data and by url", "exactly one of the two")
        copy_fields(where, content, (*fields, *(field for field in ("media_type", "title") if hasattr(content, field))), name)

    return setter


def _set_fields(name: str, *fields: str) -> Callable[[message_pb2.Part, Any], None]:
    def setter(target: message_pb2.Part, content: Any) -> None:
        where = getattr(target, name)
        where.SetInParent()
        copy_fields(where, content, fields, name)

    return setter


_CONTENTS: Mapping[type, Callable[[message_pb2.Part, Any], None]] = {
    str: _set_text,
    types.Text: _set_text,
    types.Image: _set_file("image"),
    types.Document: _set_file("document"),
    types.ToolCall: _set_fields("tool_call", "id", "name", "arguments_json"),
    types.ToolResult: _set_fields("tool_result", "tool_call_id", "text", "is_error"),
    types.Thinking: _set_fields("thinking", "text", "signature"),
}


def _plain(name: str) -> Callable[[Any, Any], None]:
    return lambda message, value: set_field(message, name, value)


def _listed(name: str) -> Callable[[Any, Any], None]:
    def setter(message: Any, value: Any) -> None:
        if isinstance(value, str):
            raise WrongValue("a list of texts")
        getattr(message, name).extend(value)

    return setter


def _worded(name: str, known: Words) -> Callable[[Any, Any], None]:
    return lambda message, value: setattr(message, name, number_of(value, known))


def _set_system(message: completion_pb2.CompleteRequest, value: Any) -> None:
    with Within("system"):
        _add_parts(message.system, value)


def _set_tools(message: completion_pb2.CompleteRequest, value: Sequence[types.Tool]) -> None:
    for index, tool in enumerate(value):
        target = message.tools.add()
        copy_fields(target, tool, ("name", "description"), f"tools[{index}]")
        with Within(f"tools[{index}].parameters"):
            target.parameters_json_schema = json_text(tool.parameters)
        if tool.strict is not None:
            copy_fields(target, tool, ("strict",), f"tools[{index}]")


def _set_tool_choice(message: completion_pb2.CompleteRequest, value: types.ToolChoice | str) -> None:
    choice = types.ToolChoice(mode=value) if isinstance(value, str) else value
    message.tool_choice.mode = number_of(choice.mode, _TOOL_MODES)
    message.tool_choice.name = choice.name


def _set_response_format(message: completion_pb2.CompleteRequest, value: types.ResponseFormat | str) -> None:
    given = types.ResponseFormat(type=value) if isinstance(value, str) else value
    message.response_format.type = number_of(given.type, _FORMATS)
    message.response_format.json_schema = json_text(given.json_schema)
    message.response_format.schema_name = given.schema_name


def _set_provider_options(message: completion_pb2.CompleteRequest, value: Mapping[str, Any] | str) -> None:
    message.provider_options_json = json_text(value)


def _set_phase(message: completion_pb2.CompleteRequest, value: str | int) -> None:
    message.phase = value if isinstance(value, str) else str(int(value))


def _set_ttl(message: completion_pb2.CompleteRequest, value: timedelta | float) -> None:
    set_duration(message.ttl, value)


def _set_complete_by(message: completion_pb2.CompleteRequest, value: datetime) -> None:
    set_timestamp(message.complete_by, value)


def _set_prompt_caching(message: completion_pb2.CompleteRequest, value: types.PromptCaching) -> None:
    message.prompt_caching.SetInParent()
    if value.enabled is not None:
        message.prompt_caching.enabled = value.enabled
    message.prompt_caching.ttl_seconds = value.ttl_s


_PLAIN = (
    *("temperature", "top_p", "max_output_tokens", "seed", "sample_index", "model", "agent", "service"),
    *("context_digest", "namespace", "similarity"),
)

_SETTERS: Mapping[str, Callable[[Any, Any], None]] = {
    **{name: _plain(name) for name in _PLAIN},
    "stop_sequences": _listed("stop_sequences"),
    "fallback_models": _listed("fallback_models"),
    "reasoning_effort": _worded("reasoning_effort", _EFFORTS),
    "strategy": _worded("strategy", _STRATEGIES),
    "mode": _worded("mode", _MODES),
    "normalization": _worded("normalization", _NORMALIZATIONS),
    "lane": _worded("lane", _LANES),
    "system": _set_system,
    "tools": _set_tools,
    "tool_choice": _set_tool_choice,
    "response_format": _set_response_format,
    "provider_options": _set_provider_options,
    "phase": _set_phase,
    "ttl": _set_ttl,
    "complete_by": _set_complete_by,
    "prompt_caching": _set_prompt_caching,
}


def _no_option(name: str) -> NoReturn:
    """Raise what is said for an option that does not exist, with the nearest one that does."""
    known = [*_SETTERS, "preset"]
    near = importlib.import_module("difflib").get_close_matches(name, known, n=1)  # memory that only this error needs
    hint = f"did you mean {near[0]!r}?" if near else f"one of {', '.join(sorted(known))}"
    raise invalid(name, "no option of a completion", hint)


def _too_large(message: ProtoMessage, size: str) -> InvalidRequest:
    """Return the refusal of an oversize message, which names its largest field."""
    name = _largest(message)
    allowed = f"{MAX_MESSAGE_BYTES:,}"
    metadata = {
        "field": name,
        "value": size,
        "allowed": f"{allowed} bytes for the whole request",
        "limit_bytes": str(MAX_MESSAGE_BYTES),
    }
    text = f"the request is {size} long, most of it in {name}; allowed: {allowed} bytes"
    return InvalidRequest(text, reason="PROMPT_TOO_LARGE", metadata=metadata)


_NAMES = {"completions": "requests"}  # the argument's name where it is not the field's


def _largest(message: ProtoMessage) -> str:
    fields = message.ListFields()
    if len(fields) == 1 and isinstance(fields[0][1], ProtoMessage):
        return _largest(fields[0][1])  # the wrapper of a stream or an estimate
    sizes = {
        name: size for descriptor, value in fields for name, size in _sizes(_NAMES.get(descriptor.name, descriptor.name), value)
    }
    return max(sizes, key=lambda name: sizes[name], default="")


def _sizes(name: str, value: Any) -> Iterable[tuple[str, int]]:
    if isinstance(value, ProtoMessage):
        yield name, value.ByteSize()
    elif isinstance(value, str | bytes):
        yield name, len(value)
    elif isinstance(value, Sequence):
        for index, item in enumerate(value):
            yield from _sizes(f"{name}[{index}]", item)
