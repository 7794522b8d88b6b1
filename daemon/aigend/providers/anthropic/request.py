"""A request as a body of Anthropic's Messages, and what of a request that body can't hold.

Source:
    Types of the anthropic SDK 2.11 (message_create_params and its blocks); Anthropic's pages on prompt caching, structured
    outputs and thinking. Read 2026-11.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from aigend.errors import capability_missing, invalid
from aigend.providers.anthropic.blocks import ADAPTER, MOST_MARKS, block_of, check_part
from aigend.providers.request_parts import check_lane, json_object, options, placed
from aigend.types import (
    CacheMark,
    CompletionRequest,
    Part,
    PartPlace,
    PromptCachePlan,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

Body = dict[str, Any]

_NAMED_FIELDS = {  # options that have a field of their own, and so can't contradict it
    "model": "model",
    "messages": "messages",
    "system": "system",
    "tools": "tools",
    "tool_choice": "tool_choice",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_output_tokens",
    "stop_sequences": "stop_sequences",
    "cache_control": "prompt_cache_mark",
    "stream": "StreamComplete",
    "service_tier": "lane",
}
_ONE_PRICE = {"speed": "standard", "inference_geo": "global"}  # options that cost more when they are anything else
_END_OF_TOOLS = PartPlace(None, -1)
_TTLS = {300: "5m", 3_600: "1h"}
_CHOICES = {ToolChoiceMode.AUTO: "auto", ToolChoiceMode.NONE: "none", ToolChoiceMode.REQUIRED: "any"}
_EFFORTS = {
    ReasoningEffort.MINIMAL: "low",
    ReasoningEffort.LOW: "low",
    ReasoningEffort.MEDIUM: "medium",
    ReasoningEffort.HIGH: "high",
}
_BUDGETS = {  # thinking tokens, for models that know no efforts
    ReasoningEffort.MINIMAL: 1_024,
    ReasoningEffort.LOW: 2_048,
    ReasoningEffort.MEDIUM: 8_192,
    ReasoningEffort.HIGH: 24_576,
}
_SHORTEST_BUDGET = 1_024
_VERSION = re.compile(r"claude-(?:[a-z]+-)?(\d{1,2})(?:[-.](\d{1,2}))?(?!\d)")
_FIRST_ADAPTIVE = (4, 6)


def check_request(request: CompletionRequest, *, addresses: bool = True) -> None:
    """Return if a body can hold the whole request.

    Args:
        request: What is asked.
        addresses: Whether the server fetches images and documents by their address.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    for where, part in placed(request.system, "system"):
        check_part(part, where, None, addresses=addresses)
    for index, message in enumerate(request.messages):
        for where, part in placed(message.parts, f"messages[{index}].parts"):
            check_part(part, where, message.role, addresses=addresses)
    for index, tool in enumerate(request.tools):
        json_object(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    if request.seed is not None:
        raise capability_missing("seed", request.seed, f"{ADAPTER} has none: such models can't repeat themselves")
    if request.response_format is not None:
        _check_format(request.response_format)
    check_lane(request, flex=False, adapter=ADAPTER)
    _check_marks(request)
    _check_sampling(request)
    _check_options(request)


def request_body(request: CompletionRequest, *, model: str, max_output_tokens: int, plan: PromptCachePlan, stream: bool) -> Body:
    """Return the body to send.

    Args:
        request: What is asked; it passed `check_request`.
        model: The provider's identifier.
        max_output_tokens: Bound of the answer, thinking included.
        plan: Which prefixes the provider shall keep; the caller's own marks are among them.
        stream: Whether the answer shall come in events.
    """
    marks = {mark.place: mark for mark in plan.marks}
    body = options(request, _NAMED_FIELDS)
    body |= {"model": model, "max_tokens": max_output_tokens, "messages": _messages(request, marks)}
    if request.system:
        body["system"] = _blocks(request.system, None, marks)
    if request.tools:
        body["tools"] = _tools(request.tools, marks.get(_END_OF_TOOLS))
    if request.tool_choice is not None:
        body["tool_choice"] = _tool_choice(request.tool_choice)
    if request.stop_sequences:
        body["stop_sequences"] = list(request.stop_sequences)
    for name in ("temperature", "top_p"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.reasoning_effort is not None:
        body |= _thinking(request.reasoning_effort, model, max_output_tokens)
    if output := _output_config(body, request):
        body["output_config"] = output
    if stream:
        body["stream"] = True
    return body


def _check_format(form: ResponseFormat) -> None:
    if form.type is ResponseFormatType.JSON:
        raise capability_missing("response_format.type", "json", f"{ADAPTER} has JSON with a schema only; use json_schema")
    json_object(form.json_schema, "response_format.json_schema")


def _check_marks(request: CompletionRequest) -> None:
    parts: list[Part] = [*request.system, *(part for message in request.messages for part in message.parts)]
    count = sum(part.prompt_cache_mark_s is not None for part in parts)
    if count > MOST_MARKS:
        raise invalid("prompt_cache_mark", f"set on {count} parts", f"at most {MOST_MARKS} of them")


def _check_sampling(request: CompletionRequest) -> None:
    """Refuse what such models know to refuse only after the request was sent."""
    if request.temperature is not None and request.temperature > 1:
        raise capability_missing("temperature", request.temperature, f"{ADAPTER} takes 0 to 1")
    if request.reasoning_effort in (None, ReasoningEffort.NONE):
        return
    if request.temperature not in (None, 1):
        raise capability_missing("temperature", request.temperature, "such models think at temperature 1 only; leave it out")
    forced = (ToolChoiceMode.REQUIRED, ToolChoiceMode.NAMED)
    if request.tool_choice is not None and request.tool_choice.mode in forced:
        raise capability_missing("tool_choice", request.tool_choice.mode, "such models don't think where a tool is forced on them")


def _check_options(request: CompletionRequest) -> None:
    given = options(request, _NAMED_FIELDS)
    for name, only in _ONE_PRICE.items():
        if given.get(name) not in (None, only):
            why = f"it changes the price in ways that the ledger does not know; allowed: {only}"
            raise capability_missing(f"provider_options.{name}", given[name], why)
    config = given.get("output_config", {})
    if not isinstance(config, dict):
        raise invalid("provider_options.output_config", config, "a JSON object")
    if "format" in config:
        raise invalid("provider_options.output_config.format", "set", "options without a field of their own; use response_format")
    twice = [name for name in ("thinking", "output_config.effort") if _has(given, name)]
    if twice and request.reasoning_effort is not None:
        raise invalid(f"provider_options.{twice[0]}", "set", "this option or reasoning_effort, not both")


def _has(given: Mapping[str, Any], name: str) -> bool:
    outer, _, inner = name.partition(".")
    return outer in given and (not inner or inner in given[outer])


def _messages(request: CompletionRequest, marks: Mapping[PartPlace, CacheMark]) -> list[Body]:
    """Results of tools come in the user's turn there; the server joins turns of the same role."""
    return [
        {"role": "assistant" if message.role is Role.ASSISTANT else "user", "content": _blocks(message.parts, index, marks)}
        for index, message in enumerate(request.messages)
    ]


def _blocks(parts: tuple[Part, ...], message: int | None, marks: Mapping[PartPlace, CacheMark]) -> list[Body]:
    return [_marked(block_of(part.content), marks.get(PartPlace(message, index))) for index, part in enumerate(parts)]


def _marked(block: Body, mark: CacheMark | None) -> Body:
    """Return the block with the mark on it; thinking, which is cached with what follows it, can hold none."""
    if mark is None or block.get("type") in ("thinking", "redacted_thinking"):
        return block
    return block | {"cache_control": {"type": "ephemeral", "ttl": _TTLS[mark.ttl_s]}}


def _tools(tools: tuple[Tool, ...], mark: CacheMark | None) -> list[Body]:
    sent = [_tool(tool) for tool in tools]
    sent[-1] = _marked(sent[-1], mark)
    return sent


def _tool(tool: Tool) -> Body:
    sent: Body = {"name": tool.name, "input_schema": {"type": "object"} | json.loads(tool.parameters_json_schema or "{}")}
    if tool.description:
        sent["description"] = tool.description
    if tool.strict is not None:
        sent["strict"] = tool.strict
    return sent


def _tool_choice(choice: ToolChoice) -> Body:
    if choice.mode is ToolChoiceMode.NAMED:
        return {"type": "tool", "name": choice.name}
    return {"type": _CHOICES[choice.mode]}


def _thinking(effort: ReasoningEffort, model: str, max_output_tokens: int) -> Body:
    """Return what lets a model think: newer ones by themselves, under an effort; older ones up to a budget inside the bound."""
    adaptive = _thinks_adaptively(model)
    if effort is ReasoningEffort.NONE:
        return {"thinking": {"type": "disabled"}} if adaptive else {}
    if adaptive:
        return {"thinking": {"type": "adaptive"}}
    budget = min(_BUDGETS[effort], max_output_tokens - 1)
    if budget < _SHORTEST_BUDGET:  # no room to think: the effort says how long the model may, not that it must
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _output_config(body: Body, request: CompletionRequest) -> Body:
    config: Body = dict(body.get("output_config", {}))
    if "adaptive" in body.get("thinking", {}).values() and request.reasoning_effort is not None:
        config["effort"] = _EFFORTS[request.reasoning_effort]
    form = request.response_format
    if form is not None and form.type is ResponseFormatType.JSON_SCHEMA:
        config["format"] = {"type": "json_schema", "schema": json.loads(form.json_schema or "{}")}
    return config


def _thinks_adaptively(model: str) -> bool:
    """Tell whether a model is of generation 4.6 or newer; a name without a version is taken for new.

    Example:
        >>> [_thinks_adaptively(name) for name in ("claude-sonnet-4-5-20250929", "claude-opus-4-20250514", "claude-sonnet-5")]
        [False, False, True]
    """
    found = _VERSION.search(model)
    return found is None or (int(found[1]), int(found[2] or 0)) >= _FIRST_ADAPTIVE
