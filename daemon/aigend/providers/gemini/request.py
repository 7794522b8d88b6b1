"""A request as a body of Google's generateContent, and what of a request that body can't hold.

Source:
    Types of the google-genai SDK 3.4 (GenerateContentConfig and what it becomes for the Gemini API); Google's pages on function
    calling, structured output, thinking and flex inference. Read 2026-11.
"""

import json
import re
from typing import Any

from aigend.errors import DomainError, capability_missing, invalid
from aigend.providers.gemini.parts import ADAPTER, Body, check_parts, contents_of
from aigend.providers.gemini.thinking import thinking_config
from aigend.providers.request_parts import check_lane, json_object
from aigend.types import (
    CompletionRequest,
    Lane,
    ResponseFormat,
    ResponseFormatType,
    Text,
    Tool,
    ToolChoice,
    ToolChoiceMode,
)

_TOP_LEVEL = frozenset(("safetySettings", "cachedContent", "tools", "toolConfig", "generationConfig", "labels", "store"))
_NAMED_FIELDS = {  # options that have a field of their own, and so can't contradict it
    "model": "model",
    "contents": "messages",
    "systemInstruction": "system",
    "temperature": "temperature",
    "topP": "top_p",
    "maxOutputTokens": "max_output_tokens",
    "stopSequences": "stop_sequences",
    "seed": "seed",
    "responseMimeType": "response_format",
    "responseSchema": "response_format",
    "responseJsonSchema": "response_format",
    "_responseJsonSchema": "response_format",
    "responseFormat": "response_format",
    "candidateCount": "sample_index",
    "serviceTier": "lane",
}
_OWN_TOOLS = ("googleSearch", "fileSearch", "codeExecution")  # of the provider: what they cost is reserved and in the price entry
_ALLOWED_MODALITIES = ["TEXT"]
_MOST_STOPS = 5
_LARGEST_SEED = 2**31 - 1
_SNAKE = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")
_MODES = {ToolChoiceMode.AUTO: "AUTO", ToolChoiceMode.NONE: "NONE", ToolChoiceMode.REQUIRED: "ANY", ToolChoiceMode.NAMED: "ANY"}
_STRICT_AUTO = "VALIDATED"  # the model's choice, but what it calls fits the schema


def check_request(request: CompletionRequest, *, tiers: bool = False) -> None:
    """Return if a body can hold the whole request.

    Args:
        request: What is asked.
        tiers: Whether the server sells the same model at several prices.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    check_parts(request)
    check_lane(request, flex=tiers, adapter=ADAPTER)
    for index, tool in enumerate(request.tools):
        json_object(tool.parameters_json_schema, f"tools[{index}].parameters_json_schema")
    if request.response_format is not None:
        json_object(request.response_format.json_schema, "response_format.json_schema")
    if len(request.stop_sequences) > _MOST_STOPS:
        raise capability_missing("stop_sequences", len(request.stop_sequences), f"{ADAPTER} can send {_MOST_STOPS} of them")
    if request.seed is not None and not -_LARGEST_SEED <= request.seed <= _LARGEST_SEED:
        raise capability_missing("seed", request.seed, f"{ADAPTER} can send -{_LARGEST_SEED} to {_LARGEST_SEED}")
    _check_options(request)


def request_body(request: CompletionRequest, *, model: str, max_output_tokens: int) -> Body:
    """Return the body to send.

    Args:
        request: What is asked; it passed `check_request`.
        model: The provider's identifier.
        max_output_tokens: Bound of the answer, thinking included.
    """
    given = given_options(request)
    body: Body = {name: value for name, value in given.items() if name in _TOP_LEVEL}
    body["contents"] = contents_of(request.messages, {})
    body["generationConfig"] = _generation_config(request, given, model=model, max_output_tokens=max_output_tokens)
    if request.system:
        body["systemInstruction"] = {
            "parts": [{"text": part.content.text} for part in request.system if isinstance(part.content, Text)]
        }
    if tools := _tools(request, given):
        body["tools"] = tools
    if request.lane is Lane.FLEX:
        body["serviceTier"] = "flex"
    if (calling := _calling(request)) is not None:
        body["toolConfig"] = {**given.get("toolConfig", {}), "functionCallingConfig": calling}
    return body


def given_options(request: CompletionRequest) -> dict[str, Any]:
    """Return the options that are passed through, their names in the spelling that Google's pages have.

    The provider takes snake_case too; in one spelling an option can't slip past a field. What the body knows at its top
    (`safetySettings`, `cachedContent`, `labels`, `store`, `tools`, `toolConfig`, `generationConfig`) stays there, everything else
    goes into `generationConfig`.

    Raises:
        DomainError: INVALID_REQUEST; they are no JSON object, or one of them is none that should be.
    """
    given = _camel(json_object(request.provider_options_json, "provider_options"))
    for name in ("generationConfig", "toolConfig", "thinkingConfig"):
        if name in given:
            given[name] = _object(given[name], name)
    config = given.get("generationConfig", {})
    if "thinkingConfig" in config:
        config["thinkingConfig"] = _object(config["thinkingConfig"], "generationConfig.thinkingConfig")
    return given


def _check_options(request: CompletionRequest) -> None:
    given = given_options(request)
    for place, names in (("", given), ("generationConfig.", given.get("generationConfig", {}))):
        for name in names.keys() & _NAMED_FIELDS.keys():
            raise _has_its_field(place + name, _NAMED_FIELDS[name])
        if names.get("responseModalities", _ALLOWED_MODALITIES) != _ALLOWED_MODALITIES:
            why = f"the ledger prices text alone; allowed: {_ALLOWED_MODALITIES}"
            raise capability_missing(f"provider_options.{place}responseModalities", names["responseModalities"], why)
        thinking = names.get("thinkingConfig", {}).keys() & {"thinkingLevel", "thinkingBudget"}
        if thinking and request.reasoning_effort is not None:
            raise invalid(
                f"provider_options.{place}thinkingConfig.{min(thinking)}", "set", "this option or reasoning_effort, not both"
            )
    if "functionCallingConfig" in given.get("toolConfig", {}):
        raise _has_its_field("toolConfig.functionCallingConfig", "tool_choice")
    _check_own_tools(given.get("tools", []))


def _check_own_tools(tools: Any) -> None:
    """Refuse functions, and tools that cost what nobody has reserved, among the provider's own tools."""
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise invalid("provider_options.tools", tools, "a list of objects")
    for index, tool in enumerate(tools):
        for name in _camel(tool).keys() - set(_OWN_TOOLS):
            if name == "functionDeclarations":
                raise _has_its_field(f"tools[{index}].functionDeclarations", "tools")
            why = f"what it costs can't be reserved; allowed: {', '.join(_OWN_TOOLS)}"
            raise capability_missing(f"provider_options.tools[{index}].{name}", "set", why)


