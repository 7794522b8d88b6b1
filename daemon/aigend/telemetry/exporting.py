"""OpenTelemetry itself: spans, instruments and exporters. Imported only where traces or metrics are on.

Endpoints, headers, certificates and intervals come from the standard `OTEL_*` variables, which its SDK reads by itself.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcSpanExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpSpanExporter
from opentelemetry.metrics import CallbackOptions, Meter, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics import export as metric_data
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from aigend.clock import Clock
from aigend.telemetry.instruments import Buckets, Measurement, MetricSources
from aigend.telemetry.names import ERROR_TYPE, SCOPE, Metric, MetricKind
from aigend.telemetry.tracing import AttributeValue, SpanMaker, parent_ids, safe_attributes

Transport = Literal["grpc", "http/protobuf"]
_SAMPLED = TraceFlags(TraceFlags.SAMPLED)
_INSTRUMENTS: dict[MetricKind, Callable[[Meter], Callable[..., Any]]] = {
    MetricKind.COUNTER: lambda meter: meter.create_observable_counter,
    MetricKind.UP_DOWN: lambda meter: meter.create_observable_up_down_counter,
    MetricKind.GAUGE: lambda meter: meter.create_observable_gauge,
}


class ExportedSpan:
    """A span that OpenTelemetry will export."""

    def __init__(self, tracer: trace.Tracer, span: trace.Span) -> None:
        self._tracer = tracer
        self._span = span

    @property
    def traceparent(self) -> str:
        """What a call made within the span carries on."""
        context = self._span.get_span_context()
        return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"

    def child(self, name: str, attributes: Mapping[str, AttributeValue] | None = None) -> "ExportedSpan":
        """Return a span of a call to somebody else within this one."""
        context = trace.set_span_in_context(self._span, Context())
        span = self._tracer.start_span(name, context=context, kind=SpanKind.CLIENT, attributes=safe_attributes(attributes or {}))
        return ExportedSpan(self._tracer, span)

    def set(self, attributes: Mapping[str, AttributeValue]) -> None:
        """Note facts that were not known at the start."""
        self._span.set_attributes(safe_attributes(attributes))

    def event(self, name: str, attributes: Mapping[str, AttributeValue]) -> None:
        """Note something that happened within the span."""
        self._span.add_event(name, safe_attributes(attributes))

    def end(self, *, error_type: str = "") -> None:
        """End the span; `error_type` says what it failed with."""
        if error_type:
            self.set({ERROR_TYPE: error_type})
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end()


class TraceExport:
    """Spans on their way to an endpoint."""

    def __init__(self, *, resource: Resource, transport: Transport, version: str) -> None:
        exporter = GrpcSpanExporter() if transport == "grpc" else HttpSpanExporter()
        # The decision was taken before a span is built, so the sampler has none left to take.
        self._provider = TracerProvider(resource=resource, sampler=ALWAYS_ON, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SCOPE, version)
        self.make: SpanMaker = self._make

    def _make(self, name: str, traceparent: str, attributes: Mapping[str, AttributeValue]) -> ExportedSpan:
        context, ids = Context(), parent_ids(traceparent)
        if ids is not None:
            parent = SpanContext(trace_id=ids[0], span_id=ids[1], is_remote=True, trace_flags=_SAMPLED)
            context = trace.set_span_in_context(NonRecordingSpan(parent), context)
        span = self._tracer.start_span(name, context=context, kind=SpanKind.SERVER, attributes=attributes)
        return ExportedSpan(self._tracer, span)

    def stop(self) -> None:
        """Send what is left and end; it may block on the endpoint."""
        self._provider.shutdown()


class MetricExport:
    """Metrics on their way to an endpoint: instruments that read our counters, and our histograms folded in."""

    def __init__(self, sources: MetricSources, *, resource: Resource, transport: Transport, version: str, clock: Clock) -> None:
        exporter = GrpcMetricExporter() if transport == "grpc" else HttpMetricExporter()
        reader = _Reader(sources, exporter, version=version, clock=clock)
        self._provider = MeterProvider(metric_readers=[reader], resource=resource, shutdown_on_exit=False)
        meter = self._provider.get_meter(SCOPE, version)
        for metric in sources.metrics():
            if metric.kind is not MetricKind.HISTOGRAM:
                create = _INSTRUMENTS[metric.kind](meter)
                create(metric.name, callbacks=[_callback(sources, metric)], unit=metric.unit, description=metric.description)

    def stop(self) -> None:
        """Send what stands and end; it may block on the endpoint."""
        self._provider.shutdown()


def _callback(sources: MetricSources, metric: Metric) -> Callable[[CallbackOptions], Iterable[Observation]]:
    def observe(_: CallbackOptions) -> list[Observation]:
        return [Observation(item.value, dict(item.attributes)) for item in sources.read(metric) if isinstance(item, Measurement)]

    return observe


class _Reader(PeriodicExportingMetricReader):
    """Adds our bucket arrays to what the instruments gave: OpenTelemetry has no observable histogram."""

    def __init__(self, sources: MetricSources, exporter: metric_data.MetricExporter, *, version: str, clock: Clock) -> None:
        self._sources = sources
        self._scope = InstrumentationScope(SCOPE, version)
        self._clock = clock
        self._start_ns = self._now_ns()
        super().__init__(exporter)

    def _receive_metrics(self, metrics_data: metric_data.MetricsData, timeout_millis: float = 10_000, **kwargs: Any) -> None:
        if histograms := self._histograms():
            metrics_data = metric_data.MetricsData([self._with(group, histograms) for group in metrics_data.resource_metrics])
        super()._receive_metrics(metrics_data, timeout_millis, **kwargs)

    def _with(self, group: metric_data.ResourceMetrics, more: list[metric_data.Metric]) -> metric_data.ResourceMetrics:
        """One scope holds all: of two with the same name an encoder keeps the last one only."""
        ours = [metric for scope in group.scope_metrics if scope.scope == self._scope for metric in scope.metrics]
        others = [scope for scope in group.scope_metrics if scope.scope != self._scope]
        merged = metric_data.ScopeMetrics(scope=self._scope, metrics=[*ours, *more], schema_url="")
        return metric_data.ResourceMetrics(group.resource, [*others, merged], group.schema_url)

    def _histograms(self) -> list[metric_data.Metric]:
        now_ns = self._now_ns()
        return [
            metric_data.Metric(metric.name, metric.description, metric.unit, _histogram(points))
            for metric in self._sources.metrics()
            if metric.kind is MetricKind.HISTOGRAM and (points := self._points(metric, now_ns))
        ]

    def _now_ns(self) -> int:
        return int(self._clock.time() * 1e9)

    def _points(self, metric: Metric, now_ns: int) -> list[metric_data.HistogramDataPoint]:
        return [
            metric_data.HistogramDataPoint(
                attributes=dict(item.attributes),
                start_time_unix_nano=self._start_ns,
                time_unix_nano=now_ns,
                count=sum(item.counts),
                sum=item.total,
                bucket_counts=item.counts,
                explicit_bounds=item.bounds,
                min=_lowest(item),
                max=_highest(item),
            )
            for item in self._sources.read(metric)
            if isinstance(item, Buckets)
        ]


def _histogram(points: list[metric_data.HistogramDataPoint]) -> metric_data.Histogram:
    return metric_data.Histogram(points, metric_data.AggregationTemporality.CUMULATIVE)


def _lowest(buckets: Buckets) -> float:
    """The lower edge of the lowest bucket in use: single values are not kept."""
    first = next((index for index, count in enumerate(buckets.counts) if count), 0)
    return buckets.bounds[first - 1] if first else 0.0


def _highest(buckets: Buckets) -> float:
    """The upper edge of the highest bucket in use."""
    last = max((index for index, count in enumerate(buckets.counts) if count), default=0)
    return buckets.bounds[min(last, len(buckets.bounds) - 1)]
