"""How quick routes were lately: one decaying average each, bounded in number."""

from collections import OrderedDict
from dataclasses import dataclass

from aigend.clock import Clock
from aigend.types import Route

HALF_LIFE_S = 120.0
MOST_ROUTES = 1_024
_FORGOTTEN = 0.05  # of the weight of one fresh measurement: after about nine minutes of silence


@dataclass(slots=True)
class _Average:
    seconds: float
    weight: float  # of all measurements, at `at`
    at: float  # monotonic clock


class Latencies:
    """Remembers how long the calls of each route took; what is older counts less.

    Args:
        clock: Tells the time.
        half_life_s: Time after which a measurement counts half, in seconds.
    """

    def __init__(self, *, clock: Clock, half_life_s: float = HALF_LIFE_S) -> None:
        self._clock = clock
        self._half_life_s = half_life_s
        self._averages: OrderedDict[Route, _Average] = OrderedDict()

    def note(self, route: Route, seconds: float) -> None:
        """Add the time that one answered call took."""
        now = self._clock.monotonic()
        average = self._averages.get(route)
        if average is None:
            if len(self._averages) >= MOST_ROUTES:
                self._averages.popitem(last=False)
            self._averages[route] = _Average(seconds, 1.0, now)
            return
        self._averages.move_to_end(route)
        before = self._weight(average, now)
        average.weight, average.at = before + 1.0, now
        average.seconds += (seconds - average.seconds) / average.weight

    def of(self, route: Route, /) -> float | None:
        """Return the average in seconds; None where nothing recent is known."""
        average = self._averages.get(route)
        if average is None or self._weight(average, self._clock.monotonic()) < _FORGOTTEN:
            return None
        return average.seconds

    def _weight(self, average: _Average, now: float) -> float:
        return float(average.weight * 0.5 ** ((now - average.at) / self._half_life_s))
