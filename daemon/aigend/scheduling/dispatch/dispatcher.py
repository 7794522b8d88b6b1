"""The dispatcher: who goes to which provider when.

A call that finds a free slot leaves at once. Others wait at their provider's line and leave as soon as a slot is free, with those
who wait for the same prefix as far as slots and rates allow: what leaves together is a batch. Calls that were announced together
wait a moment for each other even if slots are free. Who is next stands in `fair_queue` and `lanes`, what the rates allow in
`rates`, how much a provider bears in `concurrency`, who is not let in at all in `door`.
"""

import asyncio
import itertools
from collections.abc import Collection, Mapping, Sequence

from aigend.clock import Clock
from aigend.config import LimitSettings, ProviderSettings
from aigend.errors import DomainError
from aigend.scheduling.dispatch import door
from aigend.scheduling.dispatch.alarm import Alarm
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.concurrency import AdaptiveLimit
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.dispatch.line import NEVER, Line
from aigend.scheduling.dispatch.rates import ProviderRates
from aigend.scheduling.dispatch.roster import Roster
from aigend.scheduling.dispatch.siblings import Sibling, Siblings
from aigend.scheduling.dispatch.waiting import Waiting
from aigend.scheduling.dispatch.windows import Window, Windows

_ROUNDING_S = 1e-6


