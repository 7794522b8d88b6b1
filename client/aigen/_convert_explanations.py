"""Protobuf messages → the frozen values of `explanations.py`, and the requests for them; the rest is `_convert.py`."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

from aigen import _convert, explanations, reports, results
from aigen._fields import number_of
from aigen._queries import PERIODS, fill, fill_filter, fill_range, named
from aigen._requests import serialize
from aigen.v1 import completion_pb2, message_pb2, usage_pb2

_OUTCOME = _convert.table(completion_pb2.CacheOutcome, "CACHE_OUTCOME_", results.CacheOutcome)
_BASIS = _convert.table(completion_pb2.CostBasis, "COST_BASIS_", results.CostBasis)
_CAUSE = _convert.table(completion_pb2.SavingsCause, "SAVINGS_CAUSE_", results.SavingsCause)
_STATE = _convert.table(message_pb2.AttemptState, "ATTEMPT_STATE_", reports.AttemptState)


def explain_bytes(request_id: str) -> bytes:
    """Return the serialized ExplainCompletionRequest."""
    message = completion_pb2.ExplainCompletionRequest()
    fill(message, {"request_id": request_id})
    return serialize(message)


def diagnose_bytes(
    *,
    period: "reports.Period | str | None",
    start_time: datetime | None,
    end_time: datetime | None,
    time_zone: str,
    prefix_count: int,
    where: Mapping[str, Any],
) -> bytes:
    """Return the serialized DiagnosePromptCacheRequest."""
    message = usage_pb2.DiagnosePromptCacheRequest()
    with named("period", period):
        if period is not None:
            message.period = number_of(period, PERIODS)
    fill(message, {"time_zone": time_zone, "prefix_count": prefix_count})
    fill_range(message, start_time, end_time)
    fill_filter(message.filter, where)
    return serialize(message)


def archive_page(*, page_size: int) -> usage_pb2.ListLedgerArchivesRequest:
    """Return the request for the first page of archives."""
    message = usage_pb2.ListLedgerArchivesRequest()
    fill(message, {"page_size": page_size})
    return message


def explanation_of(payload: bytes) -> explanations.Explanation:
    """Return what became of a request."""
    message = completion_pb2.ExplainCompletionResponse.FromString(payload)
    return explanations.Explanation(
        **_convert.same(message, "request_id requested_model service agent session phase task archive_file"),
        state=_STATE.get(message.state),
        create_time=_convert.moment(message, "create_time"),
        labels=dict(message.labels),
        attempts=tuple(_attempt(item) for item in message.attempts),
        free_answers=tuple(_free(item) for item in message.free_answers),
        refusals=tuple(
            explanations.RecentRefusal(time=_convert.moment(item, "time"), **_convert.same(item, "reason text budget"))
            for item in message.refusals
        ),
    )


def diagnosis_of(payload: bytes) -> explanations.PromptCacheDiagnosis:
    """Return what the prompt-cache doctor found."""
    message = usage_pb2.DiagnosePromptCacheResponse.FromString(payload)
    counts = "prefix_count never_read_count write_count written_tokens premium_usd_nanos read_count read_tokens saved_usd_nanos"
    return explanations.PromptCacheDiagnosis(
        **_convert.same(message, counts),
        prefixes=tuple(_prefix(item) for item in message.prefixes),
        start_time=_convert.moment(message, "start_time"),
        end_time=_convert.moment(message, "end_time"),
        archive_files=tuple(message.archive_files),
    )


def archive_page_of(payload: bytes) -> tuple[list[explanations.LedgerArchive], str]:
    """Return a page of archives and where the next one begins."""
    message = usage_pb2.ListLedgerArchivesResponse.FromString(payload)
    names = "month file done operation_count attempt_count journal_count hit_count cost_usd_nanos size_bytes sha256"
    found = (
        explanations.LedgerArchive(**_convert.same(item, names), create_time=_convert.moment(item, "create_time"))
        for item in message.archives
    )
    return list(found), message.next_page_token


def _attempt(message: completion_pb2.ExplainedAttempt) -> explanations.ExplainedAttempt:
    return explanations.ExplainedAttempt(
        **_convert.same(message, "entry_id attempt_number reason provider model resolved_model reserved_usd_nanos price_entry_id"),
        **_convert.same(message, "prefix read_prefix"),
        **_set(message, _OPTIONAL),
        state=_STATE.get(message.state),
        cache_outcome=_OUTCOME.get(message.cache_outcome),
        create_time=_convert.moment(message, "create_time"),
        update_time=_convert.moment(message, "update_time"),
        cost_basis=_BASIS.get(message.cost_basis),
        usage=_convert.token_usage(message.usage) if message.HasField("usage") else None,
        arithmetic=_arithmetic(message.arithmetic) if message.HasField("arithmetic") else None,
        flags=tuple(message.flags),
        savings=_convert.savings(message.savings),
        windows=tuple(_window(item) for item in message.windows),
        decisions=tuple(message.decisions),
    )


_OPTIONAL = (
    *("provider_us", "total_us", "cost_usd_nanos", "unknown_low_usd_nanos", "unknown_high_usd_nanos"),
    "write_premium_usd_nanos",
)


def _set(message: Any, names: Iterable[str]) -> dict[str, Any]:
    """Fields whose being unset means that they are not known."""
    return {name: getattr(message, name) if message.HasField(name) else None for name in names}


def _window(message: completion_pb2.ExplainedWindow) -> explanations.ExplainedWindow:
    return explanations.ExplainedWindow(
        **_convert.same(message, "budget key window spent_usd_nanos reserved_usd_nanos"),
        limit_usd_nanos=message.limit_usd_nanos if message.HasField("limit_usd_nanos") else None,
    )


def _arithmetic(message: completion_pb2.CostArithmetic) -> explanations.CostArithmetic:
    return explanations.CostArithmetic(
        **_convert.same(message, "price_entry_id source checked_on above_tokens booked"),
        lines=tuple(
            explanations.CostLine(
                **_convert.same(line, "name count stand_in"), rate=_decimal(line.rate), usd_nanos=_decimal(line.usd_nanos)
            )
            for line in message.lines
        ),
        exact_usd_nanos=_decimal(message.exact_usd_nanos),
        cost_usd_nanos=message.cost_usd_nanos if message.HasField("cost_usd_nanos") else None,
    )


def _free(message: completion_pb2.FreeAnswer) -> explanations.FreeAnswer:
    return explanations.FreeAnswer(
        **_convert.same(message, "provider model total_us"),
        time=_convert.moment(message, "time"),
        cache_outcome=_OUTCOME.get(message.cache_outcome),
        saved_usd_nanos=message.saved_usd_nanos if message.HasField("saved_usd_nanos") else None,
        saved_cause=_CAUSE.get(message.saved_cause),
    )


def _prefix(message: usage_pb2.PromptCachePrefix) -> explanations.PromptCachePrefix:
    names = "prefix provider model service agent phase last_request_id ttl_seconds paid decision"
    counts = "mark_count write_count written_tokens premium_usd_nanos read_count read_tokens saved_usd_nanos"
    return explanations.PromptCachePrefix(
        **_convert.same(message, names),
        **_convert.same(message, f"{counts} missed_count expired_count"),
        last_time=_convert.moment(message, "last_time"),
        reads_needed=_decimal(message.reads_needed),
        advice=tuple(message.advice),
    )


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if text else None
