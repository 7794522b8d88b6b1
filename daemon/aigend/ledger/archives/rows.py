"""SQL of archives: which months there are, which operations are claimed for one, and what is taken out once its file is durable.

Every step is one transaction, and running it twice does no harm. What is in a file is `archive_file`, the order of
the steps `archive`.
"""

import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from aigend.ledger.budgets import windows

CLAIMED_AT_ONCE = 500  # operations looked at in one transaction
TAKEN_AT_ONCE = 100  # operations taken out in one transaction, so that no call waits long for it
HITS_AT_ONCE = 1_000
JOURNAL_AT_ONCE = 2_000
_MINUTE_US = 60_000_000


class ArchiveState(StrEnum):
    """How far an archive has come."""

    CLAIMING = "claiming"  # operations are being named for it
    CLAIMED = "claimed"  # all are, and nothing of them changes any more; its file may be there, whole or not
    WRITTEN = "written"  # its file is durable; rows are being taken out
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Archive:
    """One month that is written to a file; money in nano-dollars, times in microseconds since 1970."""

    id: int
    month: str  # as YYYY-MM
    state: ArchiveState
    file: str
    end_us: int
    first_seq: int
    last_seq: int
    before_checksum: bytes
    last_checksum: bytes
    last_operation_id: int
    last_attempt_id: int
    operation_count: int = 0
    attempt_count: int = 0
    journal_count: int = 0
    hit_count: int = 0
    cost_nanos: int = 0
    size_bytes: int = 0
    sha256: bytes = b""
    create_us: int = 0


_COLUMNS = ", ".join(Archive.__slots__)
_ALL = f"SELECT {_COLUMNS} FROM archive ORDER BY month"  # noqa: S608 - constants only
_START = "SELECT last_seq, last_checksum FROM archive WHERE state IN ('written', 'done') ORDER BY last_seq DESC LIMIT 1"
# Neither the newest operation nor the newest attempt nor the end of the journal ever goes: the next numbers are counted from them.
_ELIGIBLE = """
    SELECT o.id FROM operation o WHERE o.id > :after AND o.id <= :last_operation AND o.archive_id IS NULL
        AND NOT EXISTS (SELECT 1 FROM reply r WHERE r.operation_id = o.id)
        AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.operation_id = o.id AND (a.state NOT IN ('settled', 'released')
            OR a.create_us >= :end OR a.update_us >= :end OR a.id > :last_attempt
            OR a.id IN (SELECT value FROM json_each(:late))))
        AND EXISTS (SELECT 1 FROM attempt a WHERE a.operation_id = o.id)
"""
_OF_TAKEN = "SELECT id FROM attempt WHERE operation_id IN ({operations}) AND id <= ?"
_TAKE = {
    "windows": """
        UPDATE budget_window SET archived_nanos = archived_nanos + coalesce((
            SELECT sum(a.cost_nanos) FROM attempt_window x CROSS JOIN attempt a ON a.id = x.attempt_id
            WHERE x.window_id = budget_window.id AND x.attempt_id IN ({ids}) AND a.state = 'settled'), 0)
        WHERE id IN (SELECT window_id FROM attempt_window WHERE attempt_id IN ({ids}))""",
    "claims": "DELETE FROM attempt_window WHERE attempt_id IN ({ids})",
    # An operation that was answered keeps its row, so that its id stays known for ever; one that was not may be asked again anyway.
    "operations": """
        DELETE FROM operation WHERE id IN ({operations}) AND attempt_id IN ({ids})
            AND NOT EXISTS (SELECT 1 FROM attempt a WHERE a.operation_id = operation.id AND a.state = 'settled')""",
    "attempts": "DELETE FROM attempt WHERE id IN ({ids})",
}
_LATE = "SELECT DISTINCT attempt_id FROM journal WHERE seq > ? AND attempt_id <= ?"
_FIRST_MADE = "SELECT attempt_id FROM journal WHERE seq > ? AND event IN ('reserved', 'sent') ORDER BY seq LIMIT 1"
_TAKE_JOURNAL = """
    DELETE FROM journal WHERE seq > :after AND seq <= :until
        AND (attempt_id IS NULL OR NOT EXISTS (SELECT 1 FROM attempt a WHERE a.id = journal.attempt_id))
"""


def archives(connection: sqlite3.Connection) -> list[Archive]:
    """Return all archives, oldest month first."""
    return [_archive(row) for row in connection.execute(_ALL)]


def journal_start(connection: sqlite3.Connection) -> tuple[int, bytes] | None:
    """Return the last journal row that is archived, with its checksum; None where the whole journal is here."""
    found = connection.execute(_START).fetchone()
    return None if found is None else (int(found[0]), found[1])


