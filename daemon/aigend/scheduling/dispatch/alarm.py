"""Something that is to happen later: one sleeper for the earliest of all times that were asked for."""

import asyncio
from collections.abc import Callable

from aigend.clock import Clock

SHORTEST_S = 0.001


class Alarm:
    """Rings once, at the earliest time that was set since it rang last.

    Args:
        clock: Tells the time.
        ring: What happens then; it may set the next time.
    """

    def __init__(self, clock: Clock, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._ring = ring
        self._at = float("inf")
        self._sleeper: asyncio.Task[None] | None = None

    def set(self, at: float) -> None:
        """Ring at that time of the monotonic clock, unless it rings earlier anyway."""
        if at < self._at:
            self.off()
            self._at = at
            self._sleeper = asyncio.create_task(self._sleep(max(SHORTEST_S, at - self._clock.monotonic())))

    def off(self) -> None:
        """Do not ring."""
        if self._sleeper is not None:
            self._sleeper.cancel()
        self._sleeper = None
        self._at = float("inf")

    async def _sleep(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._sleeper = None
        self._at = float("inf")
        self._ring()
