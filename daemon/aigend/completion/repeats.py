"""The first level of the hot path: request bytes seen before → where their answer lies and what to account.

Only requests that a parse has shown to take one stable way enter. Whatever may change that way raises the generation, and a record
of an older generation counts for nothing. An account that a record has not met goes the long way once, too.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from aigend.ledger.statistics.hits import HitCell

RECORD_BYTES = 1_000  # a record, its digest, its slot and its first cells, measured and rounded up
CELLS_A_RECORD = 16


@dataclass(frozen=True, slots=True)
class Origin:
    """How a request came in: what makes the same request recognizable without a parse."""

    digest: bytes  # SHA-256 of the request bytes
    account: bytes  # accounting metadata as sent


@dataclass(slots=True)
class Repeat:
    """What to answer when the same bytes come again."""

    generation: int
    key: bytes
    requested_model: str
    suffix: bytes  # what follows the answer in the response, except request id and timings
    saved_nanos: int | None
    cells: dict[bytes, HitCell] = field(default_factory=dict)  # by the accounting metadata

    def add_cell(self, account: bytes, cell: HitCell) -> None:
        """Count further hits of this account in `cell`."""
        if len(self.cells) >= CELLS_A_RECORD:
            self.cells.clear()
        self.cells[account] = cell


class RepeatIndex:
    """Records by (scope, digest of the request bytes), the one remembered longest ago first.

    Args:
        max_bytes: Memory it may take; 0 switches it off.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._records: OrderedDict[tuple[str, bytes], Repeat] = OrderedDict()
        self._capacity = max_bytes // RECORD_BYTES
        self._sighted: dict[bytes, None] = {}  # digests that came once
        self.generation = 0

    def __len__(self) -> int:
        return len(self._records)

    def invalidate(self) -> None:
        """Make all records count for nothing."""
        self.generation += 1
        self._records.clear()

    def sighted(self, digest: bytes) -> bool:
        """Return whether these bytes came before, and take note of them: what comes only once is not worth a record."""
        if digest in self._sighted:
            return True
        if len(self._sighted) >= self._capacity:
            self._sighted.clear()
        self._sighted[digest] = None
        return False

    def find(self, scope: str, digest: bytes) -> Repeat | None:
        """Return the record of these bytes, where it still counts."""
        record = self._records.get((scope, digest))
        return record if record is not None and record.generation == self.generation else None

    def remember(self, scope: str, digest: bytes, record: Repeat) -> None:
        """Keep a record, dropping the one that was remembered longest ago where there is no room."""
        if self._capacity == 0:
            return
        self._records[(scope, digest)] = record
        self._records.move_to_end((scope, digest))
        if len(self._records) > self._capacity:
            self._records.popitem(last=False)
