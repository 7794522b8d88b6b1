"""What the conformance suite knows of each adapter: where it is pointed, what its format can't say, and what its errors are called.

The cases themselves stand in `conformance_cases.py`, `conformance_bills.py` and `conformance_faults.py`, and know no adapter.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import Any

import pytest
from aigen_emulator.server import EmulatorServer
from aigend.config import ProviderSettings
from aigend.providers.anthropic import messages as anthropic
from aigend.providers.gemini import provider as gemini
from aigend.providers.openai import chat as openai
from aigend.providers.openai import responses
from aigend.providers.perplexity import agent as perplexity
from aigend.providers.perplexity import sonar
from aigend.providers.port import Provider, ProviderCall, ProviderFault, ProviderReply, StreamEvent
from aigend.types import Text
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.emulator_server import RunningEmulator

KEY = "sk-planted-0123456789"
ANSWER_BYTES = 1_000_000
BOTH = (False, True)  # whole and streamed
NAME = "account"


@dataclass(frozen=True, kw_only=True)
class Manners:
    """What one adapter's provider is like, as far as its format decides it."""

    module: ModuleType
    model: str
    path: str = "/v1"  # where the emulator understands it
    input_field: str  # what its usage calls the tokens of the prompt
    option: str  # an option that it takes and no field of ours stands for
    foreign_seal: str = "gemini:"  # how the signatures of another provider begin
    shows_thinking: bool = False  # in text or sealed, so that it can be sent back
    thinking_option: str = ""  # what must be asked for to see it
    counts_reasoning: bool = True
    counts_cached: bool = True
    marked_caches: bool = False  # whether prefixes are cached only where they are marked


