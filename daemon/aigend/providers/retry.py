"""What follows from a fault: how much money stays held, and whether to try again, go on or stop.

The table of verdicts is the whole of this file; waiting, booking and choosing keys and routes are the spine's.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from aigend.config import RetrySettings
from aigend.errors import DomainError, Reason
from aigend.providers.port import FaultKind, ProviderFault


class Hold(StrEnum):
    """What the budget keeps holding for a failed attempt."""

    NOTHING = "nothing"  # certainly free: released
    BOUND = "bound"  # perhaps billed: unknown, at the upper bound
    PARTIAL = "partial"  # billed for a part: unknown, from what was seen to the upper bound


class Next(StrEnum):
    """How the operation goes on."""

    NEXT_KEY = "next_key"  # the same route with another key, at once
    RETRY = "retry"  # the same route, after `after_s`
    NEXT_ROUTE = "next_route"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an operation stands when a fault meets it."""

    attempt: int  # on this route, from 1; a change of the key does not count
    other_key: bool = False  # whether the provider has another key that this call may still use
    last_route: bool = True  # whether no other route is left


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from a fault."""

    hold: Hold
    next: Next
    error: DomainError  # what the caller sees if it ends here
    after_s: float = 0.0  # seconds to wait before a RETRY
    otherwise: Next = Next.STOP  # what comes instead of a RETRY that is not allowed

    def stopped(self) -> "Verdict":
        """Return the same verdict for a call that can't go on, because callers have seen a part of its answer."""
        return replace(self, next=Next.STOP, after_s=0.0)

    def without_retry(self) -> "Verdict":
        """Return the same verdict for a provider whose retries are used up."""
        return replace(self, next=self.otherwise, after_s=0.0) if self.next is Next.RETRY else self


_REASONS_BY_CODE = {
    "context_length_exceeded": Reason.CONTEXT_TOO_LONG,
    "too_many_prompt_tokens": Reason.CONTEXT_TOO_LONG,  # Perplexity's
    "model_not_found": Reason.UNKNOWN_MODEL,
    "not_found_error": Reason.UNKNOWN_MODEL,  # Anthropic's: of all that a completion names, only the model can be missing
    "NOT_FOUND": Reason.UNKNOWN_MODEL,  # Google's, likewise
}
_REASONS = {
    FaultKind.UNREACHABLE: Reason.PROVIDER_UNAVAILABLE,
    FaultKind.REJECTED: Reason.PROVIDER_REFUSED,
    FaultKind.AUTH: Reason.PROVIDER_REFUSED,
    FaultKind.RATE_LIMITED: Reason.RATE_LIMITED,
    FaultKind.SERVER_ERROR: Reason.PROVIDER_UNAVAILABLE,
    FaultKind.TIMEOUT: Reason.PROVIDER_TIMEOUT,
    FaultKind.RESET: Reason.OUTCOME_UNKNOWN,
    FaultKind.CUT: Reason.OUTCOME_UNKNOWN,
    FaultKind.BAD_ANSWER: Reason.OUTCOME_UNKNOWN,
    FaultKind.TOO_LARGE: Reason.OUTCOME_UNKNOWN,
}
_FREE = frozenset((FaultKind.UNREACHABLE, FaultKind.REJECTED, FaultKind.AUTH, FaultKind.RATE_LIMITED))
_PARTLY_BILLED = frozenset((FaultKind.CUT, FaultKind.TOO_LARGE))
_AMBIGUOUS = frozenset((FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.CUT, FaultKind.BAD_ANSWER))
_THIS_MODEL_ALONE = frozenset((404, 413))  # statuses of a rejection that says nothing of other models: not there, too large for it


