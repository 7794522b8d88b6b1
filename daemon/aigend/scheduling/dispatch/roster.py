"""Everybody who waits, by service: how full the queue is, whose share is used up, and who makes room."""

from collections import OrderedDict

from aigend.scheduling.dispatch.ask import ServiceKey
from aigend.scheduling.dispatch.waiting import LANES, RANKS, Waiting

_ByLane = tuple[OrderedDict[Waiting, None], ...]


class Roster:
    """Everybody who waits at any provider."""

    def __init__(self) -> None:
        self._services: dict[ServiceKey, _ByLane] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, waiting: Waiting) -> None:
        """Take somebody in."""
        lanes = self._services.get(waiting.ask.service_key)
        if lanes is None:
            lanes = self._services[waiting.ask.service_key] = tuple(OrderedDict() for _ in LANES)
        lanes[RANKS[waiting.ask.lane]][waiting] = None
        self._count += 1

    def remove(self, waiting: Waiting) -> None:
        """Take somebody out, if he is still in."""
        lanes = self._services.get(waiting.ask.service_key)
        lane = lanes[RANKS[waiting.ask.lane]] if lanes else None
        if lanes is None or lane is None or waiting not in lane:
            return
        del lane[waiting]
        self._count -= 1
        if not any(lanes):
            del self._services[waiting.ask.service_key]

    def within_share(self, service: ServiceKey, size: int) -> bool:
        """Return whether one more of a service would leave it with no more than its part of a queue of that size."""
        own = self._waiting_of(service)
        services = len(self._services) + (own == 0)
        return (own + 1) * services <= size

    def newest_of_greediest(self) -> Waiting:
        """Return who makes room: of the service that has most waiting, in its last lane, the one who came last."""
        lanes = max(self._services.values(), key=_size)
        return next(reversed(next(lane for lane in reversed(lanes) if lane)))

    def _waiting_of(self, service: ServiceKey) -> int:
        lanes = self._services.get(service)
        return _size(lanes) if lanes else 0


def _size(lanes: _ByLane) -> int:
    return sum(map(len, lanes))
