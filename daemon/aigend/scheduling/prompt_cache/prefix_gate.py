"""The prefix gate: of calls with the same cacheable prefix one goes ahead, the others follow once the provider has it.

A provider's prompt cache can be read from the first token of the answer that wrote it, or a little later. Calls that are sent
together would each pay for the prefix whole. How long a provider takes after that token is learned from what followers read; where
following brought nothing several times, nobody is held up for a while. Knows prefixes by their digests; what they hold, what they
cost and how calls are made is not decided here.
"""

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from aigend.clock import Clock
from aigend.scheduling.dispatch.siblings import stand_aside
from aigend.scheduling.prompt_cache.prefixes import Prefix
from aigend.types import TokenUsage

MOST_WAITING = 1_000
MOST_KNOWN = 16_384
FIRST_SETTLE_S = 0.2  # of a provider that nothing is known of
LONGEST_SETTLE_S = 2.0
SETTLE_EASE = 0.98  # after followers that read: one miss costs a longer wait for some 35 openings
SETTLE_STEP_S = 0.05
MOST_MISSES = 3  # openings in a row whose followers read nothing
FUTILE_S = 600.0

_Key = tuple[str, bytes]


class Waited(StrEnum):
    """How a wait at the gate ended."""

    OPENED = "opened"  # the leader's first token or answer came
    LEADER_FAILED = "leader_failed"
    TOO_LONG = "too_long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approach:
    """What a call brings to the gate."""

    provider: str = ""
    owner: str = ""  # whose cache it is: scope, provider and model
    prefixes: tuple[Prefix, ...] = ()  # what the provider will keep of it, from the shortest to the longest
    ttl_s: float = 300.0  # for how long
    lane: str = ""  # nobody waits for a call of another one

    @property
    def keys(self) -> tuple[_Key, ...]:
        """The names of the prefixes, from the shortest to the longest."""
        return tuple((self.owner, prefix.digest) for prefix in self.prefixes)


NOTHING_SHARED = Approach()


class _Opening:
    """A prefix on its way to the provider: one leader, and all who wait for it."""

    __slots__ = ("began_at", "ended", "judged", "keys", "lane", "news", "provider", "ttl_s", "waiting")

    def __init__(self, approach: Approach, keys: tuple[_Key, ...]) -> None:
        self.keys = keys
        self.lane = approach.lane
        self.provider = approach.provider
        self.ttl_s = approach.ttl_s
        self.waiting = 0
        self.began_at: float | None = None  # when the first token came
        self.ended = False  # the whole answer came: nothing has to settle any more
        self.judged = False  # a follower has told what it read
        self.news: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # it began, or failed

    def tell(self) -> None:
        """Wake all who wait, in the order of their coming."""
        if not self.news.done():
            self.news.set_result(None)


class Passage:
    """One call beyond the gate, until it is left; whoever leaves it without an answer lets the next one lead."""

    __slots__ = ("_approach", "_followed", "_gate", "_opening")

    def __init__(self, gate: "PrefixGate", approach: Approach, opening: _Opening | None, followed: _Opening | None) -> None:
        self._gate = gate
        self._approach = approach
        self._opening = opening
        self._followed = followed

    @property
    def awaited(self) -> bool:
        """Whether others wait for this call's first token."""
        return self._opening is not None and self._opening.waiting > 0

    def began(self) -> None:
        """Say that the first token has come."""
        if self._opening is not None:
            self._gate._began(self._opening)

    def ended(self, usage: TokenUsage) -> None:
        """Say that the answer has come whole, and what the provider counted."""
        self._gate._ended(self._approach, self._opening, self._followed, usage)
        self._opening = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._opening is not None:
            self._gate._left(self._opening)


