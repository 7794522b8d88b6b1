"""SQL of alerts: what budgets have told, kept so that nothing is told twice and everybody can read it later."""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

_COLUMNS = "id, kind, budget, key, window, percent, limit_nanos, spent_nanos, text, create_us"
_FIELDS = tuple(_COLUMNS.split(", "))
_INSERT = (
    "INSERT INTO alert (kind, budget, key, window, percent, limit_nanos, spent_nanos, text, create_us)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_BEFORE = f"SELECT {_COLUMNS} FROM alert WHERE id < ? AND ? IN ('', budget) ORDER BY id DESC LIMIT ?"  # noqa: S608 - constants only
_AFTER = f"SELECT {_COLUMNS} FROM alert WHERE id > ? AND ? IN ('', budget) ORDER BY id LIMIT ?"  # noqa: S608 - constants only
NEWEST = 2**63 - 1


class AlertKind(StrEnum):
    """What an alert tells."""

    THRESHOLD = "threshold"  # spending passed a share of the limit
    PAUSED = "paused"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a budget has told."""

    kind: AlertKind
    budget: str
    key: str  # the value that the budget holds for; empty: all
    window: str  # empty: a pause or its end, by hand
    percent: int  # threshold; 0: none
    limit_nanos: int
    spent_nanos: int
    text: str
    create_us: int
    id: int = 0  # of its row; 0: not written yet

    @property
    def create_time(self) -> float:
        """Wall clock, seconds since 1970."""
        return self.create_us / 1e6


def insert(connection: sqlite3.Connection, alert: Alert) -> Alert:
    """Write an alert and return it with its id."""
    values = (alert.kind, alert.budget, alert.key, alert.window, alert.percent)
    row_id = connection.execute(_INSERT, (*values, alert.limit_nanos, alert.spent_nanos, alert.text, alert.create_us)).lastrowid
    return replace(alert, id=row_id or 0)


def before(connection: sqlite3.Connection, *, alert_id: int = NEWEST, budget: str = "", limit: int) -> list[Alert]:
    """Return the alerts older than one, newest first."""
    return [_alert(row) for row in connection.execute(_BEFORE, (alert_id, budget, limit)).fetchall()]


def after(connection: sqlite3.Connection, *, alert_id: int, budget: str = "", limit: int) -> list[Alert]:
    """Return the alerts newer than one, oldest first."""
    return [_alert(row) for row in connection.execute(_AFTER, (alert_id, budget, limit)).fetchall()]


def newest_id(connection: sqlite3.Connection) -> int:
    """Return the id of the last alert; 0 where there is none."""
    return int(connection.execute("SELECT coalesce(max(id), 0) FROM alert").fetchone()[0])


def _alert(row: Sequence[Any]) -> Alert:
    values = dict(zip(_FIELDS, row, strict=True))
    return Alert(**values | {"kind": AlertKind(values["kind"])})
