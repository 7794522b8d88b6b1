"""The cache as the engine sees it: hits, races with a clear, a store that fails."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

import pytest
from aigend.cache.entry import CacheEntry, CacheFilter, Cleared
from aigend.cache.manager import GATHER_S, PATIENCE_S, TIDY_S, TOUCH_S, CacheManager
from aigend.cache.memory import MemoryEntry, MemoryTier
from aigend.cache.stores.memory import MemoryStore
from aigend.cache.stores.port import CacheStore, StoredPage, Touch, Usage
from aigend.cache.stores.sqlite import SqliteStore
from aigend.config import CacheSettings
from aigend.errors import DomainError
from aigend.storage.failure import StorageFailure

from tests.daemon.cache.entries import NOW, TextEncoder, entry, key
from tests.fakes import FakeClock, settle

SETTINGS = CacheSettings()
LARGE = 10_000_000


class GatedStore(MemoryStore):
    """A store whose reads and writes wait for a gate, or fail, when a test says so."""

    def __init__(self) -> None:
        super().__init__(max_bytes=LARGE)
        self.after_fetch: Callable[[], Awaitable[None]] | None = None
        self.before_put: Callable[[], Awaitable[None]] | None = None
        self.before_clear: Callable[[], Awaitable[None]] | None = None
        self.failure: BaseException | None = None

    async def open(self) -> None:
        """Open, or fail."""
        self._may_fail()

    async def fetch(self, keys: Sequence[bytes], *, now: float) -> CacheEntry | None:
        """Look first and wait then: what was found may be old when it arrives."""
        self._may_fail()
        found = await super().fetch(keys, now=now)
        if self.after_fetch is not None:
            await self.after_fetch()
        return found

    async def put(self, entry: CacheEntry, *, touches: Sequence[Touch] = ()) -> None:
        """Wait first, as a write behind others does."""
        if self.before_put is not None:
            await self.before_put()
        self._may_fail()
        await super().put(entry, touches=touches)

    async def touch(self, touches: Sequence[Touch]) -> None:
        """Touch, or fail."""
        self._may_fail()
        await super().touch(touches)

    async def clear(self, scope: str, chosen: CacheFilter, *, now: float, validate_only: bool) -> Cleared:
        """Wait first, as a write behind others does."""
        if self.before_clear is not None:
            await self.before_clear()
        self._may_fail()
        return await super().clear(scope, chosen, now=now, validate_only=validate_only)

    async def tidy(self, *, now: float) -> bool:
        """Tidy, or fail."""
        self._may_fail()
        return await super().tidy(now=now)

    def _may_fail(self) -> None:
        if self.failure is not None:
            raise self.failure


@asynccontextmanager
async def managing(store: CacheStore, clock: FakeClock, *, memory_bytes: int = LARGE) -> AsyncIterator[CacheManager]:
    """Hold a manager open."""
    memory = MemoryTier(max_bytes=memory_bytes)
    manager = CacheManager(store=store, memory=memory, clock=clock, encoder=TextEncoder(), settings=SETTINGS)
    await manager.open()
    try:
        yield manager
    finally:
        await manager.close()


@pytest.fixture
def clock() -> FakeClock:
    """Return a clock that stands."""
    return FakeClock(NOW)


@pytest.fixture
def store() -> GatedStore:
    """Return a store that does as it is told."""
    return GatedStore()


@pytest.fixture
async def manager(store: GatedStore, clock: FakeClock) -> AsyncIterator[CacheManager]:
    """Return an open manager."""
    async with managing(store, clock) as held:
        yield held


def kept(manager: CacheManager, made: CacheEntry) -> MemoryEntry:
    """Keep an answer as the engine does."""
    held = manager.keep(made, generation=manager.generation(made.scope, made.namespace))
    assert held is not None
    return held


async def stored(manager: CacheManager, made: CacheEntry) -> MemoryEntry:
    """Keep and persist an answer."""
    held = kept(manager, made)
    await manager.persist(held, generation=manager.generation(made.scope, made.namespace))
    return held


def keep_soon(manager: CacheManager, made: CacheEntry) -> None:
    """Keep an answer and have it written with what else comes."""
    manager.persist_soon(kept(manager, made), generation=manager.generation(made.scope, made.namespace), then=lambda: None)


async def test_a_kept_answer_is_found_without_waiting(manager: CacheManager) -> None:
    """From the moment it is kept, `peek` returns the wire bytes that the encoder made, until the entry expires."""
    made = entry(text="Yes.", ttl_s=60)
    held = kept(manager, made)
    assert manager.peek(key("one")) is held
    assert held.wire == key("one")[:1] + b"Yes."
    assert (held.entry, held.saved_nanos) == (made, 1_500)
    assert manager.peek(key("two")) is None


async def test_an_expired_answer_is_not_found(manager: CacheManager, clock: FakeClock) -> None:
    """Neither in memory nor behind it."""
    await stored(manager, entry(ttl_s=60))
    clock.advance(60)
    assert manager.peek(key("one")) is None
    assert await manager.load([key("one")]) is None


async def test_an_answer_is_lifted_from_the_store(store: GatedStore, clock: FakeClock) -> None:
    """What a former process stored is found, and the next look needs no store."""
    await store.put(entry())
    async with managing(store, clock) as manager:
        found = await manager.load([key("none"), key("one")])
        assert found is not None
        assert found.entry == entry()
        assert manager.peek(key("one")) is found


async def test_a_newer_answer_in_memory_wins_over_one_that_was_being_read(manager: CacheManager, store: GatedStore) -> None:
    """A refresh that ends while the store is read is not undone by the old answer."""
    await store.put(entry(text="old"))

    async def refresh() -> None:
        kept(manager, entry(text="new"))

    store.after_fetch = refresh
    found = await manager.load([key("one")])
    assert found is not None
    assert found.entry.answer.text == "new"


@pytest.mark.parametrize("namespace", ["default", ""])
async def test_keep_drops_what_was_cleared_since_its_look_up(manager: CacheManager, namespace: str) -> None:
    """An answer that was asked for before a clear of its namespace, or of all, is not kept."""
    generation = manager.generation("local", "default")
    await manager.clear("local", CacheFilter(namespace=namespace))
    assert manager.keep(entry(), generation=generation) is None
    assert manager.peek(key("one")) is None
    kept(manager, entry())


async def test_a_clear_elsewhere_drops_nothing(manager: CacheManager) -> None:
    """Another namespace and another scope keep their generation."""
    generation = manager.generation("local", "default")
    await manager.clear("local", CacheFilter(namespace="other"))
    await manager.clear("other")
    assert manager.keep(entry(), generation=generation) is not None


async def test_without_its_generation_a_cleared_answer_would_be_kept(manager: CacheManager) -> None:
    """Control: an engine that took the generation afterwards would bring the answer back."""
    await manager.clear("local")
    assert manager.keep(entry(), generation=manager.generation("local", "default")) is not None


async def test_persist_drops_what_was_cleared_since(manager: CacheManager) -> None:
    """An answer kept before a clear does not reach the disk after it."""
    held, generation = kept(manager, entry()), manager.generation("local", "default")
    await manager.clear("local")
    await manager.persist(held, generation=generation)
    assert await manager.load([key("one")]) is None
    assert (await manager.stats("local")).entry_count == 0


async def test_persist_during_a_clear_leaves_nothing_behind(manager: CacheManager, store: GatedStore) -> None:
    """A clear that waits for the disk and an answer that arrives meanwhile: the answer is gone afterwards."""
    held, generation = kept(manager, entry()), manager.generation("local", "default")
    gate = asyncio.Event()
    store.before_clear = gate.wait  # type: ignore[assignment]
    clearing = asyncio.create_task(manager.clear("local"))
    await settle()
    persisting = asyncio.create_task(manager.persist(held, generation=generation))
    await settle()
    gate.set()
    await asyncio.gather(clearing, persisting)
    assert manager.peek(key("one")) is None
    assert await manager.load([key("one")]) is None


async def test_a_look_up_that_began_before_a_clear_finds_nothing_after_it(manager: CacheManager, store: GatedStore) -> None:
    """The row was read before the clear and arrives after it: it is neither returned nor lifted."""
    await store.put(entry())
    gate, reading = asyncio.Event(), asyncio.Event()

    async def late() -> None:
        reading.set()
        await gate.wait()

    store.after_fetch = late
    loading = asyncio.create_task(manager.load([key("one")]))
    await reading.wait()
    await manager.clear("local")
    gate.set()
    assert await loading is None
    assert manager.peek(key("one")) is None


async def test_a_look_up_during_a_clear_finds_nothing_after_it(manager: CacheManager, store: GatedStore) -> None:
    """The row was read while the clear waited for the disk: the look-up waits for the clear and looks again."""
    await store.put(entry())
    gate = asyncio.Event()
    store.before_clear = gate.wait  # type: ignore[assignment]
    other = asyncio.create_task(manager.load([key("one")]))
    clearing = asyncio.create_task(manager.clear("local", CacheFilter(namespace="default")))
    await settle(1)
    loading = asyncio.create_task(manager.load([key("one")]))
    await settle()
    gate.set()
    await asyncio.gather(clearing, other)
    assert await loading is None
    assert manager.peek(key("one")) is None


async def test_a_caller_who_leaves_does_not_leave_a_clear_half_done(manager: CacheManager, store: GatedStore) -> None:
    """A cancelled clear goes on to its end."""
    await store.put(entry())
    gate = asyncio.Event()
    store.before_clear = gate.wait  # type: ignore[assignment]
    clearing = asyncio.create_task(manager.clear("local"))
    await settle()
    clearing.cancel()
    await settle()
    gate.set()
    await settle()
    assert clearing.cancelled()
    assert await manager.load([key("one")]) is None


async def test_a_clear_tells_who_listens_and_takes_only_what_matches(manager: CacheManager) -> None:
    """Listeners are called once a clear and not for a count; other entries stay in memory and on disk."""
    told: list[str] = []
    manager.on_clear.append(lambda: told.append("cleared"))
    for name, phase in (("one", "1"), ("two", "2")):
        await stored(manager, entry(name, phase=phase))
    counted = await manager.clear("local", CacheFilter(phase="1"), validate_only=True)
    assert (counted.entry_count, told) == (1, [])
    assert await manager.clear("local", CacheFilter(phase="1")) == counted
    assert told == ["cleared"]
    assert (manager.peek(key("one")), await manager.load([key("one")])) == (None, None)
    assert manager.peek(key("two")) is not None


async def test_hits_reach_the_store_together(manager: CacheManager, store: GatedStore, clock: FakeClock) -> None:
    """Hits of a tenth of a second are written at once, each counted, with the time of the last."""
    await stored(manager, entry())
    for _ in range(3):
        manager.peek(key("one"))
        clock.advance(0.01)
    await settle()
    assert (await store.info("local", key("one"), now=NOW))[0].hit_count == 0  # type: ignore[index]
    clock.advance(TOUCH_S)
    await settle()
    manager.peek(key("one"))
    clock.advance(TOUCH_S)
    await settle()
    clock.advance(TOUCH_S)
    await settle()
    info = (await store.info("local", key("one"), now=NOW))[0]  # type: ignore[index]
    assert info.hit_count == 4
    assert info.last_use_time == pytest.approx(NOW + 0.13)


async def test_hits_are_written_before_the_close(store: GatedStore, clock: FakeClock) -> None:
    """A hit of the last moment is not lost by a stop."""
    async with managing(store, clock) as manager:
        await stored(manager, entry())
        manager.peek(key("one"))
    assert (await store.info("local", key("one"), now=NOW))[0].hit_count == 1  # type: ignore[index]


async def test_what_is_stale_is_tidied_every_minute(manager: CacheManager, clock: FakeClock) -> None:
    """An expired entry leaves the store without anybody asking for it."""
    await stored(manager, entry(ttl_s=30))
    await settle()
    clock.advance(TIDY_S)
    await settle()
    stats = await manager.stats("local")
    assert (stats.entry_count, stats.expiration_count) == (0, 1)


async def test_a_store_that_fails_lets_answers_pass_through(
    manager: CacheManager, store: GatedStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody sees the failure: memory answers, look-ups miss, it is said once in the log, and storing begins again by itself."""
    await stored(manager, entry("before"))
    store.failure = StorageFailure("cache", "the disk is on fire")
    with caplog.at_level(logging.INFO, "aigend.cache"):
        held = await stored(manager, entry("one"))
        assert manager.peek(key("one")) is held
        assert await manager.load([key("two")]) is None
        clock.advance(PATIENCE_S)
        await stored(manager, entry("two"))
        await settle()
        assert not (await manager.stats("local")).storing
        store.failure = None
        await stored(manager, entry("three"))
        assert not manager.storing
        clock.advance(PATIENCE_S)
        await stored(manager, entry("four"))
        assert manager.storing
    assert [record.message for record in caplog.records] == ["cache_passes_through", "cache_stores_again"]
    assert [name for name in ("before", "one", "two", "three", "four") if key(name) in store._stored] == ["before", "four"]


