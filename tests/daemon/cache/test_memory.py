"""The memory tier."""

import tracemalloc

from aigend.cache.memory import MemoryEntry, MemoryTier

from tests.daemon.cache.entries import DAY, NOW, answer, entry, key


def held(name: str, *, wire: bytes = b"w" * 100, ttl_s: float = DAY) -> MemoryEntry:
    """Return an entry ready to be put."""
    return MemoryEntry(entry(name, ttl_s=ttl_s), wire=wire)


def test_an_entry_is_found_until_it_expires() -> None:
    """TTL counts from creation: a moment before it there is a hit, at it there is none and no memory is held."""
    tier = MemoryTier(max_bytes=100_000)
    kept = held("one", ttl_s=10)
    tier.put(kept)
    assert tier.get(key("one"), NOW + 9.999) is kept
    assert tier.get(key("one"), NOW + 10) is None
    assert (len(tier), tier.size_bytes) == (0, 0)


def test_an_entry_from_the_future_is_not_served() -> None:
    """After the clock was set back by days, what was made under the wrong time does not live longer for it."""
    tier = MemoryTier(max_bytes=100_000)
    tier.put(held("one"))
    assert tier.get(key("one"), NOW - 30 * DAY) is None


def test_the_limit_is_exact_to_the_byte() -> None:
    """Two entries fit into exactly their size; into one byte less only the one used last."""
    size = held("one").size
    for limit, count in ((2 * size, 2), (2 * size - 1, 1)):
        tier = MemoryTier(max_bytes=limit)
        tier.put(held("one"))
        tier.put(held("two"))
        assert (len(tier), tier.size_bytes) == (count, count * size)
        assert tier.get(key("two"), NOW) is not None


def test_use_keeps_an_entry() -> None:
    """The least recently used goes, not the oldest."""
    tier = MemoryTier(max_bytes=2 * held("one").size)
    for name in ("one", "two"):
        tier.put(held(name))
    tier.get(key("one"), NOW)
    tier.put(held("three"))
    assert [tier.get(key(name), NOW) is not None for name in ("one", "two", "three")] == [True, False, True]


def test_a_tier_of_no_size_holds_nothing() -> None:
    """With a limit of 0 nothing is kept, and nothing fails."""
    tier = MemoryTier(max_bytes=0)
    tier.put(held("one"))
    assert tier.get(key("one"), NOW) is None


def test_a_new_answer_takes_the_place_of_the_old() -> None:
    """One key has one entry and one size."""
    tier = MemoryTier(max_bytes=100_000)
    tier.put(held("one", wire=b"old" * 100))
    newer = held("one", wire=b"new")
    tier.put(newer)
    assert tier.get(key("one"), NOW) is newer
    assert (len(tier), tier.size_bytes) == (1, newer.size)


def test_entries_that_match_are_dropped() -> None:
    """A clear takes what matches and leaves the rest, and dropping twice is no mistake."""
    tier = MemoryTier(max_bytes=100_000)
    for name in ("one", "two"):
        tier.put(held(name))
    tier.drop_where(lambda found: found.key == key("one"))
    tier.drop(key("one"))
    assert (tier.get(key("one"), NOW), len(tier)) == (None, 1)


def test_an_entry_takes_no_more_memory_than_it_counts() -> None:
    """What 200 entries of 2 KB really take is at most the sum of their sizes."""
    tier = MemoryTier(max_bytes=100_000_000)
    tracemalloc.start()
    for number in range(200):
        text = f"{number:04}" * 500
        tier.put(MemoryEntry(entry(str(number), answer=answer(text)), wire=text.encode()))
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken <= tier.size_bytes
