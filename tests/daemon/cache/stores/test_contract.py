"""What every store must do; run on the database and on the one in memory."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aigend.cache.codec import encode_entry
from aigend.cache.entry import ALL, CacheEntry, CacheFilter, Cleared
from aigend.cache.stores.memory import MemoryStore
from aigend.cache.stores.port import CacheStore, Touch, Usage, stored_size
from aigend.cache.stores.sqlite import SqliteStore
from aigend.config import CacheSettings
from aigend.types import Route

from tests.daemon.cache.entries import DAY, NOW, entry, key
from tests.fakes import FakeClock

Make = Callable[..., Any]


@asynccontextmanager
async def opened(store: CacheStore) -> AsyncIterator[CacheStore]:
    """Hold a store open."""
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.fixture(params=["sqlite", "memory"])
async def make(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Make]:
    """Return what makes an open store with a size limit."""
    async with AsyncExitStack() as stack:

        async def build(max_bytes: int = 1_000_000) -> CacheStore:
            if request.param == "memory":
                return await stack.enter_async_context(opened(MemoryStore(max_bytes=max_bytes)))
            settings = CacheSettings.model_construct(max_size_bytes=max_bytes, compression=False)
            store = SqliteStore(path=tmp_path / "cache.db", clock=FakeClock(NOW), settings=settings)
            return await stack.enter_async_context(opened(store))

        yield build


def size_of(stored: CacheEntry) -> int:
    """Return what an entry counts against the limit."""
    return stored_size(stored, encode_entry(stored, compress=False))


async def names(store: CacheStore, *wanted: str, now: float = NOW) -> list[str]:
    """Return which of the names have a fresh entry."""
    return [name for name in wanted if await store.fetch([key(name)], now=now) is not None]


async def tidy(store: CacheStore, *, now: float = NOW) -> None:
    """Tidy until nothing is left to do."""
    while await store.tidy(now=now):
        pass


async def test_what_is_put_is_found(make: Make) -> None:
    """An entry comes back equal, under its key only."""
    store = await make()
    await store.put(entry("one"))
    assert await store.fetch([key("one")], now=NOW) == entry("one")
    assert await store.fetch([key("two")], now=NOW) is None
    assert await store.fetch([], now=NOW) is None


async def test_the_first_key_with_a_fresh_entry_wins(make: Make) -> None:
    """Keys are tried in the order given; a stale entry does not win."""
    store = await make()
    for stored in (entry("one", ttl_s=5), entry("two"), entry("three")):
        await store.put(stored)
    keys = [key("none"), key("one"), key("three"), key("two")]
    assert await store.fetch(keys, now=NOW + 1) == entry("one", ttl_s=5)
    assert await store.fetch(keys, now=NOW + 5) == entry("three")


async def test_a_newer_answer_takes_the_place_of_the_older(make: Make) -> None:
    """One key has one entry, and only that counts."""
    store = await make()
    await store.put(entry("one", text="old " * 100))
    await store.put(entry("one", text="new"))
    assert await store.fetch([key("one")], now=NOW) == entry("one", text="new")
    assert await store.usage("local") == Usage(1, size_of(entry("one", text="new")))


async def test_the_size_limit_is_exact_to_the_byte(make: Make) -> None:
    """Three entries fit into exactly their size; one byte more evicts the least recently used."""
    stored = [entry(name, text=name * 50) for name in ("a", "b", "c")]
    total = sum(map(size_of, stored))
    store = await make(total)
    for each in stored:
        await store.put(each)
    assert await store.usage("local") == Usage(3, total)
    await store.put(entry("b", text="b" * 51))
    assert await names(store, "a", "b", "c") == ["b", "c"]
    assert store.eviction_count == 1


async def test_eviction_takes_the_least_recently_used(make: Make) -> None:
    """A touch keeps an old entry, and touches given with a put count before it."""
    size = size_of(entry("a"))
    store = await make(3 * size)
    for name in ("a", "b", "c"):
        await store.put(entry(name))
    await store.touch([Touch(key("a"), 1, NOW + 1)])
    await store.put(entry("d"))
    assert await names(store, "a", "b", "c", "d") == ["a", "c", "d"]
    await store.put(entry("e"), touches=[Touch(key("c"), 1, NOW + 2)])
    assert await names(store, "a", "c", "d", "e") == ["c", "d", "e"]


async def test_a_clock_that_went_back_evicts_nobody_new(make: Make) -> None:
    """The order of use is kept by use, not by the time of day."""
    size = size_of(entry("a"))
    store = await make(2 * size)
    for name, created in (("a", NOW), ("b", NOW), ("c", NOW - 30 * DAY)):
        await store.put(entry(name, create_time=created, expire_time=NOW + DAY))
    assert await names(store, "a", "b", "c") == ["b", "c"]


async def test_an_entry_larger_than_the_cache_is_not_kept(make: Make) -> None:
    """It pushes nobody out, and an older answer under its key does not stay either."""
    store = await make(2 * size_of(entry("a")))
    await store.put(entry("a"))
    await store.put(entry("b"))
    await store.put(entry("a", text="x" * 5_000))
    assert await names(store, "a", "b") == ["b"]
    assert store.eviction_count == 0


async def test_hits_are_counted(make: Make) -> None:
    """Hit count and last use add up; a touch of what has gone is no mistake."""
    store = await make()
    await store.put(entry("one"))
    await store.touch([Touch(key("one"), 2, NOW + 1), Touch(key("gone"), 1, NOW)])
    await store.touch([Touch(key("one"), 3, NOW + 2)])
    info, stored = await store.info("local", key("one"), now=NOW)
    assert (info.hit_count, info.last_use_time, info.size_bytes) == (5, NOW + 2, size_of(stored))
    assert (info.create_time, info.expire_time, info.saved_nanos) == (NOW, NOW + DAY, 1_500)
    assert (info.key, info.namespace, info.route, info.agent, info.phase, info.service) == (
        key("one"),
        "default",
        Route("openai", "gpt-4o"),
        "claude",
        "1",
        "plans",
    )


async def test_an_entry_is_told_to_its_own_scope_only(make: Make) -> None:
    """Another scope sees neither entry nor page."""
    store = await make()
    await store.put(entry("one"))
    assert await store.info("other", key("one"), now=NOW) is None
    assert await store.info("local", key("none"), now=NOW) is None
    assert await store.info("local", key("one"), now=NOW + DAY) is None
    assert (await store.page("other", ALL, now=NOW, size=10, after=None)).entries == ()
    assert await store.usage("other") == Usage(0, size_of(entry("one")))


async def test_what_is_stale_goes_when_it_is_tidied(make: Make) -> None:
    """Expired entries are removed and counted, the others stay."""
    store = await make()
    await store.put(entry("one", ttl_s=5))
    await store.put(entry("two"))
    await tidy(store, now=NOW + 5)
    assert await store.usage("local") == Usage(1, size_of(entry("two")))
    assert store.expiration_count == 1


async def test_pages_hold_everything_once(make: Make) -> None:
    """Newest first, page by page, what comes in between disturbs nothing, and stale entries are not listed."""
    store = await make()
    for number in range(7):
        await store.put(entry(str(number)))
    await store.put(entry("stale", ttl_s=1))
    seen: list[bytes] = []
    after = None
    for _ in range(3):
        page = await store.page("local", ALL, now=NOW + 1, size=3, after=after)
        seen += [info.key for info in page.entries]
        after = page.next_position
        await store.put(entry(f"later {len(seen)}"))
    assert (seen, after) == ([key(str(number)) for number in reversed(range(7))], None)


FILTERS = [
    pytest.param(ALL, {"a", "b", "c"}, id="all"),
    pytest.param(CacheFilter(provider="anthropic"), {"b"}, id="provider"),
    pytest.param(CacheFilter(model="gpt-4o"), {"a", "c"}, id="model"),
    pytest.param(CacheFilter(agent="gemini"), {"c"}, id="agent"),
    pytest.param(CacheFilter(phase="2"), {"b", "c"}, id="phase"),
    pytest.param(CacheFilter(service="other"), {"b"}, id="service"),
    pytest.param(CacheFilter(namespace="tests"), {"c"}, id="namespace"),
    pytest.param(CacheFilter(older_than_s=50), {"a"}, id="older-than"),
    pytest.param(CacheFilter(key_prefix=key("b").hex()[:3]), {"b"}, id="key-prefix"),
    pytest.param(CacheFilter(key_prefix=key("b").hex().upper()), {"b"}, id="whole-key"),
    pytest.param(CacheFilter(phase="2", agent="claude"), {"b"}, id="two-fields"),
    pytest.param(CacheFilter(provider="nobody"), set(), id="none"),
]


async def three(make: Make) -> Any:
    """Return a store with three different entries and one of another scope."""
    store = await make()
    await store.put(entry("a", create_time=NOW - 100))
    await store.put(entry("b", route=Route("anthropic", "claude"), phase="2", service="other"))
    await store.put(entry("c", agent="gemini", phase="2", namespace="tests"))
    await store.put(entry("d", scope="other"))
    return store


@pytest.mark.parametrize(("chosen", "gone"), FILTERS)
async def test_a_clear_removes_what_matches(make: Make, chosen: CacheFilter, gone: set[str]) -> None:
    """It counts first what it then removes, at once and for good, and touches no other scope."""
    store = await three(make)
    listed = await store.page("local", chosen, now=NOW, size=10, after=None)
    assert {info.key for info in listed.entries} == {key(name) for name in gone}
    counted = await store.clear("local", chosen, now=NOW, validate_only=True)
    assert counted == Cleared(entry_count=len(gone), size_bytes=sum(info.size_bytes for info in listed.entries))
    assert set(await names(store, "a", "b", "c", "d")) == {"a", "b", "c", "d"}
    before = (await store.usage("local")).size_bytes
    assert await store.clear("local", chosen, now=NOW, validate_only=False) == counted
    for _ in range(2):
        assert set(await names(store, "a", "b", "c", "d")) == {"a", "b", "c", "d"} - gone
        assert await store.usage("local") == Usage(3 - len(gone), before - counted.size_bytes)
        assert (await store.page("local", chosen, now=NOW, size=10, after=None)).entries == ()
        assert (await store.clear("local", chosen, now=NOW, validate_only=True)).entry_count == 0
        await tidy(store)


async def test_what_comes_after_a_clear_stays(make: Make) -> None:
    """The same key may be stored again at once, and tidying up after the clear does not take it."""
    store = await three(make)
    await store.clear("local", ALL, now=NOW, validate_only=False)
    await store.put(entry("a"))
    await tidy(store)
    assert await names(store, "a", "b", "c") == ["a"]
    assert (await store.usage("local")).entry_count == 1


async def test_clears_that_overlap_count_each_entry_once(make: Make) -> None:
    """Two clears before any tidying remove the union and report disjoint counts."""
    store = await three(make)
    first = await store.clear("local", CacheFilter(phase="2"), now=NOW, validate_only=False)
    second = await store.clear("local", ALL, now=NOW, validate_only=False)
    assert (first.entry_count, second.entry_count) == (2, 1)
    await tidy(store)
    assert await names(store, "a", "b", "c", "d") == ["d"]
    assert await store.usage("other") == Usage(1, size_of(entry("d", scope="other")))


async def test_writes_take_effect_in_the_order_of_their_calls(make: Make) -> None:
    """A put that was called before a clear is cleared, one that was called after it is not."""
    store = await make()
    await asyncio.gather(
        store.put(entry("before")), store.clear("local", ALL, now=NOW, validate_only=False), store.put(entry("after"))
    )
    assert await names(store, "before", "after") == ["after"]


async def test_closing_twice_is_harmless(make: Make) -> None:
    """A second close does nothing."""
    store = await make()
    await store.close()
    await store.close()
