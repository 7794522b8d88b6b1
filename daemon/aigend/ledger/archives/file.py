"""The file of one archived month: what is in it, how it is written so that it appears whole or not at all, and how it is checked.

gzip of JSON lines. The first line is the header; then each operation with its attempts, each journal row, each minute of answers
that cost nothing. Bytes are hexadecimal digits. The header names counts, totals and the SHA-256 of everything after it.
"""

import gzip
import hashlib
import json
import os
import shutil
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from aigend.ledger.archives.rows import Archive
from aigend.ledger.journal import row_checksum
from aigend.storage.files import sync_directory

FORMAT = "aigen ledger archive"
VERSION = 1
OPERATIONS_AT_ONCE = 500
JOURNAL_AT_ONCE = 5_000
HITS_AT_ONCE = 5_000
LEVEL = 6  # of compression
_OPERATIONS = "SELECT * FROM operation WHERE archive_id = ? AND id > ? ORDER BY id LIMIT ?"
_ATTEMPTS = "SELECT * FROM attempt WHERE operation_id = ? AND id <= ? ORDER BY attempt_number"
_WINDOWS = (
    "SELECT w.budget, w.key, w.period, w.window FROM attempt_window x JOIN budget_window w ON w.id = x.window_id"
    " WHERE x.attempt_id = ? ORDER BY w.id"
)
_JOURNAL = "SELECT * FROM journal WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
_HITS = """
    SELECT m.minute, m.count, m.saved_nanos, m.saved_unknown_count, m.latency_us, m.histogram, a.scope, a.service, a.session,
        a.phase, a.task, a.labels, a.agent, a.provider, a.model, a.outcome, a.cause, m.key_id
    FROM hit_minute m JOIN account a ON a.id = m.key_id WHERE m.minute < ? AND (m.minute, m.key_id) > (?, ?)
    ORDER BY m.minute, m.key_id LIMIT ?
"""
_JOURNAL_ROW = ("seq", "epoch", "attempt_id", "event", "reserved_delta", "spent_delta", "detail", "create_us")
Line = dict[str, Any]


class ArchiveDamaged(Exception):  # noqa: N818 - names what was found
    """A file that is not what it was when it was written."""


@dataclass(slots=True)
class Contents:
    """What has been written to, or read from, a file so far."""

    sha256: Any = field(default_factory=hashlib.sha256)
    counts: dict[str, int] = field(default_factory=lambda: {"operation": 0, "attempt": 0, "journal": 0, "hit": 0})
    cost_nanos: int = 0

    def add(self, line: bytes, row: Line) -> None:
        """Count one line."""
        self.sha256.update(line)
        self.counts[row["row"]] += 1
        if row["row"] == "attempt" and row["state"] == "settled":
            self.cost_nanos += row["cost_nanos"] or 0

    def facts(self) -> dict[str, Any]:
        """Return what the ledger keeps of a file."""
        counts = {f"{name}_count": count for name, count in self.counts.items()}
        return counts | {"cost_nanos": self.cost_nanos, "sha256": self.sha256.digest()}


