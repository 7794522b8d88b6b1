"""Time as a parameter: nothing below `server.py` reads the wall clock by itself."""

import asyncio
import time
from typing import Protocol


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
