"""Real exchanges with Gemini, read through SDK and adapter."""

import json
from collections.abc import Iterator
from typing import Any

from aigend.config import ProviderSettings
from aigend.providers.gemini.provider import connect
from aigend.providers.port import Provider
from aigend.types import FinishReason, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers import recorded
from tests.daemon.providers.recorded import ANSWER_BYTES, Exchange, Refused, Said, needs_recordings, results_of

METHODS = (":generateContent", ":streamGenerateContent")
FINISHES = {"STOP": FinishReason.STOP, "MAX_TOKENS": FinishReason.LENGTH}


class GeminiReading:
    """generateContent, whole and streamed, read as plainly as can be."""

    adapter = provider = "gemini"

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is none of generateContent."""
        address = exchange["url"].partition("?")[0]
        return "" if address.endswith(METHODS) else "another API of the provider: files, batches, lists of models"

    def connect(self, base_url: str) -> Provider:
        """Return the adapter."""
        settings = ProviderSettings(adapter="gemini", base_url=base_url, api_key=SecretStr("AIza-test"))
        return connect("gemini", settings, answer_bytes=ANSWER_BYTES)

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""
        bodies = recorded.bodies(exchange)
        parts = [*parts_of(bodies)]
        finish = next(filter(None, (body["candidates"][0].get("finishReason") for body in reversed(bodies))))
        calls = [part["functionCall"] for part in parts if "functionCall" in part]
        return Said(
            text="".join(part["text"] for part in parts if "text" in part and not part.get("thought")),
            thinking="".join(part["text"] for part in parts if part.get("thought")),
            finish=FinishReason.TOOL_CALLS if calls and finish == "STOP" else FINISHES[finish],
            model=bodies[-1]["modelVersion"],
            usage=usage({name: count for body in bodies for name, count in body["usageMetadata"].items()}, bodies),
            calls=tuple((identity(call, bodies[0], index), call["name"], call.get("args", {})) for index, call in enumerate(calls)),
        )

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""
        error = recorded.bodies(exchange)[0]["error"]
        return Refused(code=error["status"], message=error["message"])


def parts_of(bodies: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield the parts of all bodies, in order."""
    for body in bodies:
        yield from body["candidates"][0].get("content", {}).get("parts", ())


def identity(call: dict[str, Any], body: dict[str, Any], index: int) -> str:
    """Return a call's id, or the one that it gets where the provider gave it none."""
    return call.get("id") or f"{body['responseId']}-{index}"


def usage(counted: dict[str, Any], bodies: list[dict[str, Any]]) -> TokenUsage:
    """Return the counts in disjoint buckets; no recorded answer searched the web more than once for one query."""
    cached = counted.get("cachedContentTokenCount", 0)
    thoughts = counted.get("thoughtsTokenCount", 0)
    metadata = [body["candidates"][0].get("groundingMetadata", {}) for body in bodies]
    return TokenUsage(
        input=counted["promptTokenCount"] - cached + counted.get("toolUsePromptTokenCount", 0),
        cache_read=cached,
        output=counted.get("candidatesTokenCount", 0) + thoughts,
        reasoning=thoughts,
        searches=len({query for item in metadata for query in item.get("webSearchQueries", ())}),
    )


def as_events(exchange: Exchange) -> Exchange:
    """Return an exchange that was asked for as a list, framed as the adapter asks for it: the same bodies, one an event."""
    if exchange["sse"] or ":streamGenerateContent" not in exchange["url"]:
        return exchange
    events = "".join(f"data: {json.dumps(body)}\r\n\r\n" for body in json.loads(exchange["response"]))
    return {**exchange, "sse": True, "content_type": "text/event-stream", "response": events}


@needs_recordings
async def test_recorded_exchanges_are_understood() -> None:
    """Every answer gives its text, thoughts, tool calls, finish reason, model and usage; every error its kind and code."""
    results = await results_of(GeminiReading(), map(as_events, recorded.exchanges_of("gemini")))
    assert results.wrong == []
    assert results.passed.total() >= 100


@needs_recordings
async def test_every_signature_is_kept() -> None:
    """Each recorded signature of a text or call is in the answer, on a thinking part of its own directly before it."""
    reading, seen = GeminiReading(), 0
    for exchange in map(as_events, recorded.exchanges_of("gemini")):
        if exchange["status"] != 200 or reading.why_not(exchange):
            continue
        signed = [
            f"gemini:{part['thoughtSignature']}"
            for part in parts_of(recorded.bodies(exchange))
            if "thoughtSignature" in part and ("text" in part or "functionCall" in part)
        ]
        reply = (await recorded.replayed(reading, exchange))[-1]
        assert [sign for part in reply.parts if (sign := getattr(part.content, "signature", ""))] == signed
        seen += len(signed)
    assert seen >= 60
