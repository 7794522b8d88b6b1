"""Protobuf messages → the frozen values of `live.py`; the rest is `_convert.py`."""

from datetime import UTC

from aigen import _convert, live, reports, results
from aigen._fields import set_duration
from aigen._queries import named
from aigen.v1 import completion_pb2, message_pb2, usage_pb2

_OUTCOME = _convert.table(completion_pb2.CacheOutcome, "CACHE_OUTCOME_", results.CacheOutcome)
_STATE = _convert.table(message_pb2.AttemptState, "ATTEMPT_STATE_", reports.AttemptState)


def watch_bytes(interval: float | None) -> bytes:
    """Return the request for a live view."""
    message = usage_pb2.WatchUsageRequest()
    if interval is not None:
        with named("interval", interval):
            set_duration(message.interval, interval)
    return message.SerializeToString()


def views_of(payload: bytes) -> list[live.UsageView]:
    """Return the view of one message."""
    message = usage_pb2.WatchUsageResponse.FromString(payload)
    return [
        live.UsageView(
            time=message.time.ToDatetime(tzinfo=UTC),
            minutes=tuple(_minute(item) for item in message.minutes),
            in_flight_count=message.in_flight_count,
            queued_count=message.queued_count,
            budgets=tuple(_convert.budget(item) for item in message.budgets),
            calls=tuple(_call(item) for item in message.calls),
        )
    ]


def _minute(message: usage_pb2.UsageMinute) -> live.UsageMinute:
    fields = _convert.same(message, "paid_count free_count spent_usd_nanos")
    return live.UsageMinute(start_time=message.start_time.ToDatetime(tzinfo=UTC), **fields)


def _call(message: usage_pb2.WatchedCall) -> live.WatchedCall:
    return live.WatchedCall(
        time=message.time.ToDatetime(tzinfo=UTC),
        **_convert.same(message, "provider model service session ledger_entry_id corrected"),
        cache_outcome=_OUTCOME.get(message.cache_outcome),
        state=_STATE.get(message.state),
        cost_usd_nanos=message.cost_usd_nanos if message.HasField("cost_usd_nanos") else None,
        total_us=message.total_us if message.HasField("total_us") else None,
    )
