"""A request as a body of OpenAI's chat completions, and what of a request that body can't hold.

Source:
    OpenAI API reference, chat completions, read 2026-11.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from aigend.errors import DomainError, capability_missing, invalid
from aigend.types import (
    CompletionRequest,
    Content,
    Document,
    Image,
    Message,
    Part,
    PromptCaching,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

Body = dict[str, Any]

_ADAPTER = "the openai adapter"
_IMAGES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_NAMED_FIELDS = {  # options that have a field of their own, and so can't contradict it
    "model": "model",
    "messages": "messages",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "response_format": "response_format",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "stop": "stop_sequences",
    "seed": "seed",
    "reasoning_effort": "reasoning_effort",
    "n": "sample_index",
    "stream": "StreamComplete",
    "stream_options": "StreamComplete",
    "service_tier": "lane",
}
_ALLOWED_CONTENT: dict[Role, tuple[type[Content], ...]] = {
    Role.USER: (Text, Image, ToolResult),
    Role.ASSISTANT: (Text, ToolCall),
    Role.TOOL: (ToolResult,),
}


def check_request(request: CompletionRequest) -> None:
    """Return if a body can hold the whole request.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    for where, part in _placed(request.system, "system"):
        _check_part(part, where, (Text,), "system")
    for index, message in enumerate(request.messages):
        for where, part in _placed(message.parts, f"messages[{index}].parts"):
            _check_part(part, where, _ALLOWED_CONTENT[message.role], message.role)
    if request.prompt_caching is not None:
        _check_prompt_caching(request.prompt_caching)
    for index, tool in enumerate(request.tools):
        _object(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    if request.response_format is not None:
        _object(request.response_format.json_schema, "response_format.json_schema")
    _options(request)


def request_body(request: CompletionRequest, *, model: str, max_output_tokens: int, limit_field: str, stream: bool) -> Body:
    """Return the body to send.

    Args:
        request: What is asked; it passed `check_request`.
        model: The provider's identifier.
        max_output_tokens: Bound of the answer.
        limit_field: What the provider calls that bound.
        stream: Whether the answer shall come in events, the last of which holds the usage.
    """
    body = _options(request)
    body["model"] = model
    body["messages"] = [*_system(request.system), *(sent for message in request.messages for sent in _messages(message))]
    body[limit_field] = max_output_tokens
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None and request.response_format.type is not ResponseFormatType.TEXT:
        body["response_format"] = _response_format(request.response_format)
    if request.stop_sequences:
        body["stop"] = list(request.stop_sequences)
    for name in ("temperature", "top_p", "seed", "reasoning_effort"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def _placed(parts: tuple[Part, ...], where: str) -> Iterator[tuple[str, Part]]:
    return ((f"{where}[{index}]", part) for index, part in enumerate(parts))


def _check_part(part: Part, where: str, allowed: tuple[type[Content], ...], role: str) -> None:
    content = part.content
    if part.prompt_cache_mark_s is not None:
        why = f"{_ADAPTER} has no marks: such providers cache prefixes by themselves"
        raise capability_missing(f"{where}.prompt_cache_mark", f"{part.prompt_cache_mark_s} s", why)
    if not isinstance(content, allowed):
        why = f"{_ADAPTER} can't send it in a message of role {role}"
        raise capability_missing(f"{where}.{_kind(content)}", "", why)
    if isinstance(content, Image) and content.data and not _media_type(content):
        raise capability_missing(f"{where}.image.media_type", content.media_type or "unknown", f"allowed: {_listed_images()}")


def _kind(content: Content) -> str:
    names: dict[type[Content], str] = {Document: "document", Thinking: "thinking", Image: "image", Text: "text"}
    return names.get(type(content), "tool_call" if isinstance(content, ToolCall) else "tool_result")


def _listed_images() -> str:
    return ", ".join(_IMAGES.values())


def _media_type(image: Image) -> str:
    """Return the media type as stated, or else as the first bytes say; empty where it is none that can be sent."""
    if image.media_type:
        return image.media_type if image.media_type in _IMAGES.values() else ""
    return next((name for magic, name in _IMAGES.items() if image.data.startswith(magic)), "")


def _check_prompt_caching(wanted: PromptCaching) -> None:
    if wanted.enabled is False:
        raise capability_missing("prompt_caching.enabled", "false", "such providers cache prefixes by themselves")
    if wanted.ttl_s:
        raise capability_missing("prompt_caching.ttl", f"{wanted.ttl_s} s", f"{_ADAPTER} can't send how long")


def _object(text: str, field: str) -> Body:
    """Return the object that a field spells as JSON; an empty field is an empty object."""
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise invalid(field, text, f"a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise invalid(field, text, "a JSON object")
    return value


def _options(request: CompletionRequest) -> Body:
    options = _object(request.provider_options_json, "provider_options")
    for name in options.keys() & _NAMED_FIELDS.keys():
        raise _named_elsewhere(name)
    return options


def _named_elsewhere(name: str) -> DomainError:
    return invalid(f"provider_options.{name}", "set", f"options without a field of their own; use {_NAMED_FIELDS[name]}")


def _system(parts: tuple[Part, ...]) -> list[Body]:
    return [{"role": "system", "content": _content(parts)}] if parts else []


def _messages(message: Message) -> Iterator[Body]:
    """Yield what a message becomes: results of tools are messages of their own there."""
    others = tuple(part for part in message.parts if not isinstance(part.content, ToolCall | ToolResult))
    for part in message.parts:
        if isinstance(part.content, ToolResult):
            yield _tool_result(part.content)
    if message.role is Role.ASSISTANT:
        calls = [_tool_call(part.content) for part in message.parts if isinstance(part.content, ToolCall)]
        sent: Body = {"role": "assistant", "content": _content(others) if others else None}
        yield sent | ({"tool_calls": calls} if calls else {})
    elif others:
        yield {"role": "user", "content": _content(others)}


def _content(parts: tuple[Part, ...]) -> str | list[Body]:
    """Return plain text where that is all, because some servers know nothing else."""
    if len(parts) == 1 and isinstance(parts[0].content, Text):
        return parts[0].content.text
    return [_piece(part.content) for part in parts]


def _piece(content: Content) -> Body:
    if isinstance(content, Image):
        data = base64.b64encode(content.data).decode()
        return {"type": "image_url", "image_url": {"url": content.url or f"data:{_media_type(content)};base64,{data}"}}
    return {"type": "text", "text": content.text if isinstance(content, Text) else ""}


def _tool_result(result: ToolResult) -> Body:
    text = f"Error: {result.text}" if result.is_error else result.text  # the format has no flag for it
    return {"role": "tool", "tool_call_id": result.tool_call_id, "content": text}


def _tool_call(call: ToolCall) -> Body:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments_json or "{}"}}


def _tool(tool: Tool) -> Body:
    function: Body = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json_schema:
        function["parameters"] = json.loads(tool.parameters_json_schema)
    if tool.strict is not None:
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice) -> str | Body:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "function": {"name": choice.name}}
    return str(choice.mode)


def _response_format(form: ResponseFormat) -> Body:
    if form.type is ResponseFormatType.JSON:
        return {"type": "json_object"}
    schema = json.loads(form.json_schema or "{}")
    return {"type": "json_schema", "json_schema": {"name": form.schema_name or "answer", "schema": schema}}
