"""Roll-ups: sums over calls by quarter of an hour, hour and day, changed in the transaction of the rows that they sum up.

What an attempt adds is one list of expressions over its row. The same list counts a change, rebuilds a roll-up from rows, and
proves that the two are equal. A change reaches the quarter's row alone; once a quarter has passed it is folded into hours and
longer, and what changes in it later changes those too. All times are UTC. Reading roll-ups is `stats_store`.
"""

import json
import sqlite3
from dataclasses import dataclass
from typing import NamedTuple

from aigend.ledger.statistics import histogram, sums
from aigend.ledger.statistics.hits import HitKey, HitSum
from aigend.ledger.statistics.sums import MEASURES
from aigend.storage.deferring import catch_up, defer
from aigend.types import CacheOutcome, SavingsCause

QUARTER_S = 900
QUARTER_US = QUARTER_S * 1_000_000
NO_BOUND = 2**62
FOLD_AFTER_S = 900  # after a quarter's end: calls that began in it have ended as a rule
ENDED = "a.state IN ('settled', 'released', 'unknown')"


class Corrected(NamedTuple):
    """What comparing quarters with their rows brought to light."""

    said: list[str]  # a sentence for each that differed
    later: list[int]  # quarters that are still to be compared


@dataclass(frozen=True, slots=True)
class Level:
    """A table of roll-ups."""

    table: str
    quarters: int  # in each of its slots
    owner: str  # column: whose sums
    owners: str  # table of what they are by
    folded: bool = True  # holds what is older than `folded_quarter` in meta; else everything


ACCOUNT_QUARTER = Level("rollup_quarter", 1, "account_id", "account", folded=False)
ACCOUNT_DAY = Level("rollup_day", 96, "account_id", "account")
KEY_HOUR = Level("rollup_key_hour", 4, "key_id", "rollup_key")
KEY_PART = Level("rollup_key_part", 24, "key_id", "rollup_key")
KEY_DAY = Level("rollup_key_day", 96, "key_id", "rollup_key")
KEY_WEEK = Level("rollup_key_week", 672, "key_id", "rollup_key")
KEY_MONTH = Level("rollup_key_month", 2_688, "key_id", "rollup_key")  # 28 days
FOLDED = (ACCOUNT_DAY, KEY_HOUR, KEY_PART, KEY_DAY, KEY_WEEK, KEY_MONTH)

_KEY_COLUMNS = ("scope", "service", "phase", "task", "agent", "provider", "model", "outcome")
_ACCOUNT_COLUMNS = HitKey._fields
_TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "searches")
CAUSES = tuple(SavingsCause)


def _settled(value: str) -> str:
    return f"iif(a.state = 'settled', coalesce({value}, 0), 0)"


def _saved(cause: SavingsCause) -> str:
    return f"iif(a.state = 'settled' AND a.savings != '{{}}', json_extract(a.savings, '$.{cause}'), NULL)"


_LAST = "EXISTS (SELECT 1 FROM operation o WHERE o.id = a.operation_id AND o.attempt_id = a.id)"
OF_ATTEMPT = {
    "calls": "a.state = 'settled'",
    "unknown_count": "a.state = 'unknown'",
    "failed_count": f"a.state = 'unknown' AND {_LAST}",
    "released_count": "a.state = 'released'",
    "unpriced_count": "a.state = 'settled' AND a.cost_nanos IS NULL",
    "cost_nanos": _settled("a.cost_nanos"),
    "estimated_nanos": _settled("iif(a.cost_basis = 'estimated', a.cost_nanos, 0)"),
    "unknown_nanos": "iif(a.state = 'unknown', coalesce(a.unknown_high_nanos, 0), 0)",
    **{name: _settled(f"a.{name}" if name == "searches" else f"a.{name}_tokens") for name in _TOKENS},
    "latency_us": _settled("a.total_us"),
    **{f"saved_{cause}_count": f"{_saved(cause)} IS NOT NULL" for cause in CAUSES},
    **{f"saved_{cause}_nanos": f"coalesce({_saved(cause)}, 0)" for cause in CAUSES},
}
_LATENCY = "iif(a.state = 'settled', a.total_us, NULL)"
LATENCIES_OF_ATTEMPTS = f"latency_total({_LATENCY})"


def _free(cause: SavingsCause, column: str) -> str:
    """A replay repeats an answer that was paid for the same call, so it saves nothing."""
    return f"iif(a.cause = '{cause}' AND a.outcome != '{CacheOutcome.REPLAY}', m.{column}, 0)"


