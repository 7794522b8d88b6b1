"""Single-flight: equal questions that are asked at the same time share one call.

Knows neither requests nor answers. A flight is a place to meet: one leader brings the landing, all aboard wait for it and may read
the events that come before it. Who leads next, when a leader gives up, falls out of the order in which the others board again.
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable, Iterable
from typing import Generic, TypeVar

Landing = TypeVar("Landing")
Event = TypeVar("Event")
Terms = TypeVar("Terms")


class LeaderLeftError(Exception):
    """The leader ended without an answer that counts for others; whoever boards next leads."""


class Flight(Generic[Landing, Event, Terms]):
    """One call under way and all who wait for it.

    Args:
        key: Who may join; None for a flight that nobody joins.
        buffer_bytes: Most bytes of events kept for readers; later events are dropped and reach readers with the landing.

    Attributes:
        sent: Whether the request may have left, so that it is paid for whether or not anybody still waits.
        answered: Whether the answer has been read whole: cutting the work off would save nothing.
        streamed: Whether somebody aboard reads the events.
        aboard: How many wait for the landing, the leader's caller included.
        terms: On what terms the landing is kept; set by the first who wants it kept.
    """

    def __init__(self, key: Hashable | None, *, buffer_bytes: int) -> None:
        self.key = key
        self.sent = False
        self.answered = False
        self.streamed = False
        self.aboard = 0
        self.terms: Terms | None = None
        self._landing: asyncio.Future[Landing] = asyncio.get_running_loop().create_future()
        self._events: list[Event] = []
        self._room = buffer_bytes
        self._news = asyncio.Event()

    @property
    def landed(self) -> bool:
        """Whether the landing or a failure is known."""
        return self._landing.done()

    def publish(self, event: Event, size: int) -> None:
        """Append an event of `size` bytes for all readers, those who come later too."""
        if size > self._room:
            self._room = 0  # a gap would garble what readers join together: nothing after a dropped event either
            return
        self._room -= size
        self._events.append(event)
        self._news.set()

    def land(self, landing: Landing) -> None:
        """Give everybody the landing."""
        self._landing.set_result(landing)
        self._news.set()

    def fail(self, error: BaseException) -> None:
        """Give everybody the error."""
        self._landing.set_exception(error)
        self._landing.exception()  # nobody may be waiting: mark it as seen
        self._news.set()

    async def result(self) -> Landing:
        """Wait for the landing; leaving early disturbs nobody.

        Raises:
            LeaderLeftError: The leader gave up before anything was sent.
            Exception: What `fail` was given.
        """
        return await asyncio.shield(self._landing)

    async def events(self) -> AsyncGenerator[Event, None]:
        """Yield all events from the first on, until the flight has landed."""
        position = 0
        while True:
            while position < len(self._events):
                yield self._events[position]
                position += 1
            if self.landed:
                return
            self._news.clear()
            await self._news.wait()


class FlightTable(Generic[Landing, Event, Terms]):
    """The flights that can be joined.

    Args:
        buffer_bytes: Most bytes of events that a flight keeps.
    """

    def __init__(self, *, buffer_bytes: int) -> None:
        self._flights: dict[Hashable, Flight[Landing, Event, Terms]] = {}
        self._buffer_bytes = buffer_bytes

    def __len__(self) -> int:
        return len(self._flights)

    def board(self, key: Hashable | None, *, also: Iterable[Hashable] = ()) -> tuple[Flight[Landing, Event, Terms], bool]:
        """Return the flight to wait for, and whether the caller leads it.

        Args:
            key: Whose flight is joined, or else started; None always starts a flight of one's own.
            also: Whose flights are joined as well, where `key` has none.
        """
        for joined in (key, *also) if key is not None else ():
            if (flight := self._flights.get(joined)) is not None:
                return flight, False
        flight = Flight(key, buffer_bytes=self._buffer_bytes)
        if key is not None:
            self._flights[key] = flight
        return flight, True

    def leave(self, flight: Flight[Landing, Event, Terms]) -> None:
        """Take the flight off the table: whoever boards from now on starts a new one."""
        if flight.key is not None and self._flights.get(flight.key) is flight:
            del self._flights[flight.key]
