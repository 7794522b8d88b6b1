"""Google's explicit caches as one account uses them: each beginning of requests is stored once, named for as long as it lives.

A cache is content with a time to live, made by a call of its own that costs input tokens; what is read from it later costs less.
Which beginning is worth that is decided elsewhere. A cache is not made to live longer: its storage is paid by the hour, and there
is no answer whose bill an extension could be put on. Where it has ended, the next call that asks for it makes a new one.
"""

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

from aigend.types import TokenUsage

MOST_KEPT = 1_000
_MARGIN_S = 5.0  # before its end, in which a cache is not used any more: a request takes time to arrive
_REFUSED_FOR_S = 300.0  # how long a beginning that could not be stored is left alone
_SHORT_S = 300

Content = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Creation:
    """What making a cache is billed as."""

    tokens: int | None  # None where the provider did not say: as many as the first reader reads
    ttl_s: int

    @classmethod
    def of(cls, made: dict[str, Any], ttl_s: int) -> "Creation":
        """Return the creation of the cache that the provider describes."""
        usage = made.get("usageMetadata")
        total = usage.get("totalTokenCount") if isinstance(usage, dict) else None
        return cls(total if isinstance(total, int) and not isinstance(total, bool) else None, ttl_s)

    @property
    def told(self) -> dict[str, Any]:
        """The creation beside the provider's own counts."""
        return {"totalTokenCount": self.tokens, "ttl": f"{self.ttl_s}s"}

    def added_to(self, usage: TokenUsage) -> TokenUsage:
        """Return the usage with the stored tokens as written to the cache, for 5 minutes or for longer."""
        tokens = usage.cache_read if self.tokens is None else self.tokens
        if self.ttl_s > _SHORT_S:
            return replace(usage, cache_write_1h=usage.cache_write_1h + tokens)
        return replace(usage, cache_write_5m=usage.cache_write_5m + tokens)


@dataclass(eq=False, slots=True)
class Kept:
    """A cache of the provider; `creation` is what no answer has been charged with yet."""

    name: str
    creation: Creation | None = None


@dataclass(frozen=True, slots=True)
class _Entry:
    """What is known of a beginning: its cache, or None where it could not be stored, and until when that counts."""

    kept: Kept | None
    until: float


def _loop_time() -> float:
    return asyncio.get_running_loop().time()


@dataclass(slots=True)
class ExplicitCaches:
    """Hands out caches by what they hold, and makes the missing ones, each once however many calls want it.

    Args:
        create: Makes a cache of some content for so many seconds; returns None where the provider makes none.
        now: Seconds that never go back.
    """

    create: Callable[[Content, int], Awaitable[Kept | None]]
    now: Callable[[], float] = _loop_time
    _entries: OrderedDict[bytes, _Entry] = field(default_factory=OrderedDict, init=False)
    _under_way: dict[bytes, asyncio.Task[Kept | None]] = field(default_factory=dict, init=False)

    def __len__(self) -> int:
        return len(self._entries)

    async def find(self, content: Content, *, ttl_s: int, patience_s: float) -> Kept | None:
        """Return the cache of some content; None where there is none in time.

        A creation that has begun goes on without whoever waits for it, for the next call.

        Args:
            content: All that the cache holds, its model included.
            ttl_s: How long a new one shall live.
            patience_s: How long to wait for a new one.
        """
        digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).digest()
        entry = self._entries.get(digest)
        if entry is not None and self.now() < entry.until:
            self._entries.move_to_end(digest)
            return entry.kept
        task = self._under_way.get(digest)
        if task is None:
            task = self._under_way[digest] = asyncio.create_task(self._make(digest, content, ttl_s))
        done, _ = await asyncio.wait((task,), timeout=patience_s)
        return task.result() if done and not task.cancelled() else None

    def forget(self, kept: Kept) -> None:
        """Hand a cache out no more: the provider does not know it."""
        for digest in [digest for digest, entry in self._entries.items() if entry.kept is kept]:
            del self._entries[digest]

    async def aclose(self) -> None:
        """Give up what is under way."""
        for task in (tasks := [*self._under_way.values()]):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _make(self, digest: bytes, content: Content, ttl_s: int) -> Kept | None:
        began = self.now()
        try:
            kept = await self.create(content, ttl_s)
        finally:
            del self._under_way[digest]
        until = began + ttl_s - _MARGIN_S if kept is not None else self.now() + _REFUSED_FOR_S
        self._entries[digest] = _Entry(kept, until)
        self._entries.move_to_end(digest)
        while len(self._entries) > MOST_KEPT:
            self._entries.popitem(last=False)
        return kept