class Dispatcher:
    """Lets calls go to providers, within what slots, rates and fairness allow.

    Args:
        limits: Slots, the queue and the window.
        providers: Settings by name, for the rates.
        adaptive: Whether the slots of a provider follow what it bears.
        clock: Tells the time.
    """

    def __init__(
        self, limits: LimitSettings, *, clock: Clock, providers: Mapping[str, ProviderSettings] | None = None, adaptive: bool = True
    ) -> None:
        self.limits = limits
        self._providers = providers or {}
        self._adaptive = adaptive
        self._clock = clock
        self._in_flight = 0
        self._lines: dict[str, Line] = {}
        self._roster = Roster()
        self._windows = Windows()
        self._alarm = Alarm(clock, self._on_alarm)
        self._batches = itertools.count(1)

    @property
    def in_flight(self) -> int:
        """Slots that are taken, in all."""
        return self._in_flight

    @property
    def queued(self) -> int:
        """Calls that wait for a slot or for their siblings."""
        return len(self._roster)

    @property
    def lines(self) -> Sequence[Line]:
        """The providers that were asked for."""
        return list(self._lines.values())

    def queued_at(self, provider: str) -> int:
        """Return how many calls wait for one provider."""
        line = self._lines.get(provider)
        return self._windows.waiting_for(provider) + (len(line.lanes) if line else 0)

    def line(self, provider: str) -> Line:
        """Return what is known of one provider."""
        return self._lines.get(provider) or self._new_line(provider)

    async def acquire(self, ask: Ask) -> Grant:
        """Return the right to make a call, at once where a slot is free and nobody else is to come along.

        Raises:
            DomainError: OVERLOADED or RATE_LIMITED, at the door; OVERLOADED later for who makes room for a service that has fewer.
        """
        line = self._lines.get(ask.provider) or self._new_line(ask.provider)
        now = self._clock.monotonic()
        if ask.sibling is not None and self._waits_for(ask.sibling, ask, now):
            waiting = self._hold(ask, ask.sibling, now)
        elif self._in_flight < self.limits.total and line.may_go(ask, now):
            self._in_flight += 1
            line.counts.went_at_once()
            return line.grant(ask, now=now, batch=next(self._batches))
        else:
            waiting = self._enqueue(ask, line, now)
        try:
            if waiting.granted.done():  # the last of a batch: those who came before it go first
                await asyncio.sleep(0)
            return await waiting.granted
        except asyncio.CancelledError:
            self._leave(waiting)
            raise

    def use(self, limits: LimitSettings, *, providers: Mapping[str, ProviderSettings], adaptive: bool) -> None:
        """Go by other settings from now on; calls under way above a lower limit run on, and nobody who waits is sent away."""
        self.limits, self._providers, self._adaptive = limits, providers, adaptive
        now = self._clock.monotonic()
        for line in self._lines.values():
            rates = self._rates_of(line.provider)
            line.concurrency.use(limits.per_provider, enabled=adaptive)
            line.rates.use(requests_per_minute=rates[0], tokens_per_minute=rates[1], now=now)
        self._admit()

    def _new_line(self, provider: str) -> Line:
        requests, tokens = self._rates_of(provider)
        now = self._clock.monotonic()
        line = self._lines[provider] = Line(
            provider,
            concurrency=AdaptiveLimit(self.limits.per_provider, enabled=self._adaptive),
            rates=ProviderRates(requests_per_minute=requests, tokens_per_minute=tokens, now=now),
            clock=self._clock,
            on_close=self._on_close,
        )
        return line

    def _rates_of(self, provider: str) -> tuple[int | None, int | None]:
        own = self._providers.get(provider)
        return (own.requests_per_minute, own.tokens_per_minute) if own else (None, None)

    def _waits_for(self, sibling: Sibling, ask: Ask, now: float) -> bool:
        """Return whether a call waits for its siblings; one that does not is not waited for either."""
        limits, siblings = self.limits, sibling.siblings
        waits = (
            sibling.awaited
            and limits.max_batch_size > 1
            and limits.max_wait_s > 0
            and len(self._roster) < limits.queue
            and (ask.deadline is None or ask.deadline > now + limits.max_wait_s)
            and (siblings.awaited > 1 or self._windows.is_open(siblings, ask.group))
        )
        if not waits:
            sibling.decide()
        return waits

    def _hold(self, ask: Ask, sibling: Sibling, now: float) -> Waiting:
        """Let a call wait for its siblings until they have come, there are enough of them, or time is up."""
        siblings = sibling.siblings
        siblings.on_complete = lambda: self._complete(siblings)
        waiting = Waiting(ask, since=now)
        self._roster.add(waiting)
        window = self._windows.of(siblings, ask.group, closes_at=now + self.limits.max_wait_s)
        window.add(waiting)
        if len(window) >= self.limits.max_batch_size:
            self._close([window])
        else:
            self._alarm.set(window.closes_at)
        sibling.decide()
        return waiting

    def _complete(self, siblings: Siblings) -> None:
        self._close(self._windows.of_all(siblings))

    def _close(self, windows: Collection[Window], *, stalled: bool = False) -> None:
        """Let the members of windows go, together where they can; those who can't go out singly, which is counted."""
        members = [waiting for window in windows for waiting in window.close()]
        for waiting in members:
            waiting.alone = stalled
            self._lines[waiting.ask.provider].lanes.push(waiting)
        self._admit()
        if stalled or len(members) > 1:
            for waiting in members:
                if stalled or waiting.place is not None:
                    self._lines[waiting.ask.provider].counts.fallbacks += 1

    def _enqueue(self, ask: Ask, line: Line, now: float) -> Waiting:
        """Let a call wait for a slot, or refuse it.

        Raises:
            DomainError: OVERLOADED or RATE_LIMITED.
        """
        self._check_door(ask, line, now)
        waiting = Waiting(ask, since=now)
        self._roster.add(waiting)
        line.lanes.push(waiting)
        if self._in_flight < self.limits.total and line.free:
            self._admit()
        return waiting

    def _check_door(self, ask: Ask, line: Line, now: float) -> None:
        queued, ahead = len(self._roster), line.lanes.ahead_of(ask)
        wait_s = line.slot_wait_s(ahead)
        refused = line.counts.refused
        try:
            why = "rate"
            door.check_rate(ask, wait_s=line.rate_wait_s(ask, now, ahead=0 if ask.deadline is None else ahead), now=now)
            why = "deadline"
            door.check_slot(ask, wait_s=wait_s, now=now, queued=queued)
        except DomainError:
            refused[why] += 1
            raise
        if queued >= self.limits.queue:
            if not self._roster.within_share(ask.service_key, self.limits.queue):
                refused["queue"] += 1
                raise door.queue_full(queued, limit=self.limits.queue, wait_s=wait_s)
            self._displace(self._roster.newest_of_greediest())

    def _displace(self, waiting: Waiting) -> None:
        """Take out who makes room for another."""
        line = self._lines[waiting.ask.provider]
        wait_s = line.slot_wait_s(line.lanes.ahead_of(waiting.ask))
        refusal = door.displaced(len(self._roster), limit=self.limits.queue, wait_s=wait_s)
        self._roster.remove(waiting)
        waiting.leave_place()
        if not waiting.left:
            line.counts.refused["displaced"] += 1
            waiting.granted.set_exception(refusal)

    def _admit(self) -> None:
        """Let go whoever may go now, batch by batch; where only the rates are in the way, look again when they allow it."""
        now = self._clock.monotonic()
        blocked: set[str] = set()
        sizes: dict[int, tuple[Line, int]] = {}
        while self._in_flight < self.limits.total:
            line = self._next_line(blocked)
            if line is None:
                break
            room = min(self.limits.total - self._in_flight, line.free, self.limits.max_batch_size)
            picked = line.pick(room, now)
            if picked:
                self._let_go(line, picked, now=now, sizes=sizes)
            else:
                blocked.add(line.provider)
                if line.ready_at < NEVER:
                    self._alarm.set(line.ready_at)
        for line, size in sizes.values():
            line.counts.left(size)
        if not self._roster:
            self._alarm.off()

    def _next_line(self, blocked: Collection[str]) -> Line | None:
        """Return the provider of whom somebody goes next: best lane first, then who was served longest ago."""
        lines = [line for line in self._lines.values() if line.lanes and line.free and line.provider not in blocked]
        return min(lines, key=lambda line: (line.lanes.best, line.served)) if lines else None

    def _let_go(self, line: Line, picked: Sequence[Waiting], *, now: float, sizes: dict[int, tuple[Line, int]]) -> None:
        batch = self._batch_of(line, picked[0], sizes)
        for waiting in picked:
            self._roster.remove(waiting)
            if waiting.ask.deadline is not None and waiting.ask.deadline <= now:
                line.rates.give_back(waiting.taken, now, sent=False)
                line.counts.refused["deadline"] += 1
                waiting.granted.set_exception(door.too_late(waiting.ask, queued=len(self._roster)))
                continue
            self._in_flight += 1
            line.counts.waited(now - waiting.since)
            sizes[batch] = line, sizes.get(batch, (line, 0))[1] + 1
            waiting.granted.set_result(line.grant(waiting.ask, now=now, batch=batch, taken=waiting.taken))
        line.served = batch

    def _batch_of(self, line: Line, head: Waiting, sizes: dict[int, tuple[Line, int]]) -> int:
        """Return the number of the batch that somebody leaves with: those without a prefix who leave in one moment are one."""
        if not head.ask.prefix and not head.alone:
            latest = line.plain_batch
            if latest in sizes and sizes[latest][1] < self.limits.max_batch_size:
                return latest
            line.plain_batch = next(self._batches)
            return line.plain_batch
        return next(self._batches)

    def _leave(self, waiting: Waiting) -> None:
        """Give back all that a call holds whose caller goes away."""
        self._roster.remove(waiting)
        waiting.leave_place()
        if waiting.granted.done() and not waiting.granted.cancelled() and waiting.granted.exception() is None:
            waiting.granted.result().close()
        if not self._roster:
            self._alarm.off()

    def _on_close(self) -> None:
        self._in_flight -= 1
        if self._roster:
            self._admit()

    def _on_alarm(self) -> None:
        now = self._clock.monotonic()
        self._close(self._windows.due(now + _ROUNDING_S), stalled=True)
        if self._windows:
            self._alarm.set(self._windows.next_close)