def files_of_range(connection: sqlite3.Connection, start: float | None, end: float | None) -> list[str]:
    """Return the files of the months that a range of time touches; a charge that ended after its month lies in a later one's."""
    found = connection.execute("SELECT file, end_us, month FROM archive WHERE state IN ('written', 'done') ORDER BY month")
    begin_us = 0 if start is None else round(start * 1e6)
    return [file for file, end_us, month in found if end_us > begin_us and (end is None or month_start(month) < end)]


def file_of_entry(connection: sqlite3.Connection, scope: str, entry_id: str) -> str:
    """Return the file that an entry was archived to; empty where none was."""
    if not (entry_id.isascii() and entry_id.isdigit() and len(entry_id) <= 18):
        return ""
    found = connection.execute(
        "SELECT a.file FROM operation o JOIN archive a ON a.id = o.archive_id WHERE o.scope = ? AND o.attempt_id = ?",
        (scope, int(entry_id)),
    ).fetchone()
    return "" if found is None else str(found[0])


def month_start(month: str) -> float:
    """Return when a month begins in UTC, seconds since 1970.

    Example:
        >>> month_start("1970-02")
        2678400.0
    """
    return datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC).timestamp()


def month_of(moment: float) -> str:
    """Return the month of a time in UTC.

    Example:
        >>> month_of(2_678_400.0)
        '1970-02'
    """
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m")


def month_after(month: str, *, by: int = 1) -> str:
    """Return the month so many after another.

    Example:
        >>> month_after("2026-12"), month_after("2026-01", by=-1)
        ('2027-01', '2025-12')
    """
    year, number = (int(part) for part in month.split("-"))
    total = year * 12 + number - 1 + by
    return f"{total // 12:04d}-{total % 12 + 1:02d}"


def oldest_month(connection: sqlite3.Connection) -> str | None:
    """Return the first month of which rows are here that were not looked at yet; None where nothing is."""
    start = journal_start(connection)
    seq = 0 if start is None else start[0]
    journal = connection.execute("SELECT create_us FROM journal WHERE seq > ? ORDER BY seq LIMIT 1", (seq,)).fetchone()
    minute = connection.execute("SELECT min(minute) FROM hit_minute").fetchone()[0]
    moments = [*([journal[0] / 1e6] if journal else []), *([minute * 60.0] if minute is not None else [])]
    if not moments:
        return None
    done = connection.execute("SELECT max(month) FROM archive").fetchone()[0]
    first = month_of(min(moments))
    return first if done is None or first > done else month_after(done)


