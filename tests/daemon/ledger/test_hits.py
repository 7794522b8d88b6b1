"""Counters of answers that cost nothing."""

import gc
import timeit

from aigend.ledger.statistics.hits import RING_SIZE, HitCounters, HitKey
from aigend.ledger.statistics.latency import bucket_of
from aigend.types import CacheOutcome, SavingsCause
from hypothesis import given
from hypothesis import strategies as st

MINUTE = 60.0


def key(session: str = "s") -> HitKey:
    """Return what a hit of that session is counted by."""
    return HitKey("me", "", session, "", "", "{}", "", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)


def test_call_is_counted_in_its_minute():
    """Calls on both sides of a minute's end are told apart exactly."""
    counters = HitCounters()
    cell = counters.cell(key())
    cell.add(59.999, 5, 10)
    cell.add(60.0, 7, 10)
    cell.add(60.5, None, 30)
    taken = counters.take()
    assert {
        minute: (counted.count, counted.saved_nanos, counted.saved_unknown_count) for (_, minute), counted in taken.items()
    } == {
        0: (1, 5, 0),
        1: (2, 7, 1),
    }
    assert taken[key(), 1].latency_us == 40
    assert taken[key(), 1].histogram == {bucket_of(10): 1, bucket_of(30): 1}
    assert counters.take() == {}


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans()), max_size=60))
def test_nothing_is_lost_or_counted_twice(calls):
    """Whatever the minutes and however often the counts are taken, the sum is the number of calls."""
    counters = HitCounters()
    cells = [counters.cell(key("a")), counters.cell(key("b"))]
    counted = 0
    for now, take in calls:
        cells[now % 2].add(float(now), 1, 5)
        if take:
            counted += sum(found.count for found in counters.take().values())
    counted += sum(found.count for found in counters.take().values())
    assert counted == len(calls)


def test_cell_stays_valid_and_an_idle_one_is_forgotten():
    """A cell that somebody holds counts for ever; one that nobody holds costs no memory once it is written."""
    counters = HitCounters()
    held = counters.cell(key())
    counters.cell(key("gone")).add(1.0, 1, 1)
    assert len(counters.take()) == 1
    gc.collect()
    assert len(counters._cells) == 1
    assert counters.cell(key()) is held
    held.add(1.0, 1, 1)
    assert counters.take()[key(), 0].count == 1


def test_what_could_not_be_written_is_kept():
    """A failed flush adds its counts to those of the next."""
    counters = HitCounters()
    cell = counters.cell(key())
    cell.add(1.0, 3, 1)
    for (kept, minute), counted in counters.take().items():
        counters.keep(kept, minute, counted)
    cell.add(2.0, 3, 1)
    assert counters.take()[key(), 0].count == 2


def test_latency_beyond_the_last_bucket_is_counted():
    """A call of a day is a call."""
    counters = HitCounters()
    counters.cell(key()).add(1.0, 0, 2**50)
    assert sum(counters.take()[key(), 0].histogram.values()) == 1


def test_last_calls_are_bounded_and_in_order():
    """The ring holds the last calls one by one and nothing older."""
    counters = HitCounters()
    cell = counters.cell(key())
    for number in range(RING_SIZE + 10):
        cell.add(1.0, number, 1)
    last = counters.last_calls()
    assert len(last) == RING_SIZE
    assert (last[0].saved_nanos, last[-1].saved_nanos) == (10, RING_SIZE + 9)


def test_counting_takes_about_a_microsecond():
    """A hit may cost 25 µs in all, so counting it must not cost 3 of them, even on a busy machine."""
    cell = HitCounters().cell(key())
    best = min(timeit.repeat(lambda: cell.add(1_700_000_000.5, 1_200, 87), number=2_000, repeat=20)) / 2_000
    assert best < 3e-6
