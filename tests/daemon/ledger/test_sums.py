"""Sums packed into one integer: read back, added up and taken apart exactly, in one spelling."""

import contextlib
import sqlite3

from aigend.ledger.statistics import sums
from hypothesis import given
from hypothesis import strategies as st

counts = st.integers(0, 10**15)
row = st.fixed_dictionaries(
    {
        name: st.integers(-(10**15), 10**15) if name.startswith("saved_") and name.endswith("_nanos") else counts
        for name in sums.MEASURES
    }
)


def _columns(one):
    return [one[name] for name in sums.MEASURES]


@given(row)
def test_what_is_packed_is_read_back(one):
    """Sums are stored and read back as they were, those below nothing too."""
    stored = sums.packed(sums.of(one))
    assert sums.values(sums.unpacked(stored)) == one
    assert sums.calls(sums.unpacked(stored)) == one["calls"]


@given(row, row)
def test_adding_packed_sums_adds_each(one, other):
    """The sum of packed sums holds the sum of each measure, and less one part is the other, byte for byte."""
    total = sums.unpacked(sums.packed(sums.of(one))) + sums.of(other)
    assert sums.values(total) == {name: one[name] + other[name] for name in sums.MEASURES}
    assert sums.packed(total - sums.of(other)) == sums.packed(sums.of(one))


@given(row, row)
def test_sql_packs_adds_and_takes_away_alike(one, other):
    """The functions that statements use give the bytes that Python gives."""
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        sums.register(connection)
        pack = f"SELECT packed_sums({', '.join('?' * len(sums.MEASURES))})"
        first, second = (connection.execute(pack, _columns(values)).fetchone()[0] for values in (one, other))
        added, less, total = connection.execute(
            "SELECT sums_added(?1, ?2), sums_less(sums_added(?1, ?2), ?2),"
            " (SELECT sums_total(c) FROM (SELECT ?1 AS c UNION ALL SELECT ?2))",
            (first, second),
        ).fetchone()
    assert (first, second) == (sums.packed(sums.of(one)), sums.packed(sums.of(other)))
    assert added == total == sums.packed(sums.of(one) + sums.of(other))
    assert less == first


def test_nothing_is_stored_as_nothing():
    """A row without any sum takes no bytes."""
    assert (sums.packed(0), sums.unpacked(b""), sums.unpacked(None)) == (b"", 0, 0)
    assert set(sums.values(0).values()) == {0}
