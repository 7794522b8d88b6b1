"""The table of verdicts: what stays held, how it goes on, and what the caller sees."""

import pytest
from aigend.config import RetrySettings
from aigend.errors import Reason
from aigend.providers.port import FaultKind, ProviderFault
from aigend.providers.retry import Hold, Next, Standing, Verdict, verdict
from hypothesis import given
from hypothesis import strategies as st

SETTINGS = RetrySettings(max_attempts=3, base_delay_s=0.25, max_delay_s=8.0, retry_after_cap_s=60.0)
TABLE = {
    # kind: held; alone on the last route; with another route; with another key; at the last attempt; reason
    FaultKind.UNREACHABLE: ("nothing", "retry", "next_route", "retry", "next_route", Reason.PROVIDER_UNAVAILABLE),
    FaultKind.REJECTED: ("nothing", "stop", "stop", "stop", "stop", Reason.PROVIDER_REFUSED),
    FaultKind.AUTH: ("nothing", "next_route", "next_route", "next_key", "next_route", Reason.PROVIDER_REFUSED),
    FaultKind.RATE_LIMITED: ("nothing", "retry", "retry", "next_key", "next_route", Reason.RATE_LIMITED),
    FaultKind.SERVER_ERROR: ("nothing", "retry", "retry", "retry", "next_route", Reason.PROVIDER_UNAVAILABLE),
    FaultKind.TIMEOUT: ("bound", "next_route", "next_route", "next_route", "next_route", Reason.PROVIDER_TIMEOUT),
    FaultKind.RESET: ("bound", "next_route", "next_route", "next_route", "next_route", Reason.OUTCOME_UNKNOWN),
    FaultKind.CUT: ("partial", "next_route", "next_route", "next_route", "next_route", Reason.OUTCOME_UNKNOWN),
    FaultKind.BAD_ANSWER: ("bound", "next_route", "next_route", "next_route", "next_route", Reason.OUTCOME_UNKNOWN),
    FaultKind.TOO_LARGE: ("partial", "stop", "stop", "stop", "stop", Reason.OUTCOME_UNKNOWN),
}


def ruling(
    fault: ProviderFault | FaultKind,
    *,
    attempt: int = 1,
    other_key: bool = False,
    last_route: bool = True,
    server: str = "assume_free",
    ambiguous: str = "next_route",
    jitter: float = 1.0,
) -> Verdict:
    """Return the verdict on a fault."""
    return verdict(
        fault if isinstance(fault, ProviderFault) else ProviderFault(fault, "told"),
        standing=Standing(attempt=attempt, other_key=other_key, last_route=last_route),
        settings=SETTINGS,
        on_server_error=server,
        on_ambiguous=ambiguous,
        jitter=lambda: jitter,
    )


def test_the_table_is_complete() -> None:
    """Every kind of fault has a row."""
    assert set(TABLE) == set(FaultKind)


@pytest.mark.parametrize("kind", FaultKind, ids=str)
def test_the_table_of_verdicts(kind: FaultKind) -> None:
    """Each kind holds, goes on and is told as the table says."""
    held, alone, among_routes, among_keys, at_last, reason = TABLE[kind]
    assert (ruling(kind).hold, ruling(kind).next, ruling(kind).error.reason) == (held, alone, reason)
    assert ruling(kind, last_route=False).next == among_routes
    assert ruling(kind, other_key=True).next == among_keys
    assert ruling(kind, attempt=3).next == at_last


@pytest.mark.parametrize(
    ("status", "code", "step"),
    [
        (400, "", Next.STOP),
        (422, "content_policy_violation", Next.STOP),
        (404, "not_found_error", Next.NEXT_ROUTE),
        (413, "request_too_large", Next.NEXT_ROUTE),
        (400, "context_length_exceeded", Next.NEXT_ROUTE),
        (400, "model_not_found", Next.NEXT_ROUTE),
    ],
)
def test_what_is_wrong_with_the_request_stops_and_what_is_wrong_with_the_model_goes_on(status: int, code: str, step: Next) -> None:
    """Another model would refuse a bad request as well, but may exist, or hold a longer prompt, where this one does not."""
    assert ruling(ProviderFault(FaultKind.REJECTED, "told", status=status, code=code), last_route=False).next is step


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
def test_waiting_is_spread_over_the_whole_time_and_bounded(jitter: float, attempt: int) -> None:
    """Many callers do not come back at once: a wait is any part of the longest one, which doubles up to the setting."""
    settings = RetrySettings(max_attempts=10, base_delay_s=0.25, max_delay_s=8.0)
    told = verdict(
        ProviderFault(FaultKind.SERVER_ERROR, "told"),
        standing=Standing(attempt=attempt),
        settings=settings,
        on_server_error="count",
        on_ambiguous="stop",
        jitter=lambda: jitter,
    )
    assert told.after_s == pytest.approx(min(8.0, 0.25 * 2 ** (attempt - 1)) * jitter)


def test_nobody_comes_back_before_the_providers_own_time_and_not_all_at_once() -> None:
    """Retry-After is waited for and told to the caller, with a random part on top; too long a one leads to the next route."""
    slow = ProviderFault(FaultKind.RATE_LIMITED, "told", retry_after_s=7.0)
    assert [ruling(slow, jitter=jitter).after_s for jitter in (0.0, 0.5, 1.0)] == [7.0, 7.125, 7.25]
    assert ruling(slow).error.retry_after_s == 7.0
    told = ruling(ProviderFault(FaultKind.RATE_LIMITED, "told", retry_after_s=61.0))
    assert (told.next, told.after_s, told.error.retry_after_s) == (Next.NEXT_ROUTE, 0.0, 61.0)


@pytest.mark.parametrize(
    ("kind", "ambiguous", "instead"),
    [
        (FaultKind.SERVER_ERROR, "next_route", Next.NEXT_ROUTE),
        (FaultKind.RATE_LIMITED, "next_route", Next.NEXT_ROUTE),
        (FaultKind.UNREACHABLE, "next_route", Next.NEXT_ROUTE),
        (FaultKind.TIMEOUT, "same_route", Next.STOP),
    ],
)
def test_without_a_retry_it_goes_on_as_after_the_last_one(kind: FaultKind, ambiguous: str, instead: Next) -> None:
    """Where the retry budget is used up the next route follows, or the error; other steps stay what they are."""
    told = ruling(kind, ambiguous=ambiguous)
    assert (told.next, told.without_retry().next, told.without_retry().after_s) == (Next.RETRY, instead, 0.0)
    assert ruling(FaultKind.AUTH, other_key=True).without_retry().next is Next.NEXT_KEY


def test_too_many_calls_always_say_how_long_to_wait() -> None:
    """A rate limit without a time of its own tells callers the longest wait between attempts."""
    assert ruling(ProviderFault(FaultKind.RATE_LIMITED, "told")).error.retry_after_s == SETTINGS.max_delay_s
    assert ruling(ProviderFault(FaultKind.SERVER_ERROR, "told")).error.retry_after_s is None


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("context_length_exceeded", Reason.CONTEXT_TOO_LONG),
        ("too_many_prompt_tokens", Reason.CONTEXT_TOO_LONG),
        ("model_not_found", Reason.UNKNOWN_MODEL),
        ("not_found_error", Reason.UNKNOWN_MODEL),
        ("NOT_FOUND", Reason.UNKNOWN_MODEL),
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
