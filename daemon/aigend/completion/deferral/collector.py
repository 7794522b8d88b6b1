"""Lines of lane DEFERRED that wait for company, and when they leave in a provider's batch job.

A group is what may share one job: a provider's account and a model. It leaves when its first line has waited long enough, when no
further one has come for a while, when a line's latest start has come, or when a job can hold no more.
"""

import asyncio
import contextlib
import math
import secrets
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from aigend.clock import Clock
from aigend.completion.deferral.lines import Line, LineBooks
from aigend.completion.deferral.places import BatchPlaces, batch_of
from aigend.completion.deferral.poller import Jobs
from aigend.completion.snapshot import Snapshot
from aigend.config import DeferredSettings
from aigend.errors import DomainError, Reason
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import AGE_BOUND_S, UploadRow
from aigend.ledger.entries import AttemptState, StateConflict
from aigend.providers.registry import Account

NEAR_S = 0.001  # sums of times differ by less; what is due so soon is due
MOST_LINES = 2_000  # of one job, whatever its provider takes: they are written in one commit, which others wait for
RETRY_S = 30.0  # after which what could not leave is tried again
Place = tuple[str, int, str]  # provider, number of the key, model
_log = structlog.get_logger("aigend.completion")


@dataclass(slots=True)
class _Group:
    """Lines that may share one job, oldest first, and when they leave."""

    waiting: dict[Line, None] = field(default_factory=dict)
    size: int = 0  # bytes as uploaded, about: it is not counted again when a line is given up
    start_by: float = math.inf  # wall clock; earliest latest start
    not_before: float = 0.0  # monotonic clock; after a try that failed

    @property
    def lines(self) -> list[Line]:
        """The lines, oldest first."""
        return list(self.waiting)

    def add(self, line: Line) -> None:
        """Take a line in."""
        self.waiting[line] = None
        self.size += line.wire_size
        self.start_by = min(self.start_by, math.inf if line.facts.start_by is None else line.facts.start_by)

    def keep(self, lines: list[Line]) -> None:
        """Hold these lines and no others."""
        self.waiting, self.size, self.start_by = {}, 0, math.inf
        for line in lines:
            self.add(line)

    def due_in(self, settings: DeferredSettings, clock: Clock) -> float:
        """Return in how many seconds it leaves; a clock on the wall that is put back or forward only moves latest starts."""
        if not self.waiting:
            return math.inf
        alone = next(iter(self.waiting)).since + settings.max_wait_s
        together = next(reversed(self.waiting)).since + settings.gather_s if len(self.waiting) > 1 else math.inf
        now = clock.monotonic()
        return max(self.not_before - now, min(min(alone, together) - now, self.start_by - clock.time()))

    def full(self, *, max_lines: int, max_bytes: int) -> bool:
        """Return whether there is enough for a job to which nothing can be added."""
        return len(self.waiting) >= max_lines or self.size >= max_bytes


