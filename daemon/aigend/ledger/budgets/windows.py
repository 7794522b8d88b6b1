"""Rows of budget windows: claimed with a reservation, moved when it ends, compared with the journal at every start.

Runs in the writer's thread, inside the transaction of the state change that it belongs to.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from aigend.errors import DomainError, Reason
from aigend.ledger.alerts import rows as alert_rows
from aigend.ledger.alerts.rows import Alert, AlertKind
from aigend.ledger.budgets import rows as budget_rows
from aigend.ledger.budgets.book import NEVER_US, BudgetBook, Claim, label_of, threshold_passed, thresholds_between

FULL = 100  # percent
_RUNNING = (
    "SELECT id FROM budget_window WHERE budget = ? AND key = ? AND period = ?"
    " AND end_us > ? AND start_us <= ? ORDER BY end_us LIMIT 1"
)
_NAMED = "SELECT id FROM budget_window WHERE budget = ? AND key = ? AND period = ? AND window = ?"
_OPEN = (
    "INSERT INTO budget_window (budget, key, period, window, start_us, end_us) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (budget, key, period, window) DO UPDATE SET end_us = excluded.end_us RETURNING id"
)
_COLUMNS = "id, budget, key, period, window, spent_nanos, reserved_nanos, announced_percent, end_us, start_us"
_HOLD = f"UPDATE budget_window SET reserved_nanos = reserved_nanos + ? WHERE id = ? RETURNING {_COLUMNS}"  # noqa: S608 - constants only
_HOLD_WITHIN = (
    "UPDATE budget_window SET reserved_nanos = reserved_nanos + ? WHERE id = ? AND spent_nanos + reserved_nanos + ? <= ?"  # noqa: S608 - constants only
    f" RETURNING {_COLUMNS}"
)
_MOVE = (
    "UPDATE budget_window SET reserved_nanos = reserved_nanos + ?, spent_nanos = spent_nanos + ?"  # noqa: S608 - constants only
    f" WHERE id = ? RETURNING {_COLUMNS}"
)
_STATE = f"SELECT {_COLUMNS} FROM budget_window"  # noqa: S608 - constants only
_ONE = f"{_STATE} WHERE id = ?"
_RUNNING_NOW = f"{_STATE} WHERE end_us > ? ORDER BY id DESC LIMIT ?"
_RECENT = """
    SELECT w.budget, w.key, w.window, sum(iif(a.create_us >= :hour, a.spent, 0)), sum(a.spent)
    FROM (SELECT id, create_us, iif(state = 'settled', cost_nanos, unknown_high_nanos) AS spent FROM attempt
        WHERE scope IN (SELECT scope FROM account) AND create_us >= :day AND state IN ('settled', 'unknown')) a
    CROSS JOIN attempt_window aw ON aw.attempt_id = a.id CROSS JOIN budget_window w ON w.id = aw.window_id
    GROUP BY w.id
"""
_SINCE_SEAL = """
    SELECT w.id, w.spent_nanos, w.reserved_nanos, w.sealed_spent_nanos + coalesce(d.spent, 0),
           w.sealed_reserved_nanos + coalesce(d.reserved, 0)
    FROM budget_window w LEFT JOIN (
        SELECT a.window_id AS id, sum(j.spent_delta) AS spent, sum(j.reserved_delta) AS reserved
        FROM journal j CROSS JOIN attempt_window a ON a.attempt_id = j.attempt_id WHERE j.seq > ? GROUP BY a.window_id
    ) d ON d.id = w.id
