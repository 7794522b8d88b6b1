"""Room on the disk that is ours before it is needed: the part of a write-ahead log in which nothing is written yet.

A log that was made longer than what it holds takes commits when the disk has nothing left to give. Nobody else can take that room,
as they could if a file were deleted in need. What is written, and how much is promised to whom, stays with those who write.
"""

import contextlib
import errno
import os
from bisect import bisect_left
from pathlib import Path

STEP_BYTES = 256 * 1024  # asked for at once, so that the log is seldom made longer
FRAME_HEADER = 24
_LOG_HEADER = 32
_MAGIC = (0x377F0682, 0x377F0683)
_INDEX_FRAMES = 4_096  # that one region of the index holds, and 34 fewer in the first
_INDEX_HEAD = 34
_INDEX_REGION = 32_768


class WalRoom:
    """The write-ahead log of an open database, seen from outside; for the one thread that writes to the database.

    A frame counts as written while it carries the salt of the log's header. So one that was rolled back counts too, and so does all
    of a log that was moved into the database but not begun again: there may be more room than is said here, never less.

    Args:
        database: Its file; a connection has it open, and has read from it.
        page_bytes: Size of its pages.

    Source:
        SQLite, "WAL-mode File Format": headers, salts, and the size of the index by frames.
    """

    def __init__(self, database: Path, *, page_bytes: int) -> None:
        self._frame_bytes = FRAME_HEADER + page_bytes
        with contextlib.ExitStack() as undo:
            self._log = _open(database, "-wal")
            undo.callback(os.close, self._log)
            self._index = _open(database, "-shm")
            undo.pop_all()

    def holds(self, size: int) -> bool:
        """Return whether so many bytes of frames can be written without asking the disk for space."""
        first = (os.fstat(self._log).st_size - _LOG_HEADER - size) // self._frame_bytes
        return first >= 0 and not self._is_written(first, salt=self._salt())

    def keep(self, size: int) -> None:
        """Make sure of room for so many bytes of frames.

        Raises:
            OSError: The disk has none to give.
        """
        if self.holds(size):
            return
        end = _LOG_HEADER + self._written() * self._frame_bytes + size
        try:
            self._lengthen(end + STEP_BYTES)
        except OSError:
            self._lengthen(end)

    def close(self) -> None:
        """Give the files back; only after every connection of this process to the database was closed.

        Closing any descriptor of the index drops all locks that the process holds on it, those of SQLite too.
        """
        os.close(self._log)
        os.close(self._index)

    def _lengthen(self, end: int) -> None:
        """Take space for the log, and for the index of what it can hold then, of which SQLite would ask for more on its way."""
        _allocate(self._log, end)
        frames = (end - _LOG_HEADER) // self._frame_bytes
        regions = 1 + (frames + _INDEX_HEAD - 1) // _INDEX_FRAMES
        _allocate(self._index, regions * _INDEX_REGION)

    def _written(self) -> int:
        """Return how many frames are written; those that are come before those that are not."""
        salt, whole = self._salt(), (os.fstat(self._log).st_size - _LOG_HEADER) // self._frame_bytes
        return bisect_left(range(max(0, whole)), 1, key=lambda frame: not self._is_written(frame, salt=salt))

    def _is_written(self, frame: int, *, salt: bytes) -> bool:
        return bool(salt) and os.pread(self._log, 8, _LOG_HEADER + frame * self._frame_bytes + 8) == salt

    def _salt(self) -> bytes:
        """Return the salt of the log as it is; empty where nothing was written yet."""
        header = os.pread(self._log, _LOG_HEADER, 0)
        return header[16:24] if int.from_bytes(header[:4], "big") in _MAGIC else b""


def _open(database: Path, suffix: str) -> int:
    return os.open(database.with_name(database.name + suffix), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)


def _allocate(descriptor: int, end: int) -> None:
    """Make a file at least so long, all of it on the disk."""
    size = os.fstat(descriptor).st_size
    if size >= end:
        return
    try:
        os.posix_fallocate(descriptor, size, end - size)
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        _write_zeros(descriptor, size, end)


def _write_zeros(descriptor: int, start: int, end: int) -> None:
    """Take space by writing, where a file system can't set it aside and the C library does not do this by itself."""
    while start < end:
        start += os.pwrite(descriptor, bytes(min(end - start, STEP_BYTES)), start)
