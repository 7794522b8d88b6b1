"""Sums over calls: how many, how they ended, what they cost and saved, and how long they took.

Arithmetic over partial sums; the SELECTs are in `stats_store`, the question and its checks in `stats_query`. A call counts once, by
how its operation ended: answered, or failed after a charge. Attempts that were released or whose outcome is unknown are counted
beside it.
"""

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from aigend.ledger import stats_store
from aigend.ledger.entries import AttemptState
from aigend.ledger.latency import percentile
from aigend.ledger.stats_query import Dimension, StatsQuery, zone_of
from aigend.types import CacheOutcome, SavingsCause, TokenUsage

_BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "searches")
_CAUSES = frozenset(SavingsCause)


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
    failed: int = 0  # operations that ended with their outcome unknown
    unknown: int = 0
    released: int = 0
    unpriced: int = 0
    cost: int = 0
    estimated: int = 0
    unknown_nanos: int = 0
    usage: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_BUCKETS, 0))
    savings: dict[SavingsCause, tuple[int, int]] = field(default_factory=dict)
    histogram: dict[int, int] = field(default_factory=dict)
    hit_latency_us: int = 0

    def add_attempts(self, row: stats_store.AttemptSums) -> None:
        if row.state == AttemptState.RELEASED:
            self.released += row.calls
            return
        if row.state == AttemptState.UNKNOWN:
            self.unknown += row.calls
            self.failed += row.last_calls
            self.unknown_nanos += row.unknown_nanos
            return
        self.outcomes[row.outcome] = self.outcomes.get(row.outcome, 0) + row.calls
        self.unpriced += row.unpriced_count
        self.cost += row.cost_nanos
        self.estimated += row.estimated_nanos
        for bucket in _BUCKETS:
            self.usage[bucket] += getattr(row, bucket)

    def add_hits(self, row: stats_store.HitSums) -> None:
        self.outcomes[row.outcome] = self.outcomes.get(row.outcome, 0) + row.calls
        if row.outcome == CacheOutcome.HIT:
            self.hit_latency_us += row.latency_us
        if (
            row.outcome != CacheOutcome.REPLAY and row.cause in _CAUSES
        ):  # a replay repeats an answer that was paid for the same call
            self._save(row.cause, row.calls, row.saved_nanos)

    def add_saved(self, row: stats_store.Saved) -> None:
        if row.cause in _CAUSES:
            self._save(row.cause, row.calls, row.nanos)

    def add_latency(self, row: stats_store.Bucketed) -> None:
        self.histogram[row.bucket] = self.histogram.get(row.bucket, 0) + row.calls

    def totals(self) -> Totals:
        hits = self.outcomes.get(CacheOutcome.HIT, 0)
        return Totals(
            call_count=sum(self.outcomes.values()) + self.failed,
            **{f"{outcome}_count": self.outcomes.get(outcome, 0) for outcome in CacheOutcome},
            unknown_count=self.unknown,
            released_count=self.released,
            unpriced_count=self.unpriced,
            usage=TokenUsage(**self.usage),
            cost_nanos=self.cost,
            estimated_nanos=self.estimated,
            unknown_nanos=self.unknown_nanos,
            savings=tuple(
                Saving(cause=cause, call_count=n, saved_nanos=nanos) for cause, (n, nanos) in sorted(self.savings.items())
            ),
            latency=_percentiles(self.histogram),
            mean_hit_latency_us=self.hit_latency_us / hits if hits else None,
        )

    def _save(self, cause: str, count: int, nanos: int) -> None:
        calls, saved = self.savings.get(SavingsCause(cause), (0, 0))
        self.savings[SavingsCause(cause)] = (calls + count, saved + nanos)


def compute(connection: sqlite3.Connection, query: StatsQuery) -> Stats:
    """Return the sums that a query asks for, all from one moment of the ledger.

    Args:
        connection: A reading connection in autocommit mode; the caller's thread owns it.
        query: What is asked.
    """
    groups: dict[tuple[str, ...], _Sums] = {}
    total = _Sums()
    named = _namer(query)
    connection.execute("BEGIN")
    try:
        for select, add in _PARTS:
            for row in select(connection, query):
                add(groups.setdefault(named(row.group), _Sums()), row)
                add(total, row)
    finally:
        connection.execute("ROLLBACK")
    rows = [StatsRow(group=group, totals=sums.totals()) for group, sums in groups.items()] if query.group_by else []
    rows.sort(key=lambda row: (-row.totals.cost_nanos, -row.totals.unknown_nanos, row.group))
    end = query.now if query.end is None else query.end
    return Stats(rows=tuple(rows), totals=total.totals(), start=query.start, end=end, time_zone=query.time_zone)


_PARTS: tuple[tuple[Callable[..., Any], Callable[[_Sums, Any], None]], ...] = (
    (stats_store.attempt_sums, _Sums.add_attempts),
    (stats_store.hit_sums, _Sums.add_hits),
    (stats_store.attempt_savings, _Sums.add_saved),
    (stats_store.latencies, _Sums.add_latency),
)


def _namer(query: StatsQuery) -> Callable[[stats_store.Group], tuple[str, ...]]:
    """What turns a row's group into text: quarters of an hour become local days and hours."""
    zone = zone_of(query.time_zone)
    remembered: dict[tuple[Dimension, Any], str] = {}

    def name(dimension: Dimension, value: Any) -> str:
        if dimension not in (Dimension.DAY, Dimension.HOUR):
            return str(value)
        known = remembered.get((dimension, value))
        if known is None:
            local = datetime.fromtimestamp(value * stats_store.QUARTER_S, zone)
            known = (
                local.date().isoformat() if dimension is Dimension.DAY else local.replace(minute=0).isoformat(timespec="minutes")
            )
            remembered[dimension, value] = known
        return known

    return lambda group: tuple(name(dimension, value) for dimension, value in zip(query.group_by, group, strict=True))


def _percentiles(histogram: dict[int, int]) -> Percentiles | None:
    p50, p90, p99 = (percentile(histogram, fraction) for fraction in (0.5, 0.9, 0.99))
    return Percentiles(p50_us=p50, p90_us=p90, p99_us=p99) if p50 is not None and p90 is not None and p99 is not None else None
