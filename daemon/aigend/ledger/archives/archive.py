"""Months that are taken out of the ledger into files, while it serves, so that a crash at any moment loses and doubles nothing.

The order of the steps: what goes is claimed, and from then on does not change; its file is written, made durable and read back;
only then, with that said in the ledger, are rows taken out, few at a time. A run that was cut short is finished by the next one.
Sums stay: roll-ups, windows and totals are not touched.
"""

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aigend.clock import Clock
from aigend.errors import invalid
from aigend.ledger import schema
from aigend.ledger.archives import rows as archive_rows
from aigend.ledger.archives.file import ArchiveDamaged, check_file, write_file
from aigend.ledger.archives.rows import Archive, ArchiveState, month_after, month_of, month_start
from aigend.storage.files import private_directory

T = TypeVar("T")
_PLANNED = """
    SELECT count(*) FILTER (WHERE state IN ('settled', 'released')), count(*) FILTER (WHERE state NOT IN ('settled', 'released')),
        coalesce(sum(cost_nanos) FILTER (WHERE state = 'settled'), 0)
    FROM attempt WHERE create_us >= ? AND create_us < ?
"""


class Write(Protocol):
    """Runs a change in a transaction of its own."""

    def __call__(self, work: Callable[[sqlite3.Connection], Any]) -> Awaitable[Any]:
        """Return what it returns, once that is durable."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedMonth:
    """What archiving a month would take out; nano-dollars."""

    month: str
    attempt_count: int  # most of those that would go; replies that are still kept hold some back
    staying_count: int  # attempts under way or of unknown outcome, which stay
    cost_nanos: int


class Archiver:
    """Archives the months of one ledger.

    Args:
        path: The ledger's file.
        directory: Where files go.
        write: Runs a change in the ledger's one writer.
        clock: Says what is past.
        passing: Called with the name of each step that is done, where a test lets the process die.
    """

    def __init__(
        self, *, path: Path, directory: Path, write: Write, clock: Clock, passing: Callable[[str], None] = lambda _: None
    ) -> None:
        self._path = path
        self._directory = directory
        self._write = write
        self._clock = clock
        self._passing = passing
        self._stopped = threading.Event()

    async def run(self, before: str) -> list[Archive]:
        """Archive every month before one, oldest first, and return what was archived; what a run before left is finished first.

        Args:
            before: First month that stays, as YYYY-MM; at most the one that runs.

        Raises:
            DomainError: INVALID_REQUEST for a month that can't be; STORAGE_FULL or STORAGE_DAMAGED.
            ArchiveDamaged: A file is not what was written; nothing of its rows is taken out (any more).
            OSError: A file can't be written.
        """
        check_month(before, now=self._clock.time())
        done = await self.resume()
        while (month := await self._read(archive_rows.oldest_month)) is not None and month < before:
            private_directory(self._directory, what="ledger.archive_directory")
            file = str(self._directory / f"ledger-{month}.jsonl.gz")
            end = await self._read(partial(archive_rows.journal_end, month=month))
            begin = partial(archive_rows.begin, month=month, end=end, file=file, now_us=int(self._clock.time() * 1e6))
            archive = await self._write(begin)
            if archive is None:
                break  # what is left of it can't go: the end of the journal stays
            self._passing("begun")
            done.append(await self._finish(archive))
        return done

    async def resume(self) -> list[Archive]:
        """Finish what a run before has begun, and return it."""
        unfinished = [one for one in await self._read(archive_rows.archives) if one.state is not ArchiveState.DONE]
        return [await self._finish(archive) for archive in unfinished]

    async def plan(self, before: str) -> list[PlannedMonth]:
        """Return what a run would take out, month by month; nothing is changed."""
        check_month(before, now=self._clock.time())
        planned: list[PlannedMonth] = await self._read(partial(_planned, before=before))
        return planned

    async def _finish(self, archive: Archive) -> Archive:
        if archive.state is ArchiveState.CLAIMING:
            archive = await self._claim(archive)
        if archive.state is ArchiveState.CLAIMED:
            archive = await self._put(archive)
        else:
            await self._check(archive)
        await self._take(archive)
        await self._advance(archive, ArchiveState.DONE)
        self._passing("done")
        return replace(archive, state=ArchiveState.DONE)

    async def _claim(self, archive: Archive) -> Archive:
        late = await self._read(partial(archive_rows.late_attempts, archive=archive))
        after: int | None = 0
        while after is not None:
            after = await self._write(partial(archive_rows.claim, archive=archive, after=after, late=late))
            self._passing("claiming")
        await self._advance(archive, ArchiveState.CLAIMED)
        self._passing("claimed")
        return replace(archive, state=ArchiveState.CLAIMED)

    async def _put(self, archive: Archive) -> Archive:
        """Write the file, read it back, and say in the ledger that it is there."""
        write = partial(
            write_file,
            archive,
            lambda: schema.connect_reader(self._path),
            schema_version=schema.NEWEST_VERSION,
            stopped=self._stopped.is_set,
        )
        facts = await self._in_thread(write)
        self._passing("written")
        written = replace(archive, state=ArchiveState.WRITTEN, **facts)
        await self._check(written)
        await self._advance(archive, ArchiveState.WRITTEN, **facts)
        self._passing("registered")
        return written

    async def _check(self, archive: Archive) -> None:
        if fault := await self._in_thread(partial(check_file, archive, stopped=self._stopped.is_set)):
            raise ArchiveDamaged(f"{fault}; nothing is taken out of the ledger for it")

    async def _take(self, archive: Archive) -> None:
        after: int | None = 0
        while after is not None:
            after = await self._write(partial(archive_rows.take_operations, archive=archive, after=after))
            self._passing("taking")
        while await self._write(partial(archive_rows.take_hits, archive=archive)):
            self._passing("taking hits")
        after = 0
        while after is not None:
            after = await self._write(partial(archive_rows.take_journal, archive=archive, after=after))
            self._passing("taking journal")

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Return what long work returns; where whoever waits is cancelled, the thread ends soon too, so that a daemon can stop."""
        try:
            return await asyncio.to_thread(work)
        except asyncio.CancelledError:
            self._stopped.set()
            raise

    async def _advance(self, archive: Archive, state: ArchiveState, **facts: object) -> None:
        await self._write(lambda connection: archive_rows.advance(connection, archive, state, **facts))

    async def _read(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        return await asyncio.to_thread(self._ask, question)

    def _ask(self, question: Callable[[sqlite3.Connection], Any]) -> Any:
        connection = schema.connect_reader(self._path)
        try:
            return question(connection)
        finally:
            connection.close()


def check_month(before: str, *, now: float) -> None:
    """Refuse a month that has not begun, or is none.

    Raises:
        DomainError: INVALID_REQUEST.
    """
    allowed = f"a month as YYYY-MM, at most {month_of(now)}: the month that runs stays"
    try:
        known = month_of(month_start(before)) == before
    except ValueError:
        known = False
    if not known or before > month_of(now):
        raise invalid("before", before, allowed)


def check_archives(connection: sqlite3.Connection) -> list[str]:
    """Return what is wrong with the files of archives against what the ledger keeps of them; nothing where all are sound."""
    found = [archive for archive in archive_rows.archives(connection) if archive.state in (ArchiveState.WRITTEN, ArchiveState.DONE)]
    return [fault for archive in found if (fault := check_file(archive))]


def _planned(connection: sqlite3.Connection, before: str) -> list[PlannedMonth]:
    month, planned = archive_rows.oldest_month(connection), []
    while month is not None and month < before:
        after = month_after(month)
        bounds = (round(month_start(month) * 1e6), round(month_start(after) * 1e6))
        going, staying, cost = connection.execute(_PLANNED, bounds).fetchone()
        planned.append(PlannedMonth(month=month, attempt_count=going, staying_count=staying, cost_nanos=cost))
        month = after
    return planned
