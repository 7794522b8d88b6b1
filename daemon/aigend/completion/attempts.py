"""Steps 6 to 9: the paid half. One turn a route and retry, each with its own reservation, SENT and settle."""

import asyncio
import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass

from aigend.clock import Clock
from aigend.completion.call import AnswerFlight, Call, Landing, TextDelta
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
from aigend.completion.ports import AnswerCodec
from aigend.completion.quotes import Bill, Quote, bill, quote, seen_nanos
from aigend.completion.watch import Watch
from aigend.errors import DomainError
from aigend.ledger.entries import Intent, Reservation, Settlement
from aigend.ledger.ledger import Ledger
from aigend.providers import port
from aigend.providers.port import Provider, ProviderCall, ProviderFault, ProviderReply
from aigend.providers.registry import ProviderRegistry
from aigend.providers.retry import Hold, Next, Verdict, verdict
from aigend.scheduling.limits import DispatchLimits
from aigend.scheduling.single_flight import LeaderLeftError
from aigend.types import Answer, CallFacts, ModelRoute, Timings


class ProviderVerdictError(Exception):
    """The final word on a flight after something was sent; everybody aboard gets it."""

    def __init__(self, error: DomainError) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(slots=True)
class _Tries:
    """What the attempts of one call have come to so far."""

    made: int = 0  # attempts whose SENT was durable
    unknown: bool = False  # one of them may have been charged without an answer
    verdict: DomainError | None = None  # a provider's last word
    refusal: DomainError | None = None  # the first route's own refusal, before anything was sent on it

    def refused(self, error: DomainError) -> None:
        """Remember why a route was not tried."""
        self.refusal = self.refusal or error


@dataclass(slots=True, kw_only=True)
class _Turn:
    """One attempt while it lasts; times are of the monotonic clock, in seconds."""

    call: Call
    flight: AnswerFlight
    tries: _Tries
    quoted: Quote
    on_route: int  # among the attempts on this route, from 1
    asked_at: float
    granted_at: float = 0.0
    visible_bytes: int = 0  # of text that callers have seen


