"""Whether a prefix is marked for a provider's prompt cache: one small interface and three ways to decide.

A mark makes the first call dearer (a write) and later ones cheaper (reads), so it pays only for what is read again in time. Nothing
here knows prices, wire formats or settings; what becomes of a decision is the matter of `completion/prompt_plans`.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aigend.scheduling.prefixes import Prefix, Prefixes
from aigend.types import TokenUsage

LOOKBACK_BLOCKS = 20  # at a mark, that one included, a provider looks for what it keeps
MOST_SIGHTS = 32_768


@dataclass(frozen=True, slots=True)
class Decision:
    """Which prefixes shall be marked, from the shortest to the longest, and why."""

    marks: tuple[Prefix, ...]
    reason: str


class Marking(Protocol):
    """A way to decide; it may learn from what its decisions came to."""

    def decide(self, prefixes: Prefixes, *, owner: str, ttl_s: int, now: float) -> Decision:
        """Return what shall be marked; nothing is remembered of the question.

        Args:
            prefixes: What could be marked.
            owner: Scope, provider and model, whose cache it is.
            ttl_s: How long the provider would keep it, in seconds.
            now: Monotonic clock, in seconds.
        """
        ...

    def observe(self, prefix: Prefix, usage: TokenUsage, *, owner: str, now: float) -> None:
        """Learn what a settled call read and wrote whose longest prefix this was.

        Args:
            prefix: The longest prefix that was marked; where none was, the longest there is.
            usage: What the provider counted.
            owner: As it was given to `decide`.
            now: Monotonic clock, in seconds.
        """
        ...


class Never:
    """Marks nothing."""

    def decide(self, prefixes: Prefixes, *, owner: str, ttl_s: int, now: float) -> Decision:
        """Return no marks."""
        del prefixes, owner, ttl_s, now
        return Decision((), "nothing is marked by this setting")

    def observe(self, prefix: Prefix, usage: TokenUsage, *, owner: str, now: float) -> None:
        """Learn nothing."""


class Always:
    """Marks everything that may be marked: worth it where nearly every prefix is sent again in time."""

    def decide(self, prefixes: Prefixes, *, owner: str, ttl_s: int, now: float) -> Decision:
        """Return all ends of the stable prefix and the last turn."""
        del owner, ttl_s, now
        before = prefixes.earlier[-1] if prefixes.earlier else None
        return Decision((*prefixes.stable, *_last_turn(prefixes.turn, before)), "everything is marked by this setting")

    def observe(self, prefix: Prefix, usage: TokenUsage, *, owner: str, now: float) -> None:
        """Learn nothing."""


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
    """Marks a prefix that was sent before, as recently as the provider would have kept it.

    The last turn of a conversation is always new. It is marked where an earlier turn of the same conversation was sent before.

    Args:
        sights: What was sent.
    """

    def __init__(self, sights: Sights) -> None:
        self._sights = sights

    def decide(self, prefixes: Prefixes, *, owner: str, ttl_s: int, now: float) -> Decision:
        """Return what was seen before, and the last turn of a conversation that goes on."""

        def age_s(prefix: Prefix) -> float | None:
            age = self._sights.age_s(prefix, owner=owner, now=now)
            return age if age is not None and age <= ttl_s else None

        stable = [prefix for prefix in prefixes.stable if age_s(prefix) is not None]
        turns = (*prefixes.earlier, *([prefixes.turn] if prefixes.turn else ()))
        before = next((prefix for prefix in reversed(turns) if age_s(prefix) is not None), None)
        marks = (*stable, *(_last_turn(prefixes.turn, before) if before is not None else ()))
        if not marks:
            return Decision((), f"no prefix was sent in the last {ttl_s} s")
        seen = before or stable[-1]
        return Decision(marks, f"a prefix of about {seen.tokens} tokens was sent {age_s(seen) or 0.0:.0f} s ago")

    def observe(self, prefix: Prefix, usage: TokenUsage, *, owner: str, now: float) -> None:
        """Count the prefix as sent when the call ended: until then it may have been asked for in vain."""
        del usage
        self._sights.note((prefix,), owner=owner, now=now)


def _last_turn(turn: Prefix | None, before: Prefix | None) -> tuple[Prefix, ...]:
    """Return the last turn, with the one before it where that is too far back for the provider to find it by itself."""
    if turn is None:
        return ()
    far = before is not None and turn.blocks - before.blocks >= LOOKBACK_BLOCKS
    return (before, turn) if far and before is not None else (turn,)
