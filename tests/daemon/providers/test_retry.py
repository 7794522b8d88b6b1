"""The table of verdicts: what stays held, how it goes on, and what the caller sees."""

import pytest
from aigend.config import RetrySettings
from aigend.errors import Reason
from aigend.providers.port import FaultKind, ProviderFault
from aigend.providers.retry import Hold, Next, Verdict, verdict
from hypothesis import given
from hypothesis import strategies as st

SETTINGS = RetrySettings(max_attempts=3, base_delay_s=0.25, max_delay_s=8.0, retry_after_cap_s=60.0)
TABLE = {
    # kind: held, first attempt goes on with, last attempt goes on with, reason
    FaultKind.UNREACHABLE: (Hold.NOTHING, Next.RETRY, Next.NEXT_ROUTE, Reason.PROVIDER_UNAVAILABLE),
    FaultKind.REJECTED: (Hold.NOTHING, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.PROVIDER_REFUSED),
    FaultKind.AUTH: (Hold.NOTHING, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.PROVIDER_REFUSED),
    FaultKind.RATE_LIMITED: (Hold.NOTHING, Next.RETRY, Next.NEXT_ROUTE, Reason.RATE_LIMITED),
    FaultKind.SERVER_ERROR: (Hold.NOTHING, Next.RETRY, Next.NEXT_ROUTE, Reason.PROVIDER_UNAVAILABLE),
    FaultKind.TIMEOUT: (Hold.BOUND, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.PROVIDER_TIMEOUT),
    FaultKind.RESET: (Hold.BOUND, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.OUTCOME_UNKNOWN),
    FaultKind.CUT: (Hold.PARTIAL, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.OUTCOME_UNKNOWN),
    FaultKind.BAD_ANSWER: (Hold.BOUND, Next.NEXT_ROUTE, Next.NEXT_ROUTE, Reason.OUTCOME_UNKNOWN),
    FaultKind.TOO_LARGE: (Hold.PARTIAL, Next.STOP, Next.STOP, Reason.OUTCOME_UNKNOWN),
}


def ruling(
    fault: ProviderFault | FaultKind, *, attempt: int = 1, server: str = "assume_free", ambiguous: str = "next_route"
) -> Verdict:
    """Return the verdict on a fault."""
    told = fault if isinstance(fault, ProviderFault) else ProviderFault(fault, "told")
    return verdict(told, attempt=attempt, settings=SETTINGS, on_server_error=server, on_ambiguous=ambiguous, jitter=lambda: 1.0)


def test_the_table_is_complete() -> None:
    """Every kind of fault has a row."""
    assert set(TABLE) == set(FaultKind)


@pytest.mark.parametrize("kind", FaultKind, ids=str)
def test_the_table_of_verdicts(kind: FaultKind) -> None:
    """Each kind holds, goes on and is told as the table says."""
    held, first, last, reason = TABLE[kind]
    assert (ruling(kind).hold, ruling(kind).next, ruling(kind).error.reason) == (held, first, reason)
    assert ruling(kind, attempt=3).next is last


def test_server_errors_may_be_counted() -> None:
    """With `count` a 5xx stays charged at its bound, and is tried again all the same."""
    told = ruling(FaultKind.SERVER_ERROR, server="count")
    assert (told.hold, told.next) == (Hold.BOUND, Next.RETRY)


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.CUT, FaultKind.BAD_ANSWER], ids=str)
def test_what_may_have_been_billed_goes_on_as_the_service_wants(kind: FaultKind) -> None:
    """`on_ambiguous` decides; the same route is tried only as often as any other."""
    assert ruling(kind, ambiguous="stop").next is Next.STOP
    assert ruling(kind, ambiguous="same_route").next is Next.RETRY
    assert ruling(kind, ambiguous="same_route", attempt=3).next is Next.STOP


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 0.25), (2, 0.5)])
def test_waiting_doubles(attempt: int, seconds: float) -> None:
    """Each retry waits twice as long."""
    assert ruling(FaultKind.UNREACHABLE, attempt=attempt).after_s == seconds


@given(jitter=st.floats(0, 1), attempt=st.integers(1, 9))
def test_waiting_is_spread_and_bounded(jitter: float, attempt: int) -> None:
    """Many callers do not come back at once, and none waits longer than the setting."""
    settings = RetrySettings(max_attempts=10, base_delay_s=0.25, max_delay_s=8.0)
    fault = ProviderFault(FaultKind.SERVER_ERROR, "told")
    told = verdict(fault, attempt=attempt, settings=settings, on_server_error="count", on_ambiguous="stop", jitter=lambda: jitter)
    longest = min(8.0, 0.25 * 2 ** (attempt - 1))
    assert longest / 2 <= told.after_s <= longest


def test_a_providers_own_time_is_kept() -> None:
    """Retry-After is waited for as it is, and told to the caller; too long a one leads to the next route."""
    told = ruling(ProviderFault(FaultKind.RATE_LIMITED, "told", retry_after_s=7.0))
    assert (told.next, told.after_s, told.error.retry_after_s) == (Next.RETRY, 7.0, 7.0)
    told = ruling(ProviderFault(FaultKind.RATE_LIMITED, "told", retry_after_s=61.0))
    assert (told.next, told.after_s, told.error.retry_after_s) == (Next.NEXT_ROUTE, 0.0, 61.0)


def test_too_many_calls_always_say_how_long_to_wait() -> None:
    """A rate limit without a time of its own tells callers the longest wait between attempts."""
    assert ruling(ProviderFault(FaultKind.RATE_LIMITED, "told")).error.retry_after_s == SETTINGS.max_delay_s
    assert ruling(ProviderFault(FaultKind.SERVER_ERROR, "told")).error.retry_after_s is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("context_length_exceeded", Reason.CONTEXT_TOO_LONG),
        ("model_not_found", Reason.UNKNOWN_MODEL),
        ("content_policy_violation", Reason.PROVIDER_REFUSED),
    ],
)
def test_a_refusal_keeps_its_meaning(code: str, reason: Reason) -> None:
    """Codes with a reason of their own get it, and the facts travel along."""
    error = ruling(ProviderFault(FaultKind.REJECTED, "told", provider="p", status=400, code=code, provider_message="said")).error
    assert error.reason is reason
    assert error.metadata == {
        "fault": "rejected",
        "provider": "p",
        "status": "400",
        "provider_code": code,
        "provider_message": "said",
    }
    assert error.retry_after_s is None


def test_a_code_means_nothing_elsewhere() -> None:
    """A code beside another kind of fault changes no reason."""
    assert ruling(ProviderFault(FaultKind.AUTH, "told", code="model_not_found")).error.reason is Reason.PROVIDER_REFUSED


def test_a_shown_answer_is_not_begun_again() -> None:
    """Once callers have seen a part, the verdict stops."""
    told = ruling(FaultKind.UNREACHABLE).stopped()
    assert (told.next, told.after_s, told.hold) == (Next.STOP, 0.0, Hold.NOTHING)