ADAPTERS = {
    "openai": Manners(module=openai, model="gpt-4o", input_field="prompt_tokens", option='{"presence_penalty": 0.5}'),
    "openai-responses": Manners(
        module=responses,
        model="gpt-4o",
        input_field="input_tokens",
        option='{"truncation": "auto"}',
        shows_thinking=True,
        thinking_option='{"reasoning": {"summary": "auto"}}',
    ),
    "anthropic": Manners(
        module=anthropic,
        model="claude-sonnet-4-5",
        input_field="input_tokens",
        option='{"top_k": 5}',
        shows_thinking=True,
        marked_caches=True,
    ),
    "gemini": Manners(
        module=gemini,
        model="gemini-2.5-pro",
        input_field="promptTokenCount",
        option='{"topK": 5}',
        foreign_seal="openai-responses:",
        shows_thinking=True,
    ),
    "perplexity": Manners(
        module=perplexity,
        model="openai/gpt-5",
        path="/perplexity/v1",
        input_field="input_tokens",
        option='{"language_preference": "de"}',
        counts_reasoning=False,
    ),
    "sonar": Manners(
        module=sonar,
        model="sonar-pro",
        path="",
        input_field="prompt_tokens",
        option='{"search_mode": "academic"}',
        counts_reasoning=False,
        counts_cached=False,
    ),
}
_THOUGHT = "messages[1].parts[0].thinking"
REFUSED = {  # what a format can't say, and the field that is named before anything is sent
    ("openai", "document_by_address"): "messages[0].parts[1].document.url",
    ("openai", "thinking_goes_back"): _THOUGHT,
    ("openai", "thinking_of_another_provider"): _THOUGHT,
    ("openai-responses", "seed"): "seed",
    ("openai-responses", "stop_sequence"): "stop_sequences",
    ("openai-responses", "thinking_of_another_provider"): f"{_THOUGHT}.signature",
    ("anthropic", "json_object"): "response_format.type",
    ("anthropic", "flex"): "lane",
    ("anthropic", "flex_served_otherwise"): "lane",
    ("anthropic", "flex_without_room"): "lane",
    ("anthropic", "seed"): "seed",
    ("anthropic", "temperature_above_one"): "temperature",
    ("anthropic", "thinking_of_another_provider"): f"{_THOUGHT}.signature",
    ("gemini", "thinking_of_another_provider"): f"{_THOUGHT}.signature",
    ("perplexity", "document_bytes"): "messages[0].parts[1].document",
    ("perplexity", "document_by_address"): "messages[0].parts[1].document",
    ("perplexity", "json_object"): "response_format.type",
    ("perplexity", "flex"): "lane",
    ("perplexity", "flex_served_otherwise"): "lane",
    ("perplexity", "flex_without_room"): "lane",
    ("perplexity", "seed"): "seed",
    ("perplexity", "stop_sequence"): "stop_sequences",
    ("perplexity", "thinking_goes_back"): _THOUGHT,
    ("perplexity", "thinking_of_another_provider"): _THOUGHT,
    ("perplexity", "tool_forbidden"): "tool_choice",
    ("perplexity", "tool_named"): "tool_choice",
    ("perplexity", "tool_required"): "tool_choice",
    ("sonar", "document_bytes"): "messages[0].parts[1].document",
    ("sonar", "document_by_address"): "messages[0].parts[1].document.url",
    ("sonar", "json_object"): "response_format.type",
    ("sonar", "flex"): "lane",
    ("sonar", "flex_served_otherwise"): "lane",
    ("sonar", "flex_without_room"): "lane",
    ("sonar", "seed"): "seed",
    ("sonar", "thinking_goes_back"): _THOUGHT,
    ("sonar", "thinking_of_another_provider"): _THOUGHT,
    ("sonar", "tool_named"): "tool_choice",
}
UNNOTICED = {  # of these, what the emulated provider would take without a word, or the adapter would drop
    ("anthropic", "flex_served_otherwise"),
    ("anthropic", "flex_without_room"),
    ("perplexity", "flex_served_otherwise"),
    ("sonar", "flex_served_otherwise"),
    ("openai", "thinking_goes_back"),
    ("openai", "thinking_of_another_provider"),
    ("perplexity", "document_bytes"),
    ("perplexity", "document_by_address"),
    ("perplexity", "thinking_goes_back"),
    ("perplexity", "thinking_of_another_provider"),
    ("sonar", "document_bytes"),
    ("sonar", "json_object"),
    ("sonar", "seed"),
    ("sonar", "thinking_goes_back"),
    ("sonar", "thinking_of_another_provider"),
    ("sonar", "tool_named"),
}
_OPENAI = {
    400: "invalid_request_error",
    401: "invalid_api_key",
    402: "billing_hard_limit_reached",
    403: "unsupported_country_region_territory",
    404: "model_not_found",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_error",
    529: "overloaded_error",
}
_ANTHROPIC = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    503: "api_error",
    529: "overloaded_error",
}
_GOOGLE = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "FAILED_PRECONDITION",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    529: "UNAVAILABLE",
}
_PERPLEXITY = {
    400: "bad_request",
    401: "invalid_api_key",
    402: "insufficient_credits",
    403: "bad_request",
    404: "model_not_found",
    413: "bad_request",
    422: "bad_request",
    429: "rate_limit_exceeded",
    500: "server_error",
    503: "server_error",
    529: "server_error",
}
CODES = {  # what each provider calls its errors, by status
    "openai": _OPENAI,
    "openai-responses": _OPENAI,
    "anthropic": _ANTHROPIC,
    "gemini": _GOOGLE,
    "perplexity": _PERPLEXITY,
    "sonar": _PERPLEXITY,
}


