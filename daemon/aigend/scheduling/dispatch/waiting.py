"""A call that waits: since when, how urgent it is, and where it stands."""

import asyncio
import itertools
from typing import Protocol

from aigend.enums import Lane
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.dispatch.rates import NOTHING_TAKEN

PATIENCE_S = 60.0  # after so long a call without a deadline is as urgent as one whose deadline has come
LANES = (Lane.INTERACTIVE, Lane.FLEX, Lane.DEFERRED)  # by priority
RANKS = {lane: rank for rank, lane in enumerate(LANES)}

_numbers = itertools.count()


class Place(Protocol):
    """Where a call waits."""

    def remove(self, waiting: "Waiting") -> None:
        """Take it out."""
        ...


class Waiting:
    """An ask that could not go at once.

    Args:
        ask: What it asked.
        since: When, monotonic clock.

    Attributes:
        due: By when it should go: its deadline, or its patience's end where that comes first.
        rank: Of its lane, 0 goes first; calls that have waited long rise.
        number: Tells it from all others, in the order in which they came.
        granted: The end of its waiting.
        place: Where it waits; None where it does not wait any more.
        taken: What was taken of the provider's rates for it.
        alone: Whether it goes out singly, because its batch could not go together.
    """

    __slots__ = ("alone", "ask", "due", "granted", "number", "place", "rank", "since", "taken")

    def __init__(self, ask: Ask, *, since: float) -> None:
        self.ask = ask
        self.since = since
        self.due = since + PATIENCE_S if ask.deadline is None else min(ask.deadline, since + PATIENCE_S)
        self.rank = RANKS[ask.lane]
        self.number = next(_numbers)
        self.granted: asyncio.Future[Grant] = asyncio.get_running_loop().create_future()
        self.place: Place | None = None
        self.taken = NOTHING_TAKEN
        self.alone = False

    @property
    def left(self) -> bool:
        """Whether its caller is going, although it has not been taken out yet."""
        return self.granted.done()

    def leave_place(self) -> None:
        """Take it out of where it waits, if it still does."""
        if self.place is not None:
            self.place.remove(self)
            self.place = None