class PrefixGate:
    """Lets one call of each prefix ahead.

    Args:
        clock: Bounds every wait.
        most_waiting: How many wait at most; nobody else does then.
        most_known: How many prefixes are remembered as kept by a provider; the longest unused goes first.

    Attributes:
        waiting: How many wait now.
        waited: How many waits ended how.
    """

    def __init__(self, *, clock: Clock, most_waiting: int = MOST_WAITING, most_known: int = MOST_KNOWN) -> None:
        self.waiting = 0
        self.waited: Counter[Waited] = Counter()
        self._clock = clock
        self._most_waiting = most_waiting
        self._most_known = most_known
        self._openings: dict[tuple[str, _Key], _Opening] = {}  # each while its leader is under way
        self._known: OrderedDict[_Key, float] = OrderedDict()  # kept by the provider until then
        self._settle_s: dict[str, float] = {}  # by provider
        self._misses: OrderedDict[str, tuple[int, float]] = OrderedDict()  # openings in vain, in a row, and the last of them

    @property
    def under_way(self) -> int:
        """How many prefixes have a leader."""
        return len(self._openings)

    def settle_s(self, provider: str) -> float:
        """Return how long after a first token followers of a provider leave, in seconds."""
        return self._settle_s.get(provider, FIRST_SETTLE_S)

    async def enter(self, approach: Approach, *, wait_s: float) -> Passage:
        """Return at once for a leader, and for who has nobody to follow; else when the leader's prefix is there.

        Args:
            approach: What the call brings.
            wait_s: Longest wait, in seconds; 0 follows nobody, and may lead.
        """
        until, followed = self._clock.monotonic() + wait_s, None
        while (opening := self._ahead(approach)) is not None:
            left_s = until - self._clock.monotonic()
            if left_s <= 0 or self.waiting >= self._most_waiting or self._in_vain(approach.owner):
                break
            ending = await self._follow(opening, left_s)
            self.waited[ending] += 1
            followed = opening if ending is Waited.OPENED else followed
        return self._beyond(approach, followed)

    def _ahead(self, approach: Approach) -> _Opening | None:
        """Return who leads with the longest prefix that a call could read; None where that is there already, or nobody does."""
        for key in reversed(approach.keys):
            if self._known.get(key, 0.0) > self._clock.monotonic():
                return None
            if (opening := self._openings.get((approach.lane, key))) is not None:
                return opening
        return None

    async def _follow(self, opening: _Opening, left_s: float) -> Waited:
        until = self._clock.monotonic() + left_s
        stand_aside()
        self.waiting += 1
        opening.waiting += 1
        try:
            await self._either(opening.news, left_s)
            if opening.began_at is None:
                return Waited.LEADER_FAILED if opening.news.done() else Waited.TOO_LONG
            ready_at = opening.began_at + (0.0 if opening.ended else self.settle_s(opening.provider))
            if (rest_s := min(ready_at, until) - self._clock.monotonic()) > 0:
                await self._clock.sleep(rest_s)
        finally:
            self.waiting -= 1
            opening.waiting -= 1
        if ready_at > until:
            return Waited.TOO_LONG
        self._open(opening)
        return Waited.OPENED

    async def _either(self, news: "asyncio.Future[None]", seconds: float) -> None:
        """Wait for news, and at most so long."""
        if news.done():
            return
        patience = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((news, patience), return_when=asyncio.FIRST_COMPLETED)
        finally:
            patience.cancel()

    def _beyond(self, approach: Approach, followed: _Opening | None) -> Passage:
        """Let a call pass; it leads with those of its prefixes that nobody has sent."""
        now = self._clock.monotonic()
        unknown = [key for key in approach.keys if self._known.get(key, 0.0) <= now]
        fresh = tuple(key for key in unknown if (approach.lane, key) not in self._openings)
        opening = _Opening(approach, fresh) if fresh else None
        if opening is not None:
            self._openings.update({(approach.lane, key): opening for key in fresh})
        return Passage(self, approach, opening, followed)

    def _began(self, opening: _Opening) -> None:
        if opening.began_at is None:
            opening.began_at = self._clock.monotonic()
            opening.tell()

    def _ended(self, approach: Approach, opening: _Opening | None, followed: _Opening | None, usage: TokenUsage) -> None:
        if followed is not None:
            self._learn(approach.owner, followed, read=usage.cache_read > 0)
        if opening is not None:
            opening.ended = opening.began_at is None
            self._began(opening)
            self._open(opening)
        self._keep(approach.keys, approach.ttl_s)

    def _left(self, opening: _Opening) -> None:
        """Take back what a leader without an answer had begun: the first who waits leads, unless the prefix got there."""
        if opening.began_at is not None:
            self._open(opening)
            return
        self._forget(opening)
        opening.tell()

    def _open(self, opening: _Opening) -> None:
        self._forget(opening)
        self._keep(opening.keys, opening.ttl_s)

    def _forget(self, opening: _Opening) -> None:
        for key in opening.keys:
            if self._openings.get((opening.lane, key)) is opening:
                del self._openings[opening.lane, key]

    def _keep(self, keys: Iterable[_Key], ttl_s: float) -> None:
        until = self._clock.monotonic() + ttl_s
        for key in keys:
            self._known[key] = until
            self._known.move_to_end(key)
        while len(self._known) > self._most_known:
            self._known.popitem(last=False)

    def _learn(self, owner: str, opening: _Opening, *, read: bool) -> None:
        """Learn from the first follower of an opening whether it came too early; after an answer it can't have."""
        if opening.judged:
            return
        opening.judged = True
        self._count_miss(owner, read=read)
        if opening.ended:
            return
        settle_s = self.settle_s(opening.provider)
        later_s = min(settle_s * 2 + SETTLE_STEP_S, LONGEST_SETTLE_S)
        self._settle_s[opening.provider] = settle_s * SETTLE_EASE if read else later_s

    def _count_miss(self, owner: str, *, read: bool) -> None:
        missed = 0 if read else self._misses.get(owner, (0, 0.0))[0] + 1
        self._misses[owner] = (missed, self._clock.monotonic())
        self._misses.move_to_end(owner)
        while len(self._misses) > self._most_known:
            self._misses.popitem(last=False)

    def _in_vain(self, owner: str) -> bool:
        """Tell whether following brought nothing lately: the provider keeps nothing, or says nothing of it."""
        missed, last = self._misses.get(owner, (0, 0.0))
        return missed >= MOST_MISSES and self._clock.monotonic() - last < FUTILE_S
