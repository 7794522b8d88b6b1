"""How much the emulated provider takes at once and a minute, as its rate-limit headers say."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60.0
_UNLIMITED = 10_000


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the rate limit; the wire formats spell it in their headers."""

    limit: int  # requests a minute
    remaining: int
    reset_s: float  # until all is allowed again

    @property
    def reset_text(self) -> str:
        """The time to the reset as providers write durations, such as `1.500s` or `6ms`."""
        return f"{self.reset_s:.3f}s" if self.reset_s >= 1 else f"{self.reset_s * 1000:.0f}ms"


_PLENTY = Allowance(_UNLIMITED, _UNLIMITED - 1, 0.006)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken now."""

    message: str
    retry_after_s: float


class Gate:
    """Counts requests in flight and in the last minute, and refuses what is too much.

    Args:
        monotonic: Seconds that never go back.
        max_concurrent: Requests in flight; None for no bound.
        per_minute: Requests in any 60 seconds; None for no bound.
    """

    def __init__(self, monotonic: Callable[[], float], *, max_concurrent: int | None, per_minute: int | None) -> None:
        self.in_flight = 0
        self.peak_in_flight = 0
        self.refused = 0
        self._monotonic = monotonic
        self._max_concurrent = max_concurrent
        self._per_minute = per_minute
        self._admitted: deque[float] = deque()

    def enter(self) -> Refusal | None:
        """Take a request in, or say why not; what was taken must `leave`."""
        refusal = self._refusal()
        if refusal is not None:
            self.refused += 1
            return refusal
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        if self._per_minute is not None:
            self._admitted.append(self._monotonic())
        return None

    def leave(self) -> None:
        """Let a request out that `enter` took in."""
        self.in_flight -= 1

    def allowance(self) -> Allowance:
        """Return what a response that is sent now says about the rate limit."""
        if self._per_minute is None:
            return _PLENTY
        remaining = max(0, self._per_minute - len(self._admitted))
        reset_s = WINDOW_S - (self._monotonic() - self._admitted[0]) if self._admitted else 0.0
        return Allowance(limit=self._per_minute, remaining=remaining, reset_s=reset_s)

    def _refusal(self) -> Refusal | None:
        if self._max_concurrent is not None and self.in_flight >= self._max_concurrent:
            return Refusal(f"Too many concurrent requests: Limit {self._max_concurrent}, Used {self.in_flight}.", 1.0)
        if self._per_minute is None:
            return None
        now = self._monotonic()
        while self._admitted and now - self._admitted[0] >= WINDOW_S:
            self._admitted.popleft()
        if len(self._admitted) < self._per_minute:
            return None
        wait = WINDOW_S - (now - self._admitted[0])
        used = f"Limit {self._per_minute}, Used {len(self._admitted)}, Requested 1"
        return Refusal(f"Rate limit reached on requests per min (RPM): {used}. Please try again in {wait:.3f}s.", wait)
