"""Metrics as plain counters: calls add integers, and an exporter reads them when it asks.

Nothing here knows OpenTelemetry. Adding costs well under a microsecond; a recorded instrument would cost forty.
"""

import logging
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from aigend.telemetry.names import (
    CACHE_OUTCOME,
    COMPLETION_DURATION,
    COMPLETIONS,
    COST,
    ERROR_TYPE,
    FAILURES,
    OPERATION,
    OPERATION_CHAT,
    OPERATION_DURATION,
    PROVIDER,
    REQUEST_MODEL,
    SAVED,
    SAVINGS_CAUSE,
    TOKEN_TYPE,
    TOKENS,
    Metric,
)

MICROSECONDS = 1_000_000
READ_ATTEMPTS = 3
DURATION_BOUNDS_US = tuple(
    step * 10**power for power in range(1, 8) for step in (1, 2, 5)
)  # 10 microseconds to 50 seconds, three steps a decade

log = logging.getLogger("aigend.telemetry")


@dataclass(frozen=True, slots=True)
class Measurement:
    """One number of a metric, as it stands."""

    value: int | float
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Buckets:
    """One histogram as it stands: `counts` has one more item than `bounds`, the last for what lies above them all."""

    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    total: float  # sum of all values, in the metric's unit
    attributes: Mapping[str, str] = field(default_factory=dict)


Source = Callable[[], Iterable[Measurement | Buckets]]


class MetricSources:
    """Where each metric's numbers are read; exporters call it from their own threads."""

    def __init__(self) -> None:
        self._sources: dict[Metric, Source] = {}
        self._reported: set[str] = set()

    def observe(self, metric: Metric, source: Source) -> None:
        """Read a metric from this source from now on.

        Args:
            metric: One of `names.METRICS`.
            source: Returns the numbers as they stand; called from another thread, so it reads and changes nothing.
        """
        self._sources[metric] = source

    def observe_value(self, metric: Metric, read: Callable[[], int | float]) -> None:
        """Read a metric that is one number without attributes."""
        self.observe(metric, lambda: [Measurement(read())])

    def metrics(self) -> tuple[Metric, ...]:
        """Return the metrics that have a source."""
        return tuple(self._sources)

    def read(self, metric: Metric) -> list[Measurement | Buckets]:
        """Return a metric's numbers as they stand; none where its source fails, which is logged once."""
        for _ in range(READ_ATTEMPTS):
            try:
                return list(self._sources[metric]())
            except RuntimeError:  # a dictionary grew while it was read
                continue
            except Exception as error:  # noqa: BLE001 - a metric that can't be read must not stop the others
                self._report(metric, error)
                return []
        return []

    def _report(self, metric: Metric, error: Exception) -> None:
        if metric.name not in self._reported:
            self._reported.add(metric.name)
            log.warning("metric_unreadable", extra={"metric": metric.name}, exc_info=error)


class DurationBuckets:
    """Durations counted into buckets."""

    __slots__ = ("counts", "total_us")

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS_US) + 1)
        self.total_us = 0

    def add(self, duration_us: int) -> None:
        """Count one duration."""
        self.counts[bisect_left(DURATION_BOUNDS_US, duration_us)] += 1
        self.total_us += duration_us

    def read(self, attributes: Mapping[str, str]) -> Buckets:
        """Return the buckets in seconds."""
        return Buckets(_BOUNDS_S, tuple(self.counts), self.total_us / MICROSECONDS, attributes)


_BOUNDS_S = tuple(bound / MICROSECONDS for bound in DURATION_BOUNDS_US)


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeCalls:
    """Calls of one outcome that cost nothing, since the start."""

    outcome: str
    cause: str
    count: int
    saved_nanos: int
    durations: Buckets