class Attempts:
    """Tries the routes of a call until one answers.

    Args:
        limits: Grants slots.
        ledger: Books each attempt.
        providers: Makes the calls.
        codec: Spells the reply that is kept.
        watch: Tells telemetry how calls go.
        clock: Tells the time.
        jitter: Returns a number from 0 to 1 for the spread of retries.
        failpoints: Where a test lets the process die.
    """

    def __init__(
        self,
        *,
        limits: DispatchLimits,
        ledger: Ledger,
        providers: ProviderRegistry,
        codec: AnswerCodec,
        watch: Watch,
        clock: Clock,
        jitter: Callable[[], float],
        failpoints: Failpoints = NO_FAILPOINTS,
    ) -> None:
        self._limits = limits
        self._ledger = ledger
        self._providers = providers
        self._codec = codec
        self._watch = watch
        self._clock = clock
        self._jitter = jitter
        self._failpoints = failpoints

    async def run(self, call: Call, flight: AnswerFlight, *, streaming: bool) -> Landing:
        """Return the answer of the first route that gives one.

        Raises:
            ProviderVerdictError: No route answered; the last verdict, for everybody aboard.
            DomainError: The call was refused before anything was sent, for its caller alone.
            AlreadyKnown: The ledger knows the request id from before.
        """
        tries = _Tries()
        for route in call.routes:
            landing = await self._on_route(call, route, flight, tries=tries, streaming=streaming)
            if isinstance(landing, Landing):
                return landing
            if landing is Next.STOP:
                break
        if tries.verdict is not None:
            raise ProviderVerdictError(tries.verdict)
        raise tries.refusal or AssertionError("a call has at least one route")

    async def _on_route(
        self, call: Call, route: ModelRoute, flight: AnswerFlight, *, tries: _Tries, streaming: bool
    ) -> Landing | Next:
        """Return what one route answered, or how the call goes on without."""
        try:
            provider = await self._providers.ready(route.route.provider)
            provider.check(call.request)
            await call.snapshot.prices.load()
            quoted = quote(call, route, clock=self._clock)
        except DomainError as error:
            tries.refused(error)
            return Next.NEXT_ROUTE
        for on_route in itertools.count(1):
            turn = _Turn(call=call, flight=flight, tries=tries, quoted=quoted, on_route=on_route, asked_at=self._clock.monotonic())
            outcome = await self._turn(turn, provider, streaming=streaming)
            if not isinstance(outcome, Verdict):
                return outcome
            tries.verdict = outcome.error
            if outcome.next is not Next.RETRY:
                return outcome.next
            _check_wanted(flight)
            await self._clock.sleep(outcome.after_s)
        raise AssertionError("unreachable")

    async def _turn(self, turn: _Turn, provider: Provider, *, streaming: bool) -> Landing | Verdict | Next:
        """Take a slot and reserve; a route that is refused either is passed by."""
        try:
            await self._limits.acquire(provider.name)  # 6 schedule
        except DomainError as overloaded:
            turn.tries.refused(overloaded)
            return Next.NEXT_ROUTE
        try:
            turn.granted_at = self._clock.monotonic()
            _check_wanted(turn.flight)
            reservation = await self._reserve(turn)  # 7 reserve
            if reservation is None:
                return Next.NEXT_ROUTE
            return await self._attempt(turn, provider, reservation, streaming=streaming)
        finally:
            self._limits.release(provider.name)

    async def _attempt(self, turn: _Turn, provider: Provider, reservation: Reservation, *, streaming: bool) -> Landing | Verdict:
        route = turn.quoted.route.route
        span = self._watch.begin(turn.call, route, attempt=turn.tries.made)
        try:
            reply = await self._call(turn, provider, number=reservation.attempt_number, streaming=streaming)  # 8 call
            landing, settlement = self._landing(turn, reservation, reply)
        except ProviderFault as fault:
            self._watch.failed(span, route, fault=fault.kind, duration_us=self._since(turn.granted_at))
            return await self._rule(turn, reservation, fault)
        except (Exception, asyncio.CancelledError) as error:
            self._watch.failed(span, route, fault=type(error).__name__, duration_us=self._since(turn.granted_at))
            await self._book_lost(turn, reservation, error)
            raise
        turn.flight.answered = True
        landing = await self._settle(landing, reservation, settlement)  # 9 settle
        self._watch.settled(span, landing)
        return landing

    async def _reserve(self, turn: _Turn) -> Reservation | None:
        """Book RESERVED and SENT; None where this route's budget or price refuses it.

        From the moment this is asked the flight counts as sent: a caller who leaves only detaches.
        """
        turn.flight.sent = True
        again = turn.tries.made > 0 or turn.call.caller.accounting.allow_repeat
        self._failpoints.passing("before_intent")
        try:
            reservation = await self._ledger.reserve(self._intent(turn), allow_repeat=again)
        except DomainError as refusal:
            turn.flight.sent = turn.tries.unknown
            turn.tries.refused(refusal)
            return None
        except (Exception, asyncio.CancelledError):
            turn.flight.sent = turn.tries.unknown  # known from before, or given back by the ledger: nothing has left
            raise
        turn.tries.made += 1
        self._failpoints.passing("after_intent")
        return reservation

    def _intent(self, turn: _Turn) -> Intent:
        call, request = turn.call, turn.call.request
        return Intent(
            scope=call.caller.scope,
            request_id=call.caller.request_id,
            request_digest=call.caller.request_digest,
            accounting=call.caller.accounting,
            agent=request.agent,
            service=request.service,
            phase=request.phase,
            requested_model=call.requested_model,
            route=turn.quoted.route.route,
            outcome=call.paid_outcome,
            upper_bound_nanos=turn.quoted.bound_nanos,
            price_entry_id=turn.quoted.price_entry_id,
            create_time=self._clock.time(),
        )

    async def _call(self, turn: _Turn, provider: Provider, *, number: int, streaming: bool) -> ProviderReply:
        call = ProviderCall(
            request=turn.call.request,
            model=turn.quoted.route.route.model,
            max_output_tokens=turn.quoted.max_output_tokens,
            timeout_s=turn.call.snapshot.providers[provider.name].timeout_s,
            request_id=turn.call.caller.request_id,
            attempt=number,  # the ledger's, so that the provider's records name the same attempts
        )
        if not streaming:
            return await provider.complete(call)
        async with contextlib.aclosing(provider.stream(call)) as events:
            async for event in events:
                if isinstance(event, ProviderReply):
                    return event
                _show(turn, event)
        raise ProviderFault(port.FaultKind.CUT, "the stream ended without its last message")

    async def _rule(self, turn: _Turn, reservation: Reservation, fault: ProviderFault) -> Verdict:
        """Book a failed attempt as its fault says and return what follows."""
        settings = turn.call.snapshot.settings
        ruling = verdict(
            fault,
            attempt=turn.on_route,
            settings=settings.retry,
            on_server_error=settings.ledger.on_server_error,
            on_ambiguous=turn.call.snapshot.on_ambiguous(turn.call.request.service),
            jitter=self._jitter,
        )
        try:
            await self._book(turn, reservation, fault, ruling.hold)
        except DomainError as error:  # it stays SENT, which the next start books as unknown; nobody may ask again unawares
            raise ProviderVerdictError(error) from error
        return ruling.stopped() if turn.visible_bytes else ruling

    async def _book(self, turn: _Turn, reservation: Reservation, fault: ProviderFault, hold: Hold) -> None:
        if hold is Hold.NOTHING:
            await self._ledger.release(reservation, reason=fault.kind)
            turn.flight.sent = turn.tries.unknown
            return
        turn.tries.unknown = True
        low = seen_nanos(turn.quoted, turn.visible_bytes) if hold is Hold.PARTIAL else None
        await self._ledger.mark_unknown(reservation, low_nanos=low, high_nanos=turn.quoted.bound_nanos, reason=fault.kind)

    async def _book_lost(self, turn: _Turn, reservation: Reservation, error: BaseException) -> None:
        """Book an attempt that was cut off, or whose answer nobody can read; what it says concerns all aboard."""
        turn.tries.unknown = True
        low = seen_nanos(turn.quoted, turn.visible_bytes) if turn.visible_bytes else None
        reason = type(error).__name__
        try:
            await self._ledger.mark_unknown(reservation, low_nanos=low, high_nanos=turn.quoted.bound_nanos, reason=reason)
        except DomainError as failure:
            raise ProviderVerdictError(failure) from error
        if isinstance(error, DomainError):
            raise ProviderVerdictError(error) from error

    def _landing(self, turn: _Turn, reservation: Reservation, reply: ProviderReply) -> tuple[Landing, Settlement]:
        """Return the answer and what is to be booked for it, with the reply that is kept for replays."""
        billed = bill(turn.quoted, reply)
        answer = Answer(
            parts=reply.parts,
            finish_reason=reply.finish_reason,
            route=turn.quoted.route.route,
            resolved_model=reply.resolved_model,
            usage=billed.usage,
            cost=billed.cost,
            provider_usage_json=reply.provider_usage_json,
        )
        facts = self._facts(turn, reservation, billed)
        key = turn.call.key_of(turn.quoted.route)
        wire = self._codec.encode_answer(answer, key)
        kept = wire + self._codec.encode_call(facts) if turn.call.snapshot.settings.features.replay else b""
        return Landing(answer=answer, cache_key=key, wire=wire, facts=facts), _settlement(answer, facts, billed, reply=kept)

    async def _settle(self, landing: Landing, reservation: Reservation, settlement: Settlement) -> Landing:
        """Book the real cost before anybody sees the answer."""
        self._failpoints.passing("before_settle")
        try:
            settled = await self._ledger.settle(reservation, settlement)
        except DomainError as error:  # the charge was made and could not be written: nobody may ask again unawares
            raise ProviderVerdictError(error) from error
        self._failpoints.passing("after_settle")
        if not settled.warnings:
            return landing
        facts = dataclasses.replace(landing.facts, warnings=(*landing.facts.warnings, *settled.warnings))
        return dataclasses.replace(landing, facts=facts)

    def _since(self, moment: float) -> int:
        return _micros(self._clock.monotonic() - moment)

    def _facts(self, turn: _Turn, reservation: Reservation, billed: Bill) -> CallFacts:
        now = self._clock.monotonic()
        return CallFacts(
            request_id=turn.call.caller.request_id,
            requested_model=turn.call.requested_model,
            outcome=turn.call.paid_outcome,
            cost=billed.cost,
            saved_nanos=sum(billed.savings.values()) if billed.savings else None,
            saved_cause=next(iter(billed.savings), None),
            attempt_count=turn.tries.made,
            timings=Timings(
                queue_us=_micros(turn.granted_at - turn.asked_at),
                provider_us=_micros(now - turn.granted_at),
                total_us=_micros(now - turn.call.started),
            ),
            ledger_entry_id=reservation.entry_id,
            warnings=(*turn.quoted.warnings, *reservation.warnings),
        )


