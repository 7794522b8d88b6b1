"""Traces and metrics reach an OTLP endpoint, and an endpoint that is down or silent changes nothing."""

import http.server
import logging
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from aigend.telemetry import names
from aigend.telemetry.instruments import CallCounters, Measurement, MetricSources
from aigend.telemetry.setup import Telemetry, TelemetryRefused, start_telemetry
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes import FakeClock

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = f"00-{TRACE}-{SPAN}-01"
MESSAGES = {"/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


class Receiver(http.server.ThreadingHTTPServer):
    """An OTLP endpoint on loopback that keeps what it gets."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: dict[str, list] = {path: [] for path in MESSAGES}
        self.bodies = b""
        self.answers = threading.Event()
        self.answers.set()

    @property
    def url(self) -> str:
        """Return where it listens."""
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        """Keep one export and say that it was taken."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies += body
        self.server.received[self.path].append(MESSAGES[self.path].FromString(body))
        self.server.answers.wait(10)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Run an OTLP endpoint."""
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.answers.set()
        server.shutdown()
        thread.join()


def start(monkeypatch: pytest.MonkeyPatch, endpoint: str, sources: MetricSources | None = None, **variables: str) -> Telemetry:
    """Start traces and metrics towards an endpoint."""
    environ = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint} | variables
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    given = sources or MetricSources()
    return start_telemetry(given, traces=True, metrics=True, sample_ratio=0.0, version="1.2.3", environ=environ, clock=FakeClock())


def counted() -> MetricSources:
    """Return sources with a counter, a gauge and a histogram in use."""
    sources, calls = MetricSources(), CallCounters()
    calls.observe(sources)
    calls.count_call("hit", 15)
    calls.count_call("hit", 90_000_000)
    sources.observe_value(names.IN_FLIGHT, lambda: 2)
    sources.observe(names.BUDGET_SPENT, lambda: [Measurement(7, {names.BUDGET: "team"})])
    return sources


def attributes(items) -> dict[str, object]:
    """Return attributes of the wire format as a dictionary."""
    return {item.key: getattr(item.value, item.value.WhichOneof("value")) for item in items}


def test_off_means_nothing_is_imported():
    """A daemon without telemetry does not load OpenTelemetry's SDK."""
    code = """
import sys
from aigend.telemetry.setup import start_telemetry
from aigend.telemetry.instruments import MetricSources
telemetry = start_telemetry(MetricSources(), traces=False, metrics=False, sample_ratio=1.0, version="1", environ={})
assert telemetry.tracer.start_span("x", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01") is None
assert telemetry.stop()
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=15)


def test_a_trace_arrives_as_part_of_the_callers(receiver, monkeypatch):
    """Spans carry the caller's trace id, our names, the fault of a failed call, and the service's name."""
    telemetry = start(monkeypatch, receiver.url)
    span = telemetry.tracer.start_span(names.SPAN_COMPLETE, SAMPLED, attributes={names.SERVICE: "aigenflow", "prompt": "planted"})
    assert span is not None
    child = span.child("chat gpt-4o", {names.OPERATION: "chat", names.PROVIDER: "openai"})
    assert child.traceparent.startswith(f"00-{TRACE}-")
    child.set({names.INPUT_TOKENS: 12, "answer": "planted"})
    child.end(error_type="timeout")
    span.end()
    assert telemetry.stop(10)
    group = receiver.received["/v1/traces"][0].resource_spans[0]
    assert attributes(group.resource.attributes)["service.name"] == "aigend"
    assert attributes(group.resource.attributes)["service.version"] == "1.2.3"
    inner, outer = group.scope_spans[0].spans
    assert (outer.name, outer.trace_id.hex(), outer.parent_span_id.hex()) == (names.SPAN_COMPLETE, TRACE, SPAN)
    assert attributes(outer.attributes) == {names.SERVICE: "aigenflow"}
    assert (inner.name, inner.parent_span_id) == ("chat gpt-4o", outer.span_id)
    assert attributes(inner.attributes)[names.ERROR_TYPE] == "timeout"
    assert attributes(inner.attributes)[names.INPUT_TOKENS] == 12
    assert inner.status.code == 2
    assert b"planted" not in receiver.bodies


def test_a_call_sampled_by_ratio_begins_a_trace_of_its_own(receiver, monkeypatch):
    """Without a usable parent the span is a root."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.url)
    telemetry = start_telemetry(MetricSources(), traces=True, metrics=False, sample_ratio=1.0, version="1", environ={})
    span = telemetry.tracer.start_span(names.SPAN_COMPLETE, "garbage")
    assert span is not None
    span.end()
    assert telemetry.stop(10)
    assert receiver.received["/v1/traces"][0].resource_spans[0].scope_spans[0].spans[0].parent_span_id == b""
    assert receiver.received["/v1/metrics"] == []


def test_metrics_arrive_with_our_histograms_folded_in(receiver, monkeypatch):
    """Counters, gauges and bucket arrays arrive with their units and attributes."""
    assert start(monkeypatch, receiver.url, counted()).stop(10)
    group = receiver.received["/v1/metrics"][-1].resource_metrics[0]
    metrics = {metric.name: metric for scope in group.scope_metrics for metric in scope.metrics}
    completions = metrics["aigen.completions"].sum
    assert completions.is_monotonic
    assert completions.data_points[0].as_int == 2
    assert not metrics["aigen.calls.in_flight"].sum.is_monotonic
    spent = metrics["aigen.budget.spent"]
    assert (spent.unit, spent.gauge.data_points[0].as_int) == ("{nano_usd}", 7)
    assert attributes(spent.gauge.data_points[0].attributes) == {names.BUDGET: "team"}
    duration = metrics["aigen.completion.duration"]
    point = duration.histogram.data_points[0]
    assert (duration.unit, point.count, point.sum) == ("s", 2, 90.000015)
    assert len(point.bucket_counts) == len(point.explicit_bounds) + 1
    assert (point.bucket_counts[1], point.bucket_counts[-1]) == (1, 1)
    assert (point.min, point.max) == (0.00001, 50.0)
    assert "gen_ai.client.operation.duration" not in metrics


def test_the_standard_variables_name_the_service(receiver, monkeypatch):
    """A name given by the operator is not overruled."""
    start(monkeypatch, receiver.url, counted(), OTEL_SERVICE_NAME="mine").stop(10)
    resource = receiver.received["/v1/metrics"][-1].resource_metrics[0].resource
    assert attributes(resource.attributes)["service.name"] == "mine"


def free_port() -> int:
    """Return a port on which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_an_endpoint_that_is_down_delays_nothing(protocol, monkeypatch, caplog):
    """Start, spans and stop go on as if it were there; nothing is raised."""
    began = time.monotonic()
    endpoint = f"http://127.0.0.1:{free_port()}"
    telemetry = start(monkeypatch, endpoint, counted(), OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    with caplog.at_level(logging.CRITICAL + 1):
        span = telemetry.tracer.start_span(names.SPAN_COMPLETE, SAMPLED)
        assert span is not None
        span.end()
        telemetry.stop(0.5)
    assert time.monotonic() - began < 5


def test_an_endpoint_that_never_answers_is_given_up(receiver, monkeypatch):
    """A stop waits for its timeout and no longer."""
    receiver.answers.clear()
    telemetry = start(monkeypatch, receiver.url, counted())
    span = telemetry.tracer.start_span(names.SPAN_COMPLETE, SAMPLED)
    assert span is not None
    span.end()
    began = time.monotonic()
    assert telemetry.stop(0.3) is False
    assert time.monotonic() - began < 2
    assert telemetry.stop(0.3) is True


def test_metrics_over_grpc_arrive(monkeypatch):
    """The other standard transport works as well."""
    from concurrent import futures

    import grpc
    from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

    got = []

    class Service(metrics_service_pb2_grpc.MetricsServiceServicer):
        def Export(self, request, context):  # noqa: N802 - the name in the contract
            got.append(request)
            return metrics_service_pb2.ExportMetricsServiceResponse()

    server = grpc.server(futures.ThreadPoolExecutor(1))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Service(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    environ = {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"}
    telemetry = start_telemetry(counted(), traces=False, metrics=True, sample_ratio=0.0, version="1", environ=environ)
    assert telemetry.stop(10)
    server.stop(0)
    assert {metric.name for scope in got[-1].resource_metrics[0].scope_metrics for metric in scope.metrics} >= {"aigen.completions"}


def test_a_transport_that_does_not_exist_is_refused():
    """The error names the variable, its value and what is allowed."""
    environ = {"OTEL_EXPORTER_OTLP_PROTOCOL": "carrier-pigeon"}
    with pytest.raises(
        TelemetryRefused, match=r"OTEL_EXPORTER_OTLP_PROTOCOL is 'carrier-pigeon'; allowed: grpc or http/protobuf"
    ) as caught:
        start_telemetry(MetricSources(), traces=True, metrics=False, sample_ratio=0.0, version="1", environ=environ)
    assert caught.value.exit_code == 78
