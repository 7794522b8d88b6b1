"""What it means when a database can't be written or read, and which mistakes concern one statement only."""

import errno
import sqlite3

from aigend.errors import DomainError, Reason

FULL_CODES = frozenset({sqlite3.SQLITE_FULL})
FULL_NUMBERS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
LOCKED_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
FATAL_CODES = frozenset(
    {
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)


class StorageFailure(DomainError):  # noqa: N818 - names what happened, as DomainError's reasons do
    """A database that can't be written: STORAGE_FULL while the disk has no room, STORAGE_DAMAGED for all else.

    Args:
        name: The database, as people know it.
        cause: What SQLite or the system said.

    Attributes:
        lasting: Whether it stays until the daemon starts anew; a full disk or a lock held by others may pass.
    """

    def __init__(self, name: str, cause: BaseException | str) -> None:
        full = is_full(cause)
        self.lasting = not full and not (isinstance(cause, sqlite3.Error) and primary_code(cause) in LOCKED_CODES)
        reason = Reason.STORAGE_FULL if full else Reason.STORAGE_DAMAGED
        what = "has no room on its disk" if full else "can't be written or read"
        super().__init__(reason, f"{name} {what}: {cause}", storage=name)
        if isinstance(cause, BaseException):
            self.__cause__ = cause


def is_full(cause: BaseException | str) -> bool:
    """Return whether an error says that the disk has no room; it is none of a sync, and what was asked for was undone whole."""
    if isinstance(cause, sqlite3.Error):
        return primary_code(cause) in FULL_CODES
    return isinstance(cause, OSError) and cause.errno in FULL_NUMBERS


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's primary result code of an error, -1 where Python raised it by itself."""
    code = getattr(error, "sqlite_errorcode", None)
    return -1 if code is None else int(code) & 0xFF


def is_storage_error(error: BaseException) -> bool:
    """Return whether an error says that the storage failed, not that one statement was wrong.

    Example:
        >>> is_storage_error(sqlite3.IntegrityError("UNIQUE constraint failed"))
        False
    """
    if isinstance(error, sqlite3.Error):
        return primary_code(error) in FULL_CODES | LOCKED_CODES | FATAL_CODES
    return isinstance(error, OSError | MemoryError)
