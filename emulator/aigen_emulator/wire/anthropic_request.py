"""A request of Anthropic's Messages as a question, and what that API refuses before it answers.

Source:
    Types of the anthropic SDK 2.11; Anthropic's pages on prompt caching, thinking and errors. Read 2026-11.
"""

import base64
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from aigen_emulator.answers import PrefixMark, Question, ToolOffer
from aigen_emulator.wire.port import RefusalError

MOST_MARKS = 4
SHORTEST_BUDGET = 1_024
_TTLS = {"5m": 300, "1h": 3_600}
_ROLES = frozenset(("user", "assistant"))
_NOT_THE_ANSWER = ("stream", "max_tokens", "stop_sequences", "metadata", "cache_control", "tools", "system", "messages")
_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETS = ((2_048, "low"), (8_192, "medium"))  # thinking tokens up to which an effort is taken for so much


@dataclass
class _Prompt:
    """All blocks of a request, in the order in which the model and the prompt cache see them."""

    texts: list[str] = field(default_factory=list)
    marks: list[tuple[int, int]] = field(default_factory=list)  # block, lifetime in seconds
    images: int = 0

    def add(self, block: dict[str, Any], text: str) -> None:
        self.texts.append(text)
        if (control := block.get("cache_control")) is not None:
            self.mark(control)

    def mark(self, control: Any) -> None:
        ttl = _TTLS.get(control.get("ttl", "5m")) if isinstance(control, dict) and control.get("type") == "ephemeral" else None
        if ttl is None:
            raise refuse("cache_control: Input should be 'ephemeral' with a ttl of '5m' or '1h'")
        self.marks.append((len(self.texts) - 1, ttl))

    def ends(self) -> tuple[int, ...]:
        done, ends = -1, []
        for text in self.texts:
            done += len(text.encode("utf-8", "surrogatepass")) + 1
            ends.append(done)
        return tuple(ends)


def question_from(body: bytes) -> Question:
    """Return what a request body asks.

    Raises:
        RefusalError: The provider would refuse it.
    """
    asked = _parsed(body)
    messages = _messages(asked)
    prompt = _prompt(asked, messages)
    ends = prompt.ends()
    output = asked.get("output_config") or {}
    form = output.get("format") or {}
    last_user = next((message for message in reversed(messages) if message["role"] == "user"), None)
    return Question(
        model=asked["model"],
        seed=_seed(asked, messages, prompt),
        prompt="\n".join(prompt.texts),
        last_user_text="\n".join(_plain_texts(last_user)) if last_user else "",
        message_count=len(messages) + bool(asked.get("system")),
        image_count=prompt.images,
        max_tokens=asked["max_tokens"],
        stop=tuple(map(str, asked.get("stop_sequences") or ())),
        tools=tuple(ToolOffer(str(tool.get("name", "")), tool.get("input_schema")) for tool in _tools(asked)),
        must_call=_must_call(asked.get("tool_choice")),
        after_tool_result=any(block.get("type") == "tool_result" for block in _blocks(messages[-1])),
        wants_json=form.get("type") == "json_schema",
        json_schema=form.get("schema"),
        effort=_effort(asked, output),
        stream=bool(asked.get("stream")),
        include_usage=True,
        prefix_marks=_marks(prompt, ends),
        block_ends=ends,
    )


def refuse(message: str, *, status: int = 400, kind: str = "invalid_request_error") -> RefusalError:
    """Return an error in the provider's words."""
    return RefusalError(status, message, kind=kind)


def signature_of(thinking: str) -> str:
    """Return the signature that the emulated provider puts on its thinking, and demands back."""
    return base64.b64encode(hashlib.sha256(b"signed\0" + thinking.encode("utf-8", "surrogatepass")).digest()).decode()


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise refuse("The request body is not valid JSON.") from error
    if not isinstance(asked, dict):
        raise refuse("The request body is not a JSON object.")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise refuse("model: Field required")
    if model.startswith("unknown"):
        raise refuse(f"model: {model}", status=404, kind="not_found_error")
    limit = asked.get("max_tokens")
    if not isinstance(limit, int) or limit < 1:
        raise refuse("max_tokens: Field required" if limit is None else "max_tokens: Input should be greater than or equal to 1")
    temperature = asked.get("temperature")
    if temperature is not None and not 0 <= temperature <= 1:
        raise refuse("temperature: range: 0..1")
    return asked


