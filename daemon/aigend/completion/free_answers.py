"""Answers that cost nothing: hits, followers and replays, each counted exactly and spelled as bytes.

Holds the first level of the hot path: request bytes that were seen before are answered here without a parse.
"""

import time
from functools import lru_cache

from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryEntry
from aigend.clock import Clock
from aigend.completion.call import Call, Landing, Reply
from aigend.completion.ports import AnswerCodec
from aigend.completion.repeats import Origin, Repeat, RepeatIndex
from aigend.ledger.entries import canonical_labels
from aigend.ledger.statistics.hits import HitCell, HitCounters, HitKey
from aigend.types import CacheMode, CacheOutcome, CallFacts, Route, SavingsCause

CAUSES = {CacheOutcome.HIT: SavingsCause.CACHE, CacheOutcome.COALESCED: SavingsCause.SINGLE_FLIGHT}
_REPEATABLE_MODES = (CacheMode.DEFAULT, CacheMode.READ_ONLY)


class FreeAnswers:
    """Makes replies out of what is there already.

    Args:
        cache: Holds answers, and counts hits.
        hits: The ledger's counters.
        codec: Spells answers as bytes.
        clock: Tells the time.
        repeat_bytes: Memory for the index of request bytes; 0 switches it off.
    """

    def __init__(self, *, cache: CacheManager, hits: HitCounters, codec: AnswerCodec, clock: Clock, repeat_bytes: int) -> None:
        self._cache = cache
        self._hits = hits
        self._codec = codec
        self._clock = clock
        self._repeats = RepeatIndex(max_bytes=repeat_bytes)
        self._suffix = lru_cache(maxsize=1_024)(self._encode_suffix)
        cache.on_clear.append(self._repeats.invalidate)

    @property
    def generation(self) -> int:
        """A number that differs after each change of what decides how requests are answered."""
        return self._repeats.generation

    def forget_repeats(self) -> None:
        """Send all bytes the long way again: something changed that decides how requests are answered."""
        self._repeats.invalidate()

    def repeat(self, origin: Origin, scope: str, request_id: str, started: float) -> bytes | None:
        """Return the response to bytes that were seen before, or None where they must go the long way.

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
        if entry.saved_nanos != record.saved_nanos:  # a REFRESH put another answer under the key
            record.saved_nanos = entry.saved_nanos
            record.suffix = self._suffix(record.requested_model, CacheOutcome.HIT, entry.saved_nanos)
        total_us = int((time.perf_counter() - started) * 1e6)
        cell.add(self._clock.time(), record.saved_nanos, total_us, request_id)
        self._cache.count_hit(total_us)
        return b"".join((entry.wire, record.suffix, self._codec.encode_repeat(request_id, total_us)))

    def peek(self, call: Call) -> MemoryEntry | None:
        """Return the first answer that the memory tier holds for a call, routes in catalog order."""
        for key in call.catalog_keys:
            if (entry := self._cache.peek(key)) is not None:
                return entry
        return None

    def hit(self, call: Call, entry: MemoryEntry, origin: Origin | None = None) -> Reply:
        """Answer from the cache; with an origin, the same bytes may take the fast path from now on."""
        suffix = self._suffix(call.requested_model, CacheOutcome.HIT, entry.saved_nanos, call.warnings)
        cell = self._cell(call, entry.entry.route, CacheOutcome.HIT)
        if origin is not None and self._repeats.sighted(origin.digest) and _repeatable(call):
            self._remember(call, entry, origin, suffix=suffix, cell=cell)
        total_us = self._count(call, cell, saved_nanos=entry.saved_nanos)
        self._cache.count_hit(total_us)
        return Reply(entry.wire + suffix + self._codec.encode_repeat(call.caller.request_id, total_us), CacheOutcome.HIT)

    def note_miss(self, origin: Origin | None) -> None:
        """Take note of bytes that had to be paid for: when they come again they are worth remembering."""
        if origin is not None:
            self._repeats.sighted(origin.digest)

    def follow(self, call: Call, landing: Landing) -> Reply:
        """Answer a follower with what its flight brought."""
        saved = landing.answer.cost.nanos
        cell = self._cell(call, landing.answer.route, CacheOutcome.COALESCED)
        total_us = self._count(call, cell, saved_nanos=saved)
        suffix = self._suffix(call.requested_model, CacheOutcome.COALESCED, saved, call.warnings)
        response = landing.wire + suffix + self._codec.encode_repeat(call.caller.request_id, total_us)
        return Reply(response, CacheOutcome.COALESCED)

    def replay(self, call: Call, response: bytes, *, route: Route | None = None) -> Reply:
        """Repeat the stored response of a request id, and count that once; on its first route, where none is known."""
        self._count(call, self._cell(call, route or call.routes[0].route, CacheOutcome.REPLAY), saved_nanos=None)
        return Reply(response, CacheOutcome.REPLAY)

    def _remember(self, call: Call, entry: MemoryEntry, origin: Origin, *, suffix: bytes, cell: HitCell) -> None:
        if call.repeat_generation != self._repeats.generation:
            return
        record = self._repeats.find(call.caller.scope, origin.digest)
        if record is None or record.key != entry.key:
            record = Repeat(self._repeats.generation, entry.key, call.requested_model, suffix, entry.saved_nanos)
            self._repeats.remember(call.caller.scope, origin.digest, record)
        record.add_cell(origin.account, cell)

    def _count(self, call: Call, cell: HitCell, *, saved_nanos: int | None) -> int:
        """Count one answer and return how long it took, in microseconds."""
        total_us = int((self._clock.monotonic() - call.started) * 1e6)
        cell.add(self._clock.time(), saved_nanos, total_us, call.caller.request_id)
        return total_us

    def _cell(self, call: Call, route: Route, outcome: CacheOutcome) -> HitCell:
        request, accounting = call.request, call.caller.accounting
        return self._hits.cell(
            HitKey(
                scope=call.caller.scope,
                service=request.service,
                session=accounting.session,
                phase=request.phase,
                task=accounting.task,
                labels=canonical_labels(accounting.labels),
                agent=request.agent,
                provider=route.provider,
                model=route.model,
                outcome=outcome,
                cause=CAUSES.get(outcome, ""),
            )
        )

    def _encode_suffix(
        self, requested_model: str, outcome: CacheOutcome, saved_nanos: int | None, warnings: tuple[str, ...] = ()
    ) -> bytes:
        facts = CallFacts(
            request_id="",
            requested_model=requested_model,
            outcome=outcome,
            saved_nanos=saved_nanos,
            saved_cause=None if saved_nanos is None else CAUSES[outcome],
            warnings=warnings,
        )
        return self._codec.encode_call(facts)


def _repeatable(call: Call) -> bool:
    """Whether the same bytes would be answered the same way until something is changed."""
    return call.mode in _REPEATABLE_MODES and len(call.routes) == 1 and not call.warnings
