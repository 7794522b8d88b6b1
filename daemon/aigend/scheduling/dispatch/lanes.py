"""The lanes in front of one provider: INTERACTIVE before FLEX before DEFERRED; whoever has waited long rises to the next."""

from collections import OrderedDict
from collections.abc import Callable

from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.fair_queue import FairQueue
from aigend.scheduling.dispatch.waiting import LANES, RANKS, Waiting

RISE_AFTER_S = (0.0, 30.0, 300.0)  # seconds that a call waits in all before it rises out of FLEX, out of DEFERRED


class Lanes:
    """Those that wait for one provider."""

    def __init__(self) -> None:
        self._queues = tuple(FairQueue() for _ in LANES)
        self._ages: tuple[OrderedDict[Waiting, None], ...] = tuple(OrderedDict() for _ in LANES)  # the longest waiting first

    def __len__(self) -> int:
        return sum(map(len, self._queues))

    @property
    def best(self) -> int:
        """The rank of the best lane in which somebody waits."""
        return next((rank for rank, queue in enumerate(self._queues) if queue), len(LANES))

    def ahead_of(self, ask: Ask) -> int:
        """Return about how many calls go before one that came now: its service's own, and as many of each other service."""
        ahead = 0
        for queue in self._queues[: RANKS[ask.lane] + 1]:
            services, own = queue.service_count, queue.waiting_of(ask.service_key)
            ahead += min(len(queue), own + (services - (own > 0)) * (own + 1))
        return ahead

    def push(self, waiting: Waiting) -> None:
        """Let a call wait in its lane."""
        waiting.place = self
        self._queues[waiting.rank].push(waiting)
        if waiting.rank:
            self._ages[waiting.rank][waiting] = None

    def remove(self, waiting: Waiting) -> None:
        """Take a call out."""
        self._queues[waiting.rank].remove(waiting)
        self._ages[waiting.rank].pop(waiting, None)

    def pop(self, ready: Callable[[Waiting], bool], *, now: float) -> Waiting | None:
        """Take out whoever goes next; None where nobody is ready.

        A model that a call in a better lane waits for is not given to those in the others: they would use up its rate.
        """
        self._raise_aged(now)
        blocked: set[str] = set()
        for queue in self._queues:
            if queue and (chosen := queue.pop(ready, blocked)) is not None:
                return chosen
        return None

    def fellows(self, waiting: Waiting, most: int) -> list[Waiting]:
        """Return whom a call that goes may take along: same lane, model and prefix."""
        return [fellow for fellow in self._queues[waiting.rank].fellows(waiting, most) if not fellow.left]

    def take(self, fellow: Waiting) -> None:
        """Take out one that goes along."""
        self._queues[fellow.rank].take(fellow)

    def _raise_aged(self, now: float) -> None:
        for rank in reversed(range(1, len(LANES))):
            ages = self._ages[rank]
            while ages and (oldest := next(iter(ages))).since + RISE_AFTER_S[rank] <= now:
                self.remove(oldest)
                oldest.rank -= 1
                self.push(oldest)
                if oldest.rank:
                    self._ages[oldest.rank].move_to_end(oldest, last=False)
