"""The response cache as the engine sees it: look up, keep, persist, clear.

The memory tier answers without waiting; the store behind it may fail, and then answers pass through. Which requests ask and which
answers are kept is the engine's to decide.
"""

import asyncio
import base64
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aigend.cache.entry import ALL, CacheEntry, CacheEntryInfo, CacheFilter, CacheStats, Cleared, Page
from aigend.cache.locks import NamespaceLocks
from aigend.cache.memory import MemoryEntry, MemoryTier
from aigend.cache.stores.port import CacheStore, Touch
from aigend.clock import Clock
from aigend.config import CacheSettings
from aigend.errors import invalid
from aigend.storage.failure import StorageFailure
from aigend.types import Answer

GATHER_S = 0.02  # how long answers wait to be written together; a crash loses as much of the cache, and no money
TOUCH_S = 0.1  # how long hits wait to be written together
TIDY_S = 60.0  # between two looks for what is stale
PATIENCE_S = 10.0  # how long a store that failed is left alone
DEFAULT_PAGE = 50
LARGEST_PAGE = 1_000

_log = logging.getLogger("aigend.cache")


class WireEncoder(Protocol):
    """Spells answers as the client gets them."""

    def encode_answer(self, answer: Answer, cache_key: bytes) -> bytes:
        """Return all of an answer that is the same from call to call."""
        ...


@dataclass(frozen=True, slots=True)
class _Unwritten:
    """An answer that waits for company on its way to the store."""

    entry: MemoryEntry
    generation: int
    then: Callable[[], None]


