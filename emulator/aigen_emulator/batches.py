"""Batch jobs as the emulated providers run them: line after line on the emulator's clock, each billed once, until time is over.

No wire format here: `wire/*_batches.py` spell jobs and results, `batch_service.py` answers requests about them. A job has no task
of its own: what is due by the clock is run when somebody asks.
"""

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

WINDOW_S = 86_400.0
_YEAR_S = 366 * 86_400


@dataclass(frozen=True, slots=True)
class Line:
    """One request of a job."""

    name: str  # the caller's
    path: str  # the address of a call of its own
    body: bytes


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a line was answered with: status and body of a call of its own."""

    status: int
    body: Any


@dataclass(eq=False, slots=True)
class Job:
    """One job."""

    id: str
    provider: str  # named in the address; "" for none
    family: str  # whose API
    lines: tuple[Line, ...]
    about: Mapping[str, Any]  # what the API keeps beside it
    created: float  # the emulator's clock
    created_wall: float  # unix seconds
    delay_s: float
    window_s: float = WINDOW_S
    keeps_expired: bool = True  # whether what was run counts when the time of the job is over
    problems: tuple[Mapping[str, Any], ...] = ()  # why the whole job fails
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    cancelled: float | None = None  # the emulator's clock
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def succeeded(self) -> int:
        """How many lines were answered."""
        return sum(outcome.status < 400 for outcome in self.outcomes.values())

    @property
    def errored(self) -> int:
        """How many lines were answered with an error."""
        return len(self.outcomes) - self.succeeded

    @property
    def rest(self) -> tuple[Line, ...]:
        """The lines that were not run."""
        return self.lines[len(self.outcomes) :]

    def due(self, now: float) -> int:
        """Return how many lines are to have been run by then."""
        if not self.keeps_expired and self.delay_s > self.window_s:
            return 0
        until = min(now, self.created + self.window_s, now if self.cancelled is None else self.cancelled)
        return len(self.lines) if self.delay_s <= 0 else min(len(self.lines), int(len(self.lines) * self._share(until)))

    def state(self, now: float) -> str:
        """Return one of failed, running, ended, cancelled, expired."""
        if self.problems:
            return "failed"
        if not self.rest:
            return "ended"
        if self.cancelled is not None:
            return "cancelled"
        return "expired" if now >= self.created + self.window_s else "running"

    def _share(self, until: float) -> float:
        return (until - self.created) / self.delay_s + 1e-9


Run = Callable[[Job, Line], Awaitable[Outcome]]


class Batches:
    """Keeps uploaded files and jobs, and runs what is due.

    Args:
        now: The emulator's clock.
        run: Runs and bills one line.
    """

    def __init__(self, now: Callable[[], float], run: Run) -> None:
        self.delay_s = 0.0  # from making a job to its last answer
        self.window_s = WINDOW_S
        self.files: dict[str, bytes] = {}
        self._now = now
        self._run = run
        self._jobs: dict[str, Job] = {}
        self._numbers = itertools.count(1)

    def number(self) -> int:
        """Return a number for a new file or job."""
        return next(self._numbers)

    def add(
        self,
        job_id: str,
        *,
        provider: str,
        family: str,
        lines: tuple[Line, ...],
        about: Mapping[str, Any],
        problems: tuple[Mapping[str, Any], ...] = (),
        keeps_expired: bool = True,
    ) -> Job:
        """Take a job in and return it."""
        job = Job(
            id=job_id,
            provider=provider,
            family=family,
            lines=lines,
            about=about,
            created=self._now(),
            created_wall=time.time(),
            delay_s=self.delay_s,
            window_s=self.window_s,
            problems=problems,
            keeps_expired=keeps_expired,
        )
        self._jobs[job_id] = job
        return job

    async def find(self, family: str, provider: str, job_id: str) -> Job | None:
        """Return a job as it stands now; None where the provider has none of that id."""
        job = self._jobs.get(job_id)
        if job is None or (job.family, job.provider) != (family, provider):
            return None
        await self._catch_up(job)
        return job

    async def listed(self, family: str, provider: str) -> list[Job]:
        """Return all jobs of a provider as they stand now, the latest first."""
        jobs = [job for job in self._jobs.values() if (job.family, job.provider) == (family, provider)]
        for job in jobs:
            await self._catch_up(job)
        return jobs[::-1]

    def state(self, job: Job) -> str:
        """Return how a job stands now."""
        return job.state(self._now())

    def pace(self, *, delay_s: Any = None, window_s: Any = None) -> None:
        """Let jobs made from now on take so long, and have so long.

        Raises:
            ValueError: One of them is no number from 0 to a year.
        """
        for name, value in (("delay_s", delay_s), ("window_s", window_s)):
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _YEAR_S:
                raise ValueError(f"{name} is {value!r}; allowed: 0 to {_YEAR_S}")
            setattr(self, name, float(value))

    def forget(self) -> None:
        """Drop all files and jobs: what was not run of them never is, and never billed."""
        self.files.clear()
        self._jobs.clear()

    def cancel(self, job: Job) -> bool:
        """Stop a job; False where it has ended already."""
        if self.state(job) != "running":
            return False
        job.cancelled = self._now()
        return True

    def stats(self) -> dict[str, int]:
        """Return what there is, for tests and people."""
        return {
            "files": len(self.files),
            "jobs": len(self._jobs),
            "lines": sum(len(job.lines) for job in self._jobs.values()),
            "lines_run": sum(len(job.outcomes) for job in self._jobs.values()),
        }

    async def _catch_up(self, job: Job) -> None:
        async with job.turn:
            while not job.problems and len(job.outcomes) < job.due(self._now()):
                line = job.rest[0]
                job.outcomes[line.name] = await self._run(job, line)
