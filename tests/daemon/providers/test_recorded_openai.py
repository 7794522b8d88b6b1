"""Real exchanges with OpenAI, recorded by others: served on loopback, read through SDK and adapter, compared field by field.

The recordings are not part of the project; where they are absent the tests skip.
"""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from aigend.config import ProviderSettings
from aigend.providers.openai import connect
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply, TextDelta, ToolCallDone
from aigend.types import FinishReason, Text, ToolCall
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "recorded_exchanges.jsonl"
PATH = "/chat/completions"
KINDS = {400: FaultKind.REJECTED, 404: FaultKind.REJECTED}


def recorded() -> list[dict[str, Any]]:
    """Return the recorded chat completions, or nothing where there are none."""
    if not RECORDINGS.is_file():
        return []
    with RECORDINGS.open(encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    return [exchange for exchange in exchanges if exchange["provider"] == "openai" and PATH in exchange["url"]]


def bodies(exchange: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the JSON bodies of an answer: its events, or the one that it is."""
    if not exchange["sse"]:
        return [json.loads(exchange["response"])]
    data = [line[6:] for line in exchange["response"].splitlines() if line.startswith("data: ")]
    return [json.loads(item) for item in data if item != "[DONE]"]


def expected(exchange: dict[str, Any]) -> dict[str, Any]:
    """Return what an exchange says, read as plainly as can be."""
    text, finish, usage, model, calls = "", None, None, "", {}
    for body in bodies(exchange):
        model, usage = body.get("model") or model, body.get("usage") or usage
        for choice in body["choices"][:1]:
            said = choice.get("delta") or choice.get("message") or {}
            text += said.get("content") or ""
            finish = choice.get("finish_reason") or finish
            for position, piece in enumerate(said.get("tool_calls") or []):
                known = calls.setdefault(piece.get("index", position), ["", "", ""])
                function = piece["function"]
                more = (piece.get("id") or "", function.get("name") or "", function.get("arguments") or "")
                known[:] = [old + new for old, new in zip(known, more, strict=True)]
    cached = ((usage or {}).get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    counted = usage and (usage["prompt_tokens"] - cached, cached, usage["completion_tokens"])
    return {"text": text, "finish": finish, "model": model, "usage": counted, "calls": [tuple(calls[key]) for key in sorted(calls)]}


def told(reply: ProviderReply) -> dict[str, Any]:
    """Return what the adapter made of an exchange, in the same shape."""
    contents = [part.content for part in reply.parts]
    usage = reply.usage and (reply.usage.input, reply.usage.cache_read, reply.usage.output)
    return {
        "text": "".join(content.text for content in contents if isinstance(content, Text)),
        "finish": reply.finish_reason.value if reply.finish_reason is not FinishReason.OTHER else None,
        "model": reply.resolved_model,
        "usage": usage,
        "calls": [(content.id, content.name, content.arguments_json) for content in contents if isinstance(content, ToolCall)],
    }


async def replayed(exchange: dict[str, Any]) -> list[Any]:
    """Return the events that the adapter makes of a recorded exchange; a whole answer is one event."""
    headers = {"content-type": exchange["content_type"]}
    async with serving_bytes(exchange["response"].encode(), status=exchange["status"], headers=headers) as server:
        settings = ProviderSettings(base_url=server.base_url, api_key=SecretStr("sk-test"))
        provider = connect("openai", settings, answer_bytes=10_000_000)
        try:
            if exchange["sse"]:
                return [event async for event in provider.stream(call())]
            return [await provider.complete(call())]
        finally:
            await provider.aclose()


@pytest.mark.skipif(not recorded(), reason="the recorded exchanges are not here")
async def test_recorded_exchanges_are_understood(record_property: pytest.FixtureRequest) -> None:
    """Every recorded answer gives its text, tool calls, finish reason, model and usage; every recorded error its kind and code."""
    passed, wrong = Counter(), []
    for exchange in recorded():
        where = f"{exchange['repo']}/{exchange['path']}#{exchange['i']}"
        try:
            events = await replayed(exchange)
        except ProviderFault as fault:
            error = bodies(exchange)[0]["error"]
            right = (fault.kind, fault.code) == (KINDS[exchange["status"]], error["code"] or error["type"])
            right = right and fault.provider_message == error["message"]
        else:
            reply = events[-1]
            right = exchange["status"] == 200 and told(reply) == expected(exchange)
            deltas = "".join(event.text for event in events if isinstance(event, TextDelta))
            done = [event.call.id for event in events if isinstance(event, ToolCallDone)]
            right = right and (not exchange["sse"] or (deltas, len(done)) == (told(reply)["text"], len(told(reply)["calls"])))
        kind = "error" if exchange["status"] != 200 else "stream" if exchange["sse"] else "whole"
        passed[kind] += right
        wrong += [] if right else [where]
    record_property("recorded_openai_exchanges", dict(passed))
    print(f"recorded OpenAI chat completions understood: {sum(passed.values())} ({dict(passed)})")  # noqa: T201 - a figure of the run
    assert wrong == []
    assert sum(passed.values()) >= 82
