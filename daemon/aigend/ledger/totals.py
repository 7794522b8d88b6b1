"""Running totals of budget windows, in memory, so that nobody waits for the disk to read them."""

from collections import OrderedDict
from collections.abc import Iterable

from aigend.ledger.budgets import BudgetBook, Claim
from aigend.ledger.entries import BudgetState
from aigend.ledger.windows import WindowRow

MOST_WINDOWS = 4_096


class RunningTotals:
    """The windows changed last, as they stand in the ledger.

    Args:
        limit: How many are remembered; the longest unchanged go first.
    """

    def __init__(self, *, limit: int = MOST_WINDOWS) -> None:
        self.limit = limit
        self._rows: OrderedDict[int, WindowRow] = OrderedDict()

    def update(self, rows: Iterable[WindowRow]) -> None:
        """Take over rows as they are durable now."""
        for row in rows:
            self._rows[row.id] = row
            self._rows.move_to_end(row.id)
        while len(self._rows) > self.limit:
            self._rows.popitem(last=False)

    def states(self, book: BudgetBook, now: float) -> list[BudgetState]:
        """Return the running windows of every budget in the book, used or not, by name."""
        rows = [row for row in self._rows.values() if row.end_us > now * 1e6 and row.budget in book.limits]
        used = {(row.budget, row.key) for row in rows}
        unused = [_untouched(claim) for claim in book.current(now) if (claim.budget, claim.key) not in used]
        states = [*(_state(row, book) for row in rows), *unused]
        return sorted(states, key=lambda state: (state.budget, state.key, state.window))


def _state(row: WindowRow, book: BudgetBook) -> BudgetState:
    return BudgetState(
        budget=row.budget,
        key=row.key,
        window=row.window,
        limit_nanos=book.limits[row.budget],
        spent_nanos=row.spent_nanos,
        reserved_nanos=row.reserved_nanos,
        action=book.action_of(row.budget),
        reset_time=row.reset_time,
    )


def _untouched(claim: Claim) -> BudgetState:
    return BudgetState(
        budget=claim.budget,
        key=claim.key,
        window=claim.window.name,
        limit_nanos=claim.limit_nanos,
        spent_nanos=0,
        reserved_nanos=0,
        action=claim.action,
        reset_time=claim.window.reset_time,
    )
