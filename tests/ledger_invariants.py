"""The invariants of money, checked after every fault: what a provider charged against what the ledger says."""

import contextlib
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from aigend.ledger import schema

_CHARGED = ("settled", "unknown")
_ATTEMPTS = "SELECT request_id, attempt_number, state FROM attempt"
_WINDOWS = """
    SELECT w.budget || ' ' || w.key || ' ' || w.window, w.spent_nanos, w.reserved_nanos,
        coalesce(sum(CASE a.state WHEN 'settled' THEN a.cost_nanos WHEN 'unknown' THEN a.unknown_high_nanos END), 0),
        coalesce(sum(CASE WHEN a.state IN ('reserved', 'sent', 'submitted') THEN a.reserved_nanos END), 0)
    FROM budget_window w LEFT JOIN attempt_window aw ON aw.window_id = w.id LEFT JOIN attempt a ON a.id = aw.attempt_id
    GROUP BY w.id
"""


def check_invariants(ledger_path: Path, truth: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return every breach of I1, I2 and I3; nothing where all hold.

    Args:
        ledger_path: A ledger that was opened again after the fault, so that nothing is left in SENT.
        truth: What the provider charged: `request_id` and, where the call named it, `attempt` (else absent or None).
    """
    with contextlib.closing(schema.connect_reader(ledger_path)) as connection:
        connection.execute("BEGIN")
        return [*_charges(connection, list(truth)), *_counters(connection)]


def _charges(connection: sqlite3.Connection, truth: list[Mapping[str, Any]]) -> list[str]:
    """I1 and I2, by attempt where the truth names attempts, else by how many there are of a request id."""
    rows = connection.execute(_ATTEMPTS).fetchall()
    named = all(charge.get("attempt") is not None for charge in truth)

    def key(request_id: str, number: int) -> tuple[str, int]:
        return (request_id, number if named else 0)

    charges = Counter(key(charge["request_id"], charge.get("attempt") or 0) for charge in truth)
    booked = Counter(key(request_id, number) for request_id, number, state in rows if state in _CHARGED)
    settled = Counter(key(request_id, number) for request_id, number, state in rows if state == "settled")
    found = [f"I1 lost: {where} was charged {n} times, booked {booked[where]}" for where, n in charges.items() if booked[where] < n]
    if named:
        found += [f"I1 twice: {where} is booked {n} times" for where, n in booked.items() if n > 1]
    found += [f"I2: {where} is settled {n} times, charged {charges[where]}" for where, n in settled.items() if n > charges[where]]
    return found


def _counters(connection: sqlite3.Connection) -> list[str]:
    """I3: counters equal rows."""
    return [
        f"I3: window {name} says {spent} spent, {reserved} reserved; its rows {true_spent} and {true_reserved}"
        for name, spent, reserved, true_spent, true_reserved in connection.execute(_WINDOWS)
        if (spent, reserved) != (true_spent, true_reserved)
    ]
