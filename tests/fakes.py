"""Fakes of the ports, one a port; each passes the same contract suite as what it stands for. Each owner has a heading."""

import asyncio
import heapq
import itertools
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from aigend.intake.port import Delivery, SourceFault
from aigend.providers.batch_port import (
    BatchLimits,
    BatchLine,
    BatchProgress,
    BatchResult,
    BatchSearch,
    BatchState,
    Found,
)
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
from aigend.providers.rate_headers import tell_rates
from aigend.rate_facts import RateFacts
from aigend.types import CompletionRequest, FinishReason, Part, Processing, Text, Thinking, TokenUsage, ToolCall

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
        self.rates: RateFacts | None = None  # what its answers say of them
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
        if self.rates is not None:
            tell_rates(self.rates)
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


# --- Batch APIs ----------------------------------------------------------------------------------------------------------


@dataclass
class FakeJob:
    """A job as the fake keeps it; tests may read it."""

    job_id: str
    mark: str
    lines: tuple[BatchLine, ...]
    made_at: float
    state: BatchState = BatchState.RUNNING
    outcomes: dict[str, ProviderReply | ProviderFault | None] = field(default_factory=dict)


class FakeBatchProvider:
    """A batch API in memory: jobs run when they are told to; it passes the contract of batch APIs.

    Args:
        name: The account's name.
        now: Dates jobs, unix seconds.
        limits: What one job may hold.
        shows_marks: Whether jobs are found by their mark at once; else only when they have ended, by the ids of their lines.
        refusal: What `check` raises; None accepts everything.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        now: Callable[[], float] = time.time,
        limits: BatchLimits | None = None,
        shows_marks: bool = True,
        refusal: Callable[[CompletionRequest], Exception | None] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits or BatchLimits(max_lines=1_000, max_bytes=10_000_000, window_s=86_400)
        self.jobs: dict[str, FakeJob] = {}
        self.submitted: list[tuple[BatchLine, ...]] = []  # each attempt to submit, taken or not
        self.searches = 0
        self.polls = 0
        self.closed = False
        self._now = now
        self._shows_marks = shows_marks
        self._refusal = refusal
        self._submit_faults: deque[tuple[ProviderFault, bool]] = deque()
        self._faults: dict[str, deque[ProviderFault]] = {}
        self._searches: deque[BatchSearch] = deque()
        self._cut: tuple[int, ProviderFault] | None = None

    def fail_submit(self, fault: ProviderFault, *, accepted: bool = False) -> None:
        """Let the next submit raise a fault; with `accepted` the job is made all the same."""
        self._submit_faults.append((fault, accepted))

    def fail(self, method: str, fault: ProviderFault) -> None:
        """Let the next call of `find`, `progress`, `results` or `cancel` raise a fault."""
        self._faults.setdefault(method, deque()).append(fault)

    def cut_results(self, after: int, fault: ProviderFault) -> None:
        """Let the next reading of results end with a fault after so many lines."""
        self._cut = (after, fault)

    def will_find(self, *searches: BatchSearch) -> None:
        """Give these answers to the next searches."""
        self._searches.extend(searches)

    def run(self, job_id: str = "", outcomes: Mapping[str, ProviderReply | ProviderFault | None] | None = None) -> None:
        """Let a job end, or all that run; what is not among the outcomes is answered with `answer to: <the prompt>`."""
        for job in self._those(job_id):
            self._answer(job, job.lines, outcomes or {})
            job.state = BatchState.ENDED

    def expire(self, job_id: str = "", *, answered: int = 0) -> None:
        """Let a job's window pass when so many of its lines had been run."""
        self._stop(job_id, BatchState.EXPIRED, answered)

    def refuse(self, job_id: str = "") -> None:
        """Let a job fail as a whole."""
        for job in self._those(job_id):
            job.state = BatchState.FAILED

    def finish_cancel(self, job_id: str = "", *, answered: int = 0) -> None:
        """Let a job be cancelled when so many of its lines had been run."""
        self._stop(job_id, BatchState.CANCELLED, answered)

    def check(self, request: CompletionRequest) -> None:
        """Return, or raise the refusal."""
        if self._refusal is not None and (error := self._refusal(request)) is not None:
            raise error

    def size_of(self, line: BatchLine) -> int:
        """Return a length that grows with the prompt."""
        return len(line.custom_id) + len(_last_text(line.call.request).encode()) + 64

    async def submit(self, lines: Sequence[BatchLine], *, mark: str) -> str:
        """Keep the lines as a job that runs, and return its id."""
        self.submitted.append(tuple(lines))
        await asyncio.sleep(0)
        fault, accepted = self._submit_faults.popleft() if self._submit_faults else (None, True)
        job_id = f"job-{len(self.submitted)}"
        if accepted:
            self.jobs[job_id] = FakeJob(job_id, mark, tuple(lines), self._now())
        if fault is not None:
            raise fault
        return job_id

    async def find(self, mark: str, custom_ids: Collection[str], *, since: float) -> BatchSearch:
        """Return what was told, or else what there is."""
        self.searches += 1
        self._raise_told("find")
        if self._searches:
            return self._searches.popleft()
        for job in self.jobs.values():
            same = job.mark == mark if self._shows_marks else {line.custom_id for line in job.lines} == set(custom_ids)
            if same and job.made_at >= since - 60:
                seen = self._shows_marks or job.state is not BatchState.RUNNING
                return BatchSearch(found=Found.FOUND, job_id=job.job_id) if seen else BatchSearch(found=Found.UNDECIDED)
        return BatchSearch(found=Found.ABSENT)

    async def progress(self, job_id: str) -> BatchProgress:
        """Return how far a job is."""
        self.polls += 1
        self._raise_told("progress")
        job = self._job(job_id)
        done = sum(isinstance(outcome, ProviderReply) for outcome in job.outcomes.values())
        ended = job.state is not BatchState.RUNNING
        return BatchProgress(
            state=job.state,
            total=len(job.lines),
            done=done,
            failed=len(job.lines) - done if ended else 0,
            expire_time=job.made_at + self.limits.window_s,
        )

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield what became of each line, the last line first."""
        self._raise_told("results")
        job = self._job(job_id)
        cut, self._cut = self._cut, None
        for number, (custom_id, outcome) in enumerate(reversed(job.outcomes.items())):
            if cut is not None and number == cut[0]:
                raise cut[1]
            yield BatchResult(custom_id=custom_id, outcome=outcome)

    async def cancel(self, job_id: str) -> None:
        """Let a job that runs be cancelled at once."""
        self._raise_told("cancel")
        if self._job(job_id).state is BatchState.RUNNING:
            self.finish_cancel(job_id)

    async def aclose(self) -> None:
        """Take note."""
        self.closed = True

    def _those(self, job_id: str) -> list[FakeJob]:
        return [self.jobs[job_id]] if job_id else [job for job in self.jobs.values() if job.state is BatchState.RUNNING]

    def _job(self, job_id: str) -> FakeJob:
        if job_id not in self.jobs:
            raise ProviderFault(FaultKind.REJECTED, "there is no such job", provider=self.name, status=404)
        return self.jobs[job_id]

    def _stop(self, job_id: str, state: BatchState, answered: int) -> None:
        for job in self._those(job_id):
            self._answer(job, job.lines[:answered], {})
            job.outcomes |= {line.custom_id: None for line in job.lines[answered:]}
            job.state = state

    def _answer(self, job: FakeJob, lines: Sequence[BatchLine], told: Mapping[str, ProviderReply | ProviderFault | None]) -> None:
        for line in lines:
            text = f"answer to: {_last_text(line.call.request)}"
            reply = fake_reply(text, model=line.call.model, processing=Processing.BATCH)
            job.outcomes[line.custom_id] = told.get(line.custom_id, reply)

    def _raise_told(self, method: str) -> None:
        if faults := self._faults.get(method):
            raise faults.popleft()


# --- Sources of work -----------------------------------------------------------------------------------------------------


@dataclass
class FakeQueue:
    """What outlives the lives of a source: the work that was not acknowledged, and the results."""

    work: dict[str, bytes] = field(default_factory=dict)
    results: dict[str, bytes] = field(default_factory=dict)

    def put(self, *bodies: bytes) -> None:
        """Add work."""
        for body in bodies:
            self.work[f"work-{len(self.work) + len(self.results)}"] = body


class FakeWorkSource:
    """A source in memory; it passes the contract of sources.

    Args:
        queue: Where its work lies.
        clock: Waits between two looks.
    """

    def __init__(self, queue: FakeQueue, *, clock: FakeClock) -> None:
        self.queue = queue
        self.most_asked: list[int] = []
        self._clock = clock
        self._handed: set[str] = set()
        self._faults: dict[str, int] = {}
        self.closed = False

    @property
    def waiting(self) -> int:
        """Work that is not acknowledged."""
        return len(self.queue.work)

    def fail(self, method: str, times: int = 1) -> None:
        """Let the next calls of `receive`, `deliver` or `acknowledge` fail."""
        self._faults[method] = times

    async def open(self) -> None:
        """Do nothing."""

    async def receive(self, most: int) -> Sequence[Delivery]:
        """Return what was not handed out in this life."""
        self.most_asked.append(most)
        self._raise_told("receive")
        while not (fresh := [name for name in self.queue.work if name not in self._handed]):
            await self._clock.sleep(1.0)
        self._handed.update(fresh[:most])
        return [Delivery(id=name, body=self.queue.work[name], about={"index": 0}) for name in fresh[:most]]

    async def deliver(self, delivery: Delivery, result: bytes) -> None:
        """Keep the first result."""
        self._raise_told("deliver")
        self.queue.results.setdefault(delivery.id, result)

    async def acknowledge(self, delivery: Delivery) -> None:
        """Forget the work."""
        self._raise_told("acknowledge")
        self.queue.work.pop(delivery.id, None)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True

    def _raise_told(self, method: str) -> None:
        if self._faults.get(method, 0) > 0:
            self._faults[method] -= 1
            raise SourceFault("made up")
