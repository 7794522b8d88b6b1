"""Counters of answers that cost nothing: plain integers in memory, taken away minute by minute to be written.

Called on the event loop only. A cell costs under a microsecond a call and stays valid for as long as somebody holds it.
"""

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple
from weakref import WeakValueDictionary

from aigend.ledger.statistics.latency import BOUNDS, BUCKET_COUNT
from aigend.types import CacheOutcome

RING_SIZE = 1_024  # last calls, one by one


class HitKey(NamedTuple):
    """What hits are counted by."""

    scope: str
    service: str
    session: str
    phase: str
    task: str
    labels: str  # canonical JSON
    agent: str
    provider: str
    model: str
    outcome: CacheOutcome
    cause: str  # a SavingsCause; empty for a replay, which saves nothing that its first answer did not


@dataclass(slots=True)
class HitSum:
    """Calls of one key in one minute."""

    count: int = 0
    saved_nanos: int = 0
    saved_unknown_count: int = 0
    latency_us: int = 0
    histogram: dict[int, int] = field(default_factory=dict)  # bucket index -> calls

    def add(self, other: "HitSum") -> None:
        """Count another sum in."""
        self.count += other.count
        self.saved_nanos += other.saved_nanos
        self.saved_unknown_count += other.saved_unknown_count
        self.latency_us += other.latency_us
        for index, count in other.histogram.items():
            self.histogram[index] = self.histogram.get(index, 0) + count


class LastCall(NamedTuple):
    """One call of the ring."""

    time: float  # wall clock
    key: HitKey
    saved_nanos: int | None
    latency_us: int
    request_id: str = ""


class HitCell:
    """Counts the calls of one key in the minute that runs."""

    __slots__ = ("__weakref__", "_buckets", "_count", "_counters", "_latency_us", "_minute", "_saved", "_unknown", "key")

    def __init__(self, key: HitKey, counters: "HitCounters") -> None:
        self.key = key
        self._counters = counters
        self._minute = 0
        self._reset()

    def add(self, now: float, saved_nanos: int | None, latency_us: int, request_id: str = "") -> None:
        """Count one call.

        Args:
            now: Wall clock, seconds since 1970; decides the minute.
            saved_nanos: What the call would have cost; None where that is not known.
            latency_us: Time in the daemon, in microseconds.
            request_id: Of the call.
        """
        minute = int(now) // 60
        if minute != self._minute or not self._count:
            self._begin(minute)
        self._count += 1
        if saved_nanos is None:
            self._unknown += 1
        else:
            self._saved += saved_nanos
        self._latency_us += latency_us
        self._buckets[bisect_left(BOUNDS, latency_us)] += 1
        self._counters.ring.append((now, self.key, saved_nanos, latency_us, request_id))

    def take(self) -> tuple[int, HitSum]:
        """Return the minute and what was counted in it, and begin at nothing."""
        buckets = self._buckets
        buckets[BUCKET_COUNT - 1] += buckets[BUCKET_COUNT]  # beyond the last bound
        histogram = {index: count for index, count in enumerate(buckets[:BUCKET_COUNT]) if count}
        taken = HitSum(self._count, self._saved, self._unknown, self._latency_us, histogram)
        self._counters.add_total(self.key, taken)
        self._reset()
        return self._minute, taken

    def _begin(self, minute: int) -> None:
        """Hand over what an earlier minute counted, and tell the counters that there is something to take."""
        if self._count:
            self._counters.keep(self.key, *self.take())
        else:
            self._counters.dirty.append(self)
        self._minute = minute

    def _reset(self) -> None:
        self._count = self._saved = self._unknown = self._latency_us = 0
        self._buckets = [0] * (BUCKET_COUNT + 1)


class HitCounters:
    """All cells, what they counted and is not yet written, and the last calls one by one."""

    def __init__(self) -> None:
        self.dirty: list[HitCell] = []
        self.ring: deque[tuple[float, HitKey, int | None, int, str]] = deque(maxlen=RING_SIZE)
        self._cells: WeakValueDictionary[HitKey, HitCell] = WeakValueDictionary()
        self._unwritten: dict[tuple[HitKey, int], HitSum] = {}
        self._totals: dict[tuple[CacheOutcome, str], HitSum] = {}

    def cell(self, key: HitKey) -> HitCell:
        """Return the cell of a key; hold on to it to count without a look-up."""
        found = self._cells.get(key)
        if found is None:
            found = self._cells[key] = HitCell(key, self)
        return found

    def keep(self, key: HitKey, minute: int, taken: HitSum) -> None:
        """Add a sum to what is to be written."""
        self._unwritten.setdefault((key, minute), HitSum()).add(taken)

    def take(self) -> dict[tuple[HitKey, int], HitSum]:
        """Return all that was counted since it was last taken, by key and minute; the taker writes it or keeps it again."""
        dirty, self.dirty = self.dirty, []
        for cell in dirty:
            self.keep(cell.key, *cell.take())
        taken, self._unwritten = self._unwritten, {}
        return taken

    def add_total(self, key: HitKey, taken: HitSum) -> None:
        """Count a sum among all since the start, once, whether or not it can be written."""
        self._totals.setdefault((key.outcome, key.cause), HitSum()).add(taken)

    def totals(self) -> dict[tuple[CacheOutcome, str], HitSum]:
        """Return what was taken since the start, by outcome and cause; it lags behind by one flush."""
        return dict(self._totals)

    def last_calls(self) -> list[LastCall]:
        """Return the last calls, oldest first."""
        return [LastCall(*call) for call in self.ring]
