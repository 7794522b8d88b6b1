"""Real chat completions of OpenAI, read through SDK and adapter."""

import json
from typing import Any

from aigend.config import ProviderSettings
from aigend.providers.openai.chat import connect
from aigend.providers.port import Provider
from aigend.types import FinishReason, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers.recorded import ANSWER_BYTES, Exchange, Refused, Said, bodies, needs_recordings, results_of

FINISHES = {None: FinishReason.OTHER} | {reason.value: reason for reason in FinishReason}


class OpenAIReading:
    """Chat completions, whole and streamed, read as plainly as can be."""

    adapter = provider = "openai"

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is no chat completion."""
        return "" if "/chat/completions" in exchange["url"] else "another API of the provider: not chat completions"

    def connect(self, base_url: str) -> Provider:
        """Return the adapter."""
        return connect("openai", ProviderSettings(base_url=base_url, api_key=SecretStr("sk-test")), answer_bytes=ANSWER_BYTES)

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""
        text, finish, usage, model, calls = "", None, None, "", {}
        for body in bodies(exchange):
            model, usage = body.get("model") or model, body.get("usage") or usage
            for choice in body["choices"][:1]:
                said = choice.get("delta") or choice.get("message") or {}
                text += said.get("content") or ""
                finish = choice.get("finish_reason") or finish
                take_calls(calls, said.get("tool_calls") or [])
        return Said(
            text=text,
            finish=FINISHES[finish],
            model=model,
            usage=counted(usage),
            calls=tuple((identity, name, json.loads(arguments)) for _, (identity, name, arguments) in sorted(calls.items())),
        )

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""
        error = bodies(exchange)[0]["error"]
        return Refused(code=error["code"] or error["type"], message=error["message"])


def take_calls(calls: dict[int, list[str]], pieces: list[dict[str, Any]]) -> None:
    """Add pieces of tool calls to those known."""
    for position, piece in enumerate(pieces):
        known = calls.setdefault(piece.get("index", position), ["", "", ""])
        function = piece["function"]
        more = (piece.get("id") or "", function.get("name") or "", function.get("arguments") or "")
        known[:] = [old + new for old, new in zip(known, more, strict=True)]


def counted(usage: dict[str, Any] | None) -> TokenUsage | None:
    """Return the counts in disjoint buckets."""
    if usage is None:
        return None
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens", 0)
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    return TokenUsage(input=prompt - cached, cache_read=cached, output=output, reasoning=reasoning)


@needs_recordings
async def test_recorded_exchanges_are_understood() -> None:
    """Every recorded answer gives its text, tool calls, finish reason, model and usage; every recorded error its kind and code."""
    results = await results_of(OpenAIReading())
    assert results.wrong == []
    assert results.passed.total() >= 82
