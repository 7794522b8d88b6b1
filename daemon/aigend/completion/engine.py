"""The spine: the whole life of a request, step by step.

Steps never call sideways: what two of them need is handed over in the `Call`. Joining and keeping (5 and 10) are in `sharing.py`,
the paid half (6 to 9) in `attempts.py`; streams and batches run through the same steps.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from aigend.cache.key import keys_for
from aigend.cache.manager import CacheManager
from aigend.clock import Clock
from aigend.completion.admission import check_built, check_deadline, check_open
from aigend.completion.call import Call, Event, Reply
from aigend.completion.deferral.lane import DeferredLane
from aigend.completion.downgrades import Downgrades
from aigend.completion.free_answers import FreeAnswers
from aigend.completion.known_ids import KnownIds
from aigend.completion.outlook import ExpectedCost, ReadsOf, nothing_read
from aigend.completion.quotes import Quote, quote
from aigend.completion.refusals import Refusals
from aigend.completion.repeats import Origin
from aigend.completion.sharing import Sharing
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason, capability_missing
from aigend.ledger.entries import AlreadyKnown
from aigend.routing.strategy import LatencyOf, no_latency
from aigend.types import CacheMode, Caller, CompletionRequest, Lane


class CompletionEngine:
    """Answers requests from the cache, from a call in flight, or from a provider.

    Args:
        snapshot: Settings, catalog and prices to begin with.
        cache: The response cache.
        known_ids: What became of request ids.
        sharing: Who waits for which provider call, and what is kept.
        deferred: Who waits for which provider batch job.
        free: Makes replies of what is there already.
        clock: Tells the time.
        latency_of: How quick a route was lately, for strategy PERFORMANCE.
        reads_of: What a scope's request is expected to read from a provider's prompt cache, for strategy COST_OPTIMIZED.
        downgrades: Which calls budgets send to a cheaper model.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        cache: CacheManager,
        known_ids: KnownIds,
        sharing: Sharing,
        deferred: DeferredLane,
        free: FreeAnswers,
        clock: Clock,
        latency_of: LatencyOf = no_latency,
        reads_of: Callable[[str], ReadsOf] = nothing_read,
        downgrades: Downgrades,
    ) -> None:
        self.snapshot = snapshot
        self.draining = False
        self.refusals = Refusals(clock=clock)
        self._cache = cache
        self._known_ids = known_ids
        self._sharing = sharing
        self._deferred = deferred
        self._free = free
        self._clock = clock
        self._latency_of = latency_of
        self._reads_of = reads_of
        self._downgrades = downgrades

    def swap(self, snapshot: Snapshot) -> None:
        """Put other settings, catalog and prices in force; calls under way keep theirs."""
        self.snapshot = snapshot
        self._deferred.use(snapshot)
        self._free.forget_repeats()

    def drain(self) -> None:
        """Admit no more calls, and send those away that wait for batch jobs."""
        self.draining = True
        self._deferred.drain()
        self._free.forget_repeats()

    def answer_repeat(self, origin: Origin, scope: str, request_id: str, started: float) -> bytes | None:
        """Answer bytes that were seen before, without a parse; None sends them the long way."""
        return self._free.repeat(origin, scope, request_id, started)

    async def complete(self, request: CompletionRequest, caller: Caller, origin: Origin | None = None) -> Reply:
        """Answer one request; where its bytes are known, `origin` lets the next such request take the fast path.

        Raises:
            DomainError: Why there is no answer; `aigen.v1.CompletionService.Complete` lists the reasons.
        """
        call = self._begin(request, caller)  # 1 admit, 2 resolve, 3 key
        reply = await self._answer_free(call, origin)  # 4 look up, known id
        if reply is None:
            async for step in self._answer_paid(call, streaming=False):  # 5 join, 6 to 9 the paid half, 10 keep
                reply = step if isinstance(step, Reply) else None  # the reply is the last step
        if reply is None:
            raise AssertionError("a call ends with a reply or an error")
        return reply

    async def stream(self, request: CompletionRequest, caller: Caller) -> AsyncGenerator[Event | Reply, None]:
        """Yield text and tool calls as they arrive and the reply last; an answer that is there already is the reply alone.

        The steps are those of `complete`. Whoever stops reading early closes the generator.

        Raises:
            DomainError: As `complete`; after text was yielded also for what happened to it.
        """
        if not self.snapshot.settings.features.streaming:
            raise capability_missing("StreamComplete", "streaming", "features.streaming is off")
        call = self._begin(request, caller)
        if (reply := await self._answer_free(call, None)) is not None:
            yield reply
            return
        async with aclosing(self._answer_paid(call, streaming=True)) as steps:
            async for step in steps:
                yield step

    async def estimate(self, request: CompletionRequest, caller: Caller) -> tuple[list[Quote], bool]:
        """Return the upper bound of each allowed route, and whether the cache could answer now; no call is made.

        Raises:
            DomainError: As `complete`, for what can't be sent.
        """
        call = self._begin(request, caller)
        cached = call.looks_up and await self._cache.holds(call.catalog_keys)
        await call.snapshot.prices.load()
        return [quote(call, route, clock=self._clock) for route in call.routes], cached

    def _begin(self, request: CompletionRequest, caller: Caller, *, refused_by: str = "") -> Call:
        """Admit a request, resolve its routes and compute their keys; once more, where a budget's refusal sends it elsewhere."""
        check_open(draining=self.draining)
        now, snapshot = self._clock.monotonic(), self.snapshot
        check_deadline(caller.deadline, now)
        check_built(request)
        cost_of = ExpectedCost(request, snapshot, clock=self._clock, reads_of=self._reads_of(caller.scope))
        allowed = snapshot.router.allowed(request, cost_of=cost_of, latency_of=self._latency_of)
        routes, warnings = self._downgrades.applied(request, caller, snapshot, allowed, refused_by=refused_by)
        normalization = request.normalization or snapshot.normalization(request.service)
        keys = keys_for(request, [route.route for route in routes], scope=caller.scope, normalization=normalization)
        return Call(
            request=request,
            caller=caller,
            snapshot=snapshot,
            started=now,
            routes=routes,
            keys=keys,
            generation=self._cache.generation(caller.scope, request.namespace),
            repeat_generation=self._free.generation,
            warnings=warnings,
        )

    async def _answer_free(self, call: Call, origin: Origin | None) -> Reply | None:
        """Answer from the memory tier, then from the store, then as the request id says; None where a call has to be made.

        Raises:
            DomainError: NOT_CACHED with mode ONLY_IF_CACHED; REQUEST_ID_REUSED, OUTCOME_UNKNOWN or REPLY_GONE for a known id.
        """
        if call.looks_up:
            if (found := self._free.peek(call) or await self._cache.load(call.catalog_keys)) is not None:
                return self._free.hit(call, found, origin)
            self._cache.count_miss()
            self._free.note_miss(origin)
        if call.mode is CacheMode.ONLY_IF_CACHED:
            raise DomainError(Reason.NOT_CACHED, "no answer is cached and mode ONLY_IF_CACHED makes no call", mode="ONLY_IF_CACHED")
        return await self._known_ids.answer(call)

    async def _answer_paid(self, call: Call, *, streaming: bool) -> AsyncGenerator[Event | Reply, None]:
        """Join a call in flight or make one; what a budget refuses goes to its cheaper model, once, by the same steps."""
        try:
            async with aclosing(self._share(call, streaming=streaming)) as steps:
                async for step in steps:
                    yield step
        except DomainError as refusal:
            self.refusals.note(call, refusal)
            cheaper = self._downgrades.instead(call, refusal, lambda by: self._begin(call.request, call.caller, refused_by=by))
            if cheaper is None:
                raise
        else:
            return
        if (reply := await self._answer_free(cheaper, None)) is not None:
            yield reply
            return
        async with aclosing(self._share(cheaper, streaming=streaming)) as steps:
            async for step in steps:
                yield step

    async def _share(self, call: Call, *, streaming: bool) -> AsyncGenerator[Event | Reply, None]:
        """Ride on a flight, or wait for a batch job; an id that only the ledger remembers is answered as it says."""
        lane = self._deferred if call.request.lane is Lane.DEFERRED else self._sharing
        try:
            async with aclosing(lane.ride(call, streaming=streaming)) as steps:
                async for step in steps:
                    yield step
        except AlreadyKnown as conflict:
            kept = await self._known_ids.recall(call, conflict.known)
            if kept is None:
                raise
            yield kept