async def test_a_failing_store_is_left_alone_by_hits_too(manager: CacheManager, store: GatedStore, clock: FakeClock) -> None:
    """Hits that can't be written are forgotten, not piled up, and raise nothing."""
    await stored(manager, entry())
    store.failure = StorageFailure("cache", "full")
    for _ in range(3):
        manager.peek(key("one"))
        await settle()
        clock.advance(TOUCH_S)
        await settle()
    assert manager._used == []
    assert not manager.storing


async def test_a_clear_that_fails_says_so(manager: CacheManager, store: GatedStore) -> None:
    """Who clears is told that the disk still holds the entries."""
    await stored(manager, entry())
    store.failure = StorageFailure("cache", "full")
    with pytest.raises(StorageFailure):
        await manager.clear("local")
    assert manager.peek(key("one")) is None


async def test_a_store_that_can_not_be_opened_does_not_stop_the_daemon(store: GatedStore, clock: FakeClock) -> None:
    """The cache then works in memory, and storing begins when the store is well."""
    store.failure = StorageFailure("cache", "full")
    async with managing(store, clock) as manager:
        assert not manager.storing
        held = await stored(manager, entry())
        assert manager.peek(key("one")) is held
        store.failure = None
        clock.advance(PATIENCE_S)
        await stored(manager, entry("two"))
        assert manager.storing


