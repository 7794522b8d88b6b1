"""The memory tier: answers as the bytes that go out, found without waiting for anything.

It is used from the event loop only. What is on the disk is not known here.
"""

from collections.abc import Callable

from aigend.cache.entry import CLOCK_SLACK_S, CacheEntry
from aigend.cache.lru import LruSizes

OBJECT_BYTES = 3_072  # an entry's objects beside its texts, measured and rounded up


class MemoryEntry:
    """An answer ready to be sent.

    Args:
        entry: The entry.
        wire: The answer as the client gets it, but for what differs from call to call.

    Attributes:
        size: Bytes that count against the limit: the wire, the neutral record of about the same size, and its objects.
        saved_nanos: What a hit saves, in nano-dollars; None: unknown.
        unsaved_hits: Hits that the store does not know of yet.
        last_use_time: When it last answered, wall clock.
    """

    __slots__ = ("entry", "expire_time", "fresh_from", "key", "last_use_time", "saved_nanos", "size", "unsaved_hits", "wire")

    def __init__(self, entry: CacheEntry, *, wire: bytes) -> None:
        self.key = entry.key
        self.wire = wire
        self.entry = entry
        self.fresh_from = entry.create_time - CLOCK_SLACK_S
        self.expire_time = entry.expire_time
        self.size = 2 * len(wire) + OBJECT_BYTES
        self.saved_nanos = entry.answer.cost.nanos
        self.unsaved_hits = 0
        self.last_use_time = entry.create_time


class MemoryTier:
    """Entries by key, the least recently used first to go.

    Args:
        max_bytes: What the sizes of all entries may sum up to; 0 keeps none.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._entries: dict[bytes, MemoryEntry] = {}
        self._sizes: LruSizes[bytes] = LruSizes(max_bytes=max_bytes)

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """Bytes that count against the limit."""
        return self._sizes.size_bytes

    def get(self, key: bytes, now: float) -> MemoryEntry | None:
        """Return the entry of a key and count it as used last; a stale one goes."""
        found = self._entries.get(key)
        if found is None:
            return None
        if not found.fresh_from <= now < found.expire_time:
            self.drop(key)
            return None
        self._sizes.touch(key)
        return found

    def put(self, entry: MemoryEntry) -> None:
        """Keep an entry in place of the one with its key, where it fits; others go for it."""
        self._entries[entry.key] = entry
        for victim in self._sizes.put(entry.key, entry.size):
            del self._entries[victim]

    def drop(self, key: bytes) -> None:
        """Let go of the entry of a key, if there is one."""
        self._entries.pop(key, None)
        self._sizes.drop(key)

    def drop_where(self, matches: Callable[[CacheEntry], bool]) -> None:
        """Let go of all entries that match."""
        for key in [key for key, found in self._entries.items() if matches(found.entry)]:
            self.drop(key)
