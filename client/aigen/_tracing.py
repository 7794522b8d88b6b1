"""The caller's W3C trace context, passed on to the daemon.

OpenTelemetry is used only where the caller's process has already imported it: a program without it pays one dictionary look-up.
"""

import sys
from typing import Any

Headers = tuple[tuple[str, str], ...]


def trace_headers() -> Headers:
    """Return `traceparent` and `tracestate` of the current span; nothing outside of a span or without OpenTelemetry."""
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return ()
    context: Any = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return ()
    parent = ("traceparent", f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
    state = context.trace_state.to_header() if context.trace_state else ""
    return (parent, ("tracestate", state)) if state else (parent,)
