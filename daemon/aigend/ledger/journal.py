"""The append-only journal: a gap-free sequence whose checksums chain, so that a changed, lost or foreign row is seen."""

import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

GENESIS = bytes(16)
_DETAIL = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
_TAIL = "SELECT seq, checksum FROM journal ORDER BY seq DESC LIMIT 1"
_APPEND = (
    "INSERT INTO journal (seq, epoch, attempt_id, event, reserved_delta, spent_delta, detail, create_us, checksum) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_ROWS = (
    "SELECT seq, epoch, attempt_id, event, reserved_delta, spent_delta, detail, create_us, checksum FROM journal "
    "WHERE seq >= ? ORDER BY seq"
)


@dataclass(frozen=True, slots=True)
class Tail:
    """Where the journal ends."""

    seq: int = 0
    checksum: bytes = GENESIS


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened."""

    name: str
    epoch: int
    create_us: int
    attempt_id: int | None = None
    reserved_delta: int = 0
    spent_delta: int = 0
    detail: Mapping[str, object] | None = None


def tail(connection: sqlite3.Connection) -> Tail:
    """Return the last row's sequence number and checksum."""
    row = connection.execute(_TAIL).fetchone()
    return Tail() if row is None else Tail(row[0], row[1])


def append(connection: sqlite3.Connection, event: Event) -> Tail:
    """Write the next row and return the new tail."""
    row = row_after(tail(connection), event)
    connection.execute(_APPEND, row)
    return Tail(row[0], row[-1])


def row_after(last: Tail, event: Event) -> tuple[Any, ...]:
    """Return the row, with its number first and its checksum last, that an event becomes where a journal ends."""
    detail = _DETAIL.encode(event.detail) if event.detail else "{}"
    row = (
        last.seq + 1,
        event.epoch,
        event.attempt_id,
        event.name,
        event.reserved_delta,
        event.spent_delta,
        detail,
        event.create_us,
    )
    return (*row, row_checksum(last.checksum, row))


def row_checksum(before: bytes, row: tuple[object, ...]) -> bytes:
    """Return the checksum of a row that follows one with the checksum `before`."""
    text = "\x1f".join("" if value is None else str(value) for value in row)
    return hashlib.sha256(before + text.encode("utf-8", "surrogatepass")).digest()[:16]


def first_fault(connection: sqlite3.Connection, *, after_seq: int = 0, after_checksum: bytes | None = None) -> str | None:
    """Return what is wrong with the first bad row after a sequence number; None where the chain holds.

    Args:
        connection: Reading is enough.
        after_seq: The row with this number is trusted; 0 checks the whole journal.
        after_checksum: Its checksum, where the row itself may be archived; None: it is read.
    """
    expected, before = after_seq + 1, GENESIS
    if after_checksum is not None:
        before = after_checksum
    elif after_seq:
        row = connection.execute("SELECT checksum FROM journal WHERE seq = ?", (after_seq,)).fetchone()
        if row is None:
            return f"journal row {after_seq} is missing"
        before = row[0]
    for *row, checksum in connection.execute(_ROWS, (expected,)):
        if row[0] != expected:
            return f"journal row {expected} is missing"
        if checksum != row_checksum(before, tuple(row)):
            return f"journal row {expected} was changed"
        expected, before = expected + 1, checksum
    return None