OF_HITS = (
    dict.fromkeys(MEASURES, "0")
    | {"calls": "m.count", "latency_us": "m.latency_us"}
    | {f"saved_{cause}_count": _free(cause, "count") for cause in CAUSES}
    | {f"saved_{cause}_nanos": _free(cause, "saved_nanos") for cause in CAUSES}
)
LATENCIES_OF_HITS = "histogram_total(packed_histogram(m.histogram))"

_NAMES = "sums, histogram"
_TOTALS = "sums_total(r.sums), histogram_total(r.histogram)"
_ADD = "sums = sums_added(sums, excluded.sums), histogram = histogram_sum(histogram, excluded.histogram)"
_TAKE = "sums = sums_less(sums, excluded.sums), histogram = histogram_less(histogram, excluded.histogram)"
_SAME_ACCOUNT = " AND ".join(f"k.{name} = a.{name}" for name in _ACCOUNT_COLUMNS if name != "cause") + " AND k.cause = ''"
_STRANGE = f"{ENDED} AND NOT EXISTS (SELECT 1 FROM account k WHERE {_SAME_ACCOUNT})"  # noqa: S608 - constants only
_FOLDED_UNTIL = "(SELECT value FROM meta WHERE name = 'folded_quarter')"


def summed(expressions: dict[str, str], latencies: str) -> str:
    """What the rows of a group add up to, as roll-ups hold it."""
    return f"packed_sums({', '.join(f'sum({expressions[name]})' for name in MEASURES)}), {latencies}"


def _insert(level: Level) -> str:
    return f"INSERT INTO {level.table} (slot, {level.owner}, {_NAMES})"


def _share(level: Level, changes: str) -> str:
    """The statement that adds what one attempt adds to the rows of a level, or takes it away."""
    owner = "k.id" if level.owners == "account" else "k.key_id"
    values = f"packed_sums({', '.join(OF_ATTEMPT[name] for name in MEASURES)}), latency_histogram({_LATENCY})"
    return (
        f"{_insert(level)} SELECT a.create_us / {QUARTER_US * level.quarters}, {owner}, {values}"  # noqa: S608 - constants only
        f" FROM attempt a CROSS JOIN account k ON {_SAME_ACCOUNT} WHERE a.id = ? AND {ENDED}"
        f" ON CONFLICT DO UPDATE SET {changes}"
    )


_RETURNING = f" RETURNING slot < {_FOLDED_UNTIL}"
_TAKE_SHARE = _share(ACCOUNT_QUARTER, _TAKE) + _RETURNING
_CHOSEN = "a.id IN (SELECT value FROM json_each(?))"
_ADD_ALL = (
    f"{_insert(ACCOUNT_QUARTER)} SELECT a.create_us / {QUARTER_US}, k.id, {summed(OF_ATTEMPT, LATENCIES_OF_ATTEMPTS)}"  # noqa: S608
    f" FROM attempt a LEFT JOIN account k ON {_SAME_ACCOUNT} WHERE {_CHOSEN} AND {ENDED}"
    f" GROUP BY a.create_us / {QUARTER_US}, k.id ON CONFLICT DO UPDATE SET {_ADD}{_RETURNING}"
)
_LATE = f"SELECT a.id FROM attempt a WHERE {_CHOSEN} AND {ENDED} AND a.create_us / {QUARTER_US} < {_FOLDED_UNTIL}"  # noqa: S608
_FOLDED_SHARES = {changes: tuple(_share(level, changes) for level in FOLDED) for changes in (_ADD, _TAKE)}
_FIND_ACCOUNT = f"SELECT id FROM account WHERE {' AND '.join(f'{name} = ?' for name in _ACCOUNT_COLUMNS)}"  # noqa: S608 - constants only
_NEW_KEY = (
    f"INSERT INTO rollup_key ({', '.join(_KEY_COLUMNS)}) VALUES ({', '.join('?' * len(_KEY_COLUMNS))})"  # noqa: S608 - constants only
    " ON CONFLICT DO UPDATE SET scope = scope RETURNING id"
)
_NEW_ACCOUNT = (
    f"INSERT INTO account ({', '.join(_ACCOUNT_COLUMNS)}, key_id) VALUES ({', '.join('?' * (len(_ACCOUNT_COLUMNS) + 1))})"  # noqa: S608
    " RETURNING id"
)
_HITS = f"{_insert(ACCOUNT_QUARTER)} VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET {_ADD}{_RETURNING}"
_HITS_FOLDED = tuple(
    f"{_insert(level)} VALUES (?, {'?' if level.owners == 'account' else '(SELECT key_id FROM account WHERE id = ?)'}, ?, ?)"  # noqa: S608
    f" ON CONFLICT DO UPDATE SET {_ADD}"
    for level in FOLDED
)


