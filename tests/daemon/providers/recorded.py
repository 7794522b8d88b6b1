"""Real exchanges with providers, recorded by others: served on loopback, read through SDK and adapter, compared field by field.

A provider's test brings a `Reading`: how to read its recordings as plainly as can be, without the adapter. The recordings are
not part of the project; where they are absent the tests skip.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
from aigend.providers.port import (
    FaultKind,
    Provider,
    ProviderFault,
    ProviderReply,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDone,
)
from aigend.types import FinishReason, Text, Thinking, TokenUsage, ToolCall

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes

RECORDINGS = Path(__file__).parents[4] / "shared" / "data" / "recorded_exchanges.jsonl"
ANSWER_BYTES = 10_000_000
KINDS = {
    400: FaultKind.REJECTED,
    401: FaultKind.AUTH,
    402: FaultKind.AUTH,
    403: FaultKind.AUTH,
    404: FaultKind.REJECTED,
    429: FaultKind.RATE_LIMITED,
    500: FaultKind.SERVER_ERROR,
    503: FaultKind.SERVER_ERROR,
    529: FaultKind.SERVER_ERROR,
}

Exchange = Mapping[str, Any]

needs_recordings = pytest.mark.skipif(not RECORDINGS.is_file(), reason="the recorded exchanges are not here")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What an answer says."""

    text: str
    thinking: str = ""
    finish: FinishReason
    model: str
    usage: TokenUsage | None
    calls: tuple[tuple[str, str, Any], ...] = ()  # id, name, arguments as JSON


@dataclass(frozen=True, kw_only=True)
class Refused:
    """What an error says."""

    code: str
    message: str
    retry_after_s: float | None = None


class Reading(Protocol):
    """One provider's recordings, read without the adapter."""

    adapter: str  # the wire format that is read
    provider: str  # as the recordings name it

    def why_not(self, exchange: Exchange) -> str:
        """Return why an exchange is none that the adapter could have made; empty where it is."""

    def connect(self, base_url: str) -> Provider:
        """Return the adapter, pointed at an address that ends in /v1."""

    def said(self, exchange: Exchange) -> Said:
        """Return what an answer says."""

    def refused(self, exchange: Exchange) -> Refused:
        """Return what an error says."""


@dataclass
class Results:
    """How the recordings of one provider came out with one adapter."""

    adapter: str
    passed: Counter[str] = field(default_factory=Counter)  # whole, stream or error
    not_applicable: Counter[str] = field(default_factory=Counter)  # by reason
    wrong: list[str] = field(default_factory=list)

    def table(self) -> str:
        """Return the results for people: passed by kind, and how many were left out for which reason."""
        lines = [f"{self.adapter}: {self.passed.total()} recorded exchanges understood {dict(self.passed)}, {len(self.wrong)} not"]
        lines += [f"  not applicable: {count} ({reason})" for reason, count in sorted(self.not_applicable.items())]
        return "\n".join(lines)


@functools.cache
def exchanges_of(provider: str) -> tuple[Exchange, ...]:
    """Return the recorded exchanges of a provider, or nothing where there are none."""
    if not RECORDINGS.is_file():
        return ()
    with RECORDINGS.open(encoding="utf-8") as lines:
        exchanges = [json.loads(line) for line in lines]
    return tuple(exchange for exchange in exchanges if exchange["provider"] == provider)


def bodies(exchange: Exchange) -> list[Any]:
    """Return the JSON bodies of an answer: its events, or the one that it is."""
    if not exchange["sse"]:
        return [json.loads(exchange["response"])]
    data = [line[5:].strip() for line in exchange["response"].splitlines() if line.startswith("data:")]
    return [json.loads(item) for item in data if item != "[DONE]"]


async def results_of(reading: Reading, exchanges: Iterable[Exchange] | None = None) -> Results:
    """Return how all recordings of a provider come out, or those given, and print it as a figure of the run."""
    results = Results(reading.adapter)
    for exchange in exchanges_of(reading.provider) if exchanges is None else exchanges:
        reason = reading.why_not(exchange)
        if reason:
            results.not_applicable[reason] += 1
        elif wrong := await _what_is_wrong(reading, exchange):
            results.wrong.append(f"{exchange['repo']}/{exchange['path']}#{exchange['i']}: {wrong}")
        else:
            results.passed[_kind(exchange)] += 1
    print(results.table())  # noqa: T201 - a figure of the run
    return results


async def replayed(reading: Reading, exchange: Exchange) -> list[StreamEvent]:
    """Return the events that the adapter makes of a recorded exchange; a whole answer is one event.

    Raises:
        ProviderFault: The adapter takes it for a failure.
    """
    headers = {"content-type": exchange["content_type"]}
    async with serving_bytes(exchange["response"].encode(), status=exchange["status"], headers=headers) as server:
        provider = reading.connect(server.base_url)
        try:
            if exchange["sse"]:
                return [event async for event in provider.stream(call())]
            return [await provider.complete(call())]
        finally:
            await provider.aclose()


def told(reply: ProviderReply) -> Said:
    """Return what the adapter made of an exchange."""
    contents = [part.content for part in reply.parts]
    return Said(
        text="".join(content.text for content in contents if isinstance(content, Text)),
        thinking="".join(content.text for content in contents if isinstance(content, Thinking)),
        finish=reply.finish_reason,
        model=reply.resolved_model,
        usage=reply.usage,
        calls=tuple((item.id, item.name, _parsed(item.arguments_json)) for item in contents if isinstance(item, ToolCall)),
    )


def _kind(exchange: Exchange) -> str:
    return "error" if exchange["status"] >= 400 else "stream" if exchange["sse"] else "whole"


async def _what_is_wrong(reading: Reading, exchange: Exchange) -> str:
    """Return what the adapter got wrong; empty where nothing."""
    try:
        events = await replayed(reading, exchange)
    except ProviderFault as fault:
        return _wrong_fault(reading, exchange, fault)
    if exchange["status"] >= 400:
        return "an error was taken for an answer"
    reply = events[-1]
    if not isinstance(reply, ProviderReply):
        return "the last event is no reply"
    expected, got = reading.said(exchange), told(reply)
    if got != expected:
        return f"{got} instead of {expected}"
    return _wrong_deltas(events, got) if exchange["sse"] else ""


def _wrong_fault(reading: Reading, exchange: Exchange, fault: ProviderFault) -> str:
    if exchange["status"] < 400:
        return f"an answer was taken for {fault}"
    got = (fault.kind, Refused(code=fault.code, message=fault.provider_message, retry_after_s=fault.retry_after_s))
    expected = (KINDS[exchange["status"]], reading.refused(exchange))
    return "" if got == expected else f"{got} instead of {expected}"


def _wrong_deltas(events: list[StreamEvent], said: Said) -> str:
    """The pieces of a stream add up to its answer."""
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    thinking = "".join(event.text for event in events if isinstance(event, ThinkingDelta))
    calls = tuple(event.call.id for event in events if isinstance(event, ToolCallDone))
    expected = (said.text, said.thinking, tuple(identity for identity, _, _ in said.calls))
    return "" if (text, thinking, calls) == expected else f"the deltas are {(text, thinking, calls)} instead of {expected}"


def _parsed(arguments: str) -> Any:
    """Return arguments as JSON, or as they came where they were cut."""
    try:
        return json.loads(arguments) if arguments else {}
    except ValueError:
        return arguments
