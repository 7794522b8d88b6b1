"""Real exchanges with OpenAI's Responses and Perplexity's old chat format, read through SDK and adapter."""

import json
from typing import Any

import pytest
from aigend.config import ProviderSettings
from aigend.providers.openai import responses
from aigend.providers.perplexity import sonar
from aigend.providers.port import Provider, ProviderReply
from aigend.types import Document, FinishReason, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers.recorded import (
    ANSWER_BYTES,
    Exchange,
    Refused,
    Said,
    bodies,
    exchanges_of,
    needs_recordings,
    replayed,
    results_of,
)

RATE_NANOS = 1_000  # Sonar's published price was 1 USD for a million tokens, read or written


class ResponsesReading:
    """Responses, whole and streamed, read as plainly as can be."""

    adapter, provider = "openai-responses", "openai"

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is none of Responses."""
        return "" if exchange["url"].partition("?")[0].endswith("/responses") else "another API of the provider: chat completions"

    def connect(self, base_url: str) -> Provider:
        """Return the adapter."""
        settings = ProviderSettings(adapter="openai-responses", base_url=base_url, api_key=SecretStr("sk-test"))
        return responses.connect("openai", settings, answer_bytes=ANSWER_BYTES)

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""
        response = bodies(exchange)[-1]
        response = response["response"] if exchange["sse"] else response
        items = response["output"]
        calls = tuple(
            (item["call_id"], item["name"], json.loads(item["arguments"])) for item in items if item["type"] == "function_call"
        )
        spoke = any(item["type"] == "message" for item in items)
        ended = FinishReason.TOOL_CALLS if calls else FinishReason.STOP if spoke else FinishReason.OTHER
        return Said(
            text="".join(piece["text"] for item in items if item["type"] == "message" for piece in item["content"]),
            thinking="".join("\n\n".join(piece["text"] for piece in item.get("summary") or []) for item in items),
            finish=ended,
            model=response["model"],
            usage=counted(response["usage"], items),
            calls=calls,
        )

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""
        error = bodies(exchange)[0]["error"]
        return Refused(code=error["code"] or error["type"], message=error["message"])


class SonarReading:
    """The old chat format, read as plainly as can be."""

    adapter, provider = "sonar", "perplexity"

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is no chat completion."""
        return "" if "/chat/completions" in exchange["url"] else "another API of the provider"

    def connect(self, base_url: str) -> Provider:
        """Return the adapter."""
        settings = ProviderSettings(adapter="sonar", base_url=base_url, api_key=SecretStr("pplx-test"))
        return sonar.connect("perplexity", settings, answer_bytes=ANSWER_BYTES)

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""
        (body,) = bodies(exchange)
        (choice,) = body["choices"]
        usage = TokenUsage(input=body["usage"]["prompt_tokens"], output=body["usage"]["completion_tokens"])
        finish = FinishReason(choice["finish_reason"])
        return Said(text=choice["message"]["content"], finish=finish, model=body["model"], usage=usage)

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""
        error = bodies(exchange)[0]["error"]
        return Refused(code=error["type"], message=error["message"])


def counted(usage: dict[str, Any], items: list[dict[str, Any]]) -> TokenUsage:
    """Return the counts in disjoint buckets."""
    cached = usage["input_tokens_details"]["cached_tokens"]
    written = usage["input_tokens_details"].get("cache_write_tokens", 0)
    searched = sum(item["type"] == "web_search_call" and item["action"]["type"] == "search" for item in items)
    return TokenUsage(
        input=usage["input_tokens"] - cached - written,
        cache_read=cached,
        cache_write_5m=written,
        output=usage["output_tokens"],
        reasoning=usage["output_tokens_details"]["reasoning_tokens"],
        searches=searched,
    )


@needs_recordings
@pytest.mark.parametrize(("reading", "count"), [(ResponsesReading(), 68), (SonarReading(), 4)], ids=["responses", "sonar"])
async def test_recorded_exchanges_are_understood(reading: Any, count: int) -> None:
    """Every answer gives its text, reasoning, tool calls, finish reason, model and usage; every error its kind and code."""
    results = await results_of(reading)
    assert results.wrong == []
    assert results.passed.total() >= count


@needs_recordings
async def test_recorded_fees_and_sources_are_kept() -> None:
    """What the provider says it charged is taken, five times what the tokens cost and more, and each source that it names."""
    answers = [exchange for exchange in exchanges_of("perplexity") if exchange["status"] == 200]
    for exchange in answers:
        (body,) = bodies(exchange)
        (reply,) = await replayed(SonarReading(), exchange)
        assert isinstance(reply, ProviderReply)
        assert reply.reported_cost_nanos == round(body["usage"]["cost"]["total_cost"] * 1_000_000_000)
        assert reply.reported_cost_nanos > 5 * RATE_NANOS * (reply.usage.total_input + reply.usage.output)
        sources = [part.content.url for part in reply.parts if isinstance(part.content, Document)]
        assert sources == body["citations"]
