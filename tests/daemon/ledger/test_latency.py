"""Buckets of latency."""

from aigend.ledger.statistics.latency import BOUNDS, BUCKET_COUNT, bucket_of, percentile
from hypothesis import given
from hypothesis import strategies as st


@given(st.integers(min_value=20, max_value=BOUNDS[-1]))
def test_bucket_ends_at_most_19_percent_above(latency):
    """A percentile read off a bucket is at most 19 % too high, and never too low."""
    bound = BOUNDS[bucket_of(latency)]
    assert latency <= bound <= latency * 1.19 + 1


def test_extremes_land_in_the_outermost_buckets():
    """No latency is out of range."""
    assert bucket_of(-5) == bucket_of(0) == 0
    assert bucket_of(2**60) == BUCKET_COUNT - 1


def test_percentiles_of_sequences_and_mappings_agree():
    """Counts may come as a list or as a sparse mapping."""
    counts = [0] * BUCKET_COUNT
    counts[10], counts[40] = 90, 10
    assert percentile(counts, 0.5) == percentile({40: 10, 10: 90}, 0.5) == BOUNDS[10]
    assert percentile(counts, 0.99) == BOUNDS[40]
    assert percentile({}, 0.5) is None
