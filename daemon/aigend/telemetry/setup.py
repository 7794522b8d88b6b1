"""Turns telemetry on and off: what the settings ask for, and nothing imported that they do not.

An endpoint that is down or slow never delays a call, the start, or the stop.
"""

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from aigend.clock import Clock, SystemClock
from aigend.telemetry.instruments import MetricSources
from aigend.telemetry.names import SERVICE_NAME
from aigend.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from aigend.telemetry.exporting import Transport

STOP_TIMEOUT_S = 1.5
EXIT_CONFIG = 78  # EX_CONFIG
TRANSPORTS: tuple["Transport", ...] = ("grpc", "http/protobuf")
DEFAULT_TRANSPORT: "Transport" = "http/protobuf"


class TelemetryRefused(Exception):  # noqa: N818 - names what happened
    """A variable of OpenTelemetry that can't be used; says what is allowed."""

    exit_code = EXIT_CONFIG


class _Export(Protocol):
    def stop(self) -> None: ...


class Telemetry:
    """Traces and metrics as long as the daemon runs.

    Args:
        tracer: Starts spans for calls that are traced.
        exports: What sends them, and metrics, to an endpoint.
    """

    def __init__(self, tracer: Tracer, exports: tuple[_Export, ...] = ()) -> None:
        self.tracer = tracer
        self._exports = exports

    def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> bool:
        """Send what is left and return whether all of it went in time; the rest is given up.

        It blocks for at most the timeout: an event loop calls it in a thread.
        """
        threads = [threading.Thread(target=export.stop, name="aigend-telemetry-stop", daemon=True) for export in self._exports]
        self._exports = ()
        for thread in threads:
            thread.start()
        share_s = timeout_s / max(1, len(threads))
        for thread in threads:
            thread.join(share_s)
        return not any(thread.is_alive() for thread in threads)


def start_telemetry(
    sources: MetricSources,
    *,
    tracer: Tracer | None = None,
    traces: bool,
    metrics: bool,
    sample_ratio: float,
    version: str,
    environ: Mapping[str, str],
    clock: Clock | None = None,
) -> Telemetry:
    """Return telemetry as the settings ask for it; off, it imports and costs nothing.

    Args:
        sources: Where metrics are read; all of them stand before the start.
        tracer: Armed where traces are on; None makes one.
        traces: Whether traces are exported.
        metrics: Whether metrics are exported.
        sample_ratio: Share of calls that are traced although their caller does not, 0 to 1.
        version: Version of the daemon.
        environ: Where `OTEL_*` variables are read.
        clock: Dates histograms; None is the machine's.

    Raises:
        TelemetryRefused: A variable names a transport that does not exist.
    """
    tracer = tracer or Tracer()
    if not traces and not metrics:
        return Telemetry(tracer)
    transports = {signal: _transport(signal, environ) for signal in ("TRACES", "METRICS")}
    from opentelemetry.sdk.resources import Resource  # noqa: PLC0415 - optional, and 60 ms that nobody pays who has it off

    from aigend.telemetry import exporting  # noqa: PLC0415 - optional likewise

    resource = Resource.create(_resource_attributes(version, environ))
    exports: list[_Export] = []
    if traces:
        spans = exporting.TraceExport(resource=resource, transport=transports["TRACES"], version=version)
        tracer.arm(spans.make, sample_ratio=sample_ratio)
        exports.append(spans)
    if metrics:
        transport = transports["METRICS"]
        exports.append(
            exporting.MetricExport(sources, resource=resource, transport=transport, version=version, clock=clock or SystemClock())
        )
    return Telemetry(tracer, tuple(exports))


def _transport(signal: str, environ: Mapping[str, str]) -> "Transport":
    for name in (f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if value := environ.get(name, ""):
            for transport in TRANSPORTS:
                if value == transport:
                    return transport
            raise TelemetryRefused(f"{name} is {value!r}; allowed: {' or '.join(TRANSPORTS)}")
    return DEFAULT_TRANSPORT


def _resource_attributes(version: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Name and version of the service, unless the standard variables give it a name of their own."""
    named = "OTEL_SERVICE_NAME" in environ or "service.name=" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    return {"service.version": version} | ({} if named else {"service.name": SERVICE_NAME})