def add(connection: sqlite3.Connection, attempt_id: int) -> None:
    """Count what an attempt adds as its row stands, when its group ends at the latest; nothing while it is open."""
    defer(connection, _add_all, attempt_id)


def take(connection: sqlite3.Connection, attempt_id: int) -> None:
    """Take away what an attempt adds as its row stands, before that is changed; nothing while it is open."""
    catch_up(connection, _add_all)
    late = connection.execute(_TAKE_SHARE, (attempt_id,)).fetchall()
    if late and late[0][0]:
        for statement in _FOLDED_SHARES[_TAKE]:
            connection.execute(statement, (attempt_id,))


def account_of(connection: sqlite3.Connection, key: HitKey) -> int:
    """Return the row of an account, made if it is missing."""
    found = connection.execute(_FIND_ACCOUNT, key).fetchone()
    if found is None:
        key_id = connection.execute(_NEW_KEY, [getattr(key, name) for name in _KEY_COLUMNS]).fetchall()[0][0]
        found = connection.execute(_NEW_ACCOUNT, (*key, key_id)).fetchall()[0]
    return int(found[0])


def add_hits(connection: sqlite3.Connection, *, account_id: int, key: HitKey, minute: int, counted: HitSum) -> None:
    """Count answers that cost nothing."""
    added = {"calls": counted.count, "latency_us": counted.latency_us}
    if key.outcome != CacheOutcome.REPLAY and key.cause in CAUSES:
        added |= {f"saved_{key.cause}_count": counted.count, f"saved_{key.cause}_nanos": counted.saved_nanos}
    values = (account_id, sums.packed(sums.of(added)), histogram.packed(histogram.of(counted.histogram)))
    quarter = minute // 15
    if connection.execute(_HITS, (quarter, *values)).fetchall()[0][0]:
        for level, statement in zip(FOLDED, _HITS_FOLDED, strict=True):
            connection.execute(statement, (quarter // level.quarters, *values))


def folded_until(connection: sqlite3.Connection) -> int:
    """Return the quarter before which all are folded; negative in a ledger whose roll-ups were never built."""
    return int(connection.execute(f"SELECT {_FOLDED_UNTIL}").fetchone()[0])


def archived_until(connection: sqlite3.Connection) -> int:
    """Return the quarter before which rows may be archived, so that roll-ups alone know the sums; 0 where none are."""
    if not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'archive'").fetchone()[0]:
        return 0  # a ledger of an older version
    found = connection.execute("SELECT max(end_us) FROM archive WHERE state IN ('written', 'done')").fetchone()[0]
    return 0 if found is None else int(found) // QUARTER_US


def next_fold(connection: sqlite3.Connection, *, now: float) -> tuple[int, int] | None:
    """Return the quarter that is to be folded next and how many rows it has; None where none has passed."""
    ready = int(now - FOLD_AFTER_S) // QUARTER_S
    found = connection.execute(
        "SELECT slot, count(*) FROM rollup_quarter"  # noqa: S608 - constants only
        f" WHERE slot = (SELECT min(slot) FROM rollup_quarter WHERE slot >= {_FOLDED_UNTIL}) GROUP BY slot"
    ).fetchone()
    return None if found is None or found[0] >= ready else (found[0], found[1])


def fold(connection: sqlite3.Connection, quarter: int) -> None:
    """Add the quarters up to one, which are one as a rule, to the hours and days that they lie in."""
    catch_up(connection, _add_all)
    until = folded_until(connection)
    if until <= quarter:
        _fold_all(connection, "r.slot >= ? AND r.slot <= ?", (until, quarter))
        connection.execute("UPDATE meta SET value = ? WHERE name = 'folded_quarter'", (quarter + 1,))


def rebuild(connection: sqlite3.Connection, *, now: float) -> None:
    """Sum all rows up anew, for a ledger that never had roll-ups or whose roll-ups are not believed."""
    catch_up(connection, _add_all)
    for level in (ACCOUNT_QUARTER, *FOLDED):
        connection.execute(f"DELETE FROM {level.table}")  # noqa: S608 - constants only
    _make_accounts(connection, "1")
    for true in (_attempts_by_quarter("1"), _hits_by_quarter("1")):
        connection.execute(f"{_insert(ACCOUNT_QUARTER)} {true} ON CONFLICT DO UPDATE SET {_ADD}")
    until = int(now - FOLD_AFTER_S) // QUARTER_S
    _fold_all(connection, "r.slot < ?", (until,))
    connection.execute("UPDATE meta SET value = ? WHERE name = 'folded_quarter'", (until,))


def correct(connection: sqlite3.Connection, *, sealed_seq: int, most_rows: int = NO_BOUND) -> Corrected:
    """Sum up anew the quarters of attempts that changed since the seal, the youngest first; rows win.

    Quarters whose rows may be archived stay as they are: their sums can't be made of rows any more.

    Args:
        connection: The writer's.
        sealed_seq: Last row of the journal before the seal.
        most_rows: How many attempts are looked at; quarters that would be more are left for later.
    """
    catch_up(connection, _add_all)
    said, later, until = [], [], archived_until(connection)
    _make_accounts(connection, f"a.id IN (SELECT attempt_id FROM journal WHERE seq > {int(sealed_seq)})")  # noqa: S608
    for (quarter,) in connection.execute(_TOUCHED, (sealed_seq,)).fetchall():
        if quarter < until:
            continue
        most_rows -= connection.execute(_FEW_ROWS, (quarter * QUARTER_US, (quarter + 1) * QUARTER_US, most_rows + 1)).fetchone()[0]
        if most_rows < 0:
            later.append(quarter)
        elif differs(connection, quarter):
            said.append(sum_up_anew(connection, quarter))
    return Corrected(said, later)


def differs(connection: sqlite3.Connection, quarter: int) -> bool:
    """Return whether a quarter's roll-up is not what its rows add up to; reading is enough."""
    return _true_rows(connection, quarter) != {row[0]: row for row in connection.execute(_STORED, (quarter,))}


def sum_up_anew(connection: sqlite3.Connection, quarter: int) -> str:
    """Make a quarter's roll-up, and what is above it, of its rows again; return a sentence for an operator."""
    catch_up(connection, _add_all)
    true = _true_rows(connection, quarter)
    connection.execute("DELETE FROM rollup_quarter WHERE slot = ?", (quarter,))
    connection.executemany(f"{_insert(ACCOUNT_QUARTER)} VALUES ({quarter}, ?, ?, ?)", true.values())
    _refold(connection, quarter)
    return f"the roll-up of the quarter of an hour {quarter} differed from its rows; it was summed up again"


def differences(connection: sqlite3.Connection) -> list[str]:
    """Return a sentence for each row of a roll-up that is not what the rows below it add up to; nothing where all agree.

    Of quarters whose rows may be archived only what is above them is compared with them.
    """
    until = archived_until(connection)
    attempts, hits = _attempts_by_quarter(f"a.create_us >= {until * QUARTER_US}"), _hits_by_quarter(f"m.minute >= {until * 15}")
    rows = f"SELECT * FROM ({attempts}) UNION ALL SELECT * FROM ({hits})"  # noqa: S608 - numbers only
    stored = f"SELECT slot, account_id, {_NAMES} FROM rollup_quarter WHERE slot >= {until}"  # noqa: S608 - numbers only
    strangers = connection.execute(f"SELECT a.id FROM attempt a WHERE {_STRANGE}")  # noqa: S608 - constants only
    found = [f"rollup_quarter lacks the account of attempt {attempt_id}" for (attempt_id,) in strangers]
    found += _unequal(connection, "rollup_quarter", stored, rows)
    for level in FOLDED:
        below = _folding(level, f"r.slot < {_FOLDED_UNTIL}")
        stored = f"SELECT slot, {level.owner}, {_NAMES} FROM {level.table}"  # noqa: S608 - constants only
        found += _unequal(connection, level.table, stored, below)
    return found


def _add_all(connection: sqlite3.Connection, attempt_ids: list[int]) -> None:
    """Count attempts, those of one account and quarter in one step; an account that has no row yet gets one."""
    ids = json.dumps(attempt_ids)
    try:
        added = connection.execute(_ADD_ALL, (ids,)).fetchall()
    except sqlite3.IntegrityError:  # no account
        _make_accounts(connection, f"a.id IN ({','.join(map(str, attempt_ids))})")
        added = connection.execute(_ADD_ALL, (ids,)).fetchall()
    if any(late for (late,) in added):
        for (attempt_id,) in connection.execute(_LATE, (ids,)).fetchall():
            for statement in _FOLDED_SHARES[_ADD]:
                connection.execute(statement, (attempt_id,))


def _folding(level: Level, where: str) -> str:
    owner = "k.id" if level.owners == "account" else "k.key_id"
    slot = f"r.slot / {level.quarters}"
    return (
        f"SELECT {slot}, {owner}, {_TOTALS} FROM rollup_quarter r CROSS JOIN account k ON k.id = r.account_id"  # noqa: S608
        f" WHERE {where} GROUP BY {owner}, {slot}"
    )


def _fold_all(connection: sqlite3.Connection, where: str, parameters: tuple[int, ...]) -> None:
    for level in FOLDED:
        text = f"{_insert(level)} {_folding(level, where)} ON CONFLICT DO UPDATE SET {_ADD}"
        connection.execute(text, parameters)


def _make_accounts(connection: sqlite3.Connection, where: str) -> None:
    """Make the accounts that attempts have and no row yet."""
    names = ", ".join(f"a.{name}" for name in _ACCOUNT_COLUMNS[:-1])
    strangers = f"SELECT DISTINCT {names} FROM attempt a WHERE {_STRANGE} AND {where}"  # noqa: S608 - constants only
    for account in connection.execute(strangers).fetchall():
        account_of(connection, HitKey._make((*account, "")))


def _refold(connection: sqlite3.Connection, quarter: int) -> None:
    """Sum up anew the hour and the day that a quarter lies in."""
    until = folded_until(connection)
    for level in FOLDED:
        slot = quarter // level.quarters
        connection.execute(f"DELETE FROM {level.table} WHERE slot = ?", (slot,))  # noqa: S608 - constants only
        first, end = slot * level.quarters, min((slot + 1) * level.quarters, until)
        connection.execute(f"{_insert(level)} {_folding(level, 'r.slot >= ? AND r.slot < ?')}", (first, end))


def _true_rows(connection: sqlite3.Connection, quarter: int) -> dict[int, tuple[object, ...]]:
    times = f"a.create_us >= {quarter * QUARTER_US} AND a.create_us < {(quarter + 1) * QUARTER_US}"
    minutes = f"m.minute >= {quarter * 15} AND m.minute < {(quarter + 1) * 15}"
    attempts = _attempts_by_quarter(f"a.scope IN {_SCOPES} AND {times}")
    questions = (attempts, _hits_by_quarter(minutes))
    return {row[1]: row[1:] for question in questions for row in connection.execute(question)}


def _attempts_by_quarter(where: str) -> str:
    return (
        f"SELECT a.create_us / {QUARTER_US} AS slot, k.id AS account_id, {summed(OF_ATTEMPT, LATENCIES_OF_ATTEMPTS)}"  # noqa: S608
        f" FROM attempt a CROSS JOIN account k ON {_SAME_ACCOUNT} WHERE {ENDED} AND {where}"
        f" GROUP BY a.create_us / {QUARTER_US}, k.id"
    )


def _hits_by_quarter(where: str) -> str:
    return (
        f"SELECT m.minute / 15 AS slot, m.key_id AS account_id, {summed(OF_HITS, LATENCIES_OF_HITS)}"  # noqa: S608
        f" FROM hit_minute m CROSS JOIN account a ON a.id = m.key_id WHERE {where} GROUP BY m.minute / 15, m.key_id"
    )


def _unequal(connection: sqlite3.Connection, name: str, stored: str, true: str) -> list[str]:
    questions = (f"{stored} EXCEPT SELECT * FROM ({true})", f"SELECT * FROM ({true}) EXCEPT {stored}")  # noqa: S608
    wrong = {(row[0], row[1]) for question in questions for row in connection.execute(question)}
    return [f"{name} differs from its rows: slot {slot} of {owner}" for slot, owner in sorted(wrong)]


_TOUCHED = (
    f"SELECT DISTINCT a.create_us / {QUARTER_US} AS quarter FROM journal j CROSS JOIN attempt a ON a.id = j.attempt_id"  # noqa: S608
    " WHERE j.seq > ? ORDER BY quarter DESC"
)
_SCOPES = "(SELECT DISTINCT scope FROM rollup_key)"
_FEW_ROWS = (
    f"SELECT count(*) FROM (SELECT 1 FROM attempt a WHERE a.scope IN {_SCOPES} AND a.create_us >= ? AND a.create_us < ? LIMIT ?)"  # noqa: S608
)
_STORED = f"SELECT account_id, {_NAMES} FROM rollup_quarter WHERE slot = ?"  # noqa: S608 - constants only