@dataclass
class Bench:
    """One adapter, its SDK and the emulator, with ways to ask."""

    adapter: str
    emulator: RunningEmulator
    checks: bool = True  # whether calls pass the adapter's check first
    asked: int = 0  # calls that passed the check
    _connected: list[Provider] = field(default_factory=list)

    @property
    def manners(self) -> Manners:
        """What the adapter's provider is like."""
        return ADAPTERS[self.adapter]

    @property
    def address(self) -> str:
        """Where the emulator speaks the adapter's format."""
        return self.address_at(self.emulator.server)

    def address_at(self, server: EmulatorServer) -> str:
        """Return where an emulator speaks the adapter's format."""
        return server.provider_url(NAME).removesuffix("/v1") + self.manners.path

    def connect(self, base_url: str = "", *, answer_bytes: int = ANSWER_BYTES) -> Provider:
        """Return the adapter, pointed at an address; without one at the emulator."""
        settings = ProviderSettings(
            adapter=self.adapter, base_url=base_url or self.address, api_key=SecretStr(KEY), service_tiers="send"
        )
        made = self.manners.module.connect(NAME, settings, answer_bytes=answer_bytes)
        self._connected.append(made)
        return made

    @property
    def provider(self) -> Provider:
        """The adapter, pointed at the emulator; the same for the whole case."""
        return self._connected[0] if self._connected else self.connect()

    def call(self, prompt: str = "hello", **more: Any) -> ProviderCall:
        """Return a call that passed the adapter's check.

        Raises:
            DomainError: It did not.
        """
        of_call = {name: more.pop(name) for name in ("model", "request_id", "attempt", "prompt_cache") if name in more}
        asked = replace(call(prompt, **more), **({"model": self.manners.model} | of_call))
        if self.checks:
            self.provider.check(asked.request)
        self.asked += 1
        return asked

    async def ask(self, prompt: str = "hello", *, stream: bool = False, **more: Any) -> ProviderReply:
        """Return the reply, whichever way it comes."""
        if stream:
            return (await self.events(prompt, **more))[-1]
        return await self.provider.complete(self.call(prompt, **more))

    async def events(self, prompt: str = "hello", **more: Any) -> list[StreamEvent]:
        """Return all that a stream yields."""
        return [event async for event in self.provider.stream(self.call(prompt, **more))]

    async def fault(
        self, prompt: str = "hello", *, stream: bool, seen: list[StreamEvent] | None = None, **more: Any
    ) -> ProviderFault:
        """Return the fault of a call that must fail; `seen` gets what came before it."""
        return await fault_of(self.provider, self.call(prompt, **more), stream=stream, seen=seen)

    async def idle(self) -> None:
        """Return when the emulator has nothing left in flight; the test's own timeout bounds it."""
        while self.emulator.emulator.gate.in_flight:  # noqa: ASYNC110 - a counter of another thread
            await asyncio.sleep(0.005)

    async def aclose(self) -> None:
        """Close all connections."""
        for provider in self._connected:
            await provider.aclose()


Case = Callable[[Bench], Awaitable[None]]
CASES: dict[str, Case] = {}


def case(made: Case) -> Case:
    """Take a function into the suite under its own name."""
    CASES[made.__name__] = made
    return made


def text_of(reply: ProviderReply) -> str:
    """Return the text of an answer."""
    return "".join(part.content.text for part in reply.parts if isinstance(part.content, Text))


async def fault_of(
    provider: Provider, asked: ProviderCall, *, stream: bool, seen: list[StreamEvent] | None = None
) -> ProviderFault:
    """Return the fault of a call that must fail; `seen` gets what came before it."""
    events = [] if seen is None else seen
    with pytest.raises(ProviderFault) as caught:
        await (_read_into(events, provider.stream(asked)) if stream else provider.complete(asked))
    assert not any(isinstance(event, ProviderReply) for event in events)
    return caught.value


async def _read_into(seen: list[StreamEvent], stream: AsyncIterator[StreamEvent]) -> None:
    async for event in stream:
        seen.append(event)  # noqa: PERF401 - what came before a fault counts


@dataclass
class Relay:
    """A way to an address that counts connections."""

    port: int
    connections: int = 0
    open: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry bytes both ways until the client has gone."""
        self.connections += 1
        self.open += 1
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.port)
        back = asyncio.create_task(_carry(there_reader, writer))
        await _carry(reader, there_writer)
        await back
        self.open -= 1


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()
