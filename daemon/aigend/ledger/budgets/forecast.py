"""Where a budget's window will end if spending goes on as it does now; arithmetic, no rows.

The present rate is that of the last stretch, not of the whole window: what a night did not spend says nothing of the day that
runs, and a burst that is over says nothing of the days that come. A stretch is an hour of a day, and a day of anything longer, so
that the hours of a day with their own habits even out.
"""

from dataclasses import dataclass

LEAST_SHARE = 0.01  # of the window that must have passed: less says nothing about the rest
HOUR_S = 3_600.0
DAY_S = 86_400.0
_LONGEST_DAY_S = 25 * HOUR_S  # on which clocks go back


@dataclass(frozen=True, slots=True)
class Forecast:
    """What spending will come to at its present rate."""

    spent_nanos: int  # at the window's end
    limit_time: float | None  # wall clock at which the limit is reached; None: not in this window


def stretch_s(start: float, end: float) -> float:
    """Return how far back the present reaches in a window, in seconds."""
    return HOUR_S if end - start <= _LONGEST_DAY_S else DAY_S


def forecast(*, spent_nanos: int, recent_nanos: int, limit_nanos: int, start: float, end: float, now: float) -> Forecast | None:
    """Return how a window will end at its present rate; None while too little of it has passed.

    Args:
        spent_nanos: Booked until now.
        recent_nanos: Booked of calls made in the window's last stretch.
        limit_nanos: The limit.
        start: First moment of the window, wall clock.
        end: Its end.
        now: The present, within the window.

    Example:
        >>> forecast(spent_nanos=90, recent_nanos=30, limit_nanos=150, start=0.0, end=86_400.0, now=79_200.0)
        Forecast(spent_nanos=150, limit_time=None)
        >>> forecast(spent_nanos=90, recent_nanos=30, limit_nanos=120, start=0.0, end=86_400.0, now=79_200.0).limit_time
        82800.0
    """
    passed = now - start
    if passed < LEAST_SHARE * (end - start) or now >= end:
        return None
    recent_s = min(passed, stretch_s(start, end))
    at_end = spent_nanos + max(0, round(recent_nanos * (end - now) / recent_s))
    if spent_nanos >= limit_nanos:
        return Forecast(at_end, now)
    reached = now + recent_s * (limit_nanos - spent_nanos) / recent_nanos if recent_nanos > 0 else end
    return Forecast(at_end, reached if reached < end else None)
