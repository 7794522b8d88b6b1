"""The one exception that crosses rooms: a reason, a sentence for people, and facts for programs.

`rpc/status.py` is the only place that turns it into a status code.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a call was refused or failed; the spelling never changes."""

    INVALID_REQUEST = "INVALID_REQUEST"
    PROMPT_TOO_LARGE = "PROMPT_TOO_LARGE"
    UNKNOWN_MODEL = "UNKNOWN_MODEL"
    UNKNOWN_AGENT = "UNKNOWN_AGENT"
    CONTEXT_TOO_LONG = "CONTEXT_TOO_LONG"
    REQUEST_ID_REUSED = "REQUEST_ID_REUSED"
    MODEL_NOT_ALLOWED = "MODEL_NOT_ALLOWED"
    CAPABILITY_MISSING = "CAPABILITY_MISSING"
    PROVIDER_NOT_CONFIGURED = "PROVIDER_NOT_CONFIGURED"
    PRICE_UNKNOWN = "PRICE_UNKNOWN"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    ROLE_REQUIRED = "ROLE_REQUIRED"
    BUDGET_EXCEEDED = "BUDGET_EXCEEDED"
    BUDGET_PAUSED = "BUDGET_PAUSED"
    OVERLOADED = "OVERLOADED"
    RATE_LIMITED = "RATE_LIMITED"
    NOT_CACHED = "NOT_CACHED"
    NOT_FOUND = "NOT_FOUND"
    PROVIDER_UNAVAILABLE = "PROVIDER_UNAVAILABLE"
    PROVIDER_TIMEOUT = "PROVIDER_TIMEOUT"
    PROVIDER_REFUSED = "PROVIDER_REFUSED"
    OUTCOME_UNKNOWN = "OUTCOME_UNKNOWN"
    JOB_CANCELLED = "JOB_CANCELLED"
    REPLY_GONE = "REPLY_GONE"
    STORAGE_FULL = "STORAGE_FULL"
    STORAGE_DAMAGED = "STORAGE_DAMAGED"
    DRAINING = "DRAINING"
    DAEMON_FAULT = "DAEMON_FAULT"


class DomainError(Exception):
    """A refusal or failure with a stable reason.

    Args:
        reason: Why; programs dispatch on it.
        text: A sentence for people that names the field, the value and what is allowed. It may change.
        retry_after_s: Seconds after which waiting may help; None where it does not.
        metadata: Facts for programs, units in the keys (`limit_usd_nanos`).
    """

    def __init__(self, reason: Reason, text: str, /, *, retry_after_s: float | None = None, **metadata: str | int) -> None:
        super().__init__(f"{reason}: {text}")
        self.reason = reason
        self.text = text
        self.retry_after_s = retry_after_s
        self.metadata = {key: str(value) for key, value in metadata.items()}


def invalid(field: str, value: object, allowed: str) -> DomainError:
    """Return the INVALID_REQUEST that names a field, what it held and what it may hold.

    Example:
        >>> str(invalid("temperature", 7.0, "0 to 2"))
        'INVALID_REQUEST: temperature is 7.0; allowed: 0 to 2'
    """
    shown = repr(value) if isinstance(value, str) else str(value)
    shown = shown if len(shown) <= 80 else shown[:77] + "..."
    return DomainError(Reason.INVALID_REQUEST, f"{field} is {shown}; allowed: {allowed}", field=field, value=shown, allowed=allowed)


def capability_missing(field: str, value: object, why: str) -> DomainError:
    """Return the CAPABILITY_MISSING that names a field and value that are understood but can't be served."""
    return DomainError(Reason.CAPABILITY_MISSING, f"{field} {value} is not available: {why}", field=field, value=str(value))