class CallCounters:
    """Counts calls by their outcome, failures by their reason, and provider calls by their model."""

    def __init__(self) -> None:
        self._answered: defaultdict[str, DurationBuckets] = defaultdict(DurationBuckets)
        self._failed: defaultdict[str, int] = defaultdict(int)
        self._provider_calls: defaultdict[tuple[str, str, str], DurationBuckets] = defaultdict(DurationBuckets)
        self._tokens: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        self._cost: defaultdict[tuple[str, str], int] = defaultdict(int)
        self._saved: defaultdict[str, int] = defaultdict(int)

    def count_call(self, outcome: str, total_us: int) -> None:
        """Count an answered call and its time in the daemon, in microseconds."""
        self._answered[outcome].add(total_us)

    def count_failure(self, reason: str) -> None:
        """Count a call that ended with an error."""
        self._failed[reason] += 1

    def count_provider_call(self, provider: str, model: str, *, duration_us: int, error: str = "") -> None:
        """Count a call to a provider and its time, in microseconds; `error` is the kind of fault it ended with."""
        self._provider_calls[provider, model, error].add(duration_us)

    def count_settled(
        self, provider: str, model: str, *, tokens: Mapping[str, int], cost_nanos: int | None, saved: Mapping[str, int]
    ) -> None:
        """Count what a settled call used, cost and saved.

        Args:
            provider: Whose call.
            model: Of the route.
            tokens: By bucket.
            cost_nanos: Nano-dollars; None, which is counted nowhere, where the price is unknown.
            saved: Nano-dollars by cause.
        """
        for kind, count in tokens.items():
            self._tokens[provider, model, kind] += count
        if cost_nanos is not None:
            self._cost[provider, model] += cost_nanos
        for cause, nanos in saved.items():
            self._saved[cause] += nanos

    def observe(self, sources: MetricSources, *, free: Callable[[], Iterable[FreeCalls]] = tuple) -> None:
        """Let exporters read what is counted here.

        Args:
            sources: What exporters read.
            free: Returns the calls that cost nothing, which are counted elsewhere.
        """
        sources.observe(COMPLETIONS, lambda: self._completions(free()))
        sources.observe(COMPLETION_DURATION, lambda: self._durations(free()))
        sources.observe(SAVED, lambda: self._savings(free()))
        sources.observe(FAILURES, self._failures)
        sources.observe(OPERATION_DURATION, self._operations)
        sources.observe(TOKENS, self._token_counts)
        sources.observe(COST, self._costs)

    def _completions(self, free: Iterable[FreeCalls]) -> list[Measurement]:
        paid = [(str(outcome), sum(buckets.counts)) for outcome, buckets in list(self._answered.items())]
        counted = [*paid, *((calls.outcome, calls.count) for calls in free)]
        return [Measurement(count, {CACHE_OUTCOME: outcome}) for outcome, count in counted]

    def _durations(self, free: Iterable[FreeCalls]) -> list[Buckets]:
        paid = [buckets.read({CACHE_OUTCOME: str(outcome)}) for outcome, buckets in list(self._answered.items())]
        return [*paid, *(calls.durations for calls in free)]

    def _savings(self, free: Iterable[FreeCalls]) -> list[Measurement]:
        saved = [*self._saved.items(), *((calls.cause, calls.saved_nanos) for calls in free if calls.cause)]
        return [Measurement(nanos, {SAVINGS_CAUSE: str(cause)}) for cause, nanos in saved]

    def _token_counts(self) -> list[Measurement]:
        return [
            Measurement(count, {PROVIDER: provider, REQUEST_MODEL: model, TOKEN_TYPE: kind})
            for (provider, model, kind), count in list(self._tokens.items())
        ]

    def _costs(self) -> list[Measurement]:
        return [
            Measurement(nanos, {PROVIDER: provider, REQUEST_MODEL: model}) for (provider, model), nanos in list(self._cost.items())
        ]

    def _failures(self) -> list[Measurement]:
        return [Measurement(count, {ERROR_TYPE: str(reason)}) for reason, count in list(self._failed.items())]

    def _operations(self) -> list[Buckets]:
        return [
            buckets.read(
                {OPERATION: OPERATION_CHAT, PROVIDER: provider, REQUEST_MODEL: model} | ({ERROR_TYPE: error} if error else {})
            )
            for (provider, model, error), buckets in list(self._provider_calls.items())
        ]
