"""What follows from a fault: how much money stays held, and whether to try again, go on or stop.

The table of verdicts is the whole of this file; waiting, booking and choosing routes are the spine's.
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

    RETRY = "retry"  # the same route, after `after_s`
    NEXT_ROUTE = "next_route"
    STOP = "stop"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What follows from a fault."""

    hold: Hold
    next: Next
    error: DomainError  # what the caller sees if it ends here
    after_s: float = 0.0  # seconds to wait before a RETRY

    def stopped(self) -> "Verdict":
        """Return the same verdict for a call that can't go on, because callers have seen a part of its answer."""
        return replace(self, next=Next.STOP, after_s=0.0)


_REASONS_BY_CODE = {
    "context_length_exceeded": Reason.CONTEXT_TOO_LONG,
    "model_not_found": Reason.UNKNOWN_MODEL,
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
_PASSING = frozenset((FaultKind.UNREACHABLE, FaultKind.RATE_LIMITED, FaultKind.SERVER_ERROR))
_LASTING = frozenset((FaultKind.REJECTED, FaultKind.AUTH))  # this route would say the same again


def verdict(
    fault: ProviderFault,
    *,
    attempt: int,
    settings: RetrySettings,
    on_server_error: str,
    on_ambiguous: str,
    jitter: Callable[[], float],
) -> Verdict:
    """Return what follows from a fault.

    Args:
        fault: What happened.
        attempt: Which attempt on this route it was, from 1.
        settings: How often and how patiently a route is tried again.
        on_server_error: `assume_free` releases a 5xx, `count` holds its upper bound.
        on_ambiguous: Where an attempt goes on that may have been billed: `next_route`, `same_route` or `stop`.
        jitter: Returns a number from 0 to 1 that spreads the waiting of many callers.
    """
    hold = _hold(fault.kind, on_server_error)
    step = _next(fault, attempt=attempt, settings=settings, on_ambiguous=on_ambiguous)
    after_s = _wait_s(fault, attempt=attempt, settings=settings, jitter=jitter) if step is Next.RETRY else 0.0
    return Verdict(hold=hold, next=step, error=_error(fault, settings), after_s=after_s)


def _hold(kind: FaultKind, on_server_error: str) -> Hold:
    if kind in _FREE or (kind is FaultKind.SERVER_ERROR and on_server_error == "assume_free"):
        return Hold.NOTHING
    return Hold.PARTIAL if kind in _PARTLY_BILLED else Hold.BOUND


def _next(fault: ProviderFault, *, attempt: int, settings: RetrySettings, on_ambiguous: str) -> Next:
    again = attempt < settings.max_attempts
    if fault.kind in _PASSING:
        patient = (fault.retry_after_s or 0.0) <= settings.retry_after_cap_s
        return Next.RETRY if again and patient else Next.NEXT_ROUTE
    if fault.kind in _LASTING:
        return Next.NEXT_ROUTE
    if fault.kind is FaultKind.TOO_LARGE:  # asking again would pay for the same length again
        return Next.STOP
    if on_ambiguous == "same_route":
        return Next.RETRY if again else Next.STOP
    return Next.NEXT_ROUTE if on_ambiguous == "next_route" else Next.STOP


def _wait_s(fault: ProviderFault, *, attempt: int, settings: RetrySettings, jitter: Callable[[], float]) -> float:
    if fault.retry_after_s is not None:
        return fault.retry_after_s
    longest = min(settings.max_delay_s, settings.base_delay_s * 2.0 ** (attempt - 1))
    return longest * (0.5 + 0.5 * jitter())


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
