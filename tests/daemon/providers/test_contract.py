"""The contract of providers: adapters against the emulator and the fake of other rooms' tests pass the same suite."""

import asyncio
from collections.abc import AsyncIterator
from typing import Protocol

import pytest
from aigend.config import ProviderSettings
from aigend.providers.anthropic import messages as anthropic
from aigend.providers.gemini import provider as gemini
from aigend.providers.openai import chat as openai
from aigend.providers.openai import responses
from aigend.providers.perplexity import agent as perplexity
from aigend.providers.perplexity import sonar
from aigend.providers.port import (
    FaultKind,
    Provider,
    ProviderFault,
    ProviderReply,
    StreamEvent,
    TextDelta,
    ToolCallDone,
)
from aigend.types import Document, FinishReason, Tool, ToolCall
from pydantic import SecretStr

from tests.daemon.providers.asking import call, request
from tests.emulator_server import RunningEmulator
from tests.fakes import FakeProvider, fake_reply

ADAPTERS = {
    "openai": openai,
    "anthropic": anthropic,
    "openai-responses": responses,
    "perplexity": perplexity,
    "sonar": sonar,
    "gemini": gemini,
}
PATHS = {"perplexity": "/perplexity/v1", "sonar": ""}  # where the emulator understands them, if not at /v1
SCRIPTED = {
    FaultKind.UNREACHABLE: None,
    FaultKind.REJECTED: {"status": 400},
    FaultKind.AUTH: {"status": 401},
    FaultKind.RATE_LIMITED: {"status": 429, "retry_after": "7"},
    FaultKind.SERVER_ERROR: {"status": 503},
    FaultKind.RESET: {"reset": True},
    FaultKind.BAD_ANSWER: {"garbage": "html"},
    FaultKind.TOO_LARGE: {"size": 1_200_000},
}
TOOLS = (Tool(name="weather", parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}}'),)


class World(Protocol):
    """A provider and the power to make it fail or wait."""

    provider: Provider

    def fail(self, kind: FaultKind) -> None:
        """Let the next call fail."""

    def call_tool(self) -> None:
        """Let the next call be answered with a tool call."""

    def hang(self) -> None:
        """Let the next call wait for ever."""

    def recover(self) -> None:
        """Let the calls after it be answered."""


class FakeWorld:
    """The fake."""

    def __init__(self) -> None:
        self.provider = FakeProvider()

    def fail(self, kind: FaultKind) -> None:
        """Let the next call fail."""
        retry_after_s = 7.0 if kind is FaultKind.RATE_LIMITED else None
        self.provider.will(ProviderFault(kind, "scripted", retry_after_s=retry_after_s))

    def call_tool(self) -> None:
        """Let the next call be answered with a tool call."""
        self.provider.will(fake_reply("", calls=(ToolCall(id="c1", name="weather", arguments_json='{"city": "x"}'),)))

    def hang(self) -> None:
        """Let the next call wait."""
        self.provider.hold()

    def recover(self) -> None:
        """Let calls be answered."""
        self.provider.release()


class SdkWorld:
    """An adapter, its SDK, and the emulator on loopback."""

    def __init__(self, adapter: str, emulator: RunningEmulator) -> None:
        self._emulator = emulator
        base_url = emulator.base_url.removesuffix("/v1") + PATHS.get(adapter, "/v1")
        settings = ProviderSettings(adapter=adapter, base_url=base_url, api_key=SecretStr("sk-test"))
        self.provider = ADAPTERS[adapter].connect("account", settings, answer_bytes=1_000_000)

    def fail(self, kind: FaultKind) -> None:
        """Let the next call fail."""
        if SCRIPTED[kind] is None:
            client = self.provider._client
            (client if hasattr(client, "base_url") else client._http_options).base_url = "http://127.0.0.1:1/v1"
        else:
            self._emulator.script(SCRIPTED[kind])

    def call_tool(self) -> None:
        """The emulated model calls a tool where one is on offer."""

    def hang(self) -> None:
        """Let the next call wait."""
        self._emulator.script({"hang": True})

    def recover(self) -> None:
        """Let calls be answered."""
        self._emulator.emulator.script.clear()


