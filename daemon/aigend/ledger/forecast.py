"""Where a budget's window will end if it goes on as it did; arithmetic, no rows."""

from dataclasses import dataclass

LEAST_SHARE = 0.01  # of the window that must have passed: less says nothing about the rest


@dataclass(frozen=True, slots=True)
class Forecast:
    """What spending will come to at its rate so far."""

    spent_nanos: int  # at the window's end
    limit_time: float | None  # wall clock at which the limit is reached; None: not in this window


def forecast(*, spent_nanos: int, limit_nanos: int, start: float, end: float, now: float) -> Forecast | None:
    """Return how a window will end at its rate so far; None while too little of it has passed.

    Args:
        spent_nanos: Booked until now.
        limit_nanos: The limit.
        start: First moment of the window, wall clock.
        end: Its end.
        now: The present, within the window.

    Example:
        >>> forecast(spent_nanos=30, limit_nanos=60, start=0.0, end=100.0, now=25.0)
        Forecast(spent_nanos=120, limit_time=50.0)
    """
    passed = now - start
    if passed < LEAST_SHARE * (end - start) or now >= end:
        return None
    if spent_nanos >= limit_nanos:
        return Forecast(_at_end(spent_nanos, passed, end - start), now)
    reached = start + passed * limit_nanos / spent_nanos if spent_nanos > 0 else end
    return Forecast(_at_end(spent_nanos, passed, end - start), reached if reached < end else None)


def _at_end(spent_nanos: int, passed: float, whole: float) -> int:
    return max(spent_nanos, round(spent_nanos * whole / passed))
