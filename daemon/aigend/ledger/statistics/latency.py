"""Buckets of latency that hits and attempts share, so that their percentiles can be added up."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

BUCKETS_PER_DOUBLING = 4  # each bucket ends at most 19 % above its beginning
LARGEST_US = 2**36  # 19 hours; what takes longer lands in the last bucket
BOUNDS: tuple[int, ...] = tuple(
    sorted({round(2 ** (step / BUCKETS_PER_DOUBLING)) for step in range(36 * BUCKETS_PER_DOUBLING + 1)})
)
BUCKET_COUNT = len(BOUNDS)


def bucket_of(latency_us: int) -> int:
    """Return the index of the bucket that a latency falls into; negative ones count as nothing.

    Example:
        >>> BOUNDS[bucket_of(1_000)]
        1024
    """
    return min(bisect_left(BOUNDS, latency_us), BUCKET_COUNT - 1)


def percentile(counts: Mapping[int, int] | Sequence[int], fraction: float) -> int | None:
    """Return the upper bound, in microseconds, of the bucket below which that share of calls lies; None without calls.

    Args:
        counts: Calls by bucket index.
        fraction: 0 to 1, such as 0.99.

    Example:
        >>> percentile({bucket_of(100): 99, bucket_of(90_000): 1}, 0.5)
        108
    """
    return percentiles(counts, fraction)[0]


def percentiles(counts: Mapping[int, int] | Sequence[int], *fractions: float) -> list[int | None]:
    """Return what `percentile` says to each of several fractions, which rise."""
    pairs = sorted(counts.items()) if isinstance(counts, Mapping) else list(enumerate(counts))
    total = sum(count for _, count in pairs)
    found: list[int | None] = []
    reached = 0
    for index, count in pairs:
        reached += count
        while count and len(found) < len(fractions) and reached >= fractions[len(found)] * total:
            found.append(BOUNDS[index])
    return found + [None] * (len(fractions) - len(found))
