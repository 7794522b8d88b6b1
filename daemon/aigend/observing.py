"""Where each metric's numbers are read: counters that run anyway, asked only when an exporter asks."""

from collections.abc import Callable, Iterable, Mapping

from aigend.assembly import Parts
from aigend.clock import Clock
from aigend.ledger.hits import HitSum
from aigend.ledger.latency import BOUNDS
from aigend.routing.health import CircuitState
from aigend.telemetry import names
from aigend.telemetry.instruments import Buckets, FreeCalls, Measurement, MetricSources

_OPENNESS = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
_BOUNDS_S = tuple(bound / 1e6 for bound in BOUNDS)


def metric_sources(parts: Parts, *, clock: Clock, log_dropped: Callable[[], int] = int) -> MetricSources:
    """Return the sources of all metrics of a daemon."""
    sources = MetricSources()
    parts.meter.observe(sources, free=lambda: _free_calls(parts))
    sources.observe_value(names.IN_FLIGHT, lambda: parts.limits.in_flight)
    sources.observe_value(names.QUEUED, lambda: parts.limits.queued)
    sources.observe_value(names.DETACHED, lambda: parts.sharing.detached)
    sources.observe(names.CIRCUIT, lambda: _circuits(parts))
    sources.observe(names.PASSED_BY, lambda: _by_provider(parts.health.passed_by))
    sources.observe(names.RETRIES_REFUSED, lambda: _by_provider(parts.retries.refused))
    sources.observe_value(names.LEDGER_SEQUENCE, lambda: parts.ledger.sequence)
    sources.observe_value(names.LOG_DROPPED, log_dropped)
    sources.observe_value(names.CACHE_MEMORY_SIZE, lambda: parts.cache.memory_size_bytes)
    sources.observe_value(names.CACHE_EVICTIONS, lambda: parts.cache.eviction_count)
    for metric, field in (
        (names.BUDGET_SPENT, "spent_nanos"),
        (names.BUDGET_RESERVED, "reserved_nanos"),
        (names.BUDGET_LIMIT, "limit_nanos"),
    ):
        sources.observe(metric, lambda field=field: _budgets(parts, field, now=clock.time()))  # type: ignore[misc]
    return sources


def _free_calls(parts: Parts) -> list[FreeCalls]:
    return [
        FreeCalls(
            outcome=str(outcome),
            cause=str(cause),
            count=total.count,
            saved_nanos=total.saved_nanos,
            durations=_durations(total, outcome=str(outcome)),
        )
        for (outcome, cause), total in parts.ledger.hits.totals().items()
    ]


def _durations(total: HitSum, *, outcome: str) -> Buckets:
    counts = [0] * (len(_BOUNDS_S) + 1)
    for index, count in total.histogram.items():
        counts[index] = count
    return Buckets(_BOUNDS_S, tuple(counts), total.latency_us / 1e6, {names.CACHE_OUTCOME: outcome})


def _circuits(parts: Parts) -> list[Measurement]:
    return [
        Measurement(_OPENNESS[report.state], {names.PROVIDER: report.key.provider, names.KEY: str(report.key.number)})
        for report in parts.health.reports()
    ]


def _by_provider(counts: Mapping[str, int]) -> list[Measurement]:
    return [Measurement(count, {names.PROVIDER: provider}) for provider, count in list(counts.items())]


def _budgets(parts: Parts, field: str, *, now: float) -> Iterable[Measurement]:
    return [
        Measurement(getattr(state, field), {names.BUDGET: state.budget, names.WINDOW: state.window})
        for state in parts.ledger.budget_status(now)
    ]
