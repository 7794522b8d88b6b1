"""Steps 6 to 9: the paid half. One turn a route, key and retry, each with its own reservation, SENT and settle.

What the ledger is told stands in `bookings.py`, what follows from a fault in `providers/retry.py`, which key is asked in
`routing/health.py`.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial

from aigend.clock import Clock
from aigend.completion.approach import approach_of, patience_s
from aigend.completion.asking import ask_of
from aigend.completion.bookings import Bookings
from aigend.completion.call import AnswerFlight, Call, Landing
from aigend.completion.prompt_cache.plans import PromptPlans
from aigend.completion.quotes import quote
from aigend.completion.turn import OnRoute, ProviderVerdictError, Sent, Tries, Turn
from aigend.completion.watch import Watch
from aigend.errors import DomainError
from aigend.providers.port import FaultKind, Provider, ProviderCall, ProviderFault, ProviderReply
from aigend.providers.rate_headers import hearing_rates
from aigend.providers.registry import ProviderRegistry
from aigend.providers.retry import Next, Standing, Verdict, verdict
from aigend.providers.retry_budget import RetryBudget
from aigend.routing.health import Health, KeyId, Outcome, Ticket
from aigend.routing.latency import Latencies
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.prompt_cache.prefix_gate import PrefixGate
from aigend.scheduling.single_flight import LeaderLeftError
from aigend.types import Lane, ModelRoute

__all__ = ["Attempts", "ProviderVerdictError"]

_NOT_WELL = frozenset((FaultKind.UNREACHABLE, FaultKind.SERVER_ERROR, FaultKind.TIMEOUT, FaultKind.RESET, FaultKind.CUT))
_FORBIDDEN = 403  # often said of one model or of what was asked, not of the key


class Attempts:
    """Tries the routes of a call until one answers.

    Args:
        gate: Lets one call of a shared prefix ahead.
        dispatcher: Says when a call may go.
        bookings: Books each attempt.
        prompts: Says what is asked of providers' prompt caches.
        providers: Has the accounts that make the calls.
        health: Chooses the key, and passes by what is broken.
        retries: Bounds how many retries a provider gets.
        latencies: Learns how quick routes are.
        watch: Tells telemetry how calls go.
        clock: Tells the time.
        jitter: Returns a number from 0 to 1 for the spread of retries.
    """

    def __init__(
        self,
        *,
        gate: PrefixGate,
        dispatcher: Dispatcher,
        bookings: Bookings,
        prompts: PromptPlans,
        providers: ProviderRegistry,
        health: Health,
        retries: RetryBudget,
        latencies: Latencies,
        watch: Watch,
        clock: Clock,
        jitter: Callable[[], float],
    ) -> None:
        self._gate = gate
        self._dispatcher = dispatcher
        self._bookings = bookings
        self._prompts = prompts
        self._providers = providers
        self._health = health
        self._retries = retries
        self._latencies = latencies
        self._watch = watch
        self._clock = clock
        self._jitter = jitter

    async def run(self, call: Call, flight: AnswerFlight, *, streaming: bool) -> Landing:
        """Return the answer of the first route that gives one.

        Raises:
            ProviderVerdictError: No route answered; the last verdict, for everybody aboard.
            DomainError: The call was refused before anything was sent, for its caller alone.
            AlreadyKnown: The ledger knows the request id from before.
        """
        tries = Tries()
        for route in call.routes:
            landing = await self._on_route(call, route, flight, tries=tries, streaming=streaming)
            if isinstance(landing, Landing):
                return landing
            if landing is Next.STOP:
                break
        raise tries.ending()

    async def _on_route(
        self, call: Call, route: ModelRoute, flight: AnswerFlight, *, tries: Tries, streaming: bool
    ) -> Landing | Next:
        """Return what one route answered, or how the call goes on without."""
        try:
            on = await self._prepare(call, route)
        except DomainError as error:
            tries.refused(error)
            return Next.NEXT_ROUTE
        while True:
            turn = Turn(call=call, flight=flight, tries=tries, on=on, asked_at=self._clock.monotonic())
            outcome = await self._through_gate(turn, streaming=streaming)
            if not isinstance(outcome, Verdict):
                return outcome
            tries.verdict = outcome.error
            if outcome.next is Next.RETRY:
                _check_wanted(flight)
                await self._clock.sleep(outcome.after_s)
                on.attempt += 1
                on.limited.clear()
            elif outcome.next is not Next.NEXT_KEY:
                return outcome.next

    async def _prepare(self, call: Call, route: ModelRoute) -> OnRoute:
        """Return a route with all that its attempts have in common.

        Raises:
            DomainError: This route can't be asked.
        """
        name = route.route.provider
        accounts = await self._providers.ready(name)
        accounts[0].provider.check(call.request)
        await call.snapshot.prices.load()
        return OnRoute(
            quoted=quote(call, route, clock=self._clock, prompt=self._prompts.plan(call, route)),
            accounts={KeyId(name, account.number): account.provider for account in accounts},
            last=route is call.routes[-1],
        )

    async def _through_gate(self, turn: Turn, *, streaming: bool) -> Landing | Verdict | Next:
        """Let another call that is sending the same prefix go ahead, before a slot is taken."""
        asked_at = self._clock.monotonic()
        wait_s = patience_s(turn.call, waited_s=turn.tries.gated_s, now=self._clock.monotonic)
        with await self._gate.enter(approach_of(turn), wait_s=wait_s) as turn.passage:
            turn.tries.gated_s += self._clock.monotonic() - asked_at
            return await self._turn(turn, streaming=streaming)

    async def _turn(self, turn: Turn, *, streaming: bool) -> Landing | Verdict | Next:
        """Take a slot, choose a key and reserve; a route where one of these is refused is passed by."""
        on = turn.on
        if not self._health.usable(on.keys, but=on.spent):  # known before a slot is waited for, and again once it is there
            return self._pass_by(turn)
        try:
            grant = await self._dispatcher.acquire(ask_of(turn))  # 6 schedule
        except DomainError as refusal:
            turn.tries.refused(refusal)
            return Next.NEXT_ROUTE
        with grant as turn.grant:
            turn.granted_at = self._clock.monotonic()
            _check_wanted(turn.flight)
            ticket = self._health.pick(on.keys, but=on.spent)
            if ticket is None:
                return self._pass_by(turn)
            with ticket:
                sent = await self._bookings.reserve(turn)  # 7 reserve
                grant.sent = sent is not None
                return Next.NEXT_ROUTE if sent is None else await self._attempt(sent, ticket, streaming=streaming)

    def _pass_by(self, turn: Turn) -> Next:
        turn.tries.skipped(self._health.pass_by(turn.on.keys))
        return Next.NEXT_ROUTE

    async def _attempt(self, sent: Sent, ticket: Ticket, *, streaming: bool) -> Landing | Verdict:
        turn, route = sent.turn, sent.turn.quoted.route.route
        span = self._watch.begin(turn.call, route, attempt=turn.tries.made)
        if turn.on.attempt == 1:
            self._retries.note_call(route.provider, turn.call.snapshot.settings.retry)
        try:
            with hearing_rates(partial(turn.note_rates, ticket.key)):
                reply = await self._call(sent, turn.on.accounts[ticket.key], streaming=streaming)  # 8 call
            landing, settlement = self._bookings.landing(sent, reply)
        except ProviderFault as fault:
            self._watch.failed(span, route, fault=fault.kind, duration_us=self._since(turn))
            return await self._rule(sent, fault, ticket)
        except (Exception, asyncio.CancelledError) as error:
            self._watch.failed(span, route, fault=type(error).__name__, duration_us=self._since(turn))
            await self._bookings.lost(sent, error)
            raise
        ticket.ended(Outcome.ANSWERED)
        turn.flight.answered = True
        turn.note_usage(landing.answer.usage)
        landing = await self._bookings.settle(sent, landing, settlement)  # 9 settle
        self._prompts.observe(turn.quoted.prompt, landing.answer.usage)
        self._latencies.note(route, landing.facts.timings.provider_us / 1e6)
        self._watch.settled(span, landing)
        return landing

    async def _call(self, sent: Sent, provider: Provider, *, streaming: bool) -> ProviderReply:
        turn = sent.turn
        call = ProviderCall(
            request=turn.call.request,
            model=turn.quoted.route.route.model,
            max_output_tokens=turn.quoted.max_output_tokens,
            timeout_s=turn.call.snapshot.providers[provider.name].timeout_s,
            request_id=turn.call.caller.request_id,
            attempt=sent.reservation.attempt_number,  # the ledger's, so that the provider's records name the same attempts
            prompt_cache=turn.quoted.prompt.wire,
        )
        shown = streaming or turn.flight.streamed  # a stream may have joined while a slot was waited for
        if not (shown or turn.awaited):
            return await provider.complete(call)
        async with contextlib.aclosing(provider.stream(call)) as events:
            async for event in events:
                if isinstance(event, ProviderReply):
                    return event
                turn.note_begin()
                if shown:
                    turn.show(event)
        raise ProviderFault(FaultKind.CUT, "the stream ended without its last message")

    async def _rule(self, sent: Sent, fault: ProviderFault, ticket: Ticket) -> Verdict:
        """Book a failed attempt as its fault says, let the key's health learn of it, and return what follows."""
        turn, settings = sent.turn, sent.turn.call.snapshot.settings
        turn.note_fault(fault)
        ticket.ended(_said_of_key(fault))
        self._note_key(turn, ticket.key, fault, wait_s=settings.retry.max_delay_s)
        ruling = verdict(
            fault,
            standing=self._standing(turn.on),
            settings=settings.retry,
            on_server_error=settings.ledger.on_server_error,
            on_ambiguous=turn.call.snapshot.on_ambiguous(turn.call.request.service),
            jitter=self._jitter,
        )
        await self._bookings.failed(sent, fault, ruling.hold)
        if turn.visible_bytes:
            return ruling.stopped()
        if ruling.next is Next.RETRY and not self._retries.take(turn.on.provider, settings.retry):
            return ruling.without_retry()
        return ruling

    def _note_key(self, turn: Turn, key: KeyId, fault: ProviderFault, *, wait_s: float) -> None:
        """Keep this call, and for a rate limit the others too, from asking with a key that said no.

        That a provider's cheaper tier has no room tells nothing about calls at the ordinary price.
        """
        if fault.kind is FaultKind.AUTH:
            turn.on.out.add(key)
        elif fault.kind is FaultKind.RATE_LIMITED:
            turn.on.limited.add(key)
            if turn.call.request.lane is not Lane.FLEX:
                self._health.rest(key, wait_s if fault.retry_after_s is None else fault.retry_after_s)

    def _standing(self, on: OnRoute) -> Standing:
        other_key = self._health.usable(on.keys, but=on.spent)
        return Standing(attempt=on.attempt, other_key=other_key, last_route=on.last)

    def _since(self, turn: Turn) -> int:
        return int((self._clock.monotonic() - turn.granted_at) * 1e6)


def _said_of_key(fault: ProviderFault) -> Outcome:
    """Return what a fault tells about the key that was used, and about the provider behind it."""
    if fault.kind is FaultKind.AUTH and fault.status != _FORBIDDEN:
        return Outcome.REFUSED
    proxy_failed = fault.kind is FaultKind.BAD_ANSWER and (fault.status or 0) >= 500  # a 5xx in the words of something in between
    return Outcome.FAILED if fault.kind in _NOT_WELL or proxy_failed else Outcome.ANSWERED


def _check_wanted(flight: AnswerFlight) -> None:
    """Stop before a further attempt is paid for that nobody waits for.

    Raises:
        LeaderLeftError: Nobody is aboard any more.
    """
    if flight.aboard == 0:
        raise LeaderLeftError