@pytest.fixture(params=["fake", *ADAPTERS])
async def world(request: pytest.FixtureRequest, emulator: RunningEmulator) -> AsyncIterator[World]:
    """Return each of the worlds."""
    made = FakeWorld() if request.param == "fake" else SdkWorld(request.param, emulator)
    yield made
    await made.provider.aclose()


async def read_into(seen: list[StreamEvent], stream: AsyncIterator[StreamEvent]) -> None:
    """Read a stream as far as it goes."""
    async for event in stream:
        seen.append(event)  # noqa: PERF401 - what came before a fault counts


async def test_an_answer_is_whole(world: World) -> None:
    """A reply has text, a finish reason, a model and usage."""
    reply = await world.provider.complete(call())
    assert reply.parts[0].content.text
    assert reply.finish_reason is FinishReason.STOP
    assert reply.resolved_model
    assert reply.usage.input > 0
    assert reply.usage.output > 0


async def test_a_stream_is_the_same_answer(world: World) -> None:
    """The deltas join to the reply's text, the reply comes last and once, and unary says the same."""
    events = [event async for event in world.provider.stream(call())]
    assert isinstance(events[-1], ProviderReply)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == events[-1].parts[0].content.text
    assert sum(isinstance(event, ProviderReply) for event in events) == 1
    assert (await world.provider.complete(call())).parts == events[-1].parts


async def test_tool_calls_come_whole(world: World) -> None:
    """A tool call is one event, equal to the reply's part."""
    world.call_tool()
    events = [event async for event in world.provider.stream(call(tools=TOOLS))]
    (done,) = [event for event in events if isinstance(event, ToolCallDone)]
    assert done.call.name == "weather"
    assert [part.content for part in events[-1].parts if not isinstance(part.content, Document)] == [done.call]
    assert events[-1].finish_reason is FinishReason.TOOL_CALLS


@pytest.mark.parametrize("kind", SCRIPTED, ids=str)
async def test_a_fault_has_its_kind(world: World, kind: FaultKind) -> None:
    """A failed call raises a ProviderFault that says what is known."""
    world.fail(kind)
    with pytest.raises(ProviderFault) as caught:
        await world.provider.complete(call())
    assert caught.value.kind is kind
    assert caught.value.message
    assert caught.value.retry_after_s == (7.0 if kind is FaultKind.RATE_LIMITED else None)


@pytest.mark.parametrize("kind", SCRIPTED, ids=str)
async def test_a_fault_of_a_stream_has_its_kind(world: World, kind: FaultKind) -> None:
    """A failed stream raises a ProviderFault and yields no reply."""
    world.fail(kind)
    seen = []
    with pytest.raises(ProviderFault) as caught:
        await read_into(seen, world.provider.stream(call()))
    assert caught.value.kind is kind
    assert not any(isinstance(event, ProviderReply) for event in seen)


async def test_after_a_fault_the_next_call_is_answered(world: World) -> None:
    """A fault spoils one call only."""
    world.fail(FaultKind.RESET)
    with pytest.raises(ProviderFault):
        await world.provider.complete(call())
    assert (await world.provider.complete(call())).parts


async def test_a_cancelled_call_is_gone(world: World) -> None:
    """Cancelling raises CancelledError, not a fault, and the next call is answered."""
    world.hang()
    task = asyncio.create_task(world.provider.complete(call()))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    world.recover()
    assert (await world.provider.complete(call())).parts


async def test_a_stream_may_be_left(world: World) -> None:
    """A consumer that stops early closes the stream, and the next call is answered."""
    stream = world.provider.stream(call())
    await anext(stream)
    await stream.aclose()
    assert (await world.provider.complete(call())).parts


async def test_a_plain_request_can_be_sent(world: World) -> None:
    """What every provider can send passes the check."""
    world.provider.check(request())


async def test_closing_twice_is_harmless(world: World) -> None:
    """A provider may be closed again."""
    await world.provider.aclose()
    await world.provider.aclose()
