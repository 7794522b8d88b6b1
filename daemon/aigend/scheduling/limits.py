"""Dispatch limits: how many provider calls are under way at once, in all and for each provider."""

import asyncio
from collections import Counter, deque
from dataclasses import dataclass

from aigend.errors import DomainError, Reason

OVERLOAD_RETRY_S = 1.0


@dataclass(frozen=True, slots=True)
class _Waiter:
    provider: str
    granted: "asyncio.Future[None]"


class DispatchLimits:
    """Grants slots first come, first served; a provider that is full holds up nobody else.

    Args:
        total: Most calls under way in all.
        per_provider: Most calls under way at one provider.
        queue: Most callers that wait; the next one is refused.
    """

    def __init__(self, *, total: int, per_provider: int, queue: int) -> None:
        self.total = total
        self.per_provider = per_provider
        self.queue = queue
        self._under_way: Counter[str] = Counter()
        self._waiting: deque[_Waiter] = deque()

    @property
    def in_flight(self) -> int:
        """Slots that are taken, in all."""
        return self._under_way.total()

    @property
    def queued(self) -> int:
        """Callers that wait for a slot."""
        return len(self._waiting)

    def in_flight_at(self, provider: str) -> int:
        """Return the slots that are taken at one provider."""
        return self._under_way[provider]

    async def acquire(self, provider: str) -> None:
        """Take a slot, waiting for one where none is free.

        Raises:
            DomainError: OVERLOADED when the queue is full.
        """
        if not self._waiting_for(provider) and self._free(provider):
            self._under_way[provider] += 1
            return
        if len(self._waiting) >= self.queue:
            raise DomainError(
                Reason.OVERLOADED,
                f"{len(self._waiting)} calls wait for a slot; allowed: {self.queue} (limits.queue)",
                retry_after_s=OVERLOAD_RETRY_S,
                queued=len(self._waiting),
                limit=self.queue,
            )
        waiter = _Waiter(provider, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            await waiter.granted
        except asyncio.CancelledError:
            self._forget(waiter)
            raise

    def release(self, provider: str) -> None:
        """Give a slot back and let in whoever has waited longest and now fits."""
        self._under_way[provider] -= 1
        self._admit()

    def resize(self, *, total: int, per_provider: int, queue: int) -> None:
        """Change the limits; calls under way above a lower limit run on."""
        self.total, self.per_provider, self.queue = total, per_provider, queue
        self._admit()

    def _free(self, provider: str) -> bool:
        return self.in_flight < self.total and self._under_way[provider] < self.per_provider

    def _waiting_for(self, provider: str) -> bool:
        return any(waiter.provider == provider for waiter in self._waiting)

    def _admit(self) -> None:
        for waiter in list(self._waiting):
            if self.in_flight >= self.total:
                return
            if self._free(waiter.provider) and not waiter.granted.cancelled():  # one that is leaving takes itself away
                self._waiting.remove(waiter)
                self._under_way[waiter.provider] += 1
                waiter.granted.set_result(None)

    def _forget(self, waiter: _Waiter) -> None:
        if waiter in self._waiting:
            self._waiting.remove(waiter)
        elif waiter.granted.done() and not waiter.granted.cancelled():
            self.release(waiter.provider)  # granted in the moment of leaving
