"""Room in a write-ahead log: what is said to be there is there, and it outlives a crash."""

import errno
import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from aigend.storage.room import FRAME_HEADER, STEP_BYTES, WalRoom

FRAME_BYTES = 4_096 + FRAME_HEADER


class Log:
    """A database with a write-ahead log and its room."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None)
        self.connection.execute("PRAGMA journal_mode=WAL")
        self.connection.execute("PRAGMA wal_autocheckpoint=0")
        self.connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        self.room = WalRoom(path, page_bytes=4_096)

    def write(self, size: int) -> None:
        """Commit a row of so many bytes."""
        self.connection.execute("CREATE TABLE IF NOT EXISTS item (body BLOB)")
        self.connection.execute("INSERT INTO item VALUES (?)", (os.urandom(size),))

    def checkpoint(self, mode: str = "PASSIVE") -> int:
        """Move the log into the database and return how many frames it had."""
        return self.connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()[1]

    @property
    def length(self) -> int:
        """Bytes of the log's file."""
        return self.path.with_name(self.path.name + "-wal").stat().st_size

    def close(self) -> None:
        """Close the connection, then what looks at its files."""
        self.connection.close()
        self.room.close()


@pytest.fixture
def log(tmp_path) -> Iterator[Log]:
    """An empty log."""
    made = Log(tmp_path / "items.db")
    yield made
    made.close()


def refuse_beyond(monkeypatch: pytest.MonkeyPatch, length: int, number: int = errno.ENOSPC) -> None:
    """Let the disk give no file more than so many bytes."""
    give = os.posix_fallocate

    def allocate(descriptor: int, offset: int, size: int) -> None:
        if offset + size > length:
            raise OSError(number, os.strerror(number))
        give(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)


def test_new_log_has_no_room(log):
    """Nothing is there before it was asked for."""
    assert not log.room.holds(1)


def test_room_is_there_once_it_was_kept(log):
    """What was asked for can be written then without making the log longer, and lies on the disk already."""
    log.room.keep(50 * FRAME_BYTES)
    assert log.room.holds(50 * FRAME_BYTES)
    length = log.length
    status = os.stat(f"{log.path}-wal")
    assert status.st_blocks * 512 >= length
    log.write(40 * 4_096)
    assert log.length == length


def test_what_is_said_to_be_there_is_there(log):
    """Through commits of all sizes and checkpoints the room that is said never reaches into what is written."""
    dice = random.Random(7)  # noqa: S311 - repeatable, nothing secret
    for _ in range(60):
        wanted = dice.randrange(1, 300_000)
        log.room.keep(wanted)
        before, whole = log.room._written(), (log.length - 32) // FRAME_BYTES
        assert (whole - before) * FRAME_BYTES >= wanted - FRAME_BYTES
        log.write(dice.randrange(100_000))
        if dice.random() < 0.2:
            assert log.checkpoint() == log.room._written()


def test_written_frames_take_room(log):
    """What was written is room no longer, until the log begins again at its start."""
    log.room.keep(STEP_BYTES)
    held = log.length - 32
    log.write(held // 2)
    assert not log.room.holds(held)
    assert log.checkpoint("RESTART") > 0
    log.write(1)
    assert log.room.holds(held - 20 * FRAME_BYTES)


def test_longer_log_survives_a_crash(log, tmp_path):
    """What was committed is read back from a log that ends in zeros, and in frames of a round before."""
    for size in (300_000, 1_000):
        log.room.keep(2 * STEP_BYTES)
        log.write(size)
        log.checkpoint("RESTART")
    log.write(5)
    copy = tmp_path / "copy"
    copy.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{log.path}{suffix}", copy)
    connection = sqlite3.connect(copy / log.path.name)
    assert [size for (size,) in connection.execute("SELECT length(body) FROM item")] == [300_000, 1_000, 5]
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_index_grows_with_the_log(log):
    """The index has its own room for all frames that the log can hold, so that it asks the disk for nothing on the way."""
    log.room.keep(9_000 * FRAME_BYTES)
    index = Path(f"{log.path}-shm").stat().st_size
    assert index == 3 * 32_768
    for _ in range(9):
        log.write(1_000 * 4_096 - 40_000)
    assert log.room._written() > 8_500
    assert Path(f"{log.path}-shm").stat().st_size == index


def test_a_disk_with_little_gives_what_is_needed(log, monkeypatch):
    """Where there is no room to spare, exactly what is asked for is taken."""
    refuse_beyond(monkeypatch, 32 + 30 * FRAME_BYTES)
    log.room.keep(30 * FRAME_BYTES)
    assert log.length == 32 + 30 * FRAME_BYTES


def test_a_disk_with_nothing_is_said(log, monkeypatch):
    """What can't be had is an error, and what was there stays."""
    log.room.keep(10 * FRAME_BYTES)
    refuse_beyond(monkeypatch, 0)
    with pytest.raises(OSError, match="No space left"):
        log.room.keep(10 * STEP_BYTES)
    assert log.room.holds(10 * FRAME_BYTES)


def test_room_is_written_where_it_can_not_be_set_aside(log, monkeypatch):
    """A file system that knows no such request gets zeros."""
    refuse_beyond(monkeypatch, 0, errno.EOPNOTSUPP)
    log.room.keep(3 * STEP_BYTES)
    assert log.room.holds(3 * STEP_BYTES)
    assert os.stat(f"{log.path}-wal").st_blocks * 512 >= 3 * STEP_BYTES


def test_files_are_given_back_where_one_is_missing(tmp_path):
    """A log without its index is refused with nothing left open."""
    (tmp_path / "items.db-wal").touch()
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        WalRoom(tmp_path / "items.db", page_bytes=4_096)
    assert len(os.listdir("/proc/self/fd")) == before
