"""Real exchanges with Anthropic, read through SDK and adapter."""

import json
from typing import Any

from aigend.config import ProviderSettings
from aigend.providers.anthropic.messages import connect
from aigend.providers.port import Provider
from aigend.types import FinishReason, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers.recorded import ANSWER_BYTES, Exchange, Refused, Said, bodies, needs_recordings, results_of

FINISHES = {"end_turn": FinishReason.STOP, "tool_use": FinishReason.TOOL_CALLS}


class AnthropicReading:
    """Messages, whole and streamed, read as plainly as can be."""

    adapter = provider = "anthropic"

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is none of Messages."""
        address = exchange["url"].partition("?")[0]
        return "" if address.endswith("/v1/messages") else "another API of the provider: batches"

    def connect(self, base_url: str) -> Provider:
        """Return the adapter."""
        settings = ProviderSettings(adapter="anthropic", base_url=base_url, api_key=SecretStr("sk-ant-test"))
        return connect("anthropic", settings, answer_bytes=ANSWER_BYTES)

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""
        message = joined(bodies(exchange)) if exchange["sse"] else bodies(exchange)[0]
        blocks = message["content"]
        return Said(
            text="".join(block["text"] for block in blocks if block["type"] == "text"),
            thinking="".join(block["thinking"] for block in blocks if block["type"] == "thinking"),
            finish=FINISHES[message["stop_reason"]],
            model=message["model"],
            usage=usage(message["usage"]),
            calls=tuple((block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"),
        )

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""
        error = bodies(exchange)[0]["error"]
        return Refused(code=error["type"], message=error["message"])


def joined(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the message that the events of a stream make up."""
    message: dict[str, Any] = {"content": []}
    for event in events:
        if event["type"] == "message_start":
            message |= event["message"]
        elif event["type"] == "content_block_start":
            message["content"].append(dict(event["content_block"], pieces=""))
        elif event["type"] == "content_block_delta":
            grow(message["content"][event["index"]], event["delta"])
        elif event["type"] == "message_delta":
            message |= {"stop_reason": event["delta"]["stop_reason"], "usage": message["usage"] | event["usage"]}
    for block in message["content"]:
        if block["type"] == "tool_use":
            block["input"] = json.loads(block["pieces"] or "{}")
    return message


def grow(block: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add a piece to a block."""
    if delta["type"] == "text_delta":
        block["text"] += delta["text"]
    elif delta["type"] == "thinking_delta":
        block["thinking"] += delta["thinking"]
    elif delta["type"] == "input_json_delta":
        block["pieces"] += delta["partial_json"]


def usage(counted: dict[str, Any]) -> TokenUsage:
    """Return the counts in disjoint buckets; in the recordings the split of what was written is always complete."""
    split = counted.get("cache_creation") or {"ephemeral_5m_input_tokens": counted.get("cache_creation_input_tokens", 0)}
    return TokenUsage(
        input=counted["input_tokens"],
        cache_read=counted.get("cache_read_input_tokens", 0),
        cache_write_5m=split["ephemeral_5m_input_tokens"],
        cache_write_1h=split.get("ephemeral_1h_input_tokens", 0),
        output=counted["output_tokens"],
        reasoning=(counted.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        searches=(counted.get("server_tool_use") or {}).get("web_search_requests", 0),
    )


@needs_recordings
async def test_recorded_exchanges_are_understood() -> None:
    """Every message gives its text, thinking, tool calls, finish reason, model and usage; every error its kind and code."""
    results = await results_of(AnthropicReading())
    assert results.wrong == []
    assert results.passed.total() >= 113
