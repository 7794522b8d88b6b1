"""`aigend ledger`: what is done to a ledger as a file, most of it while no daemon serves it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

from aigend.clock import Clock
from aigend.config import LoadedSettings
from aigend.ledger.backup import back_up, put_back
from aigend.ledger.recovery import set_aside
from aigend.ledger.schema import APPLICATION_ID, NEWEST_VERSION
from aigend.ledger.verify import verify
from aigend.storage.files import DatabaseCondition, StorageRefused, examine_database, lock, private_directory

EXIT_OK = 0
EXIT_DAMAGED = 65  # EX_DATAERR


def run(action: str, loaded: LoadedSettings, *, clock: Clock, say: Callable[[str], object], copy: Path | None = None) -> int:
    """Verify, copy or restore a ledger, or set it aside so that a new one begins; return the exit code.

    Args:
        action: `verify`, `repair`, `backup` or `restore`.
        loaded: Says where the ledger lies.
        clock: Dates what is set aside.
        say: Prints one line.
        copy: Where a backup goes or comes from.

    Raises:
        StorageRefused: A daemon serves the ledger, or its directory can't be used.
    """
    folder = private_directory(loaded.places.state_directory, what="state_directory")
    path = folder / "ledger.db"
    if action == "backup" and copy is not None:
        return _back_up(path, copy, say)
    held = lock(folder / "aigend.lock", what=f"state_directory {folder}")
    try:
        if action == "restore" and copy is not None:
            return _restore(copy, path, clock=clock, say=say)
        if not path.exists():
            raise StorageRefused(f"ledger {path} does not exist; allowed: a ledger that a daemon has made", path=path)
        if action == "repair":
            _check_unsound(path)
            for moved in set_aside(path, now=clock.time()):
                say(f"set aside as {moved}")
            say("the next start begins a new ledger; what was set aside is kept and never read again")
            return EXIT_OK
        return _verify(loaded, say)
    finally:
        held.release()


def _back_up(path: Path, copy: Path, say: Callable[[str], object]) -> int:
    """Copy a ledger; its reader's connection disturbs no daemon that serves it."""
    if not path.exists():
        raise StorageRefused(f"ledger {path} does not exist; allowed: a ledger that a daemon has made", path=path)
    size = back_up(path, copy)
    findings = _findings(copy)
    for finding in findings:
        say(f"{copy}: {finding}")
    say(f"{copy}: {size:,} bytes, {'unsound' if findings else 'verified'}")
    return EXIT_DAMAGED if findings else EXIT_OK


def _restore(copy: Path, path: Path, *, clock: Clock, say: Callable[[str], object]) -> int:
    for moved in put_back(copy, path, now=clock.time()):
        say(f"set aside as {moved}")
    say(f"{path}: restored from {copy}; calls made since that copy are not in it, and the next start says which rows are missing")
    return EXIT_OK


def _check_unsound(path: Path) -> None:
    """A sound ledger is never set aside: with it would go what budgets and request ids stand on."""
    condition = examine_database(path, application_id=APPLICATION_ID, newest_version=NEWEST_VERSION)
    if condition is DatabaseCondition.OURS and not _findings(path):
        raise StorageRefused(
            f"ledger {path} is sound; allowed: a ledger that the daemon refuses or `verify` finds fault with", path=path
        )


def _findings(path: Path) -> tuple[str, ...]:
    try:
        return verify(path)
    except sqlite3.Error as error:
        return (f"it can't be read: {error}",)


def _verify(loaded: LoadedSettings, say: Callable[[str], object]) -> int:
    path = loaded.places.state_directory / "ledger.db"
    findings = _findings(path)
    for finding in findings:
        say(f"{path}: {finding}")
    if not findings:
        say(f"{path}: ok")
    return EXIT_DAMAGED if findings else EXIT_OK
