"""A batch line while it waits and lies in a provider's batch job, and how it is billed and booked.

A line outlives callers and restarts: all of it can be made again from the ledger's rows. When it leaves is `collector`, how its job
is followed is `jobs`.
"""

from dataclasses import dataclass, replace

from aigend.cache.manager import CacheManager
from aigend.clock import Clock
from aigend.completion.call import AnswerFlight, Landing
from aigend.completion.keeping import entry_of, stores
from aigend.completion.ports import AnswerCodec
from aigend.completion.quotes import Quote, bill, priced
from aigend.completion.snapshot import Snapshot
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import LineEnd, LineFacts
from aigend.ledger.entries import AttemptState, Intent, Reservation, Settlement
from aigend.providers.batch_port import BatchLine
from aigend.providers.port import ProviderCall, ProviderFault, ProviderReply
from aigend.providers.retry import Hold, Standing, verdict
from aigend.scheduling.single_flight import LeaderLeftError
from aigend.types import Answer, CallFacts, CompletionRequest, ModelRoute, Processing, SavingsCause, Timings

_NEVER_AGAIN = Standing(attempt=10, other_key=False, last_route=True)
_MICROS = 1_000_000


class GivenUpError(LeaderLeftError):
    """The line was given up because its caller wants it no more; others who wait for the same answer ask for it themselves."""


@dataclass(slots=True, kw_only=True, eq=False)
class Line:
    """One deferred request from its collection to its end."""

    reservation: Reservation
    facts: LineFacts
    request: CompletionRequest
    flight: AnswerFlight  # who waits for it
    create_time: float  # wall clock; when it was collected
    generation: int  # of its cache namespace
    warnings: tuple[str, ...] = ()
    wire_size: int = 0  # bytes as uploaded
    state: AttemptState = AttemptState.RESERVED
    cancelled: bool = False  # nobody wants it any more
    since: float = 0.0  # monotonic clock; when it was collected, or would have been
    upload: object | None = None  # the job that it lies in

    @property
    def id(self) -> tuple[str, str]:
        """The operation that it belongs to: scope and request id."""
        return self.reservation.intent.scope, self.reservation.intent.request_id

    @property
    def batch_line(self) -> BatchLine:
        """What is handed in for it."""
        return batch_line(self.reservation.intent, self.facts, self.request, attempt=self.reservation.attempt_number)


def batch_line(intent: Intent, facts: LineFacts, request: CompletionRequest, *, attempt: int) -> BatchLine:
    """Return what is handed in for a request."""
    call = ProviderCall(
        request=request,
        model=intent.route.model,
        max_output_tokens=facts.max_output_tokens,
        timeout_s=0.0,  # the job's window bounds it
        request_id=intent.request_id,
        attempt=attempt,
    )
    return BatchLine(custom_id=facts.custom_id, call=call)