class CacheManager:
    """Entries in memory and behind it.

    Args:
        store: Where entries outlive the memory tier.
        memory: Answers without waiting.
        clock: Tells the time.
        encoder: Spells answers.
        settings: Size limit, for the statistics.

    Attributes:
        on_clear: Called at the beginning of each clear, on the event loop.
    """

    def __init__(
        self, *, store: CacheStore, memory: MemoryTier, clock: Clock, encoder: WireEncoder, settings: CacheSettings
    ) -> None:
        self.on_clear: list[Callable[[], None]] = []
        self._store = store
        self._memory = memory
        self._clock = clock
        self._encoder = encoder
        self._max_size_bytes = settings.max_size_bytes
        self._locks = NamespaceLocks()
        self._generations: dict[tuple[str, str], int] = {}
        self._clears = 0  # begun and ended ones: a look-up that saw it change looks again
        self._used: list[MemoryEntry] = []
        self._was_used = asyncio.Event()
        self._unwritten: list[_Unwritten] = []
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._was_kept = asyncio.Event()
        self._hit_count = 0
        self._hit_us = 0
        self._miss_count = 0
        self._failed_at: float | None = None
        self._chores: list[asyncio.Task[None]] = []
        self._tidying: asyncio.Task[None] | None = None
        self._clearing: set[asyncio.Task[Cleared]] = set()

    async def open(self) -> None:
        """Open the store; one that can't be opened is no reason not to serve.

        Raises:
            StorageRefused: The file can't be ours.
        """
        try:
            await self._store.open()
        except (StorageFailure, OSError) as error:
            self._fail(error)
        chores = (self._tidy_often(), self._write_kept_often(), self._write_uses_often())
        self._chores = [asyncio.create_task(chore) for chore in chores]

    async def close(self) -> None:
        """Write what waits and close the store."""
        chores = [*self._chores, *([self._tidying] if self._tidying else [])]
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)
        await asyncio.gather(*self._clearing, return_exceptions=True)
        await self.write_kept()
        await self._write_uses()
        await self._store.close()

    def peek(self, key: bytes) -> MemoryEntry | None:
        """Return the entry of a key if the memory tier holds it, and count it as used."""
        now = self._clock.time()
        found = self._memory.get(key, now)
        if found is not None:
            self._use(found, now)
        return found

    async def load(self, keys: Sequence[bytes]) -> MemoryEntry | None:
        """Return the entry of the first key that the store has a fresh one of, lifted into the memory tier."""
        while True:
            clears = self._clears
            entry = await self._fetch(keys)
            if entry is None:
                return None
            async with self._locks.reading(entry.scope, entry.namespace):
                if clears == self._clears:
                    return self._lift(entry)

    async def holds(self, keys: Sequence[bytes]) -> bool:
        """Return whether a look-up would find an answer now; that counts as no use of it."""
        now = self._clock.time()
        return any(self._memory.get(key, now) is not None for key in keys) or await self._fetch(keys) is not None

    def generation(self, scope: str, namespace: str) -> int:
        """Return a number that differs after each clear of the namespace."""
        return self._generations.get((scope, ""), 0) + self._generations.get((scope, namespace), 0)

    def keep(self, entry: CacheEntry, *, generation: int) -> MemoryEntry | None:
        """Put an answer into the memory tier; None if its namespace was cleared since the generation was taken."""
        if generation != self.generation(entry.scope, entry.namespace):
            return None
        kept = MemoryEntry(entry, wire=self._encoder.encode_answer(entry.answer, entry.key))
        self._memory.put(kept)
        return kept

    async def persist(self, entry: MemoryEntry, *, generation: int) -> None:
        """Write a kept answer to the store, unless its namespace was cleared since; a failure is logged and never raised."""
        kept = entry.entry
        if not self._may_write():
            return
        async with self._locks.reading(kept.scope, kept.namespace):
            if generation != self.generation(kept.scope, kept.namespace):
                return
            try:
                await self._store.put(kept, touches=self._take_uses())
            except StorageFailure as failure:
                self._fail(failure)
            except (ValueError, TypeError, ArithmeticError):
                _log.exception("entry_not_stored")
            else:
                self._recover()

    def persist_soon(self, entry: MemoryEntry, *, generation: int, then: Callable[[], None]) -> None:
        """Write a kept answer within a moment, together with what else comes: that is less work, and in nobody's way.

        Args:
            entry: What was kept.
            generation: Of its namespace, from before it was looked up.
            then: Called once it is written, or can't be.
        """
        self._unwritten.append(_Unwritten(entry, generation, then))
        self._was_kept.set()

    async def write_kept(self) -> None:
        """Write the answers that wait for company now; what is asked of the store then sees them, and those on their way to it."""
        async with self._writing:
            waiting, self._unwritten = self._unwritten, []
            self._was_kept.clear()
            await asyncio.gather(*(self.persist(kept.entry, generation=kept.generation) for kept in waiting))
            for kept in waiting:
                kept.then()

    async def clear(self, scope: str, chosen: CacheFilter = ALL, *, validate_only: bool = False) -> Cleared:
        """Remove the entries that match, or only count them.

        Raises:
            StorageFailure: The store can't be written; what it holds is not cleared.
        """
        await self.write_kept()
        if validate_only:
            return await self._store.clear(scope, chosen, now=self._clock.time(), validate_only=True)
        work = asyncio.create_task(self._clear(scope, chosen))  # a caller who leaves must not leave it half done
        self._clearing.add(work)
        work.add_done_callback(self._clearing.discard)
        return await asyncio.shield(work)

    async def _clear(self, scope: str, chosen: CacheFilter) -> Cleared:
        now = self._clock.time()
        self._generations[scope, chosen.namespace] = self._generations.get((scope, chosen.namespace), 0) + 1
        self._clears += 1
        whole = chosen == ALL
        self._memory.drop_where(lambda entry: entry.scope == scope and (whole or chosen.matches(entry, now=now)))
        for listener in self.on_clear:
            listener()
        async with self._locks.writing(scope, chosen.namespace):
            cleared = await self._store.clear(scope, chosen, now=now, validate_only=False)
            self._clears += 1
        self._start_tidying()
        return cleared

    async def entries(self, scope: str, chosen: CacheFilter = ALL, *, page_size: int = 0, page_token: str = "") -> Page:
        """Return a page of the fresh entries that match, newest first.

        Raises:
            DomainError: INVALID_REQUEST for a negative size or a token that is not ours.
        """
        if page_size < 0:
            raise invalid("page_size", page_size, f"0 to {LARGEST_PAGE}")
        size = min(page_size or DEFAULT_PAGE, LARGEST_PAGE)
        await self.write_kept()
        stored = await self._store.page(scope, chosen, now=self._clock.time(), size=size, after=_position(page_token))
        following = stored.next_position
        token = "" if following is None else base64.urlsafe_b64encode(str(following).encode()).decode()
        return Page(entries=stored.entries, next_page_token=token)

    async def entry(self, scope: str, key: bytes) -> tuple[CacheEntryInfo, Answer] | None:
        """Return a fresh entry of the store with its answer."""
        await self.write_kept()
        found = await self._store.info(scope, key, now=self._clock.time())
        return None if found is None else (found[0], found[1].answer)

    async def stats(self, scope: str) -> CacheStats:
        """Return how large the cache is and how well it does."""
        await self.write_kept()
        usage = await self._store.usage(scope)
        return CacheStats(
            entry_count=usage.entry_count,
            size_bytes=usage.size_bytes,
            max_size_bytes=self._max_size_bytes,
            hit_count=self._hit_count,
            miss_count=self._miss_count,
            eviction_count=self._store.eviction_count,
            expiration_count=self._store.expiration_count,
            damaged_count=self._store.damaged_count,
            mean_hit_latency_us=self._hit_us / self._hit_count if self._hit_count else None,
            memory_entry_count=len(self._memory),
            memory_size_bytes=self._memory.size_bytes,
            storing=self.storing,
        )

    @property
    def memory_size_bytes(self) -> int:
        """Size of the memory tier."""
        return self._memory.size_bytes

    @property
    def eviction_count(self) -> int:
        """Entries that the size limit removed since the start."""
        return self._store.eviction_count

    @property
    def storing(self) -> bool:
        """Whether answers reach the store."""
        return self._failed_at is None

    def count_hit(self, latency_us: int) -> None:
        """Count a look-up that was answered, and how long the call took."""
        self._hit_count += 1
        self._hit_us += latency_us

    def count_miss(self) -> None:
        """Count a look-up without an answer."""
        self._miss_count += 1

    async def _fetch(self, keys: Sequence[bytes]) -> CacheEntry | None:
        try:
            return await self._store.fetch(keys, now=self._clock.time())
        except StorageFailure as failure:
            self._fail(failure)
            return None

    def _lift(self, entry: CacheEntry) -> MemoryEntry:
        """Put an entry of the store into the memory tier, unless a newer one came meanwhile."""
        now = self._clock.time()
        found = self._memory.get(entry.key, now)
        if found is None:
            found = MemoryEntry(entry, wire=self._encoder.encode_answer(entry.answer, entry.key))
            self._memory.put(found)
        self._use(found, now)
        return found

    def _use(self, found: MemoryEntry, now: float) -> None:
        found.last_use_time = now
        if not found.unsaved_hits:
            if not self._used:
                self._was_used.set()
            self._used.append(found)
        found.unsaved_hits += 1

    def _take_uses(self) -> list[Touch]:
        """Return the hits that the store does not know of, the last use last, and forget them."""
        used, self._used = sorted(self._used, key=lambda entry: entry.last_use_time), []
        self._was_used.clear()
        touches = [Touch(entry.key, entry.unsaved_hits, entry.last_use_time) for entry in used]
        for entry in used:
            entry.unsaved_hits = 0
        return touches

    async def _write_uses(self) -> None:
        touches = self._take_uses()
        if not touches or not self._may_write():
            return
        try:
            await self._store.touch(touches)
        except StorageFailure as failure:
            self._fail(failure)

    async def _write_kept_often(self) -> None:
        while True:
            await self._was_kept.wait()
            await self._clock.sleep(GATHER_S)
            self._writer = asyncio.create_task(self.write_kept())
            await asyncio.shield(self._writer)  # the stop waits for what is being written

    async def _write_uses_often(self) -> None:
        while True:
            await self._was_used.wait()
            await self._clock.sleep(TOUCH_S)
            await self._write_uses()

    async def _tidy_often(self) -> None:
        while True:
            self._start_tidying()
            await self._clock.sleep(TIDY_S)

    def _start_tidying(self) -> None:
        if self._tidying is None or self._tidying.done():
            self._tidying = asyncio.create_task(self._tidy())

    async def _tidy(self) -> None:
        try:
            more = True
            while more:
                more = await self._store.tidy(now=self._clock.time())
        except (StorageFailure, OSError) as error:
            self._fail(error)

    def _may_write(self) -> bool:
        return self._failed_at is None or self._clock.monotonic() >= self._failed_at + PATIENCE_S

    def _fail(self, error: BaseException) -> None:
        """Let answers pass through for a while, and give the store a chance to make good what broke."""
        if self._failed_at is None:
            _log.warning("cache_passes_through", extra={"error": str(error)})
        self._failed_at = self._clock.monotonic()
        self._start_tidying()

    def _recover(self) -> None:
        if self._failed_at is not None:
            _log.info("cache_stores_again")
        self._failed_at = None


def _position(token: str) -> int | None:
    """Return the position that a page token holds."""
    if not token:
        return None
    try:
        return int(base64.b64decode(token, altchars=b"-_", validate=True))
    except ValueError as error:
        raise invalid("page_token", token, "next_page_token of the page before") from error