"""


@dataclass(frozen=True, slots=True)
class WindowRow:
    """A budget window as it stands."""

    id: int
    budget: str
    key: str
    period: str
    window: str
    spent_nanos: int
    reserved_nanos: int
    announced_percent: int
    end_us: int
    start_us: int

    @property
    def reset_time(self) -> float | None:
        """Wall clock at which it ends; None where it does not."""
        return None if self.end_us == NEVER_US else self.end_us / 1e6


def claim_all(
    connection: sqlite3.Connection, claims: Sequence[Claim], *, bound_nanos: int | None, now_us: int
) -> tuple[WindowRow, ...]:
    """Hold an upper bound in every matching window and return the windows as they stand then.

    Raises:
        DomainError: BUDGET_PAUSED; BUDGET_EXCEEDED where it does not fit, PRICE_UNKNOWN where a budget demands a price that is not
            known.
    """
    rows = []
    for claim in claims:
        since_us = None if claim.only_counts else budget_rows.paused_since(connection, claim.budget, claim.key)
        if since_us is not None:
            raise paused(claim, since_us=since_us)
        if bound_nanos is None and claim.require_known_prices:
            raise _price_unknown(claim)
        window_id = _window_id(connection, claim, now_us=now_us)
        rows.append(_hold(connection, claim, window_id=window_id, bound_nanos=bound_nanos or 0))
    return tuple(rows)


def move(connection: sqlite3.Connection, attempt_id: int, *, reserved_delta: int, spent_delta: int) -> tuple[WindowRow, ...]:
    """Change the windows of an attempt and return them as they stand then; limits are not looked at."""
    held = connection.execute("SELECT window_id FROM attempt_window WHERE attempt_id = ?", (attempt_id,)).fetchall()
    moved = (connection.execute(_MOVE, (reserved_delta, spent_delta, window_id)).fetchall() for (window_id,) in held)
    return tuple(WindowRow(*row) for rows in moved for row in rows)


def recent(connection: sqlite3.Connection, *, hour_us: int, day_us: int) -> dict[tuple[str, str, str], tuple[int, int]]:
    """Return what calls made since two moments have booked in each window, by budget, key and window, in nano-dollars."""
    found = connection.execute(_RECENT, {"hour": hour_us, "day": day_us})
    return {(budget, key, window): (hour or 0, day or 0) for budget, key, window, hour, day in found}


def running(connection: sqlite3.Connection, *, now_us: int, limit: int) -> list[WindowRow]:
    """Return windows that have not ended, the newest first."""
    return [WindowRow(*row) for row in connection.execute(_RUNNING_NOW, (now_us, limit))]


def announce(connection: sqlite3.Connection, book: BudgetBook, rows: Iterable[WindowRow], *, now_us: int) -> tuple[str, ...]:
    """Return a sentence for each window that passed a threshold for the first time, and remember that it was said.

    Each threshold becomes an alert, and a budget with action pause is paused once its limit is spent.

    Args:
        connection: The writer's.
        book: The budgets that hold; of others nothing is said.
        rows: Windows as they stand.
        now_us: When.
    """
    said = []
    for row in rows:
        limit = book.limits.get(row.budget)
        passed = 0 if limit is None else threshold_passed(row.spent_nanos, limit)
        if limit is None or passed <= row.announced_percent:
            continue
        connection.execute("UPDATE budget_window SET announced_percent = ? WHERE id = ?", (passed, row.id))
        label = label_of(row.budget, row.key, per_value=book.per_value(row.budget))
        percents = thresholds_between(row.announced_percent, passed)
        alerts = [_threshold(row, percent, limit, now_us, label=label) for percent in percents]
        for alert in alerts:
            alert_rows.insert(connection, alert)
        said.append(alerts[-1].text)
        if passed >= FULL and book.action_of(row.budget) == "pause":
            said += pause(connection, row, label=label, limit_nanos=limit, now_us=now_us)
    return tuple(said)


def pause(connection: sqlite3.Connection, row: WindowRow, *, label: str, limit_nanos: int, now_us: int) -> list[str]:
    """Pause a budget because its limit is used up, and return what is to be said; nothing where it is paused already."""
    if not budget_rows.pause(connection, row.budget, row.key, whole=False, now_us=now_us):
        return []
    text = f"budget {label} is paused until it is resumed: {usd(row.spent_nanos)} of {usd(limit_nanos)} USD spent"
    alert = _threshold(row, 0, limit_nanos, now_us, label=label)
    alert = replace(alert, kind=AlertKind.PAUSED, text=f"{text} in window {row.window}")
    return [alert_rows.insert(connection, alert).text]


def pause_for_want(connection: sqlite3.Connection, claim: Claim, *, needed_nanos: int, now_us: int) -> bool:
    """Pause a budget in whose window a call found no room, where spending stands in the way; return whether it is paused now.

    What is held for calls under way may come back, and a call above the whole limit would never fit: neither is a reason to pause.
    """
    row = WindowRow(*connection.execute(_ONE, (_window_id(connection, claim, now_us=now_us),)).fetchone())
    if row.spent_nanos + needed_nanos <= claim.limit_nanos or needed_nanos > claim.limit_nanos:
        return False
    pause(connection, row, label=claim.label, limit_nanos=claim.limit_nanos, now_us=now_us)
    return True


def paused(claim: Claim, *, since_us: int) -> DomainError:
    """Return the refusal of a paused budget."""
    since = datetime.fromtimestamp(since_us / 1e6, UTC).isoformat()
    text = f"budget {claim.label} is paused since {since}; allowed: paid calls once it is resumed, cached answers now"
    return DomainError(Reason.BUDGET_PAUSED, text, budget=claim.budget, key=claim.key, paused_since=since)


def _threshold(row: WindowRow, percent: int, limit_nanos: int, now_us: int, *, label: str) -> Alert:
    spent, of = usd(row.spent_nanos), usd(limit_nanos)
    return Alert(
        kind=AlertKind.THRESHOLD,
        budget=row.budget,
        key=row.key,
        window=row.window,
        percent=percent,
        limit_nanos=limit_nanos,
        spent_nanos=row.spent_nanos,
        text=f"budget {label} passed {percent} % in window {row.window}: {spent} of {of} USD spent",
        create_us=now_us,
    )


def correct(connection: sqlite3.Connection, *, sealed_seq: int) -> list[str]:
    """Compare every window with what the journal says since the seal; rows win. Return a sentence for each difference."""
    found = []
    for window_id, spent, reserved, true_spent, true_reserved in connection.execute(_SINCE_SEAL, (sealed_seq,)).fetchall():
        if (spent, reserved) != (true_spent, true_reserved):
            connection.execute(
                "UPDATE budget_window SET spent_nanos = ?, reserved_nanos = ? WHERE id = ?", (true_spent, true_reserved, window_id)
            )
            said, true = f"{usd(spent)} spent, {usd(reserved)} held", f"{usd(true_spent)} and {usd(true_reserved)}"
            found.append(f"budget window {window_id} said {said}; its rows say {true}")
    return found


def seal(connection: sqlite3.Connection) -> None:
    """Make the windows' present state the snapshot from which the next start counts."""
    connection.execute(
        "UPDATE budget_window SET sealed_spent_nanos = spent_nanos, sealed_reserved_nanos = reserved_nanos "
        "WHERE sealed_spent_nanos != spent_nanos OR sealed_reserved_nanos != reserved_nanos"
    )
    connection.execute("UPDATE meta SET value = (SELECT coalesce(max(seq), 0) FROM journal) WHERE name = 'sealed_seq'")


