"""What the cache asks of the place where entries lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aigend.cache.entry import CacheEntry, CacheEntryInfo, CacheFilter, Cleared

NUMBER_BYTES = 64  # an entry's eight numbers


@dataclass(frozen=True, slots=True)
class Touch:
    """Hits of an entry that the store does not know of yet."""

    key: bytes
    hit_count: int
    last_use_time: float


@dataclass(frozen=True, slots=True)
class Usage:
    """What is stored."""

    entry_count: int  # of one scope
    size_bytes: int  # of all scopes


@dataclass(frozen=True, slots=True)
class StoredPage:
    """Entries, newest first, and the position after which the next page begins; None: this was the last."""

    entries: tuple[CacheEntryInfo, ...]
    next_position: int | None


class CacheStore(Protocol):
    """Entries that outlive the memory tier.

    Every method may raise StorageFailure. Writes take effect in the order in which they were called: a method reaches the store's
    queue before it waits for the first time.

    Attributes:
        eviction_count: Entries that the size limit removed.
        expiration_count: Entries that the clock removed.
        damaged_count: Entries that were found damaged and removed.
    """

    eviction_count: int
    expiration_count: int
    damaged_count: int

    async def open(self) -> None:
        """Make the store ready."""
        ...

    async def close(self) -> None:
        """Write what waits and let go of everything; more than once is harmless."""
        ...

    async def fetch(self, keys: Sequence[bytes], *, now: float) -> CacheEntry | None:
        """Return the entry of the first key that has a fresh one; a damaged one is removed."""
        ...

    async def put(self, entry: CacheEntry, *, touches: Sequence[Touch] = ()) -> None:
        """Count hits, then keep an entry in place of the one with its key; the least recently used go for it."""
        ...

    async def touch(self, touches: Sequence[Touch]) -> None:
        """Count hits."""
        ...

    async def clear(self, scope: str, chosen: CacheFilter, *, now: float, validate_only: bool) -> Cleared:
        """Remove the entries of a scope that match; when this returns none is ever found again, not after a crash either."""
        ...

    async def page(self, scope: str, chosen: CacheFilter, *, now: float, size: int, after: int | None) -> StoredPage:
        """Return the fresh entries of a scope that match."""
        ...

    async def info(self, scope: str, key: bytes, *, now: float) -> tuple[CacheEntryInfo, CacheEntry] | None:
        """Return a fresh entry and what is told about it."""
        ...

    async def usage(self, scope: str) -> Usage:
        """Return what is stored."""
        ...

    async def tidy(self, *, now: float) -> bool:
        """Remove some of what is cleared, expired or too much, and make good what broke; return whether there is more to do."""
        ...


def stored_size(entry: CacheEntry, record: bytes) -> int:
    """Return the bytes that an entry counts against the size limit: all values of its row and its record."""
    texts = (entry.scope, entry.namespace, entry.route.provider, entry.route.model, entry.agent, entry.phase, entry.service)
    return len(record) + len(entry.key) + sum(len(text.encode()) for text in texts) + NUMBER_BYTES
