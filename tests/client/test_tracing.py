"""Trace context: passed on where OpenTelemetry is in use, and never a reason to import it."""

import subprocess
import sys

import aigen
from aigen.testing import FakeDaemon
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, TraceState


def span(state: TraceState | None = None) -> NonRecordingSpan:
    """Return a span of a caller."""
    return NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=False, trace_flags=TraceFlags(1), trace_state=state))


def test_the_callers_trace_is_passed_on(daemon: FakeDaemon, client: aigen.Client):
    """Inside a span every call carries its W3C headers; outside none does."""
    with trace.use_span(span(TraceState([("vendor", "x")]))):
        client.complete("hi")
        client.cache_stats()
    with trace.use_span(span()):
        client.complete("hi")
    client.complete("hi")
    parents = [call.metadata.get("traceparent") for call in daemon.calls]
    assert parents == [f"00-{0xABC:032x}-{0xDEF:016x}-01"] * 3 + [None]
    assert [call.metadata.get("tracestate") for call in daemon.calls] == ["vendor=x", "vendor=x", None, None]


def test_opentelemetry_is_not_imported_for_it():
    """A program without OpenTelemetry stays without it after its calls."""
    program = (
        "import sys, aigen; from aigen.testing import FakeDaemon\n"
        "with FakeDaemon() as d, aigen.Client(d.socket) as c: print(c.complete('hi').text)\n"
        "print(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["echo: hi", "False"]
