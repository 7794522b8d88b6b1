"""Entries in memory: the same manners as the database, for tests and for a cache that shall leave nothing behind."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from aigend.cache.codec import RecordDamagedError, decode_entry, encode_entry
from aigend.cache.entry import CacheEntry, CacheEntryInfo, CacheFilter, Cleared
from aigend.cache.lru import LruSizes
from aigend.cache.stores.port import StoredPage, Touch, Usage, stored_size


@dataclass(slots=True, kw_only=True)
class _Stored:
    """A record, its place in the order of arrival, and its use."""

    entry: CacheEntry
    record: bytes
    position: int
    size: int
    last_use_time: float
    hit_count: int = 0

    def info(self) -> CacheEntryInfo:
        entry = self.entry
        return CacheEntryInfo(
            key=entry.key,
            namespace=entry.namespace,
            route=entry.route,
            agent=entry.agent,
            phase=entry.phase,
            service=entry.service,
            size_bytes=self.size,
            create_time=entry.create_time,
            expire_time=entry.expire_time,
            last_use_time=self.last_use_time,
            hit_count=self.hit_count,
            saved_nanos=entry.answer.cost.nanos,
        )


class MemoryStore:
    """A `CacheStore` that lasts as long as its process.

    Args:
        max_bytes: Size limit.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.eviction_count = 0
        self.expiration_count = 0
        self.damaged_count = 0
        self._stored: dict[bytes, _Stored] = {}
        self._sizes: LruSizes[bytes] = LruSizes(max_bytes=max_bytes)
        self._positions = itertools.count(1)

    async def open(self) -> None:
        """Do nothing: memory is always ready."""

    async def close(self) -> None:
        """Do nothing: entries outlive even this, as those of a file do."""

    async def fetch(self, keys: Sequence[bytes], *, now: float) -> CacheEntry | None:
        """Return the entry of the first key that has a fresh one."""
        for key in keys:
            if (stored := self._stored.get(key)) is None:
                continue
            try:
                entry = decode_entry(stored.record, key=key)
            except RecordDamagedError:
                self.damaged_count += 1
                self._drop(key)
                continue
            if entry.fresh(now):
                return entry
        return None

    async def put(self, entry: CacheEntry, *, touches: Sequence[Touch] = ()) -> None:
        """Keep an entry; one that is larger than the whole cache is not kept."""
        await self.touch(touches)
        record = encode_entry(entry, compress=False)
        size = stored_size(entry, record)
        self._stored[entry.key] = _Stored(
            entry=entry, record=record, position=next(self._positions), size=size, last_use_time=entry.create_time
        )
        for victim in self._sizes.put(entry.key, size):
            del self._stored[victim]
            self.eviction_count += victim != entry.key

    async def touch(self, touches: Sequence[Touch]) -> None:
        """Count hits."""
        for touch in touches:
            if (stored := self._stored.get(touch.key)) is not None:
                stored.hit_count += touch.hit_count
                stored.last_use_time = touch.last_use_time
                self._sizes.touch(touch.key)

    async def clear(self, scope: str, chosen: CacheFilter, *, now: float, validate_only: bool) -> Cleared:
        """Remove entries."""
        matching = list(self._matching(scope, chosen, now))
        if not validate_only:
            for stored in matching:
                self._drop(stored.entry.key)
        return Cleared(entry_count=len(matching), size_bytes=sum(stored.size for stored in matching))

    async def page(self, scope: str, chosen: CacheFilter, *, now: float, size: int, after: int | None) -> StoredPage:
        """Return fresh entries, newest first."""
        matching = [
            stored
            for stored in self._matching(scope, chosen, now)
            if stored.entry.expire_time > now and (after is None or stored.position < after)
        ]
        matching.sort(key=lambda stored: -stored.position)
        more = len(matching) > size
        return StoredPage(tuple(stored.info() for stored in matching[:size]), matching[size - 1].position if more else None)

    async def info(self, scope: str, key: bytes, *, now: float) -> tuple[CacheEntryInfo, CacheEntry] | None:
        """Return a fresh entry and what is told about it."""
        entry = await self.fetch([key], now=now)
        return None if entry is None or entry.scope != scope else (self._stored[key].info(), entry)

    async def usage(self, scope: str) -> Usage:
        """Return what is stored."""
        return Usage(sum(stored.entry.scope == scope for stored in self._stored.values()), self._sizes.size_bytes)

    async def tidy(self, *, now: float) -> bool:
        """Remove what is stale."""
        stale = [key for key, stored in self._stored.items() if stored.entry.expire_time <= now]
        for key in stale:
            self._drop(key)
        self.expiration_count += len(stale)
        return False

    def _matching(self, scope: str, chosen: CacheFilter, now: float) -> Iterator[_Stored]:
        return (stored for stored in self._stored.values() if stored.entry.scope == scope and chosen.matches(stored.entry, now=now))

    def _drop(self, key: bytes) -> None:
        del self._stored[key]
        self._sizes.drop(key)