def verdict(
    fault: ProviderFault,
    *,
    standing: Standing,
    settings: RetrySettings,
    on_server_error: str,
    on_ambiguous: str,
    jitter: Callable[[], float],
) -> Verdict:
    """Return what follows from a fault.

    Args:
        fault: What happened.
        standing: Where the operation stands.
        settings: How often and how patiently a route is tried again.
        on_server_error: `assume_free` releases a 5xx, `count` holds its upper bound.
        on_ambiguous: Where an attempt goes on that may have been billed: `next_route`, `same_route` or `stop`.
        jitter: Returns a number from 0 to 1 that spreads the waiting of many callers.
    """
    step, otherwise = _steps(fault, standing, on_ambiguous=on_ambiguous)
    if step is Next.RETRY and (
        standing.attempt >= settings.max_attempts or (fault.retry_after_s or 0) > settings.retry_after_cap_s
    ):
        step = otherwise
    after_s = _wait_s(fault, attempt=standing.attempt, settings=settings, jitter=jitter) if step is Next.RETRY else 0.0
    hold = _hold(fault.kind, on_server_error)
    return Verdict(hold=hold, next=step, error=_error(fault, settings), after_s=after_s, otherwise=otherwise)


def _hold(kind: FaultKind, on_server_error: str) -> Hold:
    if kind in _FREE or (kind is FaultKind.SERVER_ERROR and on_server_error == "assume_free"):
        return Hold.NOTHING
    return Hold.PARTIAL if kind in _PARTLY_BILLED else Hold.BOUND


def _steps(fault: ProviderFault, standing: Standing, *, on_ambiguous: str) -> tuple[Next, Next]:
    """Return how it goes on, and how instead where that would be a retry too many."""
    kind = fault.kind
    if kind in _AMBIGUOUS:
        return _steps_in_doubt(on_ambiguous)
    if standing.other_key and kind in (FaultKind.AUTH, FaultKind.RATE_LIMITED):
        return Next.NEXT_KEY, Next.NEXT_KEY
    if kind in (FaultKind.RATE_LIMITED, FaultKind.SERVER_ERROR):
        return Next.RETRY, Next.NEXT_ROUTE
    if kind is FaultKind.UNREACHABLE:  # it will not be there in a moment either, and others may be; alone it may come back
        return (Next.RETRY if standing.last_route else Next.NEXT_ROUTE), Next.NEXT_ROUTE
    if kind is FaultKind.AUTH or (kind is FaultKind.REJECTED and _this_model_alone(fault)):
        return Next.NEXT_ROUTE, Next.NEXT_ROUTE
    return Next.STOP, Next.STOP  # rejected: others would say the same; too large: it would be paid for again


def _steps_in_doubt(on_ambiguous: str) -> tuple[Next, Next]:
    if on_ambiguous == "same_route":
        return Next.RETRY, Next.STOP
    step = Next.NEXT_ROUTE if on_ambiguous == "next_route" else Next.STOP
    return step, step


def _this_model_alone(fault: ProviderFault) -> bool:
    return fault.status in _THIS_MODEL_ALONE or fault.code in _REASONS_BY_CODE


def _wait_s(fault: ProviderFault, *, attempt: int, settings: RetrySettings, jitter: Callable[[], float]) -> float:
    """Return a random part of a wait that doubles, on top of what the provider asks for: callers come back one by one."""
    longest = min(settings.max_delay_s, settings.base_delay_s * 2.0 ** (attempt - 1))
    return (fault.retry_after_s or 0.0) + longest * jitter()


def _error(fault: ProviderFault, settings: RetrySettings) -> DomainError:
    reason = _REASONS[fault.kind]
    if fault.kind is FaultKind.REJECTED:
        reason = _REASONS_BY_CODE.get(fault.code, reason)
    facts: dict[str, str | int] = {"fault": fault.kind, "provider": fault.provider}
    if fault.status is not None:
        facts["status"] = fault.status
    if fault.code:
        facts["provider_code"] = fault.code
    if fault.provider_message:
        facts["provider_message"] = fault.provider_message
    return DomainError(reason, fault.message, retry_after_s=_told_wait_s(reason, fault, settings), **facts)


def _told_wait_s(reason: Reason, fault: ProviderFault, settings: RetrySettings) -> float | None:
    """Return after how many seconds waiting may help; a rate limit always says it."""
    if reason is Reason.RATE_LIMITED:
        return settings.max_delay_s if fault.retry_after_s is None else fault.retry_after_s
    return fault.retry_after_s if reason is Reason.PROVIDER_UNAVAILABLE else None
