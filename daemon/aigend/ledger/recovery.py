"""What is done before a ledger serves: examined, compared with its mark, counted again, and what was left open is closed.

A ledger that can't be trusted is refused; it is never repaired silently. A lost tail is said loudly, and the ledger serves.
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aigend.ledger import batch_rows, journal, schema, store
from aigend.ledger.archives import rows as archive_rows
from aigend.ledger.budgets import windows
from aigend.ledger.entries import AttemptState
from aigend.ledger.journal import Event, Tail
from aigend.ledger.mark import TailState, mark_path
from aigend.ledger.statistics import rollups
from aigend.ledger.store import Moment
from aigend.storage.files import EXIT_IO, DatabaseCondition, StorageRefused, examine_database, private_file

COMPARED_ROWS = 30_000  # attempts whose roll-ups are compared before the ledger serves: about a tenth of a second
RESTARTED = "the daemon ended while the call was under way"
_OPEN_ATTEMPTS = (  # repeats the partial index's own condition, without which SQLite would not use it
    "SELECT id, state FROM attempt WHERE state IN ('reserved', 'sent', 'submitted') AND epoch < ? ORDER BY id"
)
_WHY = {
    DatabaseCondition.EMPTY: "is empty",
    DatabaseCondition.FOREIGN: "is no ledger of aigen",
    DatabaseCondition.NEWER: "was written by a newer aigen, which alone can serve it",
    DatabaseCondition.DAMAGED: "is damaged",
}


class LedgerRefused(StorageRefused):
    """A ledger that can't be trusted; it was left as it is."""

    def __init__(self, path: Path, why: str) -> None:
        allowed = f"allowed: a sound ledger of version {schema.NEWEST_VERSION} or older, or none"
        super().__init__(f"ledger {path} {why}; {allowed}. `aigend ledger repair` sets it aside", path=path)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenReport:
    """What opening a ledger found and did."""

    epoch: int
    sequence: int
    created: bool
    tail: TailState
    released: int  # attempts that held cost and had not been sent
    unknown: int  # attempts that had been sent and are booked at their upper bound now
    alarms: tuple[str, ...]  # what an operator must know: lost tail, corrected counters
    later: tuple[int, ...] = ()  # quarters whose roll-ups are compared while the ledger serves


def prepare(path: Path) -> bool:
    """Make sure that a sound ledger lies at a path, and return whether it was made just now.

    Raises:
        LedgerRefused: What lies there is empty, foreign, newer or damaged.
    """
    condition = examine_database(path, application_id=schema.APPLICATION_ID, newest_version=schema.NEWEST_VERSION)
    if condition is DatabaseCondition.MISSING:
        if path.with_name(path.name + "-wal").exists():
            raise LedgerRefused(path, "is missing, but its write-ahead log is there")
        _create(path)
        return True
    if condition is not DatabaseCondition.OURS:
        raise LedgerRefused(path, _WHY[condition])
    private_file(path)
    return False


def _create(path: Path) -> None:
    try:
        schema.create(path)
    except sqlite3.Error as error:
        path.unlink(missing_ok=True)  # what was begun holds nothing
        text = f"ledger {path} can't be made: {error}; allowed: a disk with room that this user may write to"
        raise StorageRefused(text, path=path, exit_code=EXIT_IO) from error


def recover(connection: sqlite3.Connection, path: Path, *, mark: Tail | None, created: bool, now_us: int) -> OpenReport:
    """Begin the next epoch: compare, count again, release what was not sent, book what may have been; one transaction.

    Raises:
        LedgerRefused: The journal has a gap or a changed row since it was last sealed.
    """
    last = journal.tail(connection)
    sealed_seq = _meta(connection, "sealed_seq")
    if fault := journal.first_fault(connection, after_seq=sealed_seq):
        raise LedgerRefused(path, f"is damaged: {fault}")
    tail = _compare(connection, last, mark)
    alarms = [*_tail_alarms(tail, last, mark), *windows.correct(connection, sealed_seq=sealed_seq)]
    compared = _correct_rollups(connection, sealed_seq=sealed_seq, now_us=now_us)
    alarms += compared.said
    connection.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'")
    moment = Moment(epoch=_meta(connection, "epoch"), now_us=now_us)
    released, unknown = _close_attempts(connection, moment)
    for alarm in alarms:
        _say(connection, "alarm", {"text": alarm}, moment)
    end = _say(connection, "opened", {"released": released, "unknown": unknown, "tail": tail}, moment)
    windows.seal(connection)
    return OpenReport(
        epoch=moment.epoch,
        sequence=end.seq,
        created=created,
        tail=tail,
        released=released,
        unknown=unknown,
        alarms=tuple(alarms),
        later=tuple(compared.later),
    )


