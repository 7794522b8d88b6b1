"""The emulator's own clock: it can be moved on, or run faster than the wall's, so that lifetimes and traces need no waiting."""

import math
from collections.abc import Callable

_LONGEST_STEP_S = 1e9
_FASTEST = 1e6


class ClockError(ValueError):
    """A change of the clock that can't be understood; the text names field, value and what is allowed."""


class MovableClock:
    """Seconds that never go back.

    Args:
        monotonic: The clock underneath.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.rate = 1.0  # seconds here for each one underneath
        self._monotonic = monotonic
        self._base = monotonic()
        self._ahead = 0.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self._base + self._ahead + (self._monotonic() - self._base) * self.rate

    def advance(self, seconds: float) -> None:
        """Move on at once.

        Raises:
            ClockError: Clocks don't go back, nor beyond thirty years at a time.
        """
        if not _finite(seconds) or not 0 <= seconds <= _LONGEST_STEP_S:
            raise ClockError(f"advance_s is {seconds!r}; allowed: 0 to {_LONGEST_STEP_S:.0f}")
        self._ahead += seconds

    def run(self, rate: float) -> None:
        """Run at that many seconds a second from now on.

        Raises:
            ClockError: It is no positive number.
        """
        if not _finite(rate) or not 0 < rate <= _FASTEST:
            raise ClockError(f"rate is {rate!r}; allowed: above 0, at most {_FASTEST:.0f}")
        now = self()
        self._base = self._monotonic()
        self._ahead = now - self._base
        self.rate = rate


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
