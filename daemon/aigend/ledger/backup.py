"""Copies of a ledger by SQLite's backup API, and how one is put back.

A copy is one file without a log beside it, complete or not there at all. A ledger that was put back is older than the mark beside
it, so the next start says which rows are missing.
"""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

from aigend.ledger import schema
from aigend.ledger.mark import mark_path
from aigend.ledger.recovery import set_aside
from aigend.ledger.verify import verify
from aigend.storage.files import EXIT_IO, DatabaseCondition, StorageRefused, examine_database


def back_up(ledger: Path, target: Path) -> int:
    """Copy a ledger, which may be in use, and return the size of the copy in bytes.

    Raises:
        StorageRefused: The target exists, its directory does not, or it can't be written; nothing is left behind.
    """
    if target.exists() or target.is_symlink():
        raise StorageRefused(f"backup {target} exists; allowed: a path where nothing lies", path=target)
    if not target.parent.is_dir():
        raise StorageRefused(f"backup {target}: its directory does not exist; allowed: a path in a directory", path=target)
    with contextlib.closing(schema.connect_reader(ledger)) as source:
        _copy(source, target)
    return target.stat().st_size


def put_back(backup: Path, ledger: Path, *, now: float) -> list[Path]:
    """Put a copy in the ledger's place, set aside what was there, and return its new names.

    The mark stays, so that the next start notices that rows are missing. Only for a ledger that no process has open.

    Args:
        backup: A copy made by `back_up`, of this version or an older one.
        ledger: Where it shall lie; nothing needs to be there.
        now: Wall clock, names what is set aside.

    Raises:
        StorageRefused: The copy is missing, foreign, newer or unsound, or can't be copied; what was there is left as it is.
    """
    _check(backup)
    fresh = ledger.with_name(ledger.name + ".restored")
    fresh.unlink(missing_ok=True)
    with contextlib.closing(schema.connect_reader(backup)) as source:
        _copy(source, fresh)
    mark, kept = mark_path(ledger), ledger.with_name(ledger.name + ".mark.kept")
    if mark.exists():
        shutil.copyfile(mark, kept)
        kept.chmod(0o600)
    moved = set_aside(ledger, now=now)
    if kept.exists():
        kept.replace(mark)
    fresh.replace(ledger)
    _sync(ledger.parent)
    return moved


def _check(backup: Path) -> None:
    condition = examine_database(backup, application_id=schema.APPLICATION_ID, newest_version=schema.NEWEST_VERSION)
    if condition is not DatabaseCondition.OURS:
        text = f"backup {backup} is {condition}; allowed: a copy made by `aigend ledger backup`, of this version or an older one"
        raise StorageRefused(text, path=backup)
    version = _version(backup)
    if version == schema.NEWEST_VERSION and (findings := verify(backup)):  # the questions know the newest tables only
        raise StorageRefused(f"backup {backup} is unsound: {findings[0]}; allowed: a sound copy", path=backup)


def _version(path: Path) -> int:
    with contextlib.closing(schema.connect_reader(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _copy(source: sqlite3.Connection, target: Path) -> None:
    """Copy in one step, which sees one moment, and let the file appear when it is complete and on the disk."""
    fresh = target.with_name(target.name + ".part")
    try:
        fresh.unlink(missing_ok=True)
        os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        with contextlib.closing(sqlite3.connect(fresh, isolation_level=None)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file: the log that the original has is not wanted beside a copy
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(target)
        _sync(target.parent)
    except (OSError, sqlite3.Error) as error:
        fresh.unlink(missing_ok=True)
        text = f"{target} can't be written: {error}; allowed: a directory with room that this user may write to"
        raise StorageRefused(text, path=target, exit_code=EXIT_IO) from error


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
