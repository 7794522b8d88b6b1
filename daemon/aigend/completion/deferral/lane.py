"""Lane DEFERRED: requests that can wait are collected and leave together in the providers' own batch jobs, at their batch price.

A request is safe in the ledger once it was collected: callers may leave and come back under the same request id, and the daemon may
be restarted. When they leave is `collector`, how their jobs are followed is `jobs`, who is built out of whom stands in `deferring`.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from aigend.cache.manager import CacheManager
from aigend.clock import Clock
from aigend.completion.call import AnswerFlight, Call, Event, Landing, Reply
from aigend.completion.deferral.collector import Collector
from aigend.completion.deferral.lines import GivenUpError, Line, batch_line
from aigend.completion.deferral.places import BatchPlace, BatchPlaces
from aigend.completion.deferral.poller import Jobs
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.known_ids import KnownIds
from aigend.completion.ports import AnswerCodec
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import LineEnd, LineFacts, LineRow, custom_id_of
from aigend.ledger.entries import AttemptState, Intent
from aigend.scheduling.single_flight import Flight, LeaderLeftError
from aigend.types import CacheMode, CompletionRequest, Lane

OVERLOAD_RETRY_S = 60.0


class DeferredLane:
    """Collects deferred calls, lets them leave, and gives their answers to those who wait.

    Args:
        desk: The ledger's desk for batch lines.
        jobs: Follows what has left.
        collector: Lets lines wait for company.
        places: Says in which provider's batch API a call can wait.
        sharing: Makes calls that can't wait.
        known_ids: What became of request ids.
        free: Makes replies of what is there already.
        cache: Knows the generations of its namespaces.
        codec: Spells answers as bytes.
        read_request: Reads a request's bytes again after a restart.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        desk: BatchDesk,
        jobs: Jobs,
        collector: Collector,
        places: BatchPlaces,
        sharing: Sharing,
        known_ids: KnownIds,
        free: FreeAnswers,
        cache: CacheManager,
        codec: AnswerCodec,
        read_request: Callable[[bytes], CompletionRequest],
        clock: Clock,
    ) -> None:
        self._desk = desk
        self._jobs = jobs
        self._collector = collector
        self._places = places
        self._sharing = sharing
        self._known_ids = known_ids
        self._free = free
        self._cache = cache
        self._codec = codec
        self._read_request = read_request
        self._clock = clock
        self._flights: dict[tuple[str, str], tuple[bytes, AnswerFlight]] = {}  # request digest and flight, by operation
        self._shared: dict[object, AnswerFlight] = {}  # by flight key
        self._lines: dict[tuple[str, str], Line] = {}
        self._size = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        jobs.on_end = collector.on_end = self._forget
        known_ids.on_fetch = self._fetched

    @property
    def waiting(self) -> int:
        """Requests that wait for their job to leave."""
        return sum(line.state is AttemptState.RESERVED for line in self._lines.values())

    @property
    def submitted(self) -> int:
        """Requests that lie in a provider's job."""
        return len(self._lines) - self.waiting

    @property
    def open_jobs(self) -> int:
        """Jobs at providers that have not ended."""
        return len(self._jobs.open)

    async def start(self) -> None:
        """Take up what earlier lives of the daemon left, and begin to let lines leave."""
        rows, uploads = await self._desk.open_work()
        lines = [(row, self._restored(row)) for row in rows]
        for upload in uploads:
            self._jobs.follow(upload, [line for row, line in lines if row.upload_id == upload.id], fresh=False)
        for row, line in lines:
            if row.upload_id is None:
                self._collector.gather(line)
        self._begin(self._collector.run())

    def use(self, snapshot: Snapshot) -> None:
        """Put other settings in force."""
        self._jobs.snapshot = self._collector.snapshot = snapshot

    async def ride(self, call: Call, *, streaming: bool) -> AsyncGenerator[Event | Reply, None]:
        """Yield the reply of a call, once its job has brought it.

        Raises:
            DomainError: Why there is no answer.
            AlreadyKnown: The ledger knows the request id from before.
        """
        place: BatchPlace | None = None
        while True:
            if call.looks_up and (hit := self._free.peek(call)) is not None:
                yield self._free.hit(call, hit)
                return
            flight = self._own_flight(call)
            repeats, leads = flight is not None, False
            if flight is None:
                if place is None:
                    place = await self._places.find(call)
                    continue  # the same call may have come twice meanwhile
                if place.too_near:
                    async with aclosing(self._sharing.ride(_ordinary(call, place), streaming=streaming)) as steps:
                        async for step in steps:
                            yield step
                    return
                flight, leads = await self._board(call, place)
            try:
                landing = await flight.result()
            except LeaderLeftError as left:
                if isinstance(left, GivenUpError) and (leads or repeats):
                    raise _cancelled() from left
                continue
            yield await self._reply(call, landing, leads=leads, repeats=repeats)
            return

    async def cancel(self, scope: str, request_id: str) -> None:
        """Want a request's answer no more: what has not left is released; a job of which nothing is wanted any more is stopped.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        line = self._lines.get((scope, request_id))
        if line is None:
            return
        line.cancelled = True
        release = LineEnd(
            attempt_id=line.reservation.attempt_id,
            state=AttemptState.RELEASED,
            source=AttemptState.RESERVED,
            reason="cancelled",
        )
        if line.state is not AttemptState.RESERVED or await self._desk.end_line(release) is None:  # it has left
            await self._jobs.stop_unwanted(line)
            return
        self._forget(line)
        if not line.flight.landed:
            line.flight.fail(GivenUpError())

    def drain(self) -> None:
        """Send those who wait away: what they wait for is safe, and the next daemon brings it."""
        self._closing = True
        for _, flight in list(self._flights.values()):
            if not flight.landed:
                flight.fail(DomainError(Reason.DRAINING, "aigend is stopping; the deferred call goes on", retry_after_s=1.0))

    async def close(self) -> None:
        """Stop; the next start goes on where this one was."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._jobs.close()

    async def handed_in(self) -> None:
        """Wait until no job is in the middle of being handed in to its provider."""
        await self._jobs.handed_in()

    def _own_flight(self, call: Call) -> AnswerFlight | None:
        """Return the flight that already works for this call's id.

        Raises:
            DomainError: REQUEST_ID_REUSED where it works on another request.
        """
        digest, flight = self._flights.get(call.id, (b"", None))
        if flight is not None and digest != call.caller.request_digest:
            raise self._known_ids.reused(call)
        return flight

    async def _board(self, call: Call, place: BatchPlace) -> tuple[AnswerFlight, bool]:
        """Return the flight of an equal call that waits already, or collect this one.

        Raises:
            DomainError: It was refused, for its caller alone.
            AlreadyKnown: The ledger knows the request id from before.
        """
        key = call.flight_key
        if self._closing:
            raise DomainError(Reason.DRAINING, "aigend is stopping; the call was not begun", retry_after_s=1.0)
        shared = self._shared.get(key) if key is not None else None
        if shared is not None:
            return shared, False
        flight: AnswerFlight = Flight(key, buffer_bytes=0)
        self._flights[call.id] = call.caller.request_digest, flight
        if key is not None:
            self._shared[key] = flight
        await asyncio.shield(self._begin(self._collect(call, place, flight)))
        return flight, True

    async def _collect(self, call: Call, place: BatchPlace, flight: AnswerFlight) -> None:
        """Book a call as a line and let it wait for company; it goes on where its caller leaves."""
        try:
            wire = call.caller.wire_of()
            self._check_room(len(wire))
            facts = LineFacts(
                custom_id=secrets.token_hex(8),
                account=place.account,
                request=wire,
                cache_key=call.key_of(place.quoted.route),
                input_tokens=place.quoted.input_tokens,
                max_output_tokens=place.quoted.max_output_tokens,
                start_by=place.start_by,
            )
            intent = _intent(call, place, self._clock.time())
            size = place.batch.size_of(batch_line(intent, facts, call.request, attempt=1))  # what can't be spelled holds no money
            reservation = await self._desk.collect(intent, facts, allow_repeat=call.caller.accounting.allow_repeat)
        except BaseException:
            self._leave(call.id, flight)
            flight.fail(LeaderLeftError())
            raise
        line = Line(
            reservation=reservation,
            facts=replace(facts, custom_id=custom_id_of(reservation.attempt_id, facts.custom_id)),
            request=call.request,
            flight=flight,
            create_time=self._clock.time(),
            since=self._clock.monotonic(),
            generation=call.generation,
            warnings=(*call.warnings, *place.quoted.warnings),
            wire_size=size + len(str(reservation.attempt_id)) + 2,
        )
        self._lines[call.id] = line
        self._size += len(wire)
        self._collector.gather(line)

    def _check_room(self, size: int) -> None:
        settings = self._collector.snapshot.settings.deferred
        if len(self._lines) < settings.max_lines and self._size + size <= settings.max_size_bytes:
            return
        raise DomainError(
            Reason.OVERLOADED,
            f"{len(self._lines)} deferred requests of {self._size} bytes wait or are under way; allowed: {settings.max_lines} "
            f"(deferred.max_lines) of {settings.max_size_bytes} bytes (deferred.max_size_bytes)",
            retry_after_s=OVERLOAD_RETRY_S,
        )

    def _restored(self, row: LineRow) -> Line:
        intent, request = row.reservation.intent, self._read_request(row.facts.request)
        key = (row.facts.cache_key,), request.mode is CacheMode.REFRESH, Lane.DEFERRED  # as of calls with this route alone
        flight: AnswerFlight = Flight(key, buffer_bytes=0)
        line = Line(
            reservation=row.reservation,
            facts=row.facts,
            request=request,
            flight=flight,
            create_time=row.create_time,
            since=self._clock.monotonic() - max(0.0, self._clock.time() - row.create_time),
            generation=self._cache.generation(intent.scope, request.namespace),
            wire_size=len(row.facts.request) * 2,
            state=AttemptState.RESERVED if row.upload_id is None else AttemptState.SUBMITTED,
        )
        self._lines[line.id] = line
        self._flights[line.id] = intent.request_digest, flight
        self._size += len(row.facts.request)
        if request.mode.joins and self._jobs.snapshot.settings.features.single_flight:
            self._shared.setdefault(key, flight)
        return line

    async def _reply(self, call: Call, landing: Landing, *, leads: bool, repeats: bool) -> Reply:
        if not leads and not repeats:
            return self._free.follow(call, landing)
        response = landing.wire + self._codec.encode_call(landing.facts)
        await self._fetched(call)
        if leads:
            return Reply(response, landing.facts.outcome)
        return self._free.replay(call, response, route=landing.answer.route)

    def _forget(self, line: Line) -> None:
        if self._lines.get(line.id) is line:
            del self._lines[line.id]
            self._size -= len(line.facts.request)
        self._collector.drop(line)
        self._leave(line.id, line.flight)

    def _leave(self, operation: tuple[str, str], flight: AnswerFlight) -> None:
        if self._flights.get(operation, (b"", None))[1] is flight:
            del self._flights[operation]
        if flight.key is not None and self._shared.get(flight.key) is flight:
            del self._shared[flight.key]

    async def _fetched(self, call: Call) -> None:
        """Keep a reply that was fetched as long as others are."""
        with contextlib.suppress(DomainError):
            await self._desk.fetched(*call.id, keep_s=self._jobs.snapshot.settings.ledger.reply_ttl_s)

    def _begin(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever waits gets it; nobody may be waiting: mark it as seen


def _cancelled() -> DomainError:
    return DomainError(Reason.JOB_CANCELLED, "the call was cancelled before it was run; nothing was charged")


def _ordinary(call: Call, place: BatchPlace) -> Call:
    """Return a call whose deadline no batch job can promise to keep, as one that leaves at once."""
    window_h = place.batch.limits.window_s / 3_600
    told = f"complete_by is nearer than the {window_h:g} h that a batch job may take: sent at once, at the ordinary price"
    request = replace(call.request, lane=Lane.INTERACTIVE, complete_by=None)
    return replace(call, request=request, warnings=(*call.warnings, told))


def _intent(call: Call, place: BatchPlace, now: float) -> Intent:
    request, caller = call.request, call.caller
    return Intent(
        scope=caller.scope,
        request_id=caller.request_id,
        request_digest=caller.request_digest,
        accounting=caller.accounting,
        agent=request.agent,
        service=request.service,
        phase=request.phase,
        requested_model=call.requested_model,
        route=place.quoted.route.route,
        outcome=call.paid_outcome,
        upper_bound_nanos=place.quoted.bound_nanos,
        price_entry_id=place.quoted.price_entry_id,
        create_time=now,
    )
