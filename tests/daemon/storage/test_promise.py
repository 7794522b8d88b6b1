"""Promised room: counted, kept beside all else, and found at the log's beginning where the disk has none."""

import errno
import os
import sqlite3
from collections.abc import Iterator

import pytest
from aigend.storage.promise import Promise, PromisedRoom

EACH = 100_000


@pytest.fixture
def connection(tmp_path) -> Iterator[sqlite3.Connection]:
    """The connection that writes."""
    made = sqlite3.connect(tmp_path / "items.db", isolation_level=None)
    made.execute("PRAGMA journal_mode=WAL")
    made.execute("PRAGMA wal_autocheckpoint=0")
    made.execute("CREATE TABLE item (body BLOB)")
    yield made
    made.close()


@pytest.fixture
def room(connection) -> Iterator[PromisedRoom]:
    """Its room."""
    made = PromisedRoom(connection, each=EACH)
    yield made
    connection.close()
    made.close()


@pytest.fixture
def full(monkeypatch) -> None:
    """Let the disk give nothing more."""

    def allocate(descriptor, offset, size):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", allocate)


def write(connection: sqlite3.Connection, size: int) -> None:
    """Commit a row in the place of those before, so that the database need not grow."""
    connection.execute("DELETE FROM item")
    connection.execute("INSERT INTO item VALUES (zeroblob(?))", (size,))


def test_promises_are_counted_until_they_are_kept(room):
    """Each promise made keeps its room until it is kept; never fewer than none are promised."""
    room.count([Promise.MADE, Promise.MADE, Promise.NONE])
    assert room.promised_bytes == 2 * EACH
    room.count([Promise.KEPT])
    assert room.promised_bytes == EACH
    room.count([Promise.KEPT, Promise.KEPT])
    assert room.promised_bytes == 0


@pytest.mark.parametrize(
    ("promise", "size", "need"),
    [
        (Promise.NONE, 7, 7),
        (Promise.MADE, 7, EACH + 7),
        (Promise.KEPT, 7, 0),
        (Promise.KEPT, EACH + 7, 7),
    ],
)
def test_need_is_what_was_not_promised(room, promise, size, need):
    """Who promises needs room for two, and who was promised only what is above it."""
    assert room.need(promise, size) == need


def test_log_begins_again_where_the_disk_has_no_more(connection, room, full):
    """A log that was moved into the database whole gives its room back."""
    room.count([])
    for _ in range(3):
        write(connection, 200_000)
    written = room._room._written()
    assert written > 100
    room.ask(150_000)
    assert room._room._written() < 10


def test_reader_holds_the_log_and_nobody_waits(connection, room, full, tmp_path):
    """While somebody reads in the log there is no room, which is said at once; afterwards there is."""
    connection.execute("PRAGMA busy_timeout=60000")
    for _ in range(3):
        write(connection, 200_000)
    reader = sqlite3.connect(tmp_path / "items.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM item").fetchone()
    write(connection, 1)
    room.count([])
    with pytest.raises(OSError, match="No space left"):
        room.ask(150_000)
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (60_000,)
    reader.close()
    room.ask(150_000)


def test_what_can_not_be_moved_is_not_tried_again(room, full, monkeypatch):
    """After a log could not be moved, the next question is answered without, until something was written."""
    statements = []

    class Full:
        def execute(self, statement):
            statements.append(statement)
            if "wal_checkpoint" in statement:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
            return self

        def fetchone(self):
            return (0,)

    monkeypatch.setattr(room, "_connection", Full())
    with pytest.raises(sqlite3.OperationalError, match="full"):
        room.ask(10**9)
    tried = len(statements)
    with pytest.raises(OSError, match="No space left"):
        room.ask(10**9)
    assert len(statements) == tried
    room.count([Promise.NONE])
    with pytest.raises(sqlite3.OperationalError, match="full"):
        room.ask(10**9)
