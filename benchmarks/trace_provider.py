"""A provider's prompt cache as a replay reckons it, block by block, and an oracle that knows the trace's future."""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aigend.types import TokenUsage

from benchmarks.traces import TraceRequest

SHORT_S, LONG_S = 300, 3_600


@dataclass(slots=True)
class _Kept:
    """A block that is kept: since when, when it was used last, and for how long it lives from then on."""

    written: float
    used: float
    ttl_s: int


class TraceProvider:
    """Bills requests of a trace by what earlier ones left.

    Args:
        minimum: Tokens of the shortest prefix that is cached.
    """

    def __init__(self, *, minimum: int) -> None:
        self._minimum = minimum
        self._kept: dict[int, _Kept] = {}

    def call(self, asked: TraceRequest, marks: Mapping[int, int]) -> TokenUsage:
        """Return what a request is billed for.

        Args:
            asked: The request.
            marks: After how many blocks it is marked, and for how many seconds.
        """
        ends, now = asked.ends, asked.time
        count = max(marks, default=0)
        if not count or ends[count - 1] < self._minimum:
            return TokenUsage(input=asked.input_length, output=asked.output_length)
        read = min(count, self.readable(asked))
        if read and ends[read - 1] < self._minimum:
            read = 0
        written = {SHORT_S: 0, LONG_S: 0}
        for number, block in enumerate(asked.hash_ids[:count]):
            if number < read:
                self._kept[block].used = now
                continue
            ttl_s = marks[min(place for place in marks if place > number)]
            written[ttl_s] += ends[number] - (ends[number - 1] if number else 0)
            self._kept[block] = self._write(block, now, ttl_s)
        return TokenUsage(
            input=asked.input_length - ends[count - 1],
            cache_read=ends[read - 1] if read else 0,
            cache_write_5m=written[SHORT_S],
            cache_write_1h=written[LONG_S],
            output=asked.output_length,
        )

    def _write(self, block: int, now: float, ttl_s: int) -> _Kept:
        """Return a block as it is once written; one that is kept already stays readable, and for the longer time of both."""
        kept = self._kept.get(block)
        if kept is None or now - kept.used > kept.ttl_s:
            return _Kept(now, now, ttl_s)
        return _Kept(kept.written, now, max(kept.ttl_s, ttl_s))

    def readable(self, asked: TraceRequest) -> int:
        """Return how many of a request's first blocks an earlier moment left."""
        for number, block in enumerate(asked.hash_ids):
            kept = self._kept.get(block)
            if kept is None or kept.written >= asked.time or asked.time - kept.used > kept.ttl_s:
                return number
        return len(asked.hash_ids)


class Oracle:
    """Knows how far each request of a trace will be read again.

    Args:
        trace: The requests.
        ttl_s: Within how many seconds.
    """

    def __init__(self, trace: Sequence[TraceRequest], *, ttl_s: int) -> None:
        self._trace, self._ttl_s = trace, ttl_s
        self._times: dict[int, list[float]] = {}
        for asked in trace:
            for block in asked.hash_ids:
                self._times.setdefault(block, []).append(asked.time)

    def reach(self, number: int) -> int:
        """Return after how many blocks a request ends that will be read again in time; 0: nothing of it will."""
        asked = self._trace[number]
        for count in range(len(asked.hash_ids), 0, -1):
            times = self._times[asked.hash_ids[count - 1]]
            later = bisect_right(times, asked.time)
            if later < len(times) and times[later] - asked.time <= self._ttl_s:
                return count
        return 0