async def test_an_answer_that_can_not_be_spelled_is_not_stored(manager: CacheManager, caplog: pytest.LogCaptureFixture) -> None:
    """A lone surrogate has no bytes: it is logged, and the cache goes on storing."""
    held = kept(manager, entry("one"))
    bad = MemoryEntry(entry("two", agent="\ud800"), wire=held.wire)
    await manager.persist(bad, generation=0)
    assert "entry_not_stored" in caplog.text
    assert manager.storing


async def test_statistics(manager: CacheManager, clock: FakeClock) -> None:
    """Counts, sizes and the mean latency of hits are what happened."""
    assert (await manager.stats("local")).mean_hit_latency_us is None
    await stored(manager, entry("one"))
    await stored(manager, entry("two", scope="other"))
    for latency_us in (10, 21):
        manager.count_hit(latency_us)
    manager.count_miss()
    stats = await manager.stats("local")
    assert (stats.hit_count, stats.miss_count, stats.mean_hit_latency_us) == (2, 1, 15.5)
    assert (stats.entry_count, stats.memory_entry_count, stats.max_size_bytes) == (1, 2, 500_000_000)
    assert (stats.eviction_count, stats.damaged_count, stats.storing) == (0, 0, True)
    assert stats.memory_size_bytes > 0 < stats.size_bytes


