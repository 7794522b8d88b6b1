"""What telemetry is told about a provider call: a span where the call is traced, and counters always."""

from dataclasses import fields

import structlog

from aigend.completion.call import Call, Landing
from aigend.completion.ports import CallMeter
from aigend.routing.health import CircuitReport, CircuitState
from aigend.telemetry import names
from aigend.telemetry.tracing import AttributeValue, Span, Tracer
from aigend.types import Route, TokenUsage

_BUCKETS = tuple(field.name for field in fields(TokenUsage))
_log = structlog.get_logger("aigend.completion")


class Watch:
    """Tells telemetry how provider calls go.

    Args:
        meter: Counts calls.
        tracer: Starts spans.
    """

    def __init__(self, *, meter: CallMeter, tracer: Tracer) -> None:
        self._meter = meter
        self._tracer = tracer

    def begin(self, call: Call, route: Route, *, attempt: int) -> Span | None:
        """Return the span of one attempt, where the call is traced."""
        if not call.caller.traceparent:
            return None
        request, caller = call.request, call.caller
        facts: dict[str, AttributeValue] = {
            names.OPERATION: names.OPERATION_CHAT,
            names.PROVIDER: route.provider,
            names.REQUEST_MODEL: route.model,
            names.REQUEST_ID: caller.request_id,
            names.ATTEMPT: attempt,
        }
        given = {
            names.AGENT: request.agent,
            names.SERVICE: request.service,
            names.PHASE: request.phase,
            names.CONVERSATION: caller.accounting.session,
        }
        attributes = facts | {name: value for name, value in given.items() if value}
        return self._tracer.start_span(f"{names.OPERATION_CHAT} {route.model}", caller.traceparent, attributes=attributes)

    def circuit_changed(self, report: CircuitReport) -> None:
        """Tell that a provider's key is passed by from now on, is tried, or is asked again."""
        facts = {"provider": report.key.provider, "key": report.key.number}
        if report.state is CircuitState.OPEN:
            _log.warning(
                "circuit_opened", **facts, refused=report.refused, failures=report.failures, retry_s=round(report.retry_s, 3)
            )
        else:
            _log.info(f"circuit_{report.state}", **facts)

    def failed(self, span: Span | None, route: Route, *, fault: str, duration_us: int) -> None:
        """Tell that an attempt ended without an answer."""
        self._meter.count_provider_call(route.provider, route.model, duration_us=duration_us, error=fault)
        if span is not None:
            span.end(error_type=fault)

    def settled(self, span: Span | None, landing: Landing) -> None:
        """Tell what an answered attempt used and cost."""
        answer, facts = landing.answer, landing.facts
        route, usage = answer.route, answer.usage
        tokens = {name: count for name in _BUCKETS if (count := getattr(usage, name))}
        saved = {str(cause): nanos for cause, nanos in landing.savings.items()}
        self._meter.count_call(facts.outcome, facts.timings.total_us)
        self._meter.count_provider_call(route.provider, route.model, duration_us=facts.timings.provider_us)
        self._meter.count_settled(route.provider, route.model, tokens=tokens, cost_nanos=answer.cost.nanos, saved=saved)
        if span is not None:
            span.set(_answered(landing))
            span.end()


def _answered(landing: Landing) -> dict[str, AttributeValue]:
    answer, facts = landing.answer, landing.facts
    attributes: dict[str, AttributeValue] = {
        names.RESPONSE_MODEL: answer.resolved_model,
        names.FINISH_REASONS: (str(answer.finish_reason),),
        names.INPUT_TOKENS: answer.usage.total_input,
        names.OUTPUT_TOKENS: answer.usage.output,
        names.CACHE_READ_TOKENS: answer.usage.cache_read,
        names.COST_BASIS: str(answer.cost.basis),
        names.LEDGER_ENTRY_ID: facts.ledger_entry_id,
        names.QUEUE_US: facts.timings.queue_us,
    }
    return attributes if answer.cost.nanos is None else attributes | {names.COST_NANOS: answer.cost.nanos}
