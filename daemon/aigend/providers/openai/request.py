"""A request as a body of OpenAI's chat completions, and what of a request that body can't hold.

Source:
    OpenAI API reference, chat completions, read 2026-11.
"""

import json
from collections.abc import Iterator
from typing import Any

from aigend.errors import capability_missing
from aigend.providers.openai.dialect import Dialect, cache_fields, check_caching, tier_fields
from aigend.providers.openai.files import check_document, check_image, document_file, image_address
from aigend.providers.port import ProviderCall
from aigend.providers.request_parts import check_lane, json_object, kind_of, options, placed
from aigend.types import (
    CompletionRequest,
    Content,
    Document,
    Image,
    Message,
    Part,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

Body = dict[str, Any]

_ADAPTER = "the openai adapter"
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
    Role.USER: (Text, Image, Document, ToolResult),
    Role.ASSISTANT: (Text, ToolCall),
    Role.TOOL: (ToolResult,),
}


def check_request(request: CompletionRequest, dialect: Dialect) -> None:
    """Return if a body can hold the whole request.

    Args:
        request: What is asked.
        dialect: What the server knows.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    for where, part in placed(request.system, "system"):
        _check_part(part, where, (Text,), "system")
    for index, message in enumerate(request.messages):
        for where, part in placed(message.parts, f"messages[{index}].parts"):
            _check_part(part, where, _ALLOWED_CONTENT[message.role], message.role)
    check_caching(request, dialect, adapter=_ADAPTER)
    check_lane(request, flex=dialect.tiers, adapter=_ADAPTER)
    for index, tool in enumerate(request.tools):
        json_object(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    if request.response_format is not None:
        json_object(request.response_format.json_schema, "response_format.json_schema")
    options(request, _NAMED_FIELDS)


def request_body(call: ProviderCall, dialect: Dialect, *, stream: bool) -> Body:
    """Return the body to send.

    Args:
        call: What is asked; its request passed `check_request`.
        dialect: What the server knows.
        stream: Whether the answer shall come in events, the last of which holds the usage.
    """
    request = call.request
    body: Body = tier_fields(request, dialect) | cache_fields(request, dialect, prefix_key=call.prompt_cache.prefix_key)
    body |= options(request, _NAMED_FIELDS)  # the caller's own cache key wins
    body["model"] = call.model
    body["messages"] = [*_system(request.system), *(sent for message in request.messages for sent in _messages(message))]
    body[dialect.limit_field] = call.max_output_tokens
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


def _check_part(part: Part, where: str, allowed: tuple[type[Content], ...], role: str) -> None:
    content = part.content
    if not isinstance(content, allowed):
        why = f"{_ADAPTER} can't send it in a message of role {role}"
        raise capability_missing(f"{where}.{kind_of(content)}", "", why)
    if isinstance(content, Image):
        check_image(content, where)
    if isinstance(content, Document):
        check_document(content, where)
        if content.url:
            raise capability_missing(f"{where}.document.url", "", f"{_ADAPTER} can't send addresses; send the bytes")


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
        return {"type": "image_url", "image_url": {"url": image_address(content)}}
    if isinstance(content, Document):
        return {"type": "file", "file": document_file(content)}
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