def _messages(asked: dict[str, Any]) -> list[dict[str, Any]]:
    messages = asked.get("messages")
    if not isinstance(messages, list) or not messages:
        raise refuse("messages: at least one message is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise refuse(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        for place, block in enumerate(_blocks(message)):
            _check_block(block, f"messages.{index}.content.{place}")
    _check_tool_turns(messages)
    return messages


def _check_block(block: dict[str, Any], where: str) -> None:
    kind = block.get("type")
    if kind == "text" and not block.get("text"):
        raise refuse("messages: text content blocks must be non-empty")
    if kind in ("thinking", "redacted_thinking") and "cache_control" in block:
        raise refuse(f"{where}.{kind}.cache_control: Extra inputs are not permitted")
    if kind == "thinking" and block.get("signature") != signature_of(str(block.get("thinking", ""))):
        raise refuse(f"{where}: Invalid `signature` in `thinking` block")


def _check_tool_turns(messages: list[dict[str, Any]]) -> None:
    """Each call of a tool is answered in the user's next turn, and nothing else is."""
    open_calls: set[Any] = set()
    for index, message in enumerate(messages):
        results = {block.get("tool_use_id") for block in _blocks(message) if block.get("type") == "tool_result"}
        if message["role"] == "user":
            if unknown := results - open_calls:
                raise refuse(
                    f"messages.{index}.content: unexpected `tool_use_id` found in `tool_result` blocks: {min(map(str, unknown))}"
                )
            open_calls -= results
        elif open_calls:
            break
        else:
            open_calls = {block.get("id") for block in _blocks(message) if block.get("type") == "tool_use"}
    if open_calls:
        text = (
            f"`tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(sorted(map(str, open_calls)))}"
        )
        raise refuse(f"messages: {text}")


def _blocks(message: dict[str, Any]) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [block for block in content if isinstance(block, dict)] if isinstance(content, list) else []


def _prompt(asked: dict[str, Any], messages: list[dict[str, Any]]) -> _Prompt:
    """Return the blocks in the order of the prompt cache: tools, system, messages."""
    prompt = _Prompt()
    for tool in _tools(asked):
        prompt.add(tool, json.dumps({key: value for key, value in tool.items() if key != "cache_control"}))
    for block in _blocks({"content": asked.get("system") or []}):
        prompt.add(block, str(block.get("text", "")))
    for message in messages:
        for block in _blocks(message):
            prompt.images += _pictures(block)
            prompt.add(block, _text(block))
    if asked.get("cache_control") is not None:
        prompt.mark(asked["cache_control"])
    return prompt


def _text(block: dict[str, Any]) -> str:
    match block.get("type"):
        case "text":
            return str(block["text"])
        case "thinking":
            return str(block.get("thinking", ""))
        case "tool_result":
            content = block.get("content") or ""
            return content if isinstance(content, str) else "\n".join(_text(inner) for inner in _blocks(block))
        case "image" | "document":
            source = block.get("source") or {}
            if source.get("type") == "text":
                return f"{block.get('title') or ''}\n{source.get('data')}"
            return f"[{block['type']} {hashlib.sha256(json.dumps(source).encode()).hexdigest()[:16]}]"
    return json.dumps({key: value for key, value in block.items() if key not in ("cache_control", "id", "type")})


def _pictures(block: dict[str, Any]) -> int:
    source = block.get("source") or {}
    return int(block.get("type") in ("image", "document") and source.get("type") != "text")


def _plain_texts(message: dict[str, Any]) -> Iterator[str]:
    return (str(block["text"]) for block in _blocks(message) if block.get("type") == "text")


def _tools(asked: dict[str, Any]) -> list[dict[str, Any]]:
    return [tool for tool in asked.get("tools") or () if isinstance(tool, dict)]


def _must_call(choice: Any) -> str | None:
    kind = choice.get("type") if isinstance(choice, dict) else None
    return str(choice.get("name", "*")) if kind == "tool" else {"none": "", "any": "*"}.get(str(kind))


def _effort(asked: dict[str, Any], output: dict[str, Any]) -> str:
    """Return how much the model thinks; not at all where it was not asked to."""
    thinking = asked.get("thinking") or {}
    kind = thinking.get("type")
    if kind not in ("adaptive", "enabled"):
        return ""
    if (asked.get("tool_choice") or {}).get("type") in ("any", "tool"):
        raise refuse("Thinking may not be enabled when tool_choice forces tool use.")
    if kind == "adaptive":
        return _EFFORTS.get(str(output.get("effort") or "high"), "high")
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int) or budget < SHORTEST_BUDGET:
        raise refuse(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {SHORTEST_BUDGET}")
    if budget >= asked["max_tokens"]:
        raise refuse("`max_tokens` must be greater than `thinking.budget_tokens`.")
    return next((effort for bound, effort in _BUDGETS if budget <= bound), "high")


def _marks(prompt: _Prompt, ends: tuple[int, ...]) -> tuple[PrefixMark, ...]:
    if len(prompt.marks) > MOST_MARKS:
        raise refuse(f"A maximum of {MOST_MARKS} blocks with cache_control may be provided. Found {len(prompt.marks)}.")
    lifetimes = [ttl for _, ttl in prompt.marks]
    if lifetimes != sorted(lifetimes, reverse=True):
        raise refuse("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")
    return tuple(PrefixMark(ends[block], ttl) for block, ttl in prompt.marks)


def _seed(asked: dict[str, Any], messages: list[dict[str, Any]], prompt: _Prompt) -> int:
    """Return the digest of all that determines the answer; streaming, length, marks and bookkeeping do not."""
    determining = {key: value for key, value in asked.items() if key not in _NOT_THE_ANSWER}
    blocks = (block for message in messages for block in _blocks(message))
    if failed := [block.get("tool_use_id") for block in blocks if block.get("is_error")]:
        determining["failed tools"] = failed
    said = json.dumps([determining, [message["role"] for message in messages], prompt.texts])
    return int.from_bytes(hashlib.sha256(said.encode()).digest()[:12], "big")
