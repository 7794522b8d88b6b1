"""SQL of budgets that somebody set, and of pauses; run by the writer's thread, but for the readings.

What a definition means is the matter of `budgets`; a pause has no window, because it ends only when somebody ends it.
"""

import sqlite3
from dataclasses import dataclass

from aigend.config import BudgetSettings
from aigend.ledger.budgets.book import threshold_passed

_SET = (
    "INSERT INTO budget (name, definition, create_us, update_us) VALUES (?, ?, ?, ?)"
    " ON CONFLICT (name) DO UPDATE SET definition = excluded.definition, update_us = excluded.update_us"
    " RETURNING definition, create_us, update_us"
)
_RUNNING = "SELECT id, spent_nanos, announced_percent FROM budget_window WHERE budget = ? AND end_us > ? AND announced_percent > 0"
_PAUSED = "SELECT since_us FROM budget_pause WHERE budget = ? AND (whole = 1 OR key = ?) LIMIT 1"


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBudget:
    """A budget that was set, as it is kept."""

    budget: BudgetSettings
    create_time: float  # wall clock
    update_time: float


def load(connection: sqlite3.Connection) -> list[StoredBudget]:
    """Return all budgets that were set, by name."""
    rows = connection.execute("SELECT definition, create_us, update_us FROM budget ORDER BY name")
    return [_stored(*row) for row in rows.fetchall()]


def put(connection: sqlite3.Connection, budget: BudgetSettings, *, now_us: int) -> StoredBudget:
    """Keep a budget in the place of the one of its name, and return what is kept."""
    values = (budget.name, budget.model_dump_json(exclude_defaults=True), now_us, now_us)
    return _stored(*connection.execute(_SET, values).fetchall()[0])


def delete(connection: sqlite3.Connection, name: str) -> bool:
    """Forget a budget and its pauses; return whether there was one."""
    connection.execute("DELETE FROM budget_pause WHERE budget = ?", (name,))
    return connection.execute("DELETE FROM budget WHERE name = ?", (name,)).rowcount == 1


def tell_again(connection: sqlite3.Connection, name: str, *, limit_nanos: int, now_us: int) -> None:
    """Let the thresholds of another limit be told in windows that run, where spending lies below them."""
    for window_id, spent, announced in connection.execute(_RUNNING, (name, now_us)).fetchall():
        if (passed := threshold_passed(spent, limit_nanos)) < announced:
            connection.execute("UPDATE budget_window SET announced_percent = ? WHERE id = ?", (passed, window_id))


class Pauses(frozenset[tuple[str, str, bool]]):
    """Which budgets are paused: by name and value, or as a whole."""

    __slots__ = ()

    def holds(self, budget: str, key: str) -> bool:
        """Return whether paid calls under a budget with this value are refused."""
        return (budget, "", True) in self or (budget, key, False) in self


def pauses(connection: sqlite3.Connection) -> Pauses:
    """Return which budgets are paused."""
    rows = connection.execute("SELECT budget, key, whole FROM budget_pause").fetchall()
    return Pauses((budget, key, bool(whole)) for budget, key, whole in rows)


def paused_since(connection: sqlite3.Connection, budget: str, key: str) -> int | None:
    """Return since when a budget is paused for a value, itself or as a whole; None where it is not."""
    row = connection.execute(_PAUSED, (budget, key)).fetchone()
    return None if row is None else int(row[0])


def pause(connection: sqlite3.Connection, budget: str, key: str, *, whole: bool, now_us: int) -> bool:
    """Pause a budget for a value, or as a whole; return whether it was not paused so before."""
    values = (budget, key, int(whole), now_us)
    return connection.execute("INSERT OR IGNORE INTO budget_pause VALUES (?, ?, ?, ?)", values).rowcount == 1


def resume(connection: sqlite3.Connection, budget: str, key: str) -> int:
    """End the pause of a value, or with an empty key all pauses of a budget; return how many ended."""
    return connection.execute("DELETE FROM budget_pause WHERE budget = ? AND ? IN ('', key)", (budget, key)).rowcount


def _stored(definition: str, create_us: int, update_us: int) -> StoredBudget:
    budget = BudgetSettings.model_validate_json(definition)
    return StoredBudget(budget=budget, create_time=create_us / 1e6, update_time=update_us / 1e6)