def usd(nanos: int) -> str:
    """Return nano-dollars as USD for people.

    Example:
        >>> usd(1_500_000)
        '0.0015'
    """
    whole, part = divmod(abs(nanos), 1_000_000_000)
    return f"{'-' if nanos < 0 else ''}{whole}.{part:09d}".rstrip("0").rstrip(".")


def _window_id(connection: sqlite3.Connection, claim: Claim, *, now_us: int) -> int:
    """The running window's row, made if missing. One that runs keeps its end when the time zone changes."""
    name = (claim.budget, claim.key, claim.period)
    if claim.period == "session":
        found = connection.execute(_NAMED, (*name, claim.window.name)).fetchone()
    else:
        found = connection.execute(_RUNNING, (*name, now_us, now_us)).fetchone()
    if found is None:
        window = claim.window
        found = connection.execute(_OPEN, (*name, window.name, window.start_us, window.end_us)).fetchall()[0]
    return int(found[0])


def _hold(connection: sqlite3.Connection, claim: Claim, *, window_id: int, bound_nanos: int) -> WindowRow:
    if claim.refuses:
        held = connection.execute(_HOLD_WITHIN, (bound_nanos, window_id, bound_nanos, claim.limit_nanos)).fetchall()
    else:
        held = connection.execute(_HOLD, (bound_nanos, window_id)).fetchall()
    if not held:
        row = WindowRow(*connection.execute(_ONE, (window_id,)).fetchone())
        raise _exceeded(claim, row, needed=bound_nanos)
    return WindowRow(*held[0])


def _exceeded(claim: Claim, row: WindowRow, *, needed: int) -> DomainError:
    left = max(0, claim.limit_nanos - row.spent_nanos - row.reserved_nanos)
    resets_at = "" if row.reset_time is None else datetime.fromtimestamp(row.reset_time, UTC).isoformat()
    return DomainError(
        Reason.BUDGET_EXCEEDED,
        f"budget {claim.label} has {usd(left)} of {usd(claim.limit_nanos)} USD left in window {row.window}"
        f" ({usd(row.spent_nanos)} spent, {usd(row.reserved_nanos)} held for calls under way); this call may cost {usd(needed)}"
        + (f"; the window ends at {resets_at}" if resets_at else ""),
        budget=claim.budget,
        key=claim.key,
        window=row.window,
        limit_usd_nanos=claim.limit_nanos,
        spent_usd_nanos=row.spent_nanos,
        reserved_usd_nanos=row.reserved_nanos,
        remaining_usd_nanos=left,
        needed_usd_nanos=needed,
        resets_at=resets_at,
    )


def _price_unknown(claim: Claim) -> DomainError:
    why = "demands known prices, and this route has none"
    text = f"budget {claim.budget} {why}; allowed: a route with a price, or an entry in prices.yaml"
    return DomainError(Reason.PRICE_UNKNOWN, text, budget=claim.budget)
