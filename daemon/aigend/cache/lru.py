"""Which go first when there is no room: sizes in, victims out. Pure bookkeeping; whoever owns the bytes does the deleting."""

from collections import OrderedDict
from collections.abc import Hashable, Iterable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


def victims(oldest_first: Iterable[tuple[K, int]], *, excess: int) -> list[K]:
    """Return the least recently used that must go so that `excess` bytes become free; all of them where that is too few.

    Example:
        >>> victims([("a", 10), ("b", 10), ("c", 10)], excess=11)
        ['a', 'b']
    """
    chosen: list[K] = []
    for key, size in oldest_first:
        if excess <= 0:
            break
        chosen.append(key)
        excess -= size
    return chosen


class LruSizes(Generic[K]):
    """Sizes in the order of their use, and their sum.

    Args:
        max_bytes: What the sum may reach.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._sizes: OrderedDict[K, int] = OrderedDict()
        self.max_bytes = max_bytes
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    def __iter__(self) -> Iterator[K]:
        return iter(self._sizes)

    def put(self, key: K, size: int) -> list[K]:
        """Count a key as used last and return who must go, itself where it would fill more than all; they are counted no more."""
        self.drop(key)
        if size > self.max_bytes:
            return [key]
        self._sizes[key] = size
        self.size_bytes += size
        gone = victims(self._sizes.items(), excess=self.size_bytes - self.max_bytes)
        for victim in gone:
            self.drop(victim)
        return gone

    def touch(self, key: K) -> None:
        """Count a key as used last."""
        self._sizes.move_to_end(key)

    def drop(self, key: K) -> None:
        """Count a key no more; an unknown one is no mistake."""
        self.size_bytes -= self._sizes.pop(key, 0)
