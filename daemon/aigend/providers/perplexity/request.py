"""A request as a body of Perplexity's Agent API, which is OpenAI's Responses in most and its own in some.

Its models may sign their tool calls (`thought_signature`). Such a signature travels as a Thinking part right before the call, whose
signature is `perplexity:` and what was told, to be sent back with that call.

Source:
    Perplexity API reference, Agent API, read 2026-11.
"""

import json
from collections.abc import Iterator
from typing import Any

from aigend.errors import capability_missing
from aigend.providers.openai.dialect import Dialect, check_caching
from aigend.providers.openai.files import check_image
from aigend.providers.openai.responses_items import Item, check_kind, items_of, message_item, text_piece, tool_call
from aigend.providers.openai.responses_request import check_inside, check_missing, check_schemas, given_tools
from aigend.providers.perplexity.sources import with_spelled_sources
from aigend.providers.port import ProviderCall
from aigend.providers.request_parts import check_lane, options, placed
from aigend.types import (
    CompletionRequest,
    Document,
    Image,
    Message,
    Part,
    ReasoningEffort,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoiceMode,
)

Body = dict[str, Any]

ADAPTER = "the perplexity adapter"
SEAL = "perplexity:"
NO_CACHE_FIELDS = Dialect(cache_fields=False)
_NAMED_FIELDS = {  # options that have a field of their own, and so can't contradict it
    "model": "model",
    "models": "fallback_models",
    "input": "messages",
    "instructions": "system",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_output_tokens",
    "response_format": "response_format",
    "tool_choice": "tool_choice",
    "stream": "StreamComplete",
    "background": "lane",
}


def check_request(asked: CompletionRequest) -> None:
    """Return if a body can hold the whole request.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    request = with_spelled_sources(asked)
    for where, part in placed(request.system, "system"):
        check_kind(part, where, None, adapter=ADAPTER)
    for index, message in enumerate(request.messages):
        _check_message(message, f"messages[{index}].parts")
    check_missing(request, adapter=ADAPTER)
    _check_wishes(request)
    check_caching(request, NO_CACHE_FIELDS, adapter=ADAPTER)
    check_lane(request, flex=False, adapter=ADAPTER)
    check_schemas(request)
    given = options(request, _NAMED_FIELDS)
    check_inside(given, "reasoning", "effort", field="reasoning_effort")
    given_tools(given)


def request_body(call: ProviderCall, *, stream: bool) -> Body:
    """Return the body to send.

    Args:
        call: What is asked; its request passed `check_request`.
        stream: Whether the answer shall come in events.
    """
    request = with_spelled_sources(call.request)
    body = options(request, _NAMED_FIELDS)
    body |= {"model": call.model, "max_output_tokens": call.max_output_tokens, "input": [*_items(request)]}
    if len(request.system) == 1:
        body["instructions"] = _text(request.system[0])
    if tools := [*(_tool(tool) for tool in request.tools), *given_tools(body)]:
        body["tools"] = tools
    form = request.response_format
    if form is not None and form.type is ResponseFormatType.JSON_SCHEMA:
        schema = {"name": form.schema_name or "answer", "schema": json.loads(form.json_schema or "{}")}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
    if request.reasoning_effort is not None:
        body["reasoning"] = body.get("reasoning", {}) | {"effort": request.reasoning_effort}
    for name in ("temperature", "top_p"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if stream:
        body["stream"] = True
    return body


def _check_message(message: Message, where: str) -> None:
    for index, part in enumerate(message.parts):
        place = f"{where}[{index}]"
        check_kind(part, place, message.role, adapter=ADAPTER)
        if isinstance(part.content, Document):
            raise capability_missing(f"{place}.document", "", f"{ADAPTER} can send texts and images")
        if isinstance(part.content, Image):
            check_image(part.content, place)
        if isinstance(part.content, Thinking) and not _signs_a_call(message, index):
            why = f"{ADAPTER} takes back only a signature from it, right before the tool call that it signs"
            raise capability_missing(f"{place}.thinking", "", why)


def _check_wishes(request: CompletionRequest) -> None:
    """Refuse what Responses have and this API has not."""
    if request.tool_choice is not None and request.tool_choice.mode is not ToolChoiceMode.AUTO:
        raise capability_missing("tool_choice", request.tool_choice.mode, f"{ADAPTER} leaves the choice to the model")
    if request.response_format is not None and request.response_format.type is ResponseFormatType.JSON:
        raise capability_missing("response_format.type", "json", f"{ADAPTER} has JSON with a schema only; use json_schema")
    if request.reasoning_effort is ReasoningEffort.NONE:
        raise capability_missing("reasoning_effort", "none", f"{ADAPTER} can't forbid reasoning; allowed: minimal to high")


def _items(request: CompletionRequest) -> Iterator[Item]:
    if len(request.system) > 1:
        yield message_item("system", [text_piece(_text(part)) for part in request.system])
    for message in request.messages:
        if message.role is Role.ASSISTANT:
            yield from _said(message.parts)
        else:
            yield from items_of(message)


def _said(parts: tuple[Part, ...]) -> Iterator[Item]:
    """Yield a turn of the model: its texts in one message, and its tool calls, each with its signature."""
    if text := "".join(_text(part) for part in parts):
        yield message_item("assistant", text)
    signature = ""
    for part in parts:
        if isinstance(part.content, Thinking):
            signature = part.content.signature.removeprefix(SEAL)
        elif isinstance(part.content, ToolCall):
            yield tool_call(part.content) | ({"thought_signature": signature} if signature else {})
            signature = ""


def _signs_a_call(message: Message, index: int) -> bool:
    content = message.parts[index].content
    following = message.parts[index + 1].content if index + 1 < len(message.parts) else None
    return isinstance(content, Thinking) and content.signature.startswith(SEAL) and isinstance(following, ToolCall)


def _tool(tool: Tool) -> Body:
    sent: Body = {"type": "function", "name": tool.name}
    if tool.description:
        sent["description"] = tool.description
    if tool.parameters_json_schema:
        sent["parameters"] = json.loads(tool.parameters_json_schema)
    return sent if tool.strict is None else sent | {"strict": tool.strict}


def _text(part: Part) -> str:
    return part.content.text if isinstance(part.content, Text) else ""
