"""Promises of room: an operation that is done now may promise that another one will find room later, whatever fills the disk.

Kept apart from the writer, which asks here before it begins, and from the files, which are `room`'s.
"""

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator
from enum import IntEnum
from pathlib import Path

from aigend.storage.room import WalRoom


class Promise(IntEnum):
    """What an operation does to the number of those that are promised room."""

    KEPT = -1
    NONE = 0
    MADE = 1


class PromisedRoom:
    """Room in the write-ahead log of a connection for operations that were promised; belongs to the writer's thread.

    Args:
        connection: The one that writes; its log is the database's own.
        each: Room for one promised operation, in bytes of the log.
    """

    def __init__(self, connection: sqlite3.Connection, *, each: int) -> None:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()  # the log is there once something was read
        database = Path(connection.execute("PRAGMA database_list").fetchone()[2])
        self._connection = connection
        self._each = each
        self._promised = 0
        self._rewindable = True
        self._room = WalRoom(database, page_bytes=connection.execute("PRAGMA page_size").fetchone()[0])

    @property
    def promised_bytes(self) -> int:
        """Room that belongs to operations still to come."""
        return self._promised * self._each

    def need(self, promise: Promise, size: int) -> int:
        """Return how much room beside what is promised an operation of a size needs, so that it and what it promises fit."""
        return max(0, size + promise * self._each)

    def holds(self, size: int) -> bool:
        """Return whether so many bytes have room as the log is."""
        return self._room.holds(size)

    def ask(self, size: int) -> None:
        """Make sure of room for so many bytes, of the disk or, where that has none, at the log's beginning.

        Raises:
            OSError: There is none.
            sqlite3.Error: The log could not be moved into the database.
        """
        try:
            self._room.keep(size)
        except OSError:
            if not self._rewind():
                raise
            self._room.keep(size)

    def count(self, promises: Iterable[Promise]) -> None:
        """Count promises that were made and kept by a commit."""
        self._promised = max(0, self._promised + sum(promises))
        self._rewindable = True

    def close(self) -> None:
        """Give the files back; after the connection was closed, and no other of this process is open."""
        self._room.close()

    def _rewind(self) -> bool:
        """Begin the log again at its start, if all of it can be moved into the database and nobody reads in it; never wait.

        What could not be moved is not tried again before there is more of it.
        """
        if not self._rewindable:
            return False
        with _without_waiting(self._connection):
            try:
                busy = self._connection.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0]
            except sqlite3.Error:
                self._rewindable = False
                raise
        if busy:
            return False
        self._rewindable = False
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        self._connection.execute(f"PRAGMA user_version={version}")  # the first write begins the log again
        return True


@contextlib.contextmanager
def _without_waiting(connection: sqlite3.Connection) -> Iterator[None]:
    """Let a connection fail at once where it would wait for a lock."""
    patience = connection.execute("PRAGMA busy_timeout").fetchone()[0]
    connection.execute("PRAGMA busy_timeout=0")
    try:
        yield
    finally:
        connection.execute(f"PRAGMA busy_timeout={patience}")
