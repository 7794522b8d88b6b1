"""`aigend ledger`: what is done to a ledger as a file, most of it while no daemon serves it."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aigend.clock import Clock
from aigend.config import LoadedSettings
from aigend.errors import DomainError
from aigend.ledger import schema
from aigend.ledger.archives.archive import Archiver, check_archives
from aigend.ledger.archives.file import ArchiveDamaged
from aigend.ledger.backup import back_up, put_back
from aigend.ledger.budgets.windows import usd
from aigend.ledger.mark import mark_path
from aigend.ledger.recovery import set_aside
from aigend.ledger.retention import archive_directory
from aigend.ledger.schema import APPLICATION_ID, NEWEST_VERSION
from aigend.ledger.verify import verify
from aigend.storage.files import DatabaseCondition, StorageRefused, examine_database, lock, private_directory

EXIT_OK = 0
EXIT_USAGE = 64  # EX_USAGE
EXIT_DAMAGED = 65  # EX_DATAERR


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What else is asked of an action."""

    copy: Path | None = None  # where a backup goes or comes from
    before: str = ""  # first month that is not archived, as YYYY-MM
    dry_run: bool = False  # says what would be archived, and archives nothing
    archives: bool = False  # the files of archived months are verified too


def run(action: str, loaded: LoadedSettings, *, clock: Clock, say: Callable[[str], object], wish: Wish = Wish()) -> int:
    """Verify, copy, restore or archive a ledger, or set it aside so that a new one begins; return the exit code.

    Args:
        action: `verify`, `repair`, `backup`, `restore` or `archive`.
        loaded: Says where the ledger lies.
        clock: Dates what is set aside, and says which months are over.
        say: Prints one line.
        wish: What else is asked.

    Raises:
        StorageRefused: A daemon serves the ledger, or its directory can't be used.
        DomainError: The month can't be.
    """
    copy = wish.copy
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
        if action == "archive":
            return _archive(path, loaded, wish, clock=clock, say=say)
        if action == "repair":
            _check_unsound(path)
            for moved in set_aside(path, now=clock.time()):
                say(f"set aside as {moved}")
            say("the next start begins a new ledger; what was set aside is kept and never read again")
            return EXIT_OK
        return _verify(loaded, say, archives=wish.archives)
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
    said = "the next start says which rows are missing" if mark_path(path).exists() else "no mark is left that tells which rows"
    say(f"{path}: restored from {copy}; calls made since that copy are not in it, and {said}")
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


def _archive(path: Path, loaded: LoadedSettings, wish: Wish, *, clock: Clock, say: Callable[[str], object]) -> int:
    """Archive months of a ledger that nobody serves; a daemon does the same by itself where `ledger.retention_months` is set."""
    connection = schema.open_writer(path)
    try:

        async def write(work: Callable[[sqlite3.Connection], object]) -> object:
            with connection:
                connection.execute("BEGIN IMMEDIATE")
                return work(connection)

        directory = archive_directory(loaded.settings.ledger, path.parent)
        archiver = Archiver(path=path, directory=directory, write=write, clock=clock)
        lines = _planned(archiver, wish.before) if wish.dry_run else _archived(archiver, wish.before)
        nothing = f"nothing {'would be' if wish.dry_run else 'is'} archived: no month before {wish.before} has charges that can go"
        for line in lines or [nothing]:
            say(line)
        return EXIT_OK
    except ArchiveDamaged as error:
        say(str(error))
        return EXIT_DAMAGED
    except DomainError as error:
        raise StorageRefused(f"--{error.text}", path=path, exit_code=EXIT_USAGE) from error
    finally:
        connection.close()


def _planned(archiver: Archiver, before: str) -> list[str]:
    lines = []
    for month in asyncio.run(archiver.plan(before)):
        stays = f", {month.staying_count} of unknown outcome stay" if month.staying_count else ""
        lines.append(f"{month.month}: {month.attempt_count} attempts, {usd(month.cost_nanos)} USD would be archived{stays}")
    return lines


def _archived(archiver: Archiver, before: str) -> list[str]:
    return [
        f"{archive.month}: {archive.attempt_count} attempts, {usd(archive.cost_nanos)} USD archived in {archive.file}"
        for archive in asyncio.run(archiver.run(before))
    ]


def _archive_findings(path: Path) -> tuple[str, ...]:
    with contextlib.closing(schema.connect_reader(path)) as connection:
        return tuple(check_archives(connection))


def _verify(loaded: LoadedSettings, say: Callable[[str], object], *, archives: bool) -> int:
    path = loaded.places.state_directory / "ledger.db"
    findings = _findings(path)
    findings += _archive_findings(path) if archives and not findings else ()
    for finding in findings:
        say(f"{path}: {finding}")
    if not findings:
        say(f"{path}: ok")
    return EXIT_DAMAGED if findings else EXIT_OK
