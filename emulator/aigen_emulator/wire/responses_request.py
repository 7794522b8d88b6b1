"""Requests of OpenAI's Responses as questions, and what that API refuses in them.

Source:
    OpenAI API reference, Responses, read 2026-11.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from aigen_emulator.answers import Question, ToolOffer
from aigen_emulator.wire.openai_errors import limit_of, parsed, refuse, seed_of, tier_of

_NOT_THE_ANSWER = (
    "stream",
    "stream_options",
    "max_output_tokens",
    "include",
    "metadata",
    "store",
    "user",
    "prompt_cache_key",
    "prompt_cache_retention",
    "service_tier",
)
_UNKNOWN = ("messages", "max_tokens", "max_completion_tokens", "stop", "seed", "n", "response_format", "reasoning_effort")
_ROLES = frozenset(("system", "developer", "user", "assistant"))
_SEALED = "reasoning.encrypted_content"
_SEAL = b"sealed by the emulator\0"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesQuestion(Question):
    """A question with what Responses ask beside it."""

    sealed: bool = False  # whether reasoning shall come encrypted, to be sent back
    summary: bool = False  # whether reasoning shall be shown
    searching: bool = False  # whether a tool that searches is on offer


def question_of(body: bytes, *, unknown: tuple[str, ...] = _UNKNOWN, json_schema: Any = None) -> ResponsesQuestion:
    """Return what a request body asks.

    Args:
        body: The body.
        unknown: Fields that are refused.
        json_schema: Schema of the answer, where it stands outside `text.format`.
    """
    asked = parsed(body)
    for name in unknown:
        if name in asked:
            raise refuse(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    items = _items(asked)
    _check(items)
    texts, images = _texts(asked, items)
    tools = tuple(ToolOffer(str(tool.get("name", "")), tool.get("parameters")) for tool in _tools(asked, function=True))
    form = (asked.get("text") or {}).get("format") or {}
    schema = form.get("schema") if json_schema is None else json_schema
    reasoning = asked.get("reasoning") or {}
    stream = bool(asked.get("stream"))
    spoken = [item for item in items if _kind(item) == "message"]
    last_user = next((item for item in reversed(spoken) if item.get("role") == "user"), None)
    return ResponsesQuestion(
        model=asked["model"],
        seed=seed_of(asked, besides=_NOT_THE_ANSWER),
        prompt="\n".join([*texts, json.dumps(asked["tools"])] if asked.get("tools") else texts),
        last_user_text="\n".join(_pieces(last_user)[0]) if last_user is not None else "",
        message_count=len(items) + bool(asked.get("instructions")),
        image_count=images,
        max_tokens=limit_of(asked, "max_output_tokens"),
        tools=tools,
        must_call=_must_call(asked.get("tool_choice")),
        after_tool_result=_kind(items[-1]) == "function_call_output",
        wants_json=schema is not None or form.get("type") == "json_object",
        json_schema=schema,
        effort=str(reasoning.get("effort") or ""),
        stream=stream,
        include_usage=stream,
        tier=tier_of(asked),
        sealed=_SEALED in (asked.get("include") or ()),
        summary=bool(reasoning.get("summary")),
        searching=any("search" in str(tool.get("type")) for tool in _tools(asked, function=False)),
    )


def sealed_reasoning(seed: int) -> str:
    """Return reasoning as the emulated provider encrypts it, and takes it back."""
    name = b"%024x" % seed
    return base64.b64encode(name + hashlib.sha256(_SEAL + name).digest()).decode()


def _unsealed(sealed: Any) -> bool:
    """Tell whether encrypted reasoning came from here."""
    try:
        data = base64.b64decode(sealed, validate=True)
    except (TypeError, ValueError):
        return False
    return data[24:] == hashlib.sha256(_SEAL + data[:24]).digest()


def _items(asked: dict[str, Any]) -> list[dict[str, Any]]:
    given = asked.get("input")
    if isinstance(given, str) and given:
        return [{"role": "user", "content": given}]
    if not isinstance(given, list) or not given or not all(isinstance(item, dict) for item in given):
        raise refuse("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    return given


def _kind(item: dict[str, Any]) -> str:
    return str(item.get("type") or "message")


def _check(items: list[dict[str, Any]]) -> None:
    called: set[Any] = set()
    for index, item in enumerate(items):
        kind = _kind(item)
        if kind == "message" and item.get("role") not in _ROLES:
            raise refuse(f"Invalid value for 'input[{index}].role'.", param=f"input[{index}].role", code="invalid_value")
        if kind == "reasoning" and not _unsealed(item.get("encrypted_content")):
            raise refuse("The encrypted content could not be verified.", param="input", code="invalid_encrypted_content")
        if kind == "function_call":
            called.add(item.get("call_id"))
        if kind == "function_call_output" and item.get("call_id") not in called:
            text = f"No tool call found for function call output with call_id {item.get('call_id')}."
            raise refuse(text, param="input")


def _texts(asked: dict[str, Any], items: list[dict[str, Any]]) -> tuple[list[str], int]:
    """Return every text of the request, in order, and how many images and files there are."""
    texts = [str(asked["instructions"])] if asked.get("instructions") else []
    images = 0
    for item in items:
        more, seen = _pieces(item)
        texts += more
        images += seen
    return texts, images


def _pieces(item: dict[str, Any]) -> tuple[list[str], int]:
    kind = _kind(item)
    if kind == "function_call":
        return [json.dumps({"name": item.get("name"), "arguments": item.get("arguments")})], 0
    if kind == "function_call_output":
        return [str(item.get("output", ""))], 0
    if kind != "message":
        return [], 0
    content = item.get("content")
    if isinstance(content, str):
        return [content], 0
    parts = [part for part in content or () if isinstance(part, dict)]
    seen = sum(part.get("type") in ("input_image", "input_file") for part in parts)
    return [str(part["text"]) for part in parts if "text" in part], seen


def _tools(asked: dict[str, Any], *, function: bool) -> list[dict[str, Any]]:
    tools = [tool for tool in asked.get("tools") or () if isinstance(tool, dict)]
    return [tool for tool in tools if (tool.get("type") == "function") is function]


def _must_call(choice: Any) -> str | None:
    if isinstance(choice, dict):
        return str(choice.get("name", "*"))
    return {"none": "", "required": "*"}.get(choice or "")
