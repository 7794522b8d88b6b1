"""What happens around a call, decided without input or output, so that both clients do the same.

The table of methods, the metadata of a call, how long it may take, and after a failure: wait and send again, or which exception.
"""

import os
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import grpc

from aigen import _convert, _convert_books, _convert_budgets, _convert_explanations, _convert_jobs, _convert_live, _convert_prefixes
from aigen._channel import Finder
from aigen._session import Context
from aigen._tracing import trace_headers
from aigen.errors import AigenError, DaemonUnavailable, from_rpc_error, invalid, status_of, trailing

T = TypeVar("T")
Metadata = tuple[tuple[str, str | bytes], ...]

_LONGEST_S: Final = 10 * 365 * 86_400.0
_FIRST_PAUSE_S: Final = 0.05
_LONGEST_PAUSE_S: Final = 0.5
MAX_REQUEST_ID: Final = 128


@dataclass(frozen=True, slots=True)
class Method(Generic[T]):
    """One RPC: where it is, what its answer becomes, and whether it may be sent again after a lost connection."""

    path: str
    decode: Callable[..., T]
    repeatable: bool = True


COMPLETE: Final = Method("/aigen.v1.CompletionService/Complete", _convert.completion_of)
STREAM: Final = Method("/aigen.v1.CompletionService/StreamComplete", _convert.stream_event_of)
BATCH: Final = Method("/aigen.v1.CompletionService/BatchComplete", bytes)  # the client decodes it: an item's errors name their id
ESTIMATE: Final = Method("/aigen.v1.CompletionService/EstimateCost", _convert.estimate_of)
STATS: Final = Method("/aigen.v1.UsageService/GetStats", _convert.stats_of)
LEDGER: Final = Method("/aigen.v1.UsageService/ListLedgerEntries", _convert.ledger_page_of)
EXPORT: Final = Method("/aigen.v1.UsageService/ExportLedger", _convert_books.export_of)
RECORD: Final = Method("/aigen.v1.UsageService/RecordUsage", _convert_books.recorded_of)
SETTLE: Final = Method("/aigen.v1.UsageService/SettleLedgerEntry", _convert_books.settled_of, repeatable=False)
RELEASE: Final = Method("/aigen.v1.UsageService/ReleaseLedgerEntry", _convert_books.released_of, repeatable=False)
REPRICE: Final = Method("/aigen.v1.UsageService/RepriceLedger", _convert_books.repricing_of, repeatable=False)
EXPLAIN: Final = Method("/aigen.v1.CompletionService/ExplainCompletion", _convert_explanations.explanation_of)
DIAGNOSE: Final = Method("/aigen.v1.UsageService/DiagnosePromptCache", _convert_explanations.diagnosis_of)
ARCHIVES: Final = Method("/aigen.v1.UsageService/ListLedgerArchives", _convert_explanations.archive_page_of)
REPORT: Final = Method("/aigen.v1.UsageService/GenerateReport", _convert_books.report_of)
PRICES: Final = Method("/aigen.v1.ModelService/ListPrices", _convert_books.price_page_of)
REFRESH: Final = Method("/aigen.v1.ModelService/RefreshPrices", _convert_books.refreshed_of)
CACHE_STATS: Final = Method("/aigen.v1.CacheService/GetCacheStats", _convert.cache_stats_of)
CACHE_ENTRIES: Final = Method("/aigen.v1.CacheService/ListCacheEntries", _convert.cache_page_of)
CACHE_ENTRY: Final = Method("/aigen.v1.CacheService/GetCacheEntry", _convert.cache_entry_of)
CLEAR: Final = Method("/aigen.v1.CacheService/ClearCache", _convert.cleared_of)
PREFIXES: Final = Method("/aigen.v1.CacheService/ListPrefixDecisions", _convert_prefixes.decision_page_of)
MODELS: Final = Method("/aigen.v1.ModelService/ListModels", _convert.model_page_of)
MODEL: Final = Method("/aigen.v1.ModelService/GetModel", _convert.model_of)
POLICIES: Final = Method("/aigen.v1.ModelService/ListServicePolicies", _convert.policy_page_of)
POLICY: Final = Method("/aigen.v1.ModelService/GetServicePolicy", _convert.policy_of)
STATUS: Final = Method("/aigen.v1.DaemonService/GetStatus", _convert.status_of)
SETTINGS: Final = Method("/aigen.v1.DaemonService/GetSettings", _convert.settings_of)
DRAIN: Final = Method("/aigen.v1.DaemonService/Drain", _convert.drained_of, repeatable=False)