class Collector:
    """Groups lines and lets them leave.

    Args:
        desk: The ledger's desk for batch lines.
        books: Books lines.
        jobs: Takes over what leaves.
        places: Knows the batch APIs.
        snapshot: Settings in force to begin with.
        clock: Tells the time.

    Attributes:
        on_end: Called with each line that ended without having left.
    """

    def __init__(
        self,
        *,
        desk: BatchDesk,
        books: LineBooks,
        jobs: Jobs,
        places: BatchPlaces,
        snapshot: Snapshot,
        clock: Clock,
    ) -> None:
        self.snapshot = snapshot
        self.on_end: Callable[[Line], None] = _nothing
        self._desk = desk
        self._books = books
        self._jobs = jobs
        self._places = places
        self._clock = clock
        self._groups: defaultdict[Place, _Group] = defaultdict(_Group)
        self._news = asyncio.Event()

    def gather(self, line: Line) -> None:
        """Let a line wait for company."""
        self._groups[_place_of(line)].add(line)
        self._news.set()

    def drop(self, line: Line) -> None:
        """Forget a line, if it still waits."""
        place = _place_of(line)
        group = self._groups.get(place)
        if group is not None:
            group.waiting.pop(line, None)
            if not group.waiting:
                del self._groups[place]

    async def run(self) -> None:
        """Let groups leave when they are due."""
        while True:
            self._news.clear()
            settings = self.snapshot.settings.deferred
            await self._drop_old()
            for place, group in list(self._groups.items()):
                await self._let_leave(place, group, due=group.due_in(settings, self._clock) <= NEAR_S)
            due_in = min((group.due_in(settings, self._clock) for group in self._groups.values()), default=math.inf)
            await self._pause(min(due_in, AGE_BOUND_S))

    async def _pause(self, seconds: float) -> None:
        waits = [asyncio.ensure_future(self._clock.sleep(max(seconds, 0.0))), asyncio.ensure_future(self._news.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _let_leave(self, place: Place, group: _Group, *, due: bool) -> None:
        """Submit a group's lines in as many jobs as the provider's limits ask for; before it is due, full jobs alone."""
        try:
            account = await self._places.account_of(place[0], place[1])
            limits = batch_of(account).limits
            most = min(limits.max_lines, MOST_LINES)
            if not due and not group.full(max_lines=most, max_bytes=limits.max_bytes):
                return
            for part in _parts(group.lines, max_lines=most, max_bytes=limits.max_bytes, whole=due):
                await self._submit(place, group, part, account)
        except DomainError as error:
            group.not_before = self._clock.monotonic() + RETRY_S
            _log.warning("batch_job_waits", provider=place[0], reason=error.reason)
        except Exception:  # noqa: BLE001 - a defect met by one group must not keep the others waiting
            group.not_before = self._clock.monotonic() + RETRY_S
            _log.exception("batch_job_waits", provider=place[0])
        if not group.waiting and self._groups.get(place) is group:
            del self._groups[place]

    async def _submit(self, place: Place, group: _Group, lines: list[Line], account: Account) -> None:
        """Let lines leave in one job; one that was released meanwhile stays behind."""
        while lines:
            try:
                row = await self._desk.submit(_upload(place, lines, account), [line.reservation.attempt_id for line in lines])
            except StateConflict as conflict:
                lines = [line for line in lines if line.reservation.attempt_id != conflict.attempt_id]
                group.keep([line for line in group.lines if line.reservation.attempt_id != conflict.attempt_id])
                continue
            for line in lines:
                line.state = AttemptState.SUBMITTED
            group.keep([line for line in group.lines if line.state is AttemptState.RESERVED])
            self._jobs.follow(row, lines, fresh=True)
            return

    async def _drop_old(self) -> None:
        """Give back what lines hold that could not leave for too long."""
        now = self._clock.time()
        for group in list(self._groups.values()):
            for line in [line for line in group.lines if now - line.create_time > AGE_BOUND_S]:
                text = "no batch job could be made for this call in time; nothing was sent"
                error = DomainError(Reason.PROVIDER_UNAVAILABLE, text, provider=line.reservation.intent.route.provider)
                with contextlib.suppress(DomainError):
                    await self._books.end(line, error, state=AttemptState.RELEASED, reason="too old")
                    self.on_end(line)


def _place_of(line: Line) -> Place:
    route = line.reservation.intent.route
    return route.provider, line.facts.account, route.model


def _upload(place: Place, lines: list[Line], account: Account) -> UploadRow:
    provider, _, model = place
    token = secrets.token_hex(12)
    return UploadRow(
        id=0,
        mark=f"aigen-{token}-{account.fingerprint(token)}",
        provider=provider,
        model=model,
        account=account.number,
        provider_job_id="",
        line_count=len(lines),
        cancelled=False,
        create_time=0.0,
    )


def _parts(lines: Sequence[Line], *, max_lines: int, max_bytes: int, whole: bool) -> list[list[Line]]:
    """Return lines in as few parts as limits allow, in order; without `whole` only parts to which nothing can be added."""
    parts: list[list[Line]] = []
    size = 0
    for line in lines:
        if not parts or len(parts[-1]) >= max_lines or size + line.wire_size > max_bytes:
            parts.append([])
            size = 0
        parts[-1].append(line)
        size += line.wire_size
    open_ended = bool(parts) and len(parts[-1]) < max_lines
    return parts[:-1] if open_ended and not whole else parts


def _nothing(_: Line) -> None:
    """Take no note."""
