"""The door: what is refused before anything is looked up or reserved."""

from aigend.clock import utc_text
from aigend.errors import DomainError, Reason, capability_missing, invalid
from aigend.types import CompletionRequest, Lane


def check_open(*, draining: bool) -> None:
    """Refuse calls while the daemon stops.

    Raises:
        DomainError: DRAINING.
    """
    if draining:
        raise DomainError(Reason.DRAINING, "aigend is stopping; the call was not begun", retry_after_s=1.0)


def check_deadline(deadline: float | None, now: float) -> None:
    """Refuse a call that nobody waits for any more.

    Raises:
        DomainError: INVALID_REQUEST, field `deadline`.
    """
    if deadline is not None and deadline <= now:
        raise invalid("deadline", f"{now - deadline:.3f} s ago", "a time to come")


def check_built(request: CompletionRequest) -> None:
    """Refuse fields and values whose room is not built.

    Raises:
        DomainError: CAPABILITY_MISSING naming the field and its value.
    """
    if request.complete_by is not None and request.lane is not Lane.DEFERRED:
        raise invalid("complete_by", utc_text(request.complete_by), "unset, or a time with lane DEFERRED")
    if request.similarity is not None:
        raise capability_missing("similarity", request.similarity, "no similarity search is configured")
