"""Where each metric's numbers are read: counters that run anyway, asked only when an exporter asks."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping

from aigend.assembly import Parts
from aigend.clock import Clock
from aigend.ledger.statistics.hits import HitSum
from aigend.ledger.statistics.latency import BOUNDS
from aigend.routing.health import CircuitState
from aigend.scheduling.dispatch.line import Line
from aigend.telemetry import names
from aigend.telemetry.instruments import Buckets, FreeCalls, Measurement, MetricSources

_OPENNESS = {CircuitState.CLOSED: 0, CircuitState.HALF_OPEN: 1, CircuitState.OPEN: 2}
_SIZES = (1, 2, 3, 4, 5, 10, 20, 50, 100)
_BOUNDS_S = tuple(bound / 1e6 for bound in BOUNDS)


def metric_sources(parts: Parts, *, clock: Clock, log_dropped: Callable[[], int] = int) -> MetricSources:
    """Return the sources of all metrics of a daemon."""
    sources = MetricSources()
    parts.meter.observe(sources, free=lambda: _free_calls(parts))
    sources.observe_value(names.IN_FLIGHT, lambda: parts.dispatcher.in_flight)
    sources.observe_value(names.QUEUED, lambda: parts.dispatcher.queued)
    _observe_dispatch(sources, parts)
    sources.observe_value(names.GATED, lambda: parts.gate.waiting)
    sources.observe(names.GATE_WAITS, lambda: _gate_waits(parts))
    sources.observe_value(names.DETACHED, lambda: parts.sharing.detached)
    sources.observe(names.DEFERRED, lambda: _deferred(parts))
    sources.observe_value(names.UPLOADS, lambda: parts.deferred.open_jobs)
    sources.observe(names.INTAKE, lambda: _intake(parts))
    sources.observe(names.INTAKE_RESULTS, lambda: _intake_results(parts))
    sources.observe(names.CIRCUIT, lambda: _circuits(parts))
    sources.observe(names.PASSED_BY, lambda: _by_provider(parts.health.passed_by))
    sources.observe(names.RETRIES_REFUSED, lambda: _by_provider(parts.retries.refused))
    sources.observe(names.COST_CORRECTED, lambda: _corrected(parts))
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


def _observe_dispatch(sources: MetricSources, parts: Parts) -> None:
    sources.observe(names.QUEUE_WAIT, lambda: [line.counts.waits.read(_of(line)) for line in parts.dispatcher.lines])
    sources.observe(names.BATCH_SIZE, lambda: [_batch_sizes(line) for line in parts.dispatcher.lines])
    sources.observe(
        names.BATCH_FALLBACKS, lambda: [Measurement(line.counts.fallbacks, _of(line)) for line in parts.dispatcher.lines]
    )
    sources.observe(names.SLOTS, lambda: [Measurement(line.concurrency.value, _of(line)) for line in parts.dispatcher.lines])
    sources.observe(names.QUEUE_REFUSED, lambda: [refusal for line in parts.dispatcher.lines for refusal in _refusals(line)])


def _of(line: Line) -> dict[str, str]:
    return {names.PROVIDER: line.provider}


def _batch_sizes(line: Line) -> Buckets:
    sizes = line.counts.sizes()
    counts = [0] * (len(_SIZES) + 1)
    for size, count in sizes.items():
        counts[bisect_left(_SIZES, size)] += count
    return Buckets(_SIZES, tuple(counts), sum(size * count for size, count in sizes.items()), _of(line))


def _refusals(line: Line) -> list[Measurement]:
    return [Measurement(count, _of(line) | {names.REFUSAL: why}) for why, count in list(line.counts.refused.items())]


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


def _deferred(parts: Parts) -> list[Measurement]:
    waiting, submitted = parts.deferred.waiting, parts.deferred.submitted
    return [Measurement(waiting, {names.STATE: "waiting"}), Measurement(submitted, {names.STATE: "submitted"})]


def _intake(parts: Parts) -> list[Measurement]:
    if parts.intake is None:
        return []
    under_way = parts.intake.under_way
    waiting = max(0, parts.intake.waiting - under_way)
    return [Measurement(waiting, {names.STATE: "waiting"}), Measurement(under_way, {names.STATE: "under_way"})]


def _intake_results(parts: Parts) -> list[Measurement]:
    ended = {} if parts.intake is None else dict(parts.intake.ended)
    return [Measurement(count, {names.ERROR_TYPE: str(reason)} if reason else {}) for reason, count in ended.items()]


def _circuits(parts: Parts) -> list[Measurement]:
    return [
        Measurement(_OPENNESS[report.state], {names.PROVIDER: report.key.provider, names.KEY: str(report.key.number)})
        for report in parts.health.reports()
    ]


def _corrected(parts: Parts) -> list[Measurement]:
    return [
        Measurement(nanos, {names.PROVIDER: route.provider, names.REQUEST_MODEL: route.model})
        for route, nanos in list(parts.ledger.corrected_nanos.items())
    ]


def _gate_waits(parts: Parts) -> list[Measurement]:
    return [Measurement(count, {names.GATE_ENDING: str(ending)}) for ending, count in list(parts.gate.waited.items())]


def _by_provider(counts: Mapping[str, int]) -> list[Measurement]:
    return [Measurement(count, {names.PROVIDER: provider}) for provider, count in list(counts.items())]


def _budgets(parts: Parts, field: str, *, now: float) -> Iterable[Measurement]:
    return [
        Measurement(getattr(state, field), {names.BUDGET: state.budget, names.WINDOW: state.window})
        for state in parts.ledger.budget_status(now)
    ]
