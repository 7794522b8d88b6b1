"""Time as a parameter: nothing below `server.py` reads the wall clock by itself."""

import asyncio
import time
from datetime import UTC, date, datetime
from typing import Protocol

_LAST = 253_402_300_799.0  # second of the year 9999: the contract's last nanosecond, rounded, lies behind it


class Clock(Protocol):
    """What tells the time and waits."""

    def time(self) -> float:
        """Return seconds since 1970, wall clock."""
        ...

    def monotonic(self) -> float:
        """Return seconds that never go back, from an arbitrary origin."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...


class SystemClock:
    """The machine's own clock."""

    def __init__(self) -> None:
        self.time = time.time
        self.monotonic = time.monotonic
        self.sleep = asyncio.sleep


def utc_day(at: float) -> date:
    """Return the day of a wall-clock time, in UTC.

    Example:
        >>> utc_day(86_400.0)
        datetime.date(1970, 1, 2)
    """
    return datetime.fromtimestamp(at, UTC).date()


def utc_text(at: float) -> str:
    """Return a wall-clock time as people write it.

    Example:
        >>> utc_text(1_577_836_800.0)
        '2020-01-01T00:00:00Z'
    """
    return datetime.fromtimestamp(min(at, _LAST), UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
