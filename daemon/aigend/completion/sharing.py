"""Step 5 and step 10: who waits for which provider call, and how its answer is kept.

A flight's work is a task of its own. Callers ride on it; one that leaves before anything was sent takes the work with it when it
leads, afterwards the work goes on, because the provider bills it anyway.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryEntry
from aigend.clock import Clock
from aigend.completion.attempts import Attempts, ProviderVerdictError
from aigend.completion.call import AnswerFlight, Call, Event, KeepTerms, Landing, Reply
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.keeping import entry_of
from aigend.completion.known_ids import KnownIds
from aigend.completion.ports import AnswerCodec
from aigend.errors import DomainError, Reason
from aigend.ledger.entries import AlreadyKnown
from aigend.scheduling.dispatch.siblings import stand_aside
from aigend.scheduling.single_flight import FlightTable, LeaderLeftError


class Sharing:
    """Puts callers aboard flights and keeps what the flights bring.

    Args:
        attempts: Does the work of a flight.
        cache: Where answers are kept.
        known_ids: Which request ids are under way.
        free: Makes replies of what is there already.
        codec: Spells answers as bytes.
        clock: Tells the time.
        buffer_bytes: Most bytes of streamed events that a flight keeps for those who join.
        max_orphans: Most flights that run on without a caller.
        failpoints: Where a test lets the process die.
    """

    def __init__(
        self,
        *,
        attempts: Attempts,
        cache: CacheManager,
        known_ids: KnownIds,
        free: FreeAnswers,
        codec: AnswerCodec,
        clock: Clock,
        buffer_bytes: int,
        max_orphans: int,
        failpoints: Failpoints = NO_FAILPOINTS,
    ) -> None:
        self._attempts = attempts
        self._cache = cache
        self._known_ids = known_ids
        self._free = free
        self._codec = codec
        self._clock = clock
        self._max_orphans = max_orphans
        self._failpoints = failpoints
        self._flights: FlightTable[Landing, Event, KeepTerms] = FlightTable(buffer_bytes=buffer_bytes)
        self._work: dict[AnswerFlight, asyncio.Task[Landing]] = {}
        self._orphans: set[AnswerFlight] = set()
        self._closing = False

    @property
    def detached(self) -> int:
        """Flights that run on without a caller."""
        return len(self._orphans)

    async def ride(self, call: Call, *, streaming: bool) -> AsyncGenerator[Event | Reply, None]:
        """Yield the events of a call and at last its reply.

        Raises:
            DomainError: Why there is no answer; DRAINING once all work was ended.
            AlreadyKnown: The ledger knows the request id from before.
        """
        while True:
            if call.looks_up and (hit := self._free.peek(call)) is not None:
                yield self._free.hit(call, hit)
                return
            repeated = self._known_ids.flight(call)
            flight, leads = (repeated, False) if repeated is not None else self._board(call, streaming=streaming)
            work = self._work[flight] if leads else None
            if not leads:
                stand_aside()
            flight.streamed = flight.streamed or streaming
            try:
                with self._seat(flight, leads=leads):
                    async with aclosing(flight.events()) as events:
                        async for event in events:
                            yield event
                    # work that was cut before its first step has no end of its own
                    landing = await (flight.result() if work is None or work.cancelled() else work)
            except LeaderLeftError:
                continue
            yield self._reply(call, landing, leads=leads, repeats=repeated is not None)
            return

    async def close(self) -> None:
        """End all work: what was sent is booked as unknown, what was not is refused."""
        self._closing = True
        for flight in self._work:
            self._cut(flight)
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def settled(self) -> None:
        """Wait until no flight is under way."""
        while self._work:
            await asyncio.wait(self._work.values())

    def _board(self, call: Call, *, streaming: bool) -> tuple[AnswerFlight, bool]:
        flight, leads = self._flights.board(call.flight_key, also=call.quicker_flights)
        if call.stores and flight.terms is None:
            flight.terms = KeepTerms(call, call.request.ttl_s or call.snapshot.ttl_s(call.request.service))
        if leads:
            if self._closing:
                self._flights.leave(flight)
                raise _stopping()
            self._known_ids.begin(call, flight)
            self._work[flight] = asyncio.create_task(self._lead(call, flight, streaming=streaming))
            self._work[flight].add_done_callback(lambda work: self._end_work(call, flight, work))
        return flight, leads

    @contextmanager
    def _seat(self, flight: AnswerFlight, *, leads: bool) -> Iterator[None]:
        flight.aboard += 1
        self._orphans.discard(flight)
        try:
            yield
        finally:
            flight.aboard -= 1
            if not flight.landed:
                self._step_off(flight, leads=leads)

    def _step_off(self, flight: AnswerFlight, *, leads: bool) -> None:
        """A caller left early: its own work ends with it while that is free, an orphan runs on within bounds."""
        if leads and not flight.sent:
            self._cut(flight)
        elif flight.aboard == 0 and len(self._orphans) < self._max_orphans:
            self._orphans.add(flight)
        elif flight.aboard == 0:
            self._cut(flight)

    def _cut(self, flight: AnswerFlight) -> None:
        """End a flight's work, except where only the booking is missing: that takes no time, and the answer is paid for."""
        if not flight.answered:
            self._work[flight].cancel()

    async def _lead(self, call: Call, flight: AnswerFlight, *, streaming: bool) -> Landing:
        try:
            landing = await self._attempts.run(call, flight, streaming=streaming)
        except (Exception, asyncio.CancelledError) as error:
            self._leave(call, flight)
            own, shared = self._endings(call, flight, error)
            flight.fail(shared)
            if own is error:
                raise
            raise own from error
        kept = self._keep(flight, landing)
        self._leave(call, flight)
        flight.land(landing)
        if kept is not None:
            self._persist(flight, kept)
        return landing

    def _leave(self, call: Call, flight: AnswerFlight) -> None:
        self._flights.leave(flight)
        self._known_ids.end(call, flight)

    def _end_work(self, call: Call, flight: AnswerFlight, work: "asyncio.Task[Landing]") -> None:
        del self._work[flight]
        self._orphans.discard(flight)
        error = asyncio.CancelledError() if work.cancelled() else work.exception()  # asking for it marks it as seen
        if error is not None and not flight.landed:  # cut before its first step, or a defect while the answer was kept
            self._leave(call, flight)
            flight.fail(self._endings(call, flight, error)[1])

    def _endings(self, call: Call, flight: AnswerFlight, error: BaseException) -> tuple[BaseException, BaseException]:
        """Return what the leader and what the others get: only a provider's verdict is everybody's."""
        if isinstance(error, ProviderVerdictError):
            return error.error, error.error
        if isinstance(error, asyncio.CancelledError):
            ending = _cut_off(call, sent=flight.sent, closing=self._closing)
            return ending, ending
        if isinstance(error, DomainError | AlreadyKnown):
            return error, LeaderLeftError()
        return error, error

    def _keep(self, flight: AnswerFlight, landing: Landing) -> MemoryEntry | None:
        terms = flight.terms
        if terms is None or not landing.answer.complete:
            return None
        call, now = terms.call, self._clock.time()
        entry = entry_of(landing.answer, call.request, scope=call.caller.scope, key=landing.cache_key, ttl_s=terms.ttl_s, now=now)
        return self._cache.keep(entry, generation=call.generation)

    def _persist(self, flight: AnswerFlight, kept: MemoryEntry) -> None:
        """Have it written to the disk after everybody has the answer."""
        self._failpoints.passing("before_cache_put")
        generation = flight.terms.call.generation if flight.terms else 0
        self._cache.persist_soon(kept, generation=generation, then=lambda: self._failpoints.passing("after_cache_put"))

    def _reply(self, call: Call, landing: Landing, *, leads: bool, repeats: bool) -> Reply:
        if leads:
            return Reply(landing.wire + self._codec.encode_call(landing.facts), landing.facts.outcome)
        if not repeats:
            return self._free.follow(call, landing)
        return self._free.replay(call, landing.wire + self._codec.encode_call(landing.facts), route=landing.answer.route)


def _cut_off(call: Call, *, sent: bool, closing: bool) -> BaseException:
    """Return how work ends that was cut: by its caller before anything was sent, by the bound on orphans, or by the stop."""
    if sent:
        return DomainError(
            Reason.OUTCOME_UNKNOWN,
            "the provider call was cut off; it may have been charged",
            request_id=call.caller.request_id,
        )
    return _stopping() if closing else LeaderLeftError()


def _stopping() -> DomainError:
    return DomainError(Reason.DRAINING, "aigend is stopping; nothing was sent", retry_after_s=1.0)
