"""The spine: the whole life of a request, step by step.

Steps never call sideways: what two of them need is handed over in the `Call`. Joining and keeping (5 and 10) are in `sharing.py`,
the paid half (6 to 9) in `attempts.py`; streams and batches run through the same steps.
"""

import dataclasses
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from aigend.cache.key import keys_for
from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryEntry
from aigend.clock import Clock
from aigend.completion.admission import check_built, check_deadline, check_open
from aigend.completion.call import Call, Event, Reply
from aigend.completion.known_ids import KnownIds
from aigend.completion.ports import AnswerCodec
from aigend.completion.quotes import Quote, quote
from aigend.completion.repeats import Origin, Repeat, RepeatIndex
from aigend.completion.sharing import Sharing, free_facts
from aigend.completion.snapshot import Snapshot
from aigend.completion.tally import Tally
from aigend.errors import DomainError, Reason, capability_missing
from aigend.ledger.entries import AlreadyKnown
from aigend.routing.router import allowed_routes
from aigend.types import CacheMode, CacheOutcome, Caller, CompletionRequest

_REPEATABLE_MODES = (CacheMode.DEFAULT, CacheMode.READ_ONLY)


class CompletionEngine:
    """Answers requests from the cache, from a call in flight, or from a provider.

    Args:
        snapshot: Settings, catalog and prices to begin with.
        cache: The response cache.
        known_ids: What became of request ids.
        sharing: Who waits for which provider call, and what is kept.
        tally: Counts answers that cost nothing.
        codec: Spells answers as bytes.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        snapshot: Snapshot,
        cache: CacheManager,
        known_ids: KnownIds,
        sharing: Sharing,
        tally: Tally,
        codec: AnswerCodec,
        clock: Clock,
    ) -> None:
        self.snapshot = snapshot
        self.draining = False
        self._cache = cache
        self._known_ids = known_ids
        self._sharing = sharing
        self._tally = tally
        self._codec = codec
        self._clock = clock
        self._repeats = RepeatIndex(max_bytes=snapshot.settings.limits.repeat_index_bytes)
        cache.on_clear.append(self._repeats.invalidate)

    def swap(self, snapshot: Snapshot) -> None:
        """Put other settings, catalog and prices in force; calls under way keep theirs."""
        self.snapshot = snapshot
        self._repeats.invalidate()

    def drain(self) -> None:
        """Admit no more calls."""
        self.draining = True
        self._repeats.invalidate()

    def answer_repeat(self, origin: Origin, scope: str, request_id: str, started: float) -> bytes | None:
        """Answer bytes that were seen before, without a parse; None sends them the long way.

        Args:
            origin: Digest of the request and its account.
            scope: The caller's identity.
            request_id: Repeated in the response.
            started: When the call came in, by `time.perf_counter`.
        """
        record = self._repeats.find(scope, origin.digest)
        if record is None or (cell := record.cells.get(origin.account)) is None:
            return None
        entry = self._cache.peek(record.key)
        if entry is None:
            return None
        total_us = int((time.perf_counter() - started) * 1e6)
        cell.add(self._clock.time(), record.saved_nanos, total_us)
        self._cache.count_hit(total_us)
        return b"".join((entry.wire, record.suffix, self._codec.encode_repeat(request_id, total_us)))

    async def complete(self, request: CompletionRequest, caller: Caller, origin: Origin | None = None) -> Reply:
        """Answer one request; where its bytes are known, `origin` lets the next such request take the fast path.

        Raises:
            DomainError: Why there is no answer; `aigen.v1.CompletionService.Complete` lists the reasons.
        """
        reply: Reply | None = None
        async for step in self._steps(request, caller, origin=origin, streaming=False):
            if isinstance(step, Reply):
                reply = step  # the last step; running to the end leaves no suspended generator behind
        if reply is None:
            raise AssertionError("a call ends with a reply or an error")
        return reply

    def stream(self, request: CompletionRequest, caller: Caller) -> AsyncGenerator[Event | Reply, None]:
        """Yield text and tool calls as they arrive and the reply last; an answer that is there already is the reply alone.

        Whoever stops reading early closes the generator.

        Raises:
            DomainError: As `complete`; after text was yielded also for what happened to it.
        """
        if not self.snapshot.settings.features.streaming:
            raise capability_missing("StreamComplete", "streaming", "features.streaming is off")
        return self._steps(request, caller, origin=None, streaming=True)

    async def _steps(
        self, request: CompletionRequest, caller: Caller, *, origin: Origin | None, streaming: bool
    ) -> AsyncGenerator[Event | Reply, None]:
        """The whole life of a request."""
        call = self._admit(request, caller)  # 1 admit
        call.routes = allowed_routes(request, call.snapshot.catalog)  # 2 resolve
        self._key(call)  # 3 key
        if (hit := await self._look_up(call)) is not None:  # 4 look up
            self._remember(call, hit, origin)
            yield self._sharing.reply_hit(call, hit)
            return
        if (kept := await self._known_ids.answer(call)) is not None:  # known id
            yield kept
            return
        try:
            async with aclosing(self._sharing.ride(call, streaming=streaming)) as steps:  # 5 join, 6 to 9 the paid half, 10 keep
                async for step in steps:
                    yield step
        except AlreadyKnown as conflict:
            kept = await self._known_ids.recall(call, conflict.known)
            if kept is None:
                raise
            yield kept

    async def estimate(self, request: CompletionRequest, caller: Caller) -> tuple[list[Quote], bool]:
        """Return the upper bound of each allowed route, and whether the cache could answer now; no call is made.

        Raises:
            DomainError: As `complete`, for what can't be sent.
        """
        call = self._admit(request, caller)
        call.routes = allowed_routes(request, call.snapshot.catalog)
        self._key(call)
        cached = call.looks_up and (self._sharing.peek(call) or await self._cache.load(call.catalog_keys)) is not None
        await call.snapshot.prices.load()
        return [quote(call, route, clock=self._clock) for route in call.routes], cached

    def _admit(self, request: CompletionRequest, caller: Caller) -> Call:
        check_open(draining=self.draining)
        now = self._clock.monotonic()
        check_deadline(caller.deadline, now)
        check_built(request)
        snapshot = self.snapshot
        normalization = request.normalization or snapshot.normalization(request.service)
        return Call(request=request, caller=caller, snapshot=snapshot, started=now, normalization=normalization)

    def _key(self, call: Call) -> None:
        routes = [route.route for route in call.routes]
        call.keys = keys_for(call.request, routes, scope=call.caller.scope, normalization=call.normalization)
        order = sorted(range(len(routes)), key=lambda index: call.routes[index].position)
        call.catalog_keys = tuple(call.keys[index] for index in order)
        call.generation = self._cache.generation(call.caller.scope, call.request.namespace)

    async def _look_up(self, call: Call) -> MemoryEntry | None:
        """Return a stored answer: memory tier, then store; routes in catalog order.

        Raises:
            DomainError: NOT_CACHED with mode ONLY_IF_CACHED.
        """
        found = None
        if call.looks_up:
            found = self._sharing.peek(call) or await self._cache.load(call.catalog_keys)
            if found is None:
                self._cache.count_miss()
        if found is None and call.mode is CacheMode.ONLY_IF_CACHED:
            raise DomainError(Reason.NOT_CACHED, "no answer is cached and mode ONLY_IF_CACHED makes no call", mode="ONLY_IF_CACHED")
        return found

    def _remember(self, call: Call, hit: MemoryEntry, origin: Origin | None) -> None:
        """Let the same bytes take the fast path from now on; only calls that always take this one way may."""
        if origin is None or call.mode not in _REPEATABLE_MODES or len(call.routes) > 1:
            return
        scope = call.caller.scope
        record = self._repeats.find(scope, origin.digest)
        if record is None or record.key != hit.key:
            facts = free_facts(call, CacheOutcome.HIT, hit.saved_nanos, total_us=0)
            suffix = self._codec.encode_call(dataclasses.replace(facts, request_id=""))
            record = Repeat(self._repeats.generation, hit.key, suffix, hit.saved_nanos)
            self._repeats.remember(scope, origin.digest, record)
        record.add_cell(origin.account, self._tally.cell(call, hit.entry.route, CacheOutcome.HIT))
