"""What was decided about prompt caches lately, and why: rows that people and `ExplainCompletion` can look at.

A row holds digests, counts and amounts, nothing of a text. The latest rows are kept in memory.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

MOST_ROWS = 4_096
DIGEST_DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionRow:
    """One decision about one request on one route."""

    number: int  # counts up
    time: float  # wall clock, seconds
    scope: str
    request_id: str
    provider: str
    model: str
    service: str
    decision: str  # way to decide, as the settings spell it; `caller` for the caller's own marks
    prefix: str  # hexadecimal digits of the longest prefix that was marked; where none was, of the longest there is
    tokens: int  # of that prefix, about
    mark_count: int  # 0: nothing was marked
    ttl_s: int  # the longest for which something was marked; 0: nothing was
    reason: str
    expected_gain_nanos: int  # 0 where nothing was reckoned
    premium_nanos: int  # what writing costs above sending, expected


class Decisions:
    """Keeps the latest rows.

    Args:
        most: How many.
    """

    def __init__(self, *, most: int = MOST_ROWS) -> None:
        self._rows: deque[DecisionRow] = deque(maxlen=most)
        self._by_request: dict[tuple[str, str], DecisionRow] = {}
        self._by_prefix: dict[tuple[str, str], DecisionRow] = {}
        self.count = 0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: DecisionRow) -> None:
        """Keep a row; the oldest one goes where there are too many."""
        if len(self._rows) == self._rows.maxlen:
            self._forget(self._rows[0])
        self._rows.append(row)
        self.count = row.number
        self._by_request[row.scope, row.request_id] = row
        self._by_prefix[row.scope, row.prefix] = row

    def latest(self, scope: str, *, before: int | None = None) -> Iterator[DecisionRow]:
        """Yield the rows of a scope, the latest first.

        Args:
            scope: Whose.
            before: Only rows with a smaller number; None is all.
        """
        for row in reversed(self._rows):
            if row.scope == scope and (before is None or row.number < before):
                yield row

    def of(self, scope: str, *, request_id: str = "", prefix: str = "") -> DecisionRow | None:
        """Return the latest row of a request, or of a prefix; None where there is none any more."""
        if request_id:
            return self._by_request.get((scope, request_id))
        return self._by_prefix.get((scope, prefix))

    def _forget(self, row: DecisionRow) -> None:
        for index, key in ((self._by_request, (row.scope, row.request_id)), (self._by_prefix, (row.scope, row.prefix))):
            if index.get(key) is row:
                del index[key]