class LineBooks:
    """Bills and books lines; what it books is durable when it returns, and those who wait have their end.

    Args:
        desk: The ledger's desk for batch lines.
        cache: Where answers are kept.
        codec: Spells answers as bytes.
        clock: Tells the time.
    """

    def __init__(self, *, desk: BatchDesk, cache: CacheManager, codec: AnswerCodec, clock: Clock) -> None:
        self._desk = desk
        self._cache = cache
        self._codec = codec
        self._clock = clock

    async def settle(self, line: Line, reply: ProviderReply, snapshot: Snapshot, *, submit_time: float) -> Landing | None:
        """Book what a line cost, keep its answer and give it to all who wait; None where it had ended before.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED: nothing was booked, and nobody has seen the answer.
        """
        landing, settlement = self._landing(line, reply, snapshot, submit_time=submit_time)
        end = LineEnd(
            attempt_id=line.reservation.attempt_id, settlement=settlement, reply_ttl_s=snapshot.settings.deferred.reply_ttl_s
        )
        change = await self._desk.end_line(end)
        if change is None:
            self._ended_elsewhere(line)
            return None
        if change.warnings:
            warned = (*landing.facts.warnings, *change.warnings)
            landing = replace(landing, facts=replace(landing.facts, warnings=warned))
        self._keep(line, landing, snapshot)
        if not line.flight.landed:
            line.flight.land(landing)
        return landing

    async def fail(self, line: Line, fault: ProviderFault, snapshot: Snapshot) -> None:
        """Book a line that ended with a fault as the fault says, and tell all who wait.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED: nothing was booked.
        """
        settings = snapshot.settings
        ruling = verdict(
            fault,
            standing=_NEVER_AGAIN,
            settings=settings.retry,
            on_server_error=settings.ledger.on_server_error,
            on_ambiguous="stop",
            jitter=float,
        )
        state = AttemptState.RELEASED if ruling.hold is Hold.NOTHING else AttemptState.UNKNOWN
        await self.end(line, ruling.error, state=state, reason=fault.kind)

    async def end(self, line: Line, error: Exception, *, state: AttemptState, reason: str) -> None:
        """Release a line or book its upper bound, and tell all who wait why.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED: nothing was booked.
        """
        end = LineEnd(attempt_id=line.reservation.attempt_id, state=state, source=line.state, reason=reason)
        if await self._desk.end_line(end) is None:
            self._ended_elsewhere(line)
        elif not line.flight.landed:
            line.flight.fail(error)

    def _ended_elsewhere(self, line: Line) -> None:
        if not line.flight.landed:
            line.flight.fail(LeaderLeftError())  # who waits asks again, and the ledger says what became of it

    def _landing(self, line: Line, reply: ProviderReply, snapshot: Snapshot, *, submit_time: float) -> tuple[Landing, Settlement]:
        quoted = _quoted(line, snapshot, self._clock)
        billed = bill(quoted, replace(reply, processing=Processing.BATCH))
        answer = Answer(
            parts=reply.parts,
            finish_reason=reply.finish_reason,
            route=line.reservation.intent.route,
            resolved_model=reply.resolved_model,
            usage=billed.usage,
            cost=billed.cost,
            provider_usage_json=reply.provider_usage_json,
        )
        intent = line.reservation.intent
        facts = CallFacts(
            request_id=intent.request_id,
            requested_model=intent.requested_model,
            outcome=intent.outcome,
            cost=billed.cost,
            saved_nanos=sum(billed.savings.values()) if billed.savings else None,
            saved_cause=SavingsCause.BATCH if SavingsCause.BATCH in billed.savings else next(iter(billed.savings), None),
            attempt_count=line.reservation.attempt_number,
            timings=self._timings(line, submit_time),
            ledger_entry_id=line.reservation.entry_id,
            warnings=(*line.warnings, *billed.warnings, *line.reservation.warnings),
        )
        wire = self._codec.encode_answer(answer, line.facts.cache_key)
        landing = Landing(answer=answer, cache_key=line.facts.cache_key, wire=wire, facts=facts, savings=billed.savings)
        settlement = Settlement(
            usage=billed.usage,
            cost=billed.cost,
            provider_usage_json=reply.provider_usage_json,
            resolved_model=reply.resolved_model,
            flags=billed.flags,
            provider_us=None,  # hours in a queue of theirs would spoil the percentiles of calls that somebody waits for
            total_us=None,
            savings=billed.savings,
            reply=wire + self._codec.encode_call(facts) if snapshot.settings.features.replay else b"",
        )
        return landing, settlement

    def _timings(self, line: Line, submit_time: float) -> Timings:
        queued_s, now = submit_time - line.create_time, self._clock.time()
        return Timings(
            queue_us=max(0, int(queued_s * _MICROS)),
            provider_us=max(0, int((now - submit_time) * _MICROS)),
            total_us=max(0, int((now - line.create_time) * _MICROS)),
        )

    def _keep(self, line: Line, landing: Landing, snapshot: Snapshot) -> None:
        if not (landing.answer.complete and stores(line.request, snapshot)):
            return
        entry = entry_of(
            landing.answer,
            line.request,
            scope=line.reservation.intent.scope,
            key=landing.cache_key,
            ttl_s=line.request.ttl_s or snapshot.ttl_s(line.request.service),
            now=self._clock.time(),
        )
        kept = self._cache.keep(entry, generation=line.generation)
        if kept is not None:
            self._cache.persist_soon(kept, generation=line.generation, then=lambda: None)


def _quoted(line: Line, snapshot: Snapshot, clock: Clock) -> Quote:
    """Return what a line was held at, made again from its rows, at the prices that are in force."""
    intent = line.reservation.intent
    return Quote(
        route=ModelRoute(route=intent.route, position=0),
        price=priced(snapshot, intent.route, clock),
        input_tokens=line.facts.input_tokens,
        max_output_tokens=line.facts.max_output_tokens,
        bound_nanos=intent.upper_bound_nanos,
    )
