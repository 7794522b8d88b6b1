"""What became of one request id, out of the ledger's rows: its attempts, their charges, and the windows in which they count."""

import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aigend.ledger.entries import AttemptState
from aigend.ledger.entries_store import LedgerEntry, select_entries
from aigend.ledger.prices.pricing import PriceEntry, entry_id_of, price_of, processing_of
from aigend.ledger.reading import one_moment

MOST_ATTEMPTS = 1_000
_OPERATION = """
    SELECT o.id, o.create_us, o.attempt_id, a.file FROM operation o LEFT JOIN archive a ON a.id = o.archive_id
    WHERE o.scope = ? AND o.request_id = ?
"""
_REST = """
    SELECT id, requested_model, reserved_nanos, total_us, reason, unknown_low_nanos, unknown_high_nanos, prefix, read_prefix,
        write_premium_nanos, decided, corrected_with
    FROM attempt WHERE operation_id = ? ORDER BY attempt_number LIMIT ?
"""
_WINDOWS = """
    SELECT w.budget, w.key, w.window, w.spent_nanos, w.reserved_nanos
    FROM attempt_window x JOIN budget_window w ON w.id = x.window_id WHERE x.attempt_id = ? ORDER BY w.budget, w.key, w.window
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """A budget's window in which an attempt counts, in nano-dollars."""

    budget: str
    key: str  # the value that it holds for; empty: all
    window: str
    spent_nanos: int
    reserved_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedAttempt:
    """One attempt with all that its row holds."""

    entry: LedgerEntry
    held_nanos: int  # before it was sent
    total_us: int | None
    reason: str
    unknown_low_nanos: int | None
    unknown_high_nanos: int | None
    prefix: str
    read_prefix: str
    write_premium_nanos: int | None
    decided: str
    corrected_with: str  # price entry that corrected its cost; empty: none did
    windows: tuple[Counted, ...]

    @property
    def priced_with(self) -> str:
        """The price entry that its cost stands on today; empty: none."""
        return self.corrected_with or self.entry.cost.price_entry_id


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplainedOperation:
    """What the ledger knows of one request id."""

    create_time: float
    requested_model: str
    attempts: tuple[ExplainedAttempt, ...]  # none where they are archived
    archive_file: str  # empty: they are here

    @property
    def state(self) -> AttemptState:
        """Where its last attempt stands; of those archived only settled ones are remembered."""
        return self.attempts[-1].entry.state if self.attempts else AttemptState.SETTLED


def find_operation(connection: sqlite3.Connection, scope: str, request_id: str) -> ExplainedOperation | None:
    """Return what is known of a request id, as of one moment; None where nothing is."""
    with one_moment(connection):
        found = connection.execute(_OPERATION, (scope, request_id)).fetchone()
        if found is None:
            return None
        operation_id, create_us, _, file = found
        by_id = {"operation": operation_id, "scope": scope, "limit": MOST_ATTEMPTS}
        entries = select_entries(connection, " AND a.operation_id = :operation", by_id, order="a.attempt_number")
        rest = {row[0]: row for row in connection.execute(_REST, (operation_id, MOST_ATTEMPTS))}
        attempts = [_attempt(connection, entry, rest[int(entry.id)]) for entry in entries]
    requested = next((row[1] for row in rest.values()), "")
    return ExplainedOperation(
        create_time=create_us / 1e6,
        requested_model=requested,
        attempts=tuple(attempts),
        archive_file="" if attempts else file or "",
    )


def entry_called(prices: Sequence[PriceEntry], entry_id: str) -> PriceEntry | None:
    """Return the price entry of that name among those known of a model, cheaper kinds included; None where it is gone."""
    processing = processing_of(entry_id)
    return next((price_of(price, processing) for price in prices if entry_id_of(price, processing) == entry_id), None)


def _attempt(connection: sqlite3.Connection, entry: LedgerEntry, row: tuple[Any, ...]) -> ExplainedAttempt:
    values: Mapping[str, Any] = dict(zip(_NAMES, row[2:], strict=True))
    windows = tuple(Counted(**dict(zip(_COUNTED, window, strict=True))) for window in connection.execute(_WINDOWS, (row[0],)))
    return ExplainedAttempt(entry=entry, windows=windows, **values)


_NAMES = (
    *("held_nanos", "total_us", "reason", "unknown_low_nanos", "unknown_high_nanos", "prefix", "read_prefix"),
    *("write_premium_nanos", "decided", "corrected_with"),
)
_COUNTED = ("budget", "key", "window", "spent_nanos", "reserved_nanos")
