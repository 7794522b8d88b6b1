"""Requests that were announced together: whether more of them may still come, so that the first can wait for them a moment.

A request is awaited until it asks for a slot, ends without one (an answer was there), or stands aside because it waits for another
call. The request that a piece of work belongs to is known by its context, so that nothing between the announcement and the
dispatcher has to hand it on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar


def _nobody_asks() -> None:
    """Do nothing: no call waits for these requests yet."""


class Siblings:
    """The requests of one announcement.

    Args:
        count: How many there are.

    Attributes:
        awaited: How many of them may still come.
        on_complete: Called once when none is awaited any more.
    """

    __slots__ = ("awaited", "on_complete")

    def __init__(self, count: int) -> None:
        self.awaited = count
        self.on_complete: Callable[[], None] = _nobody_asks

    @contextmanager
    def next_one(self) -> Iterator[None]:
        """Let what runs inside the block count as one of the requests; with the block it is decided."""
        sibling = Sibling(self)
        token = _CURRENT.set(sibling)
        try:
            yield
        finally:
            _CURRENT.reset(token)
            sibling.decide()


class Sibling:
    """One announced request."""

    __slots__ = ("awaited", "siblings")

    def __init__(self, siblings: Siblings) -> None:
        self.siblings = siblings
        self.awaited = True

    def decide(self) -> None:
        """Say that it came, or that it will not; only the first time counts."""
        if self.awaited:
            self.awaited = False
            self.siblings.awaited -= 1
            if not self.siblings.awaited:
                self.siblings.on_complete()


_CURRENT: ContextVar[Sibling | None] = ContextVar("sibling", default=None)


def current_sibling() -> Sibling | None:
    """Return the announced request that this work belongs to; None where it was not announced, or is not awaited any more."""
    sibling = _CURRENT.get()
    return sibling if sibling is not None and sibling.awaited else None


def stand_aside() -> None:
    """Let nobody wait for this request: it waits itself, for another call."""
    sibling = _CURRENT.get()
    if sibling is not None:
        sibling.decide()