def set_aside(path: Path, *, now: float) -> list[Path]:
    """Rename a ledger and what belongs to it, so that the next start begins a new one; return the new names.

    Only for a ledger that no process has open.
    """
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    parts = [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm"), mark_path(path)]
    moved = []
    for part in parts:
        if part.exists():
            suffix = part.name[len(path.name) :]
            moved.append(part.rename(path.with_name(f"{path.name}.{stamp}{suffix}")))
    return moved


def _meta(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()[0])


def _compare(connection: sqlite3.Connection, last: Tail, mark: Tail | None) -> TailState:
    if mark is None:
        return TailState.UNMARKED if last.seq else TailState.NEW
    if mark.seq > last.seq:
        return TailState.LOST
    archived = archive_rows.journal_start(connection)
    if archived is not None and mark.seq <= archived[0]:
        return TailState.OK  # its row may be archived: a ledger that was not served since
    row = connection.execute("SELECT checksum FROM journal WHERE seq = ?", (mark.seq,)).fetchone()
    found = row[0] if row is not None else journal.GENESIS
    return TailState.OK if found == mark.checksum else TailState.FOREIGN


def _correct_rollups(connection: sqlite3.Connection, *, sealed_seq: int, now_us: int) -> rollups.Corrected:
    """Build roll-ups where an older version left none; else compare those that changed since the seal."""
    if rollups.folded_until(connection) >= 0:
        return rollups.correct(connection, sealed_seq=sealed_seq, most_rows=COMPARED_ROWS)
    rollups.rebuild(connection, now=now_us / 1e6)
    return rollups.Corrected([], [])


def _tail_alarms(state: TailState, last: Tail, mark: Tail | None) -> list[str]:
    if state is TailState.LOST and mark is not None:
        return [
            f"the ledger's tail is lost: rows {last.seq + 1} to {mark.seq} were written once and are gone; calls may be missing"
        ]
    if state is TailState.FOREIGN and mark is not None:
        return [f"the ledger is not the one that was open last: its row {mark.seq} is another; it may be a restored old copy"]
    if state is TailState.UNMARKED:
        return ["the ledger's mark is missing, so a lost tail could not be noticed"]
    return []


def _close_attempts(connection: sqlite3.Connection, moment: Moment) -> tuple[int, int]:
    """Release what was reserved and book what was sent in older epochs; batch lines wait while they are young, or are a job's."""
    found = connection.execute(_OPEN_ATTEMPTS, (moment.epoch,)).fetchall()
    waiting = batch_rows.young(connection, now_us=moment.now_us)
    reserved = [attempt_id for attempt_id, state in found if state == AttemptState.RESERVED and attempt_id not in waiting]
    sent = [attempt_id for attempt_id, state in found if state == AttemptState.SENT]
    for attempt_id in reserved:
        store.release(connection, attempt_id, reason=RESTARTED, moment=moment, source=AttemptState.RESERVED)
        batch_rows.forget(connection, attempt_id)
    for attempt_id in sent:
        store.mark_unknown(connection, attempt_id, low_nanos=None, high_nanos=None, reason=RESTARTED, moment=moment)
    return len(reserved), len(sent)


def _say(connection: sqlite3.Connection, name: str, detail: dict[str, object], moment: Moment) -> Tail:
    return journal.append(connection, Event(name=name, epoch=moment.epoch, create_us=moment.now_us, detail=detail))
