"""Whether a prefix is marked for a provider's prompt cache: one small interface and three ways to decide by rule.

A mark makes the first call dearer (a write) and later ones cheaper (reads), so it pays only for what is read again in time; that is
weighed in `adaptive`. Nothing here knows wire formats or settings; what becomes of a decision is the matter of
`completion/prompt_cache/plans`.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aigend.scheduling.prompt_cache.prefix_tree import PrefixTree, names
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes

LOOKBACK_BLOCKS = 20  # at a mark, that one included, a provider looks for what it keeps
MOST_SIGHTS = 32_768


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPrices:
    """What a token of a prompt costs, in nano-dollars."""

    input: float
    read: float
    write_5m: float
    write_1h: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What a decision stands on besides the request itself."""

    owner: str  # scope, provider and model, whose cache it is
    service: str = ""
    ttl_s: int = 300  # how long what is marked shall be kept
    may_take_an_hour: bool = False  # whether a way to decide may choose an hour by itself
    minimum: int = 0  # tokens of the shortest prefix that the model keeps
    prices: TokenPrices | None = None  # None where no price is known


@dataclass(frozen=True, slots=True)
class Mark:
    """The end of a prefix that shall be kept, and for how long."""

    prefix: Prefix
    ttl_s: int


@dataclass(frozen=True, slots=True)
class Decision:
    """Which prefixes shall be marked, from the shortest to the longest, and why."""

    marks: tuple[Mark, ...]
    reason: str
    gain_nanos: int = 0  # expected; 0 where nothing was reckoned
    premium_nanos: int = 0  # what writing costs above sending, expected


class Marking(Protocol):
    """A way to decide; it may learn from what its decisions came to."""

    def decide(self, prefixes: Prefixes, terms: Terms, *, now: float) -> Decision:
        """Return what shall be marked; nothing is remembered of the question.

        Args:
            prefixes: What could be marked.
            terms: What the decision stands on.
            now: Clock, in seconds.
        """
        ...


class Never:
    """Marks nothing."""

    def decide(self, prefixes: Prefixes, terms: Terms, *, now: float) -> Decision:
        """Return no marks."""
        del prefixes, terms, now
        return Decision((), "nothing is marked by this setting")


class Always:
    """Marks everything that may be marked: worth it where nearly every prefix is sent again in time."""

    def decide(self, prefixes: Prefixes, terms: Terms, *, now: float) -> Decision:
        """Return all ends of the stable prefix and the last turn."""
        del now
        before = prefixes.earlier[-1] if prefixes.earlier else None
        marked = (*prefixes.stable, *_last_turn(prefixes.turn, before))
        return Decision(_marks(marked, terms), "everything is marked by this setting")


class Sights:
    """Remembers which prefixes were sent lately, and how long the provider keeps them; the longest unused goes first.

    Args:
        most: How many are remembered.
    """

    def __init__(self, *, most: int = MOST_SIGHTS) -> None:
        self._most = most
        self._seen: OrderedDict[tuple[str, bytes], tuple[float, float]] = OrderedDict()  # last sent, kept until

    def __len__(self) -> int:
        return len(self._seen)

    def note(self, prefixes: Iterable[Prefix], *, owner: str, now: float) -> None:
        """Remember that these are being sent."""
        for prefix in prefixes:
            self._put((owner, prefix.digest), now, self._seen.get((owner, prefix.digest), (0.0, 0.0))[1])

    def keep(self, prefixes: Iterable[Prefix], *, owner: str, now: float, ttl_s: int) -> None:
        """Remember that the provider keeps these from now on."""
        for prefix in prefixes:
            self._put((owner, prefix.digest), now, now + ttl_s)

    def age_s(self, prefix: Prefix, *, owner: str, now: float) -> float | None:
        """Return how long ago a prefix was last sent, in seconds; None where that is not known."""
        found = self._seen.get((owner, prefix.digest))
        return now - found[0] if found is not None else None

    def kept(self, prefix: Prefix, *, owner: str, now: float) -> bool:
        """Tell whether the provider is expected to keep a prefix still."""
        found = self._seen.get((owner, prefix.digest))
        return found is not None and now < found[1]

    def _put(self, name: tuple[str, bytes], sent: float, kept_until: float) -> None:
        self._seen[name] = (sent, kept_until)
        self._seen.move_to_end(name)
        if len(self._seen) > self._most:
            self._seen.popitem(last=False)


class SecondSight:
    """Marks what was sent before, as far as it is remembered.

    The last turn of a conversation is always new. It is marked where an earlier turn of the same conversation was sent before.

    Args:
        sights: What was sent.
        tree: How far requests were sent before, part by part.
    """

    def __init__(self, sights: Sights, tree: PrefixTree | None = None) -> None:
        self._sights = sights
        self._tree = tree if tree is not None else PrefixTree()

    def decide(self, prefixes: Prefixes, terms: Terms, *, now: float) -> Decision:
        """Return what was seen before, and the last turn of a conversation that goes on."""

        def age_s(prefix: Prefix) -> float | None:
            return self._sights.age_s(prefix, owner=terms.owner, now=now)

        stable = [prefix for prefix in prefixes.stable if age_s(prefix) is not None]
        turns = (*prefixes.earlier, *([prefixes.turn] if prefixes.turn else ()))
        before = next((prefix for prefix in reversed(turns) if age_s(prefix) is not None), None)
        marked = [*stable, *(_last_turn(prefixes.turn, before) if before is not None else ())]
        known = self._tree.way(terms.owner, names(prefixes.every)).known
        if known and (not marked or prefixes.every[known - 1].blocks > marked[-1].blocks):
            marked.append(prefixes.every[known - 1])
        if not marked:
            return Decision((), "no prefix of it was sent before")
        seen = before or marked[-1]
        return Decision(_marks(marked, terms), f"a prefix of about {seen.tokens} tokens was sent before")


def _marks(marked: Iterable[Prefix], terms: Terms) -> tuple[Mark, ...]:
    return tuple(Mark(prefix, terms.ttl_s) for prefix in marked)


def _last_turn(turn: Prefix | None, before: Prefix | None) -> tuple[Prefix, ...]:
    """Return the last turn, with the one before it where that is too far back for the provider to find it by itself."""
    if turn is None:
        return ()
    far = before is not None and turn.blocks - before.blocks >= LOOKBACK_BLOCKS
    return (before, turn) if far and before is not None else (turn,)
