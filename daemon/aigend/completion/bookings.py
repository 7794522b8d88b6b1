"""What the ledger is told of an attempt: that it leaves, what it cost, or what it may have cost."""

import asyncio
import dataclasses

from aigend.clock import Clock
from aigend.completion.call import Landing
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
from aigend.completion.ports import AnswerCodec
from aigend.completion.prompt_cache.lineage import PrefixLineage
from aigend.completion.quotes import Bill, bill, seen_nanos
from aigend.completion.turn import ProviderVerdictError, Sent, Turn
from aigend.errors import DomainError
from aigend.ledger.entries import Intent, PrefixUse, Reservation, Settlement
from aigend.ledger.ledger import Ledger
from aigend.providers.port import ProviderFault, ProviderReply
from aigend.providers.retry import Hold
from aigend.types import Answer, CallFacts, Timings


class Bookings:
    """Books attempts; what it writes is durable when it returns.

    Args:
        ledger: Where they are booked.
        codec: Spells the reply that is kept.
        clock: Tells the time.
        failpoints: Where a test lets the process die.
    """

    def __init__(self, *, ledger: Ledger, codec: AnswerCodec, clock: Clock, failpoints: Failpoints = NO_FAILPOINTS) -> None:
        self._ledger = ledger
        self._codec = codec
        self._clock = clock
        self._failpoints = failpoints
        self._lineage = PrefixLineage()

    async def reserve(self, turn: Turn) -> Sent | None:
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
        return Sent(turn, reservation)

    async def failed(self, sent: Sent, fault: ProviderFault, hold: Hold) -> None:
        """Book an attempt that ended with a fault.

        Raises:
            ProviderVerdictError: It can't be booked and stays SENT, which the next start books as unknown; nobody may ask again
                unawares.
        """
        turn = sent.turn
        try:
            if hold is Hold.NOTHING:
                await self._ledger.release(sent.reservation, reason=fault.kind)
                turn.flight.sent = turn.tries.unknown
                return
            turn.tries.unknown = True
            await self._mark_unknown(sent, partial=hold is Hold.PARTIAL, reason=fault.kind)
        except DomainError as error:
            raise ProviderVerdictError(error) from error

    async def lost(self, sent: Sent, error: BaseException) -> None:
        """Book an attempt that was cut off, or whose answer nobody can read; what it says concerns all aboard."""
        sent.turn.tries.unknown = True
        try:
            await self._mark_unknown(sent, partial=sent.turn.visible_bytes > 0, reason=type(error).__name__)
        except DomainError as failure:
            raise ProviderVerdictError(failure) from error
        if isinstance(error, DomainError):
            raise ProviderVerdictError(error) from error

    def landing(self, sent: Sent, reply: ProviderReply) -> tuple[Landing, Settlement]:
        """Return the answer and what is to be booked for it, with the reply that is kept for replays."""
        turn = sent.turn
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
        facts = self._facts(turn, sent.reservation, billed)
        key = turn.call.key_of(turn.quoted.route)
        wire = self._codec.encode_answer(answer, key)
        kept = wire + self._codec.encode_call(facts) if turn.call.snapshot.settings.features.replay else b""
        use = self._lineage.booked(turn.quoted.prompt, billed.usage, premium_nanos=billed.write_premium_nanos)
        settlement = _settlement(answer, facts, billed, reply=kept, use=use)
        return Landing(answer=answer, cache_key=key, wire=wire, facts=facts, savings=billed.savings), settlement

    async def settle(self, sent: Sent, landing: Landing, settlement: Settlement) -> Landing:
        """Book the real cost before anybody sees the answer, and return it with what the ledger warns of.

        Raises:
            ProviderVerdictError: The charge was made and can't be written; nobody may ask again unawares.
        """
        self._failpoints.passing("before_settle")
        try:
            settled = await self._ledger.settle(sent.reservation, settlement)
        except DomainError as error:
            raise ProviderVerdictError(error) from error
        self._failpoints.passing("after_settle")
        if not settled.warnings:
            return landing
        facts = dataclasses.replace(landing.facts, warnings=(*landing.facts.warnings, *settled.warnings))
        return dataclasses.replace(landing, facts=facts)

    async def _mark_unknown(self, sent: Sent, *, partial: bool, reason: str) -> None:
        turn = sent.turn
        low = seen_nanos(turn.quoted, turn.visible_bytes) if partial else None
        await self._ledger.mark_unknown(sent.reservation, low_nanos=low, high_nanos=turn.quoted.bound_nanos, reason=reason)

    def _intent(self, turn: Turn) -> Intent:
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
            decided=call.warnings,
        )

    def _facts(self, turn: Turn, reservation: Reservation, billed: Bill) -> CallFacts:
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
            warnings=(*turn.call.warnings, *turn.quoted.warnings, *billed.warnings, *reservation.warnings),
        )


def _settlement(answer: Answer, facts: CallFacts, billed: Bill, *, reply: bytes, use: PrefixUse) -> Settlement:
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
        prefix_use=use,
    )


def _micros(seconds: float) -> int:
    return int(seconds * 1e6)