def _check_wanted(flight: AnswerFlight) -> None:
    """Stop before a further attempt is paid for that nobody waits for.

    Raises:
        LeaderLeftError: Nobody is aboard any more.
    """
    if flight.aboard == 0:
        raise LeaderLeftError


def _settlement(answer: Answer, facts: CallFacts, billed: Bill, *, reply: bytes) -> Settlement:
    return Settlement(
        usage=billed.usage,
        cost=billed.cost,
        provider_usage_json=answer.provider_usage_json,
        resolved_model=answer.resolved_model,
        flags=billed.flags,
        provider_us=facts.timings.provider_us,
        total_us=facts.timings.total_us,
        savings=billed.savings,
        reply=reply,
    )


def _show(turn: _Turn, event: port.StreamEvent) -> None:
    """Hand an event to everybody aboard."""
    if isinstance(event, port.ToolCallDone):
        turn.visible_bytes += len(event.call.arguments_json) + 1
        turn.flight.publish(event.call, len(event.call.arguments_json) + len(event.call.name))
    elif isinstance(event, port.TextDelta | port.ThinkingDelta):
        turn.visible_bytes += len(event.text)
        turn.flight.publish(TextDelta(event.text, thinking=isinstance(event, port.ThinkingDelta)), len(event.text))


def _micros(seconds: float) -> int:
    return int(seconds * 1e6)
