"""Python arguments → the bytes of the requests that correct the ledger, report on it, and ask for prices."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from aigen._queries import STATES, fill, fill_filter, fill_range, fill_words, named
from aigen._requests import serialize
from aigen.reports import AttemptState
from aigen.results import TokenUsage
from aigen.v1 import message_pb2, model_pb2, usage_pb2

_USAGE = tuple(message_pb2.TokenUsage.DESCRIPTOR.fields_by_name)


def export_bytes(
    *,
    start_time: datetime | None,
    end_time: datetime | None,
    states: Sequence[AttemptState | str],
    where: Mapping[str, Any],
) -> bytes:
    """Return the serialized ExportLedgerRequest."""
    message = usage_pb2.ExportLedgerRequest()
    fill_range(message, start_time, end_time)
    fill_words(message.states, "states", states, STATES)
    fill_filter(message.filter, where)
    return serialize(message)


def record_bytes(*, usage: TokenUsage, create_time: datetime | None, labels: Mapping[str, str] | None, **fields: Any) -> bytes:
    """Return the serialized RecordUsageRequest; a field that is None stays unset."""
    message = usage_pb2.RecordUsageRequest()
    fields["phase"] = "" if fields["phase"] is None else str(fields["phase"])
    fill(message, {name: value for name, value in fields.items() if value is not None})
    fill_range(message, None, None, create_time=create_time)
    _fill_usage(message.usage, usage)
    with named("labels", labels):
        message.labels.update(labels or {})
    return serialize(message)


def settle_bytes(entry_id: str, *, cost_usd_nanos: int | None, usage: TokenUsage | None, note: str) -> bytes:
    """Return the serialized SettleLedgerEntryRequest."""
    message = usage_pb2.SettleLedgerEntryRequest()
    fill(message, {"entry_id": entry_id, "note": note})
    if cost_usd_nanos is not None:
        fill(message, {"cost_usd_nanos": cost_usd_nanos})
    if usage is not None:
        _fill_usage(message.usage, usage)
    return serialize(message)


def release_bytes(entry_id: str, *, note: str) -> bytes:
    """Return the serialized ReleaseLedgerEntryRequest."""
    message = usage_pb2.ReleaseLedgerEntryRequest()
    fill(message, {"entry_id": entry_id, "note": note})
    return serialize(message)


def reprice_bytes(
    *, start_time: datetime | None, end_time: datetime | None, validate_only: bool, where: Mapping[str, Any]
) -> bytes:
    """Return the serialized RepriceLedgerRequest."""
    message = usage_pb2.RepriceLedgerRequest(validate_only=validate_only)
    fill_range(message, start_time, end_time)
    fill_filter(message.filter, where)
    return serialize(message)


def report_bytes(**fields: Any) -> bytes:
    """Return the serialized GenerateReportRequest."""
    message = usage_pb2.GenerateReportRequest()
    fill(message, fields)
    return serialize(message)


def price_page(**fields: Any) -> model_pb2.ListPricesRequest:
    """Return the request for the first page of prices."""
    message = model_pb2.ListPricesRequest()
    fill(message, fields)
    return message


def _fill_usage(message: message_pb2.TokenUsage, usage: TokenUsage) -> None:
    message.SetInParent()
    for name in _USAGE:
        with named("usage", usage):
            value = getattr(usage, name)
        with named(f"usage.{name}", value):
            fill(message, {name: value})
