"""What the filter before the disk promises."""

import hashlib

from aigend.cache.stores.key_filter import BITS, CAPACITY, KeyFilter
from hypothesis import given
from hypothesis import strategies as st


def digest(number: int) -> bytes:
    """Return the digest of a number."""
    return hashlib.sha256(str(number).encode()).digest()


@given(st.sets(st.binary(min_size=32, max_size=32), max_size=50))
def test_what_was_added_is_never_denied(keys: set[bytes]) -> None:
    """Every key that was added may be held: a wrong no would pay for an answer that is there."""
    known = KeyFilter(keys)
    assert all(known.may_hold([key]) for key in keys)
    assert known.added == len(keys)


def test_what_was_not_added_is_mostly_denied() -> None:
    """At a hundredth of the capacity hardly any unknown key is taken for a known one, and one known key of several is enough."""
    known = KeyFilter(digest(number) for number in range(CAPACITY // 100))
    strange = [digest(-number) for number in range(1, 2_001)]
    assert sum(known.may_hold([key]) for key in strange) <= 2
    assert known.may_hold([strange[0], digest(7)])
    assert CAPACITY * 16 == BITS
