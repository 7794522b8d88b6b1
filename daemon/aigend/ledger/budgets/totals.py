"""Running totals of budget windows, in memory, so that nobody waits for the disk to read them."""

from collections import OrderedDict
from collections.abc import Iterable

from aigend.ledger.budgets.book import BudgetBook, Claim
from aigend.ledger.budgets.windows import WindowRow
from aigend.ledger.entries import BudgetState

MOST_WINDOWS = 4_096


class RunningTotals:
    """The windows changed last, as they stand in the ledger.

    Args:
        limit: How many are remembered; the longest unchanged go first.
    """

    def __init__(self, *, limit: int = MOST_WINDOWS) -> None:
        self.limit = limit
        self._rows: OrderedDict[int, WindowRow] = OrderedDict()
        self._ids: dict[tuple[str, str, str], set[int]] = {}  # of rows, by budget, key and period

    def update(self, rows: Iterable[WindowRow]) -> None:
        """Take over rows as they are durable now."""
        for row in rows:
            self._rows[row.id] = row
            self._rows.move_to_end(row.id)
            self._ids.setdefault((row.budget, row.key, row.period), set()).add(row.id)
        while len(self._rows) > self.limit:
            _, gone = self._rows.popitem(last=False)
            self._forget(gone)

    def spent_nanos(self, claim: Claim, now: float) -> int:
        """Return what is booked in the running window of a claim; 0 where none is remembered."""
        rows = (self._rows[row_id] for row_id in self._ids.get(claim.window_id, ()))
        if claim.period == "session":
            rows = (row for row in rows if row.window == claim.window.name)
        return next((row.spent_nanos for row in rows if row.start_us <= now * 1e6 < row.end_us), 0)

    def states(self, book: BudgetBook, now: float) -> list[BudgetState]:
        """Return the running windows of every budget in the book, used or not, by name; of sessions the one used last first."""
        kept = reversed(self._rows.values())
        rows = [row for row in kept if row.end_us > now * 1e6 and _holds(row, book)]
        rows.sort(key=lambda row: ("", "") if row.period == "session" else (row.key, row.window))
        used = {(row.budget, row.key) for row in rows}
        unused = [untouched(claim) for claim in book.current(now) if (claim.budget, claim.key) not in used]
        return sorted((*(_state(row, book) for row in rows), *unused), key=lambda state: state.budget)

    def _forget(self, row: WindowRow) -> None:
        ids = self._ids[row.budget, row.key, row.period]
        ids.discard(row.id)
        if not ids:
            del self._ids[row.budget, row.key, row.period]


def _holds(row: WindowRow, book: BudgetBook) -> bool:
    """Whether calls can still come to a window: not where its budget has another period or holds for other values by now."""
    budget = book.get(row.budget)
    if budget is None or budget.period != row.period or (row.key and budget.each is None):
        return False
    return bool(row.window) or row.period != "session"


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
        start_time=None if row.reset_time is None else row.start_us / 1e6,
        per_value=book.per_value(row.budget),
    )


def untouched(claim: Claim) -> BudgetState:
    """Return a window in which nothing was spent."""
    return BudgetState(
        budget=claim.budget,
        key=claim.key,
        window=claim.window.name,
        limit_nanos=claim.limit_nanos,
        spent_nanos=0,
        reserved_nanos=0,
        action=claim.action,
        reset_time=claim.window.reset_time,
        start_time=None if claim.window.reset_time is None else claim.window.start_us / 1e6,
        per_value=claim.per_value,
    )
