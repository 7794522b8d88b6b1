"""Locks, private files and directories, socket paths, and what state a database file is in before it is opened.

Each refusal names the path and what is allowed. Nothing is ever repaired or made stricter that is not ours.
"""

import contextlib
import fcntl
import os
import sqlite3
import stat
from enum import StrEnum
from pathlib import Path

EXIT_IO = 74  # EX_IOERR: a disk that is full or fails
EXIT_BUSY = 75  # EX_TEMPFAIL: another process holds the lock
EXIT_CONFIG = 78  # EX_CONFIG: a path that can't be used
SOCKET_PATH_LIMIT = 107  # bytes of sun_path on Linux, without its closing NUL (unix(7))
OPEN_TO_OTHERS = stat.S_IWGRP | stat.S_IWOTH
SQLITE_MAGIC = b"SQLite format 3\x00"


class StorageRefused(Exception):  # noqa: N818 - names what happened
    """A path that can't be used; `exit_code` is what a process that needs it ends with."""

    def __init__(self, text: str, /, *, path: Path, exit_code: int = EXIT_CONFIG) -> None:
        super().__init__(text)
        self.text = text
        self.path = path
        self.exit_code = exit_code


class FileLock:
    """An exclusive lock on a file, held by this process until released or ended."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Give the lock back; the file stays, so that no two processes lock different files of one name."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def lock(path: Path, *, what: str) -> FileLock:
    """Return an exclusive lock on a file, made if missing.

    Args:
        path: File to lock, such as `DIRECTORY/lock`.
        what: What the lock guards, for the error.

    Raises:
        StorageRefused: Exit code 75 where another process holds it, 78 where the file can't be made.
    """
    descriptor = _open_private(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
        os.close(descriptor)
        by = f" (process {holder})" if holder else ""
        text = f"{what} is in use by another aigend{by}: lock {path}"
        raise StorageRefused(text, path=path, exit_code=EXIT_BUSY) from error
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    return FileLock(path, descriptor)


def private_directory(path: Path, *, what: str) -> Path:
    """Return a directory that is ours and that others can't write to, made with mode 0700 if missing.

    Raises:
        StorageRefused: It can't be made, is no directory, belongs to somebody else or is open to others.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.stat()
    except OSError as error:
        text = f"{what} {path} can't be made: {error.strerror}; allowed: a directory that this user may write to"
        raise StorageRefused(text, path=path) from error
    _check_directory(path, status, what=what)
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StorageRefused(f"{what} {path} is read-only; allowed: a directory that this user may write to", path=path)
    return path


def sync_directory(directory: Path) -> None:
    """Make durable which files a directory holds."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def private_file(path: Path) -> Path:
    """Return a file that is ours, made empty with mode 0600 if missing.

    Raises:
        StorageRefused: It can't be opened, is no regular file, belongs to somebody else or is open to others.
    """
    os.close(_open_private(path, os.O_RDWR | os.O_CREAT))
    return path


def open_ours(path: Path) -> int:
    """Return a descriptor for reading a regular file that is ours and that others can't write to; links are not followed.

    Raises:
        StorageRefused: It can't be opened, is no regular file, belongs to somebody else or is open to others.
    """
    return _open_private(path, os.O_RDONLY | os.O_NONBLOCK)  # opening a pipe must not wait for whoever writes to it


def check_socket_path(path: Path) -> Path:
    """Return the path if a socket may be bound there.

    Raises:
        StorageRefused: It is too long, its directory is missing, not ours or open to others, or something else lies there.
    """
    length = len(os.fsencode(path))
    if length > SOCKET_PATH_LIMIT:
        text = f"socket {path} has a path of {length} bytes; allowed: at most {SOCKET_PATH_LIMIT}"
        raise StorageRefused(text, path=path)
    try:
        status = path.parent.stat()
    except OSError as error:
        text = f"socket {path}: its directory can't be used: {error.strerror}; allowed: a directory that exists"
        raise StorageRefused(text, path=path) from error
    _check_directory(path.parent, status, what=f"socket {path}: its directory")
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StorageRefused(f"socket {path}: something else lies there; allowed: a free path or an old socket", path=path)
    return path


class DatabaseCondition(StrEnum):
    """What lies where a database should be."""

    MISSING = "missing"
    EMPTY = "empty"
    FOREIGN = "foreign"
    NEWER = "newer"
    DAMAGED = "damaged"
    OURS = "ours"


def examine_database(path: Path, *, application_id: int, newest_version: int) -> DatabaseCondition:
    """Return what lies at a path, without changing it; only before this process has opened it as a database.

    Closing any descriptor of a file drops all POSIX locks that the process holds on it, those of SQLite too.

    Args:
        path: Where the database should be.
        application_id: The number that marks our databases of this kind.
        newest_version: The newest `user_version` that this program can read.
    """
    if not path.exists():
        return DatabaseCondition.MISSING
    with path.open("rb") as file:
        head = file.read(100)
    if not head:
        return DatabaseCondition.EMPTY
    if not head.startswith(SQLITE_MAGIC[: len(head)]):
        return DatabaseCondition.FOREIGN
    if len(head) < 100:
        return DatabaseCondition.DAMAGED
    try:
        return _ask_sqlite(path, application_id=application_id, newest_version=newest_version)
    except (sqlite3.Error, UnicodeDecodeError):  # the latter for a schema whose text is damaged
        return DatabaseCondition.DAMAGED


def _ask_sqlite(path: Path, *, application_id: int, newest_version: int) -> DatabaseCondition:
    with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None)) as connection:
        found_id = connection.execute("PRAGMA application_id").fetchone()[0]
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found_id != application_id:
        return DatabaseCondition.FOREIGN
    return DatabaseCondition.NEWER if version > newest_version else DatabaseCondition.OURS


def _check_directory(path: Path, status: os.stat_result, *, what: str) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise StorageRefused(f"{what} {path} is no directory; allowed: a directory", path=path)
    if status.st_uid != os.geteuid():
        text = f"{what} {path} belongs to user {status.st_uid}; allowed: user {os.geteuid()}, who runs aigend"
        raise StorageRefused(text, path=path)
    if status.st_mode & OPEN_TO_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise StorageRefused(f"{what} {path} is open to others (mode {mode:04o}); allowed: writable by its owner only", path=path)


def _open_private(path: Path, flags: int) -> int:
    try:
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        text = f"file {path} can't be opened: {error.strerror}; allowed: a regular file of this user"
        raise StorageRefused(text, path=path) from error
    try:
        _check_file(path, os.fstat(descriptor))
    except StorageRefused:
        os.close(descriptor)
        raise
    return descriptor


def _check_file(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StorageRefused(f"{path} is no regular file; allowed: a regular file", path=path)
    if status.st_uid != os.geteuid():
        text = f"file {path} belongs to user {status.st_uid}; allowed: user {os.geteuid()}, who runs aigend"
        raise StorageRefused(text, path=path)
    if status.st_mode & OPEN_TO_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise StorageRefused(f"file {path} is open to others (mode {mode:04o}); allowed: writable by its owner only", path=path)
