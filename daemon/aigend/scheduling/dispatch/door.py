"""Who is not let in: what can't be served in time, and what the queue has no place for. Nobody is let in to time out inside."""

from aigend.errors import DomainError, Reason
from aigend.scheduling.dispatch.ask import Ask

LONGEST_RATE_WAIT_S = 60.0  # for a call without a deadline: a provider that wants more is passed by
_SHORTEST_RETRY_S, _LONGEST_RETRY_S = 1.0, 60.0


def check_rate(ask: Ask, *, wait_s: float, now: float) -> None:
    """Refuse a call that the provider's rates would keep for too long.

    Args:
        ask: The call.
        wait_s: For how long.
        now: Monotonic clock.

    Raises:
        DomainError: RATE_LIMITED, with the time after which it may come again.
    """
    patience_s = LONGEST_RATE_WAIT_S if ask.deadline is None else ask.deadline - now
    if wait_s <= 0 or wait_s < patience_s or (ask.deadline is None and wait_s <= patience_s):
        return
    whose = "calls without a deadline wait" if ask.deadline is None else "the call's deadline leaves"
    raise DomainError(
        Reason.RATE_LIMITED,
        f"the rate of provider {ask.provider} lets the call go in {wait_s:.1f} s; {whose} {max(0.0, patience_s):.1f} s",
        retry_after_s=wait_s,
        provider=ask.provider,
        wait_ms=int(wait_s * 1_000),
    )


def check_slot(ask: Ask, *, wait_s: float, now: float, queued: int) -> None:
    """Refuse a call that would probably get its slot only after its deadline.

    Raises:
        DomainError: OVERLOADED, with the time after which it may come again.
    """
    if ask.deadline is not None and wait_s > 0 and now + wait_s >= ask.deadline:
        raise overloaded(
            f"a slot at provider {ask.provider} is expected in {wait_s:.1f} s, after the call's deadline",
            wait_s=wait_s,
            queued=queued,
            wait_ms=int(wait_s * 1_000),
        )


def queue_full(queued: int, *, limit: int, wait_s: float) -> DomainError:
    """Return the refusal of a call for which the queue has no place."""
    return overloaded(f"{queued} calls wait for a slot; allowed: {limit} (limits.queue)", wait_s=wait_s, queued=queued, limit=limit)


def displaced(queued: int, *, limit: int, wait_s: float) -> DomainError:
    """Return the refusal of a call that made room for one of a service with less waiting."""
    return overloaded(
        f"{queued} calls wait for a slot; allowed: {limit} (limits.queue); this one made room for a service that has fewer",
        wait_s=wait_s,
        queued=queued,
        limit=limit,
    )


def too_late(ask: Ask, *, queued: int) -> DomainError:
    """Return the refusal of a call whose deadline came before its slot."""
    return overloaded(f"the deadline passed before a slot at provider {ask.provider} was free", wait_s=0.0, queued=queued)


def overloaded(text: str, *, wait_s: float, **facts: int) -> DomainError:
    """Return OVERLOADED with the time after which coming again may help."""
    return DomainError(Reason.OVERLOADED, text, retry_after_s=min(_LONGEST_RETRY_S, max(_SHORTEST_RETRY_S, wait_s)), **facts)