def write_file(
    archive: Archive,
    connect: Callable[[], sqlite3.Connection],
    *,
    schema_version: int,
    stopped: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Write a month's file in place of any that is there, and return what the ledger keeps of it.

    Rows are read page by page in short transactions: what is claimed does not change. The file is durable when this returns.

    Args:
        archive: What goes into it.
        connect: Opens a reading connection.
        schema_version: Of the ledger.
        stopped: Asked at each row whether to go on.

    Raises:
        OSError: It can't be written.
        ArchiveDamaged: It was stopped; nothing is left of it.
    """
    path = Path(archive.file)
    body, whole = path.with_name(path.name + ".body"), path.with_name(path.name + ".new")
    contents = Contents()
    try:
        with _created(body) as raw, gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=LEVEL, mtime=0, filename="") as stream:
            for row in _rows(archive, connect):
                _check_wanted(stopped)
                line = _line(row)
                contents.add(line, row)
                stream.write(line)
        with _created(whole) as raw:
            raw.write(gzip.compress(_line(_header(archive, contents, schema_version)), LEVEL, mtime=0))
            with body.open("rb") as rest:
                shutil.copyfileobj(rest, raw)
            raw.flush()
            os.fsync(raw.fileno())
        whole.replace(path)
        sync_directory(path.parent)
    finally:
        body.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)
    return contents.facts() | {"size_bytes": path.stat().st_size}


def read_lines(path: Path) -> Iterator[Line]:
    """Yield the header and then every row of a file, as they were written.

    Raises:
        ArchiveDamaged: It can't be read.
    """
    for _, row in _raw_lines(path):
        yield row


def read_header(path: Path) -> Line:
    """Return the header of a file.

    Raises:
        ArchiveDamaged: It is no archive, or one of a newer aigen.
    """
    header = next(read_lines(path), {})
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise ArchiveDamaged(f"{path} is no ledger archive of version {VERSION}")
    return header


def check_file(archive: Archive, *, stopped: Callable[[], bool] = lambda: False) -> str:
    """Return what is wrong with a month's file against what the ledger keeps of it; empty where all is as it was written.

    Args:
        archive: What the ledger keeps of it.
        stopped: Asked at each row whether to go on.
    """
    path = Path(archive.file)
    try:
        header = read_header(path)
        contents, fault = Contents(), ""
        before, seq = archive.before_checksum, archive.first_seq
        rows = _raw_lines(path)
        next(rows)
        for line, row in rows:
            _check_wanted(stopped)
            contents.add(line, row)
            if row["row"] == "journal":
                values = tuple(row[name] for name in _JOURNAL_ROW)
                if not fault and (row["seq"] != seq or row_checksum(before, values).hex() != row["checksum"]):
                    fault = f"its journal row {seq} is missing or was changed"
                before, seq = bytes.fromhex(row["checksum"]), seq + 1
    except (ArchiveDamaged, KeyError, ValueError, TypeError) as error:
        return f"{path}: {error}"
    facts = contents.facts()
    wrong = [name for name, value in facts.items() if getattr(archive, name) != value]
    told = header.get("sha256") != archive.sha256.hex() or header.get("month") != archive.month
    if fault or wrong or told or (before, seq - 1) != (archive.last_checksum, archive.last_seq):
        return f"{path}: {fault or 'it is not what was written'}{': ' + ', '.join(wrong) if wrong else ''}"
    return ""


def _check_wanted(stopped: Callable[[], bool]) -> None:
    if stopped():
        raise ArchiveDamaged("it was stopped before its end")


def _header(archive: Archive, contents: Contents, schema_version: int) -> Line:
    return {
        "format": FORMAT,
        "version": VERSION,
        "schema_version": schema_version,
        "month": archive.month,
        "first_seq": archive.first_seq,
        "last_seq": archive.last_seq,
        "before_checksum": archive.before_checksum.hex(),
        "last_checksum": archive.last_checksum.hex(),
        "counts": contents.counts,
        "totals": {"USD": {"cost_nanos": contents.cost_nanos}},
        "sha256": contents.sha256.hexdigest(),
        "create_us": archive.create_us,
    }


def _rows(archive: Archive, connect: Callable[[], sqlite3.Connection]) -> Iterator[Line]:
    connection = connect()
    try:
        yield from _operation_rows(archive, connection)
        yield from _journal_rows(archive, connection)
        yield from _hit_rows(archive, connection)
    finally:
        connection.close()


def _operation_rows(archive: Archive, connection: sqlite3.Connection) -> Iterator[Line]:
    after = 0
    while page := _named(connection.execute(_OPERATIONS, (archive.id, after, OPERATIONS_AT_ONCE))):
        for operation in page:
            yield {"row": "operation"} | operation
            for attempt in _named(connection.execute(_ATTEMPTS, (operation["id"], archive.last_attempt_id))):
                windows = _named(connection.execute(_WINDOWS, (attempt["id"],)))
                yield {"row": "attempt"} | attempt | {"windows": windows}
        after = page[-1]["id"]


def _journal_rows(archive: Archive, connection: sqlite3.Connection) -> Iterator[Line]:
    after = archive.first_seq - 1
    while page := _named(connection.execute(_JOURNAL, (after, archive.last_seq, JOURNAL_AT_ONCE))):
        for row in page:
            yield {"row": "journal"} | row
        after = page[-1]["seq"]


def _hit_rows(archive: Archive, connection: sqlite3.Connection) -> Iterator[Line]:
    minute, key_id = -1, -1
    while page := _named(connection.execute(_HITS, (archive.end_us // 60_000_000, minute, key_id, HITS_AT_ONCE))):
        minute, key_id = page[-1]["minute"], page[-1]["key_id"]
        for row in page:
            del row["key_id"]
            yield {"row": "hit"} | row


def _named(cursor: sqlite3.Cursor) -> list[Line]:
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _line(row: Line) -> bytes:
    return json.dumps(row, ensure_ascii=False, separators=(",", ":"), default=bytes.hex).encode("utf-8", "surrogatepass") + b"\n"


def _raw_lines(path: Path) -> Iterator[tuple[bytes, Line]]:
    try:
        with gzip.open(path, "rb") as stream:
            for line in cast(BinaryIO, stream):
                yield line, json.loads(line.decode("utf-8", "surrogatepass"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise ArchiveDamaged(f"it can't be read: {error}") from error


def _created(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb")