def begin(connection: sqlite3.Connection, month: str, *, end: tuple[int, bytes] | None, file: str, now_us: int) -> Archive | None:
    """Begin the archive of a month: from here on its end is fixed. None where nothing of it could go.

    Args:
        connection: The writer's.
        month: Which; all before it are archived.
        end: What `journal_end` has found.
        file: Where it will lie.
        now_us: When.
    """
    windows.seal(connection)  # a start checks the journal from the seal on, which must lie behind what is archived
    end_us = round(month_start(month_after(month)) * 1e6)
    start = journal_start(connection) or (0, bytes(16))
    last_seq, last_checksum = end or start
    hits = connection.execute("SELECT 1 FROM hit_minute WHERE minute < ? LIMIT 1", (end_us // _MINUTE_US,)).fetchone()
    if last_seq == start[0] and hits is None:
        return None
    operation_id = connection.execute("SELECT coalesce(max(id), 0) - 1 FROM operation").fetchone()[0]
    values = {
        "month": month,
        "state": ArchiveState.CLAIMING,
        "file": file,
        "end_us": end_us,
        "first_seq": start[0] + 1,
        "last_seq": last_seq,
        "before_checksum": start[1],
        "last_checksum": last_checksum,
        "last_operation_id": operation_id,
        "last_attempt_id": _last_attempt(connection, last_seq),
        "create_us": now_us,
    }
    places = ", ".join(f":{name}" for name in values)
    connection.execute(f"INSERT INTO archive ({', '.join(values)}) VALUES ({places})", values)  # noqa: S608 - field names
    return next(archive for archive in archives(connection) if archive.month == month)


def journal_end(connection: sqlite3.Connection, month: str) -> tuple[int, bytes] | None:
    """Return the last journal row before the first one that is not older than a month's end, and never the last of all.

    It reads all rows of the month, so it is no work for the writer; none of them changes meanwhile.
    """
    end_us = round(month_start(month_after(month)) * 1e6)
    after_seq = (journal_start(connection) or (0, b""))[0]
    young = connection.execute("SELECT seq FROM journal WHERE seq > ? AND create_us >= ? ORDER BY seq LIMIT 1", (after_seq, end_us))
    first_young = young.fetchone()
    last = connection.execute("SELECT max(seq) FROM journal").fetchone()
    end = (first_young or last)[0]
    before = "SELECT seq, checksum FROM journal WHERE seq > ? AND seq < ? ORDER BY seq DESC LIMIT 1"
    found = None if end is None else connection.execute(before, (after_seq, end)).fetchone()
    return None if found is None else (int(found[0]), found[1])


def _last_attempt(connection: sqlite3.Connection, last_seq: int) -> int:
    """The last attempt whose first journal row is archived, and never the newest of all."""
    newest = int(connection.execute("SELECT coalesce(max(id), 0) FROM attempt").fetchone()[0])
    first_young = connection.execute(_FIRST_MADE, (last_seq,)).fetchone()
    return min(newest, newest if first_young is None else int(first_young[0])) - 1


def late_attempts(connection: sqlite3.Connection, archive: Archive) -> str:
    """Return the attempts to which something happened after the archived part of the journal, as a JSON list."""
    found = connection.execute(_LATE, (archive.last_seq, archive.last_attempt_id))
    return json.dumps([row[0] for row in found])


def claim(connection: sqlite3.Connection, archive: Archive, *, after: int, late: str) -> int | None:
    """Name the next operations for an archive, and return the last one looked at; None where all were.

    An operation is claimed where all its attempts have ended for good before the month did, and no reply is kept for it. From then
    on none of its rows changes.
    """
    last = min(after + CLAIMED_AT_ONCE, archive.last_operation_id)
    bounds = {"after": after, "last_operation": last, "last_attempt": archive.last_attempt_id, "end": archive.end_us, "late": late}
    ids = connection.execute(_ELIGIBLE, bounds).fetchall()
    connection.executemany("UPDATE operation SET archive_id = ? WHERE id = ?", [(archive.id, row[0]) for row in ids])
    return last if last < archive.last_operation_id else None


def advance(connection: sqlite3.Connection, archive: Archive, state: ArchiveState, **facts: object) -> None:
    """Write how far an archive has come, and what its file holds."""
    names = ", ".join(f"{name} = ?" for name in ("state", *facts))
    connection.execute(f"UPDATE archive SET {names} WHERE id = ?", (state, *facts.values(), archive.id))  # noqa: S608 - field names


def take_operations(connection: sqlite3.Connection, archive: Archive, *, after: int) -> int | None:
    """Take the next claimed operations out and count in their windows what they cost; return the last, None where none was left."""
    claimed = "SELECT id FROM operation WHERE archive_id = ? AND id > ? ORDER BY id LIMIT ?"
    found = connection.execute(claimed, (archive.id, after, TAKEN_AT_ONCE)).fetchall()
    if not found:
        return None
    operations = ", ".join(str(int(row[0])) for row in found)
    taken = connection.execute(_OF_TAKEN.format(operations=operations), (archive.last_attempt_id,)).fetchall()
    ids = ", ".join(str(int(row[0])) for row in taken)
    for statement in _TAKE.values():
        connection.execute(statement.format(ids=ids, operations=operations))
    return int(found[-1][0])


def take_hits(connection: sqlite3.Connection, archive: Archive) -> bool:
    """Take the next rows of answers that cost nothing out; False where none was left."""
    few = "SELECT minute, key_id FROM hit_minute WHERE minute < ? ORDER BY minute, key_id LIMIT ?"
    found = connection.execute(few, (archive.end_us // _MINUTE_US, HITS_AT_ONCE)).fetchall()
    connection.executemany("DELETE FROM hit_minute WHERE minute = ? AND key_id = ?", found)
    return bool(found)


def take_journal(connection: sqlite3.Connection, archive: Archive, *, after: int) -> int | None:
    """Take the journal's next rows out that speak of no attempt which is still here; None where all were looked at.

    Rows of attempts that stay are in the file and stay besides, until those go.
    """
    first = connection.execute("SELECT seq FROM journal WHERE seq > ? ORDER BY seq LIMIT 1", (after,)).fetchone()
    if first is None or first[0] > archive.last_seq:
        return None
    until = min(int(first[0]) - 1 + JOURNAL_AT_ONCE, archive.last_seq)
    connection.execute(_TAKE_JOURNAL, {"after": after, "until": until})
    return until


def _archive(row: tuple[Any, ...]) -> Archive:
    values = dict(zip(Archive.__slots__, row, strict=True))
    return Archive(**values | {"state": ArchiveState(values["state"])})
