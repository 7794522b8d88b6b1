"""Which keys the store may hold: a look-up for one that it can't hold needs no disk.

A Bloom filter over keys that are digests already. It forgets nothing: when it has filled up, it is learnt anew from the store.
"""

from collections.abc import Iterable, Sequence

BITS = 1 << 23  # one megabyte
CAPACITY = BITS // 16  # keys up to which one look-up in 400 is in vain
_MASK = BITS - 1
_PLACES = ((0, 4), (4, 8), (8, 12), (12, 16))


class KeyFilter:
    """Tells which keys are certainly not there.

    Args:
        keys: What is there.

    Example:
        >>> known = KeyFilter([bytes(32)])
        >>> known.may_hold([bytes(32)]), known.may_hold([bytes(range(32))])
        (True, False)
    """

    def __init__(self, keys: Iterable[bytes] = ()) -> None:
        self._bits = bytearray(BITS // 8)
        self.added = 0
        for key in keys:
            self.add(key)

    def add(self, key: bytes) -> None:
        """Count a key as there."""
        self.added += 1
        for place in _positions(key):
            self._bits[place >> 3] |= 1 << (place & 7)

    def may_hold(self, keys: Sequence[bytes]) -> bool:
        """Return whether one of the keys may be there."""
        bits = self._bits
        return any(all(bits[place >> 3] >> (place & 7) & 1 for place in _positions(key)) for key in keys)


def _positions(key: bytes) -> list[int]:
    return [int.from_bytes(key[start:end], "big") & _MASK for start, end in _PLACES]