def _has_its_field(option: str, field: str) -> DomainError:
    return invalid(f"provider_options.{option}", "set", f"options without a field of their own; use {field}")


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(f"provider_options.{name}", value, "a JSON object")
    return _camel(value)


def _camel(names: dict[str, Any]) -> dict[str, Any]:
    return {_SNAKE.sub(lambda found: found[1].upper(), name): value for name, value in names.items()}


def _generation_config(request: CompletionRequest, given: dict[str, Any], *, model: str, max_output_tokens: int) -> Body:
    config: Body = given.get("generationConfig", {}) | {name: value for name, value in given.items() if name not in _TOP_LEVEL}
    config["maxOutputTokens"] = max_output_tokens
    for name, value in (("temperature", request.temperature), ("topP", request.top_p), ("seed", request.seed)):
        if value is not None:
            config[name] = value
    if request.stop_sequences:
        config["stopSequences"] = list(request.stop_sequences)
    if request.reasoning_effort is not None:
        config["thinkingConfig"] = thinking_config(request.reasoning_effort, model) | config.get("thinkingConfig", {})
    if request.response_format is not None:
        config |= _format(request.response_format)
    return config


def _format(form: ResponseFormat) -> Body:
    if form.type is ResponseFormatType.TEXT:
        return {}
    schema = {"responseJsonSchema": json.loads(form.json_schema)} if form.json_schema else {}
    return {"responseMimeType": "application/json", **schema}


def _tools(request: CompletionRequest, given: dict[str, Any]) -> list[Body]:
    functions = [{"functionDeclarations": [_function(tool) for tool in request.tools]}] if request.tools else []
    return [*functions, *given.get("tools", ())]


def _function(tool: Tool) -> Body:
    function: Body = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters_json_schema:
        function["parametersJsonSchema"] = json.loads(tool.parameters_json_schema)
    return function


def _calling(request: CompletionRequest) -> Body | None:
    """Return how functions are called; strictness is the whole request's there, not a single tool's."""
    choice = request.tool_choice
    strict = any(tool.strict for tool in request.tools)
    if choice is None:
        return {"mode": _STRICT_AUTO} if strict else None
    mode = _STRICT_AUTO if strict and choice.mode is ToolChoiceMode.AUTO else _MODES[choice.mode]
    return {"mode": mode} | _named(choice)


def _named(choice: ToolChoice) -> Body:
    return {"allowedFunctionNames": [choice.name]} if choice.mode is ToolChoiceMode.NAMED else {}