BUDGETS: Final = Method("/aigen.v1.BudgetService/ListBudgets", _convert_budgets.page_of)
BUDGET: Final = Method("/aigen.v1.BudgetService/GetBudget", _convert_budgets.budget_of)
SET_BUDGET: Final = Method("/aigen.v1.BudgetService/SetBudget", _convert_budgets.stored_of)
DELETE_BUDGET: Final = Method("/aigen.v1.BudgetService/DeleteBudget", _convert_budgets.deleted_of, repeatable=False)
BUDGET_STATUS: Final = Method("/aigen.v1.BudgetService/GetBudgetStatus", _convert_budgets.windows_of)
PAUSE_BUDGET: Final = Method("/aigen.v1.BudgetService/PauseBudget", _convert_budgets.paused_of, repeatable=False)
RESUME_BUDGET: Final = Method("/aigen.v1.BudgetService/ResumeBudget", _convert_budgets.resumed_of, repeatable=False)
ALERTS: Final = Method("/aigen.v1.BudgetService/ListAlerts", _convert_budgets.alert_page_of)
WATCH_ALERTS: Final = Method("/aigen.v1.BudgetService/WatchAlerts", _convert_budgets.watched_of)
WATCH_USAGE: Final = Method("/aigen.v1.UsageService/WatchUsage", _convert_live.views_of)

CREATE_JOB: Final = Method("/aigen.v1.BatchJobService/CreateBatchJob", _convert_jobs.created_of)
JOB: Final = Method("/aigen.v1.BatchJobService/GetBatchJob", _convert_jobs.job_of)
JOBS: Final = Method("/aigen.v1.BatchJobService/ListBatchJobs", _convert_jobs.page_of)
CANCEL_JOB: Final = Method("/aigen.v1.BatchJobService/CancelBatchJob", _convert_jobs.cancelled_of)
JOB_RESULTS: Final = Method("/aigen.v1.BatchJobService/StreamBatchJobResults", _convert_jobs.results_of)

UNARY: Final[tuple[Method[Any], ...]] = (
    *(COMPLETE, BATCH, ESTIMATE, STATS, LEDGER, CACHE_STATS, CACHE_ENTRIES, CACHE_ENTRY, CLEAR, PREFIXES),
    *(MODELS, MODEL, POLICIES, POLICY, STATUS, SETTINGS, DRAIN),
    *(BUDGETS, BUDGET, SET_BUDGET, DELETE_BUDGET, BUDGET_STATUS, PAUSE_BUDGET, RESUME_BUDGET, ALERTS),
    *(RECORD, SETTLE, RELEASE, REPRICE, REPORT, PRICES, REFRESH),
    *(EXPLAIN, DIAGNOSE, ARCHIVES),
    *(CREATE_JOB, JOB, JOBS, CANCEL_JOB),
)
STREAMED: Final[tuple[Method[Any], ...]] = (STREAM, WATCH_ALERTS, EXPORT, WATCH_USAGE, JOB_RESULTS)


def new_request_id() -> str:
    """Return a UUID of version 7 as text: the time in milliseconds, then 74 random bits.

    Ids that rise with time lie side by side in the ledger's index, where random ones would touch a page each. The operating system
    is asked each time (about a microsecond): random bytes kept in advance would be the same in both processes after a fork, and two
    questions under one id are refused.
    """
    begin, digits = f"{time.time_ns() // 1_000_000:012x}", os.urandom(10).hex()
    variant = "89ab"[int(digits[3], 16) & 3]
    return f"{begin[:8]}-{begin[8:]}-7{digits[:3]}-{variant}{digits[4:7]}-{digits[7:19]}"


