"""One provider as the dispatcher sees it: its slots, its rates, how much it bears, and who waits for it."""

from collections.abc import Callable

from aigend.clock import Clock
from aigend.rate_facts import RateFacts
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.concurrency import AdaptiveLimit
from aigend.scheduling.dispatch.counts import DispatchCounts
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.dispatch.lanes import Lanes
from aigend.scheduling.dispatch.rates import ProviderRates, Taken
from aigend.scheduling.dispatch.waiting import Waiting
from aigend.types import TokenUsage

_LATEST = 0.1  # weight of the latest call in the average time that a slot is held
NEVER = float("inf")


class Line:
    """One provider: who waits for it, and who is under way.

    Args:
        provider: Its name.
        concurrency: How much it bears.
        rates: What it may be sent.
        clock: Tells the time.
        on_close: Told when a slot came back.

    Attributes:
        in_flight: Slots that are taken.
        served: When somebody of it was let go last, as a count of all.
        plain_batch: Number of the latest batch of calls without a prefix.
        ready_at: When its rates let somebody go whom `pick` found waiting for them; monotonic clock.
    """

    def __init__(
        self,
        provider: str,
        *,
        concurrency: AdaptiveLimit,
        rates: ProviderRates,
        clock: Clock,
        on_close: Callable[[], None],
    ) -> None:
        self.provider = provider
        self.concurrency = concurrency
        self.rates = rates
        self.lanes = Lanes()
        self.counts = DispatchCounts()
        self.in_flight = 0
        self.served = 0
        self.plain_batch = 0
        self.ready_at = NEVER
        self._clock = clock
        self._on_close = on_close
        self._exhausted = False
        self._held_s: float | None = None  # how long a slot is held, on average

    @property
    def free(self) -> int:
        """Slots that are free."""
        return max(0, self.concurrency.value - self.in_flight)

    def may_go(self, ask: Ask, now: float) -> bool:
        """Return whether a call that came now need not wait."""
        if self.in_flight >= self.concurrency.value or self.lanes:
            return False
        return self.rates.unbound or self.rate_wait_s(ask, now) <= 0

    def rate_wait_s(self, ask: Ask, now: float, *, ahead: int = 0) -> float:
        """Return how long the rates make a call wait, in seconds."""
        return max(self.rates.own_wait_s(ask, now, ahead=ahead), self.rates.told_wait_s(ask, now))

    def slot_wait_s(self, ahead: int) -> float:
        """Return about how long a call waits for a slot when so many go before it, in seconds; 0 where nothing is known."""
        if self._held_s is None or (self.free and not ahead):
            return 0.0
        return (ahead + 1) * self._held_s / self.concurrency.value

    def grant(self, ask: Ask, *, now: float, batch: int, taken: Taken | None = None) -> Grant:
        """Take a slot, and what the call needs of the rates where that was not taken yet."""
        self.in_flight += 1
        if taken is None:
            taken = self.rates.take(ask, now)
        return Grant(ask, keeper=self, close=self._close, taken=taken, granted_at=now, batch=batch)

    def pick(self, room: int, now: float) -> list[Waiting]:
        """Take out who goes next, with those who wait for the same prefix, at most `room` of them; none where the rates forbid it.

        What they need of the rates is taken; whoever is not let go after all must give it back.
        """
        self.ready_at = NEVER
        self._exhausted = False
        head = self.lanes.pop(lambda waiting: self._ready(waiting, now), now=now)
        if head is None:
            return []
        batch = [head]
        if head.ask.prefix and not head.alone and room > 1:
            for fellow in self.lanes.fellows(head, room - 1):
                if not self._ready(fellow, now):
                    break
                self.lanes.take(fellow)
                batch.append(fellow)
        return batch

    def heard(self, grant: Grant, key: int, facts: RateFacts) -> None:
        """Learn what an answer said of the rates."""
        self.rates.hear(grant.ask, key, facts, taken=grant.taken, now=self._clock.monotonic())

    def answered(self, grant: Grant, usage: TokenUsage) -> None:
        """Learn from an answer."""
        now = self._clock.monotonic()
        if not self.rates.unbound:
            self.rates.used(grant.ask, usage, taken=grant.taken, now=now)
        self.concurrency.answered(
            grant.ask.model,
            duration_s=now - grant.granted_at,
            output_tokens=usage.output,
            in_flight=self.in_flight,
            granted_at=grant.granted_at,
            now=now,
        )

    def refused(self, grant: Grant) -> None:
        """Learn that the provider has too many calls."""
        self.concurrency.refused(granted_at=grant.granted_at, now=self._clock.monotonic())

    def _ready(self, waiting: Waiting, now: float) -> bool:
        """Take what a call needs of the rates; where that is not there, tell when it will be.

        Once the provider's own bucket is too empty for one call, no smaller one may go before it.
        """
        if self._exhausted:
            return False
        own = self.rates.own_wait_s(waiting.ask, now)
        wait = max(own, self.rates.told_wait_s(waiting.ask, now))
        if wait > 0:
            self._exhausted = own > 0
            self.ready_at = min(self.ready_at, now + wait)
            return False
        waiting.taken = self.rates.take(waiting.ask, now)
        return True

    def _close(self, grant: Grant) -> None:
        self.in_flight -= 1
        now = self._clock.monotonic()
        self.rates.give_back(grant.taken, now, sent=grant.sent)
        if grant.sent:
            held = now - grant.granted_at
            self._held_s = held if self._held_s is None else self._held_s + _LATEST * (held - self._held_s)
        self._on_close()
