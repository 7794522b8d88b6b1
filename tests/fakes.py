"""Fakes of the ports, one a port; each passes the same contract suite as what it stands for. Each owner has a heading."""

import asyncio
import heapq
import itertools
from collections import deque
from collections.abc import AsyncIterator, Callable

from aigend.providers.port import (
    FaultKind,
    ProviderCall,
    ProviderFault,
    ProviderReply,
    StreamEvent,
    TextDelta,
    ThinkingDelta,
    ToolCallDone,
)
from aigend.types import CompletionRequest, FinishReason, Part, Text, Thinking, TokenUsage, ToolCall

# --- Clock ---------------------------------------------------------------------------------------------------------------


class FakeClock:
    """A clock that stands until it is advanced; it passes as `aigend.clock.Clock`.

    Args:
        now: Wall clock at the beginning, seconds since 1970.
    """

    def __init__(self, now: float = 1_767_225_600.0) -> None:
        self._wall = now
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()

    def time(self) -> float:
        """Return the wall clock."""
        return self._wall

    def monotonic(self) -> float:
        """Return seconds since the clock was made, plus what it was advanced."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Return when the clock has been advanced that far."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._monotonic + seconds, next(self._order), woken))
        await woken

    @property
    def sleeper_count(self) -> int:
        """How many wait for the clock."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Let time pass; those who slept so long run when the test next awaits."""
        until = self._monotonic + seconds
        while self._sleepers and self._sleepers[0][0] <= until:
            due, _, woken = heapq.heappop(self._sleepers)
            self._wall += due - self._monotonic
            self._monotonic = due
            if not woken.done():
                woken.set_result(None)
        self._wall += until - self._monotonic
        self._monotonic = until

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back; monotonic time does not move."""
        self._wall += seconds


async def settle(turns: int = 20) -> None:
    """Let everything that is ready to run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


# --- Providers -----------------------------------------------------------------------------------------------------------

Outcome = ProviderReply | ProviderFault | Exception | str


class FakeProvider:
    """A provider that answers what it is told to, at once or when its gate opens; it passes the contract of providers.

    Args:
        name: The account's name.
        refusal: What `check` raises; None accepts everything.
    """

    adapter = "fake"

    def __init__(self, name: str = "fake", *, refusal: Callable[[CompletionRequest], Exception | None] | None = None) -> None:
        self.name = name
        self.calls: list[ProviderCall] = []
        self.in_flight = 0
        self.peak_in_flight = 0
        self.closed = False
        self._outcomes: deque[Outcome] = deque()
        self._refusal = refusal
        self._gate = asyncio.Event()
        self._gate.set()
        self._arrived = asyncio.Condition()

    def will(self, *outcomes: Outcome) -> None:
        """Give these outcomes to the next calls, in order: a text, a whole reply, or a fault to raise.

        Where they are used up, a call is answered with `answer to: <the last text of the prompt>`.
        """
        self._outcomes.extend(outcomes)

    def hold(self) -> None:
        """Let calls wait until `release`."""
        self._gate.clear()

    def release(self) -> None:
        """Let waiting calls go on."""
        self._gate.set()

    async def arrived(self, count: int) -> None:
        """Return when so many calls have come in."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.calls) >= count)

    def check(self, request: CompletionRequest) -> None:
        """Return, or raise the refusal."""
        if self._refusal is not None and (error := self._refusal(request)) is not None:
            raise error

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return or raise what was told."""
        outcome = await self._outcome(call)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield what was told: text word by word; a CUT fault with partial text comes after that much of it."""
        outcome = await self._outcome(call)
        if isinstance(outcome, ProviderFault) and outcome.kind is FaultKind.CUT and outcome.partial_text_len:
            yield TextDelta("x" * outcome.partial_text_len)
        if isinstance(outcome, Exception):
            raise outcome
        for part in outcome.parts:
            for event in _events(part):
                yield event
        yield outcome

    async def aclose(self) -> None:
        """Take note."""
        self.closed = True

    async def _outcome(self, call: ProviderCall) -> ProviderReply | Exception:
        self.calls.append(call)
        outcome = self._outcomes.popleft() if self._outcomes else f"answer to: {_last_text(call.request)}"
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        try:
            async with self._arrived:
                self._arrived.notify_all()
            await self._gate.wait()
        finally:
            self.in_flight -= 1
        return fake_reply(outcome, model=call.model) if isinstance(outcome, str) else outcome


def fake_reply(text: str = "an answer", *, model: str = "model-1", calls: tuple[ToolCall, ...] = (), **more) -> ProviderReply:
    """Return a reply with a text or tool calls; what else it holds may be given by field."""
    parts = ((Part(Text(text)),) if text else ()) + tuple(Part(call) for call in calls)
    usage = TokenUsage(input=10, output=max(1, len(text) // 4))
    finish = FinishReason.TOOL_CALLS if calls else FinishReason.STOP
    fields = {"parts": parts, "finish_reason": finish, "resolved_model": model, "usage": usage, "provider_usage_json": "{}"}
    return ProviderReply(**(fields | more))


def _events(part: Part) -> list[StreamEvent]:
    if isinstance(part.content, Text):
        words = part.content.text.split(" ")
        return [TextDelta(word if index == 0 else f" {word}") for index, word in enumerate(words)]
    if isinstance(part.content, Thinking):
        return [ThinkingDelta(part.content.text)]
    return [ToolCallDone(part.content)] if isinstance(part.content, ToolCall) else []


def _last_text(request: CompletionRequest) -> str:
    texts = [part.content.text for message in request.messages for part in message.parts if isinstance(part.content, Text)]
    return texts[-1] if texts else ""
