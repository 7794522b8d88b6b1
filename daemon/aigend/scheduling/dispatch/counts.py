"""What dispatching to one provider has come to: plain numbers that an exporter reads."""

from collections import defaultdict

from aigend.telemetry.instruments import DurationBuckets

MOST_SIZES = 1_000


class DispatchCounts:
    """Counts of one provider since the start.

    Attributes:
        waits: How long calls waited for a slot; those that did not wait are in it with 0.
        batches: How many batches left, by their size.
        fallbacks: Calls that left singly because their batch could not go together.
        refused: Calls that were refused, by why: "queue", "share", "displaced", "deadline" or "rate".
    """

    __slots__ = ("_at_once", "_waits", "batches", "fallbacks", "refused")

    def __init__(self) -> None:
        self._at_once = 0
        self._waits = DurationBuckets()
        self.batches: defaultdict[int, int] = defaultdict(int)
        self.fallbacks = 0
        self.refused: defaultdict[str, int] = defaultdict(int)

    def went_at_once(self) -> None:
        """Count a call that did not wait."""
        self._at_once += 1

    def waited(self, seconds: float) -> None:
        """Count a call that waited."""
        self._waits.add(int(seconds * 1e6))

    def left(self, size: int) -> None:
        """Count a batch that left."""
        self.batches[min(size, MOST_SIZES)] += 1

    @property
    def waits(self) -> DurationBuckets:
        """All waits."""
        whole = DurationBuckets()
        whole.counts = [self._waits.counts[0] + self._at_once, *self._waits.counts[1:]]
        whole.total_us = self._waits.total_us
        return whole

    def sizes(self) -> dict[int, int]:
        """Return how many batches left, by their size; a call that went at once is one of its own."""
        return {**self.batches, 1: self.batches.get(1, 0) + self._at_once}
