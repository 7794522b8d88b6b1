"""A request as a body of OpenAI's Responses, and what of a request that body can't hold.

Source:
    OpenAI API reference, Responses, read 2026-11.
"""

import json
from collections.abc import Mapping
from typing import Any

from aigend.errors import capability_missing, invalid
from aigend.providers.openai.dialect import Dialect, cache_fields, check_caching, tier_fields
from aigend.providers.openai.responses_items import ADAPTER, check_part, items_of, message_item, text_piece
from aigend.providers.port import ProviderCall
from aigend.providers.request_parts import check_lane, json_object, options, placed
from aigend.types import (
    CompletionRequest,
    Part,
    ResponseFormat,
    ResponseFormatType,
    Text,
    Thinking,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

Body = dict[str, Any]

_NAMED_FIELDS = {  # options that have a field of their own, and so can't contradict it
    "model": "model",
    "input": "messages",
    "instructions": "system",
    "tool_choice": "tool_choice",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_output_tokens",
    "stream": "StreamComplete",
    "background": "lane",
    "service_tier": "lane",
}
_NAMED_INSIDE = {"text": ("format", "response_format"), "reasoning": ("effort", "reasoning_effort")}
_SEARCHING = ("web_search", "web_search_preview")
_SEALED = "reasoning.encrypted_content"


def check_request(request: CompletionRequest, dialect: Dialect) -> None:
    """Return if a body can hold the whole request.

    Args:
        request: What is asked.
        dialect: What the server knows.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    for where, part in placed(request.system, "system"):
        check_part(part, where, None)
    for index, message in enumerate(request.messages):
        for where, part in placed(message.parts, f"messages[{index}].parts"):
            check_part(part, where, message.role)
    check_missing(request, adapter=ADAPTER)
    check_caching(request, dialect, adapter=ADAPTER)
    check_lane(request, flex=dialect.tiers, adapter=ADAPTER)
    check_schemas(request)
    _check_options(request)


def check_missing(request: CompletionRequest, *, adapter: str) -> None:
    """Return if the request wants nothing that the Responses format has no field for.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the field.
    """
    if request.seed is not None:
        raise capability_missing("seed", request.seed, f"{adapter} has none")
    if request.stop_sequences:
        raise capability_missing("stop_sequences", list(request.stop_sequences), f"{adapter} has none")


def check_schemas(request: CompletionRequest) -> None:
    """Return if the request's schemas are JSON objects.

    Raises:
        DomainError: INVALID_REQUEST, naming the field.
    """
    for index, tool in enumerate(request.tools):
        json_object(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    if request.response_format is not None:
        json_object(request.response_format.json_schema, "response_format.json_schema")


def given_tools(given: Mapping[str, Any]) -> list[Body]:
    """Return the provider's own tools that options ask for.

    Raises:
        DomainError: INVALID_REQUEST; they are no list of objects, or hold a function, which has a field of its own.
    """
    tools = given.get("tools", [])
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise invalid("provider_options.tools", tools, "a list of JSON objects")
    if any(tool.get("type") == "function" for tool in tools):
        raise invalid("provider_options.tools", "a function", "tools that the provider runs itself; use tools for functions")
    return tools


def request_body(call: ProviderCall, dialect: Dialect, *, stream: bool) -> Body:
    """Return the body to send.

    Args:
        call: What is asked; its request passed `check_request`.
        dialect: What the server knows.
        stream: Whether the answer shall come in events.
    """
    request = call.request
    body: Body = {"store": False} | tier_fields(request, dialect)
    body |= cache_fields(request, dialect, prefix_key=call.prompt_cache.prefix_key)
    body |= options(request, _NAMED_FIELDS)  # the caller's own cache key wins
    body |= {"model": call.model, "max_output_tokens": call.max_output_tokens}
    body |= spoken(request)
    if tools := [*(_tool(tool) for tool in request.tools), *given_tools(body)]:
        body["tools"] = tools
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.response_format is not None and request.response_format.type is not ResponseFormatType.TEXT:
        body["text"] = body.get("text", {}) | {"format": _text_format(request.response_format)}
    if request.reasoning_effort is not None:
        body["reasoning"] = body.get("reasoning", {}) | {"effort": request.reasoning_effort}
    if _thinks(request, body):
        body["include"] = [*(name for name in body.get("include", ()) if name != _SEALED), _SEALED]
    for name in ("temperature", "top_p"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if stream:
        body["stream"] = True
    return body


def spoken(request: CompletionRequest) -> Body:
    """Return the system prompt and the conversation: one text of instructions, or a first message where there are several."""
    items = [item for message in request.messages for item in items_of(message)]
    if len(request.system) > 1:
        return {"input": [message_item("system", [text_piece(_text(part)) for part in request.system]), *items]}
    instructions = {"instructions": _text(request.system[0])} if request.system else {}
    return instructions | {"input": items}


def _check_options(request: CompletionRequest) -> None:
    given = options(request, _NAMED_FIELDS)
    for outer, (inner, field) in _NAMED_INSIDE.items():
        check_inside(given, outer, inner, field=field)
    include = given.get("include", [])
    if not isinstance(include, list):
        raise invalid("provider_options.include", include, "a list of names")
    for tool in given_tools(given):
        kind = str(tool.get("type"))
        if not kind.startswith(_SEARCHING):
            why = f"what it costs is not known to the ledger; allowed: {', '.join(_SEARCHING)}"
            raise capability_missing("provider_options.tools", kind, why)


def check_inside(given: Mapping[str, Any], outer: str, inner: str, *, field: str) -> None:
    """Return if an option is an object without the key that has a field of its own.

    Args:
        given: The options.
        outer: The option.
        inner: The key.
        field: The field that the key's value has.

    Raises:
        DomainError: INVALID_REQUEST, naming the option.
    """
    value = given.get(outer, {})
    if not isinstance(value, dict):
        raise invalid(f"provider_options.{outer}", value, "a JSON object")
    if inner in value:
        raise invalid(f"provider_options.{outer}.{inner}", "set", f"options without a field of their own; use {field}")


def _thinks(request: CompletionRequest, body: Body) -> bool:
    """Tell whether reasoning is asked for or carried on: models that can't reason refuse to be asked for the sealed kind."""
    if "reasoning" in body:
        return True
    return any(isinstance(part.content, Thinking) for message in request.messages for part in message.parts)


def _tool(tool: Tool) -> Body:
    """Return a tool; what is not said is said here, for the format takes silence for strict."""
    schema = json.loads(tool.parameters_json_schema) if tool.parameters_json_schema else {"type": "object", "properties": {}}
    sent: Body = {"type": "function", "name": tool.name, "parameters": schema, "strict": bool(tool.strict)}
    return sent | ({"description": tool.description} if tool.description else {})


def _tool_choice(choice: ToolChoice) -> str | Body:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "function", "name": choice.name}
    return str(choice.mode)


def _text_format(form: ResponseFormat) -> Body:
    if form.type is ResponseFormatType.JSON:
        return {"type": "json_object"}
    schema = json.loads(form.json_schema or "{}")
    return {"type": "json_schema", "name": form.schema_name or "answer", "schema": schema}


def _text(part: Part) -> str:
    return part.content.text if isinstance(part.content, Text) else ""
