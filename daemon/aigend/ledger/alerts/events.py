"""Alerts as OpenTelemetry events: one span with one event each, where traces are on."""

from aigend.ledger.alerts.rows import Alert
from aigend.telemetry import names
from aigend.telemetry.tracing import Tracer


class AlertEvents:
    """Tells telemetry of alerts; calling it never waits.

    Args:
        tracer: Makes spans.
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer

    def __call__(self, alert: Alert) -> None:
        """Export an alert as an event."""
        self._tracer.event(
            names.SPAN_ALERT,
            {
                names.ALERT_KIND: str(alert.kind),
                names.BUDGET: alert.budget,
                names.BUDGET_KEY: alert.key,
                names.WINDOW: alert.window,
                names.ALERT_PERCENT: alert.percent,
                names.LIMIT_NANOS: alert.limit_nanos,
                names.SPENT_NANOS: alert.spent_nanos,
            },
        )
