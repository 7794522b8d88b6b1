"""Sums over calls: how many, how they ended, what they cost and saved, and how long they took.

Arithmetic over partial sums; the SELECTs are in `stats_store`, the question and its checks in `stats_query`. A call counts once, by
how its operation ended: answered, or failed after a charge. Attempts that were released or whose outcome is unknown are counted
beside it.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field

from aigend.ledger.reading import one_moment
from aigend.ledger.statistics import histogram, sums
from aigend.ledger.statistics import store as stats_store
from aigend.ledger.statistics.latency import percentiles
from aigend.ledger.statistics.query import StatsQuery
from aigend.types import CacheOutcome, SavingsCause, TokenUsage

_BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "searches")
_AS_THEY_ARE = ("unknown_count", "released_count", "unpriced_count", "cost_nanos", "estimated_nanos", "unknown_nanos")
SORTED_KIB = 65_536  # most memory that one question takes


@dataclass(frozen=True, slots=True, kw_only=True)
class Percentiles:
    """How long calls took at most, in microseconds."""

    p50_us: int
    p90_us: int
    p99_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Saving:
    """What one cause saved."""

    cause: SavingsCause
    call_count: int
    saved_nanos: int  # negative where prompt-cache writes were not read often enough


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums over calls; money in nano-dollars."""

    call_count: int = 0  # answered by any outcome, plus those that failed after a charge
    hit_count: int = 0
    miss_count: int = 0
    coalesced_count: int = 0
    bypass_count: int = 0
    refresh_count: int = 0
    replay_count: int = 0
    unknown_count: int = 0  # attempts whose outcome is unknown
    released_count: int = 0  # attempts that ended without a charge
    unpriced_count: int = 0  # settled without a known price; in no sum of money
    usage: TokenUsage = field(default_factory=TokenUsage)
    cost_nanos: int = 0  # settled
    estimated_nanos: int = 0  # part of it
    unknown_nanos: int = 0  # upper bounds of attempts whose outcome is unknown; not in `cost_nanos`
    savings: tuple[Saving, ...] = ()
    latency: Percentiles | None = None  # None: no answered call
    mean_hit_latency_us: float | None = None  # None: no hit


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRow:
    """One group."""

    group: tuple[str, ...]  # values of the dimensions asked for, in their order; empty where a call has none
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The answer to a query."""

    rows: tuple[StatsRow, ...]  # dearest first; none without dimensions
    totals: Totals  # over all groups
    start: float | None
    end: float
    time_zone: str


@dataclass(slots=True)
class _Sums:
    """What has been added up of one group so far."""

    outcomes: dict[str, int] = field(default_factory=dict)
    sums: int = 0
    histogram: int = 0
    hit_latency_us: int = 0

    def add(self, part: stats_store.Part) -> None:
        if calls := sums.calls(part.sums):
            self.outcomes[part.outcome] = self.outcomes.get(part.outcome, 0) + calls
        if part.outcome == CacheOutcome.HIT:
            self.hit_latency_us += sums.values(part.sums)["latency_us"]
        self.sums += part.sums
        self.histogram += part.histogram

    def merge(self, other: "_Sums") -> None:
        for outcome, calls in other.outcomes.items():
            self.outcomes[outcome] = self.outcomes.get(outcome, 0) + calls
        self.hit_latency_us += other.hit_latency_us
        self.sums += other.sums
        self.histogram += other.histogram

    def totals(self) -> Totals:
        hits = self.outcomes.get(CacheOutcome.HIT, 0)
        values = sums.values(self.sums)
        return Totals(
            call_count=values["calls"] + values["failed_count"],
            **{f"{outcome}_count": self.outcomes.get(outcome, 0) for outcome in CacheOutcome},
            **{name: values[name] for name in _AS_THEY_ARE},
            usage=TokenUsage(**{bucket: values[bucket] for bucket in _BUCKETS}),
            savings=tuple(_savings(values)),
            latency=_percentiles(histogram.counts(self.histogram)),
            mean_hit_latency_us=self.hit_latency_us / hits if hits else None,
        )


def _savings(values: dict[str, int]) -> Iterator[Saving]:
    for cause in sorted(SavingsCause):
        if count := values[f"saved_{cause}_count"]:
            yield Saving(cause=cause, call_count=count, saved_nanos=values[f"saved_{cause}_nanos"])


def compute(connection: sqlite3.Connection, query: StatsQuery) -> Stats:
    """Return the sums that a query asks for, all from one moment of the ledger.

    Args:
        connection: A reading connection in autocommit mode; the caller's thread owns it.
        query: What is asked.
    """
    groups: dict[tuple[str, ...], _Sums] = {}
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute(f"PRAGMA cache_size=-{SORTED_KIB}")  # less would sort by way of files
    with one_moment(connection):
        for part in stats_store.parts(connection, query):
            groups.setdefault(part.group, _Sums()).add(part)
    total = _Sums()
    for found in groups.values():
        total.merge(found)
    rows = [StatsRow(group=group, totals=found.totals()) for group, found in groups.items()] if query.group_by else []
    rows.sort(key=lambda row: (-row.totals.cost_nanos, -row.totals.unknown_nanos, row.group))
    end = query.now if query.end is None else query.end
    return Stats(rows=tuple(rows), totals=total.totals(), start=query.start, end=end, time_zone=query.time_zone)


def _percentiles(calls: dict[int, int]) -> Percentiles | None:
    p50, p90, p99 = percentiles(calls, 0.5, 0.9, 0.99)
    return Percentiles(p50_us=p50, p90_us=p90, p99_us=p99) if p50 is not None and p90 is not None and p99 is not None else None
