"""Reproducible choices: the same seed gives the same sequence on every machine and Python."""

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

_MASK = (1 << 64) - 1


class Dice:
    """A linear congruential generator; what it needs to be is fast and reproducible, not unpredictable.

    Args:
        seed: Any integer; its low 64 bits count.

    Source:
        Multiplier and increment: Knuth, MMIX.
    """

    def __init__(self, seed: int) -> None:
        self._state = seed & _MASK

    def below(self, bound: int) -> int:
        """Return an integer from 0 to bound - 1."""
        self._state = (self._state * 6364136223846793005 + 1442695040888963407) & _MASK
        return (self._state >> 33) % bound

    def between(self, low: int, high: int) -> int:
        """Return an integer from low to high, both included."""
        return low + self.below(high - low + 1)

    def pick(self, items: Sequence[T]) -> T:
        """Return one of the items."""
        return items[self.below(len(items))]