def checked_request_id(given: str | uuid.UUID) -> str:
    """Return the caller's own request id as text that may travel as metadata."""
    text = str(given)
    if not text or len(text) > MAX_REQUEST_ID or not text.isascii() or not text.isprintable() or text != text.strip():
        raise invalid("request_id", repr(text), f"1 to {MAX_REQUEST_ID} printable ASCII characters, best a UUID")
    return text


def call_metadata(request_id: str, context: Context, *, allow_repeat: bool) -> Metadata:
    """Return what travels beside a completion: its id, on whose account it goes, and its trace."""
    return (("aigen-request-id", request_id), *(context.repeat if allow_repeat else context.once), *trace_headers())


def checked_seconds(name: str, value: float) -> float:
    """Return a positive time; infinity is allowed and means without end."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise invalid(name, repr(value), "seconds above 0")
    return float(value)


def grpc_seconds(seconds: float) -> float | None:
    """Return a timeout as gRPC takes it, which overflows on years and has None for never."""
    return seconds if seconds < _LONGEST_S else None


class Recovery:
    """What a call does after failures: it is sent again under its request id while that helps and the caller's time lasts.

    gRPC's own retries are switched off. Its `wait_for_ready` would hold a caller for its whole timeout where no daemon comes back.

    Args:
        finder: Where the daemon may be.
        method: The RPC.
        request_id: Of the call; empty where it has none.
        deadline: End of the caller's patience, on the finder's clock.
        timeout: The whole of the caller's patience, in seconds.
        restart_timeout: Longest wait for a daemon that was there and went away, in seconds.
    """

    __slots__ = ("_deadline", "_finder", "_gone_since", "_method", "_pause", "_request_id", "_restart_timeout", "_timeout")

    def __init__(
        self, finder: Finder, method: Method[Any], *, request_id: str, deadline: float, timeout: float, restart_timeout: float
    ) -> None:
        self._finder = finder
        self._method = method
        self._request_id = request_id
        self._deadline = deadline
        self._timeout = timeout
        self._restart_timeout = restart_timeout
        self._pause = _FIRST_PAUSE_S
        self._gone_since: float | None = None

    def pause_after(self, error: grpc.RpcError, *, answering: bool = False) -> float:
        """Return the seconds to wait before the call is sent again.

        Args:
            error: How the last try failed.
            answering: Part of the answer has arrived, so that sending again would repeat it.

        Raises:
            AigenError: Sending again can't help; what the caller shall see.
        """
        ours = from_rpc_error(error, request_id=self._request_id, timeout=self._timeout)
        if answering or not self._method.repeatable or not self._passing(error, ours):
            raise self._final(ours) from error
        pause = self._pause
        self._pause = min(pause * 2, _LONGEST_PAUSE_S)
        if self.seconds_left() <= pause or self._gone_too_long():
            raise self._final(ours) from error
        return pause

    def seconds_left(self) -> float:
        """Return what is left of the caller's patience."""
        return self._deadline - self._finder.clock()

    def _passing(self, error: grpc.RpcError, ours: AigenError) -> bool:
        """Tell a daemon that stops or restarts from everything else."""
        if ours.reason == "DRAINING":
            self._gone_since = None
            return True
        lost = isinstance(ours, DaemonUnavailable) and status_of(error) is None and not _pushed_back(error)
        if lost and self._gone_since is None:
            self._gone_since = self._finder.clock()
        return lost

    def _gone_too_long(self) -> bool:
        return self._gone_since is not None and self._finder.clock() - self._gone_since >= self._restart_timeout

    def _final(self, ours: AigenError) -> AigenError:
        """Return the error, or the one that names the paths where the transport failed because nobody is there."""
        from_transport = not ours.reason and ours.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")
        if from_transport and self._finder.find() is None:
            missing = self._finder.unavailable(None if self._gone_since is None else self._finder.clock() - self._gone_since)
            missing.request_id = self._request_id
            return missing
        return ours


def _pushed_back(error: grpc.RpcError) -> bool:
    """Tell whether the server said that the call must not be sent again."""
    value = trailing(error, "grpc-retry-pushback-ms")
    return value is not None and _number(value) < 0


def _number(value: str | bytes) -> float:
    try:
        return float(value)
    except ValueError:
        return -1.0  # unreadable counts as "do not", as in gRPC itself