async def test_pages_follow_each_other(manager: CacheManager) -> None:
    """The token of a page leads to the next, the last has none, and sizes have a default and a limit."""
    for number in range(60):
        await stored(manager, entry(str(number)))
    first = await manager.entries("local")
    second = await manager.entries("local", page_token=first.next_page_token)
    assert (len(first.entries), len(second.entries), second.next_page_token) == (50, 10, "")
    assert len({info.key for info in (*first.entries, *second.entries)}) == 60
    assert len((await manager.entries("local", page_size=100_000)).entries) == 60


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"page_size": -1}, "page_size"), ({"page_token": "=?"}, "page_token"), ({"page_token": "YQ=="}, "page_token")],
)
async def test_a_bad_page_is_refused(manager: CacheManager, fields: dict[str, object], field: str) -> None:
    """The error names the field."""
    with pytest.raises(DomainError) as refused:
        await manager.entries("local", **fields)  # type: ignore[arg-type]
    assert refused.value.metadata["field"] == field


async def test_one_entry_with_its_answer(manager: CacheManager) -> None:
    """It is told to its scope, and what is not there is None."""
    await stored(manager, entry())
    found = await manager.entry("local", key("one"))
    assert found is not None
    assert (found[0].key, found[1]) == (key("one"), entry().answer)
    assert await manager.entry("other", key("one")) is None


async def test_who_asks_sees_what_is_being_written(manager: CacheManager, store: GatedStore, clock: FakeClock) -> None:
    """An answer on its way to the store is waited for by whoever asks the store for entries, and by a clear."""
    gate = asyncio.Event()
    store.before_put = gate.wait
    keep_soon(manager, entry())
    await settle()
    clock.advance(GATHER_S)
    await settle()
    asked = asyncio.create_task(manager.entry("local", key("one")))
    counted = asyncio.create_task(manager.stats("local"))
    await settle()
    assert not asked.done()
    gate.set()
    assert await asked is not None
    assert (await counted).entry_count == 1


async def test_what_is_being_written_outlives_the_stop(store: GatedStore, clock: FakeClock) -> None:
    """A stop amid a write waits for it: the answer is in the store afterwards."""
    gate = asyncio.Event()
    store.before_put = gate.wait
    async with managing(store, clock) as manager:
        keep_soon(manager, entry())
        await settle()
        clock.advance(GATHER_S)
        await settle()
        asyncio.get_running_loop().call_soon(gate.set)
    assert await store.info("local", key("one"), now=NOW) is not None


async def test_the_memory_tier_may_be_off(store: GatedStore, clock: FakeClock) -> None:
    """With no memory every hit comes from the store."""
    async with managing(store, clock, memory_bytes=0) as manager:
        await stored(manager, entry())
        assert manager.peek(key("one")) is None
        assert await manager.load([key("one")]) is not None


def test_the_stores_pass_as_the_port() -> None:
    """Both stores and the values that they return have the shape that the manager asks for."""
    shapes: list[type[CacheStore]] = [MemoryStore, SqliteStore, GatedStore]
    assert len(shapes) == 3
    assert (StoredPage((), None).entries, Usage(0, 0).size_bytes) == ((), 0)
