"""Entries in a database file: one thread writes in groups, one reads, and a damaged file gives way to a fresh one.

What is said to the database stands in `rows`, how its file is made and opened in `schema`.
"""

import asyncio
import contextlib
import itertools
import logging
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from aigend.cache.codec import encode_entry
from aigend.cache.entry import CacheEntry, CacheEntryInfo, CacheFilter, Cleared
from aigend.cache.stores import rows, schema
from aigend.cache.stores.key_filter import CAPACITY, KeyFilter
from aigend.cache.stores.port import StoredPage, Touch, Usage, stored_size
from aigend.clock import Clock
from aigend.config import CacheSettings
from aigend.storage.failure import StorageFailure, primary_code
from aigend.storage.files import DatabaseCondition
from aigend.storage.group_commit import GroupCommitWriter

T = TypeVar("T")

NAME = "cache"
RENEWAL_S = 60.0  # a file that breaks more often than this stays broken for a while
NOT_THE_FILES_FAULT = frozenset(  # read-only is: a private file opened for writing is so only by its header
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
    }
)
FAULTS = (sqlite3.Error, UnicodeDecodeError)  # SQLite's error may quote damaged text that is no UTF-8
_log = logging.getLogger("aigend.cache")


class SqliteStore:
    """A `CacheStore` in one file.

    Args:
        path: The file; its directory exists and is ours.
        clock: Tells the time.
        settings: Size limit and compression.

    Attributes:
        spared_count: Look-ups that needed no disk, because their keys are certainly not there.
    """

    def __init__(self, *, path: Path, clock: Clock, settings: CacheSettings) -> None:
        self.spared_count = 0
        self.eviction_count = 0
        self.expiration_count = 0
        self.damaged_count = 0
        self._path = path
        self._clock = clock
        self._max_bytes = settings.max_size_bytes
        self._compress = settings.compression
        self._writer: GroupCommitWriter | None = None
        self._reader: _Reader | None = None
        self._cleared: tuple[rows.Clearing, ...] = ()
        self._use_numbers: Iterator[int] = itertools.count(1)
        self._keys = KeyFilter()
        self._all_keys_known = False
        self._learning: asyncio.Task[None] | None = None
        self._damaged = False
        self._wanted = False  # open() was called, close() was not
        self._renewed_at = -RENEWAL_S

    async def open(self) -> None:
        """Open the file; what lies there and is no cache of ours goes into quarantine first.

        Raises:
            StorageFailure: No file can be made or written.
            StorageRefused: The file belongs to somebody else or is open to others.
        """
        self._wanted = True
        try:
            await asyncio.to_thread(self._open)
        except FAULTS as error:
            raise StorageFailure(NAME, error) from error
        self._learn_keys()

    async def close(self) -> None:
        """Write what waits and close the file."""
        self._wanted = False
        await self._let_go()

    async def fetch(self, keys: Sequence[bytes], *, now: float) -> CacheEntry | None:
        """Return the entry of the first key that has a fresh one."""
        if self._all_keys_known and not self._keys.may_hold(keys):
            self.spared_count += 1
            return None
        found = await self._read(partial(rows.fetch, keys=keys, now=now, cleared=self._cleared))
        if found.damaged:
            self.damaged_count += len(found.damaged)
            _log.warning("entry_damaged", extra={"count": len(found.damaged), "path": str(self._path)})
            await self._write(partial(rows.remove, keys=found.damaged))
        return found.entry

    async def put(self, entry: CacheEntry, *, touches: Sequence[Touch] = ()) -> None:
        """Keep an entry; one that is larger than the whole cache is not kept."""
        self._keys.add(entry.key)
        self.eviction_count += await self._write(partial(self._put, entry=entry, touches=touches))

    async def touch(self, touches: Sequence[Touch]) -> None:
        """Count hits."""
        await self._write(partial(rows.touch, touches=touches, use_numbers=self._use_numbers))

    async def clear(self, scope: str, chosen: CacheFilter, *, now: float, validate_only: bool) -> Cleared:
        """Remove entries at once for everybody who asks; the file gets smaller as `tidy` goes on."""
        if validate_only:
            return await self._read(partial(rows.count, scope=scope, chosen=chosen, now=now, cleared=self._cleared))
        cleared, clearing = await self._write(partial(rows.clear, scope=scope, chosen=chosen, now=now, cleared=self._cleared))
        if clearing is not None:
            self._cleared = (*self._cleared, clearing)
            await asyncio.to_thread(_sync_log, self._path)
        return cleared

    async def page(self, scope: str, chosen: CacheFilter, *, now: float, size: int, after: int | None) -> StoredPage:
        """Return fresh entries, newest first."""
        ask = partial(rows.page, scope=scope, chosen=chosen, now=now, size=size, after=after, cleared=self._cleared)
        return await self._read(ask)

    async def info(self, scope: str, key: bytes, *, now: float) -> tuple[CacheEntryInfo, CacheEntry] | None:
        """Return a fresh entry and what is told about it."""
        entry = await self.fetch([key], now=now)
        told = await self._read(partial(rows.info, scope=scope, key=key))
        return None if entry is None or told is None else (told, entry)

    async def usage(self, scope: str) -> Usage:
        """Return what is stored."""
        return await self._read(partial(rows.usage, scope=scope, cleared=self._cleared))

    async def tidy(self, *, now: float) -> bool:
        """Delete some entries that are cleared, stale or too many; replace a file that broke."""
        if self._damaged or self._writer is None:
            await self._renew()
            return False
        if self._keys.added > CAPACITY and self._all_keys_known:
            self._learn_keys()
        more = False
        if self._cleared:
            await self._sweep(self._cleared[0])
            more = True
        expired = await self._write(partial(rows.expire, now=now))
        evicted = await self._write(partial(rows.evict, max_bytes=self._max_bytes, at_most=rows.CHUNK))
        self.expiration_count += expired
        self.eviction_count += evicted
        return more or max(expired, evicted) >= rows.CHUNK

    def _learn_keys(self) -> None:
        """Begin to learn which keys the file holds; until that is done every look-up asks the file."""
        self._all_keys_known = False
        self._keys = KeyFilter()
        self._learning = asyncio.create_task(self._learn(self._keys))

    async def _learn(self, keys: KeyFilter) -> None:
        last: int | None = 0
        with contextlib.suppress(StorageFailure):
            while last is not None:
                learnt, last = await self._read(partial(rows.keys, after=last))
                for key in learnt:
                    keys.add(key)
            self._all_keys_known = keys is self._keys

    async def _sweep(self, clearing: rows.Clearing) -> None:
        left = await self._write(partial(rows.sweep, clearing=clearing))
        others = tuple(other for other in self._cleared if other.id != clearing.id)
        self._cleared = others if left is None else (left, *others)

    async def _renew(self) -> None:
        """Put a fresh file in the place of a damaged one, or open one that could not be opened; not over and over."""
        now = self._clock.monotonic()
        if not self._wanted or now < self._renewed_at + RENEWAL_S:
            return
        self._renewed_at = now
        await self._let_go()
        if self._damaged:
            moved = await asyncio.to_thread(schema.quarantine, self._path, DatabaseCondition.DAMAGED, now=self._clock.time())
            _log.warning("cache_renewed", extra={"path": str(self._path), "quarantined": str(moved)})
        self._damaged = False
        await self.open()

    def _open(self) -> None:
        moved = schema.make_usable(self._path, now=self._clock.time())
        if moved is not None:
            _log.warning("cache_quarantined", extra={"path": str(self._path), "quarantined": str(moved)})
        try:
            self._start()
        except FAULTS as error:
            if not _is_damage(error):
                raise
            schema.quarantine(self._path, DatabaseCondition.DAMAGED, now=self._clock.time())
            schema.make_usable(self._path, now=self._clock.time())
            self._start()

    def _start(self) -> None:
        """Start both threads; on an error none is left."""
        writer = GroupCommitWriter(partial(schema.connect_writer, self._path), name=NAME, on_failure=self._note)
        writer.start()
        reader = _Reader(self._path)
        try:
            self._cleared = reader.call(rows.clearings)
            self._use_numbers = itertools.count(reader.call(rows.last_use_number) + 1)
        except BaseException:
            reader.close()
            writer.stop()
            raise
        self._writer, self._reader = writer, reader

    async def _let_go(self) -> None:
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)
        self._all_keys_known = False
        writer, self._writer = self._writer, None
        reader, self._reader = self._reader, None
        if reader is not None:
            await asyncio.to_thread(reader.close)
        if writer is not None:
            await asyncio.to_thread(writer.stop)

    def _put(self, connection: sqlite3.Connection, *, entry: CacheEntry, touches: Sequence[Touch]) -> int:
        """Store an entry within the size limit; return how many others went. In the writer's thread."""
        record = encode_entry(entry, compress=self._compress)
        size = stored_size(entry, record)
        rows.touch(connection, touches, use_numbers=self._use_numbers)
        if size > self._max_bytes:
            rows.remove(connection, [entry.key])
            return 0
        rows.put(connection, entry, record, size=size, use_number=next(self._use_numbers))
        return rows.evict(connection, max_bytes=self._max_bytes)

    async def _write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        if self._writer is None:
            raise StorageFailure(NAME, "it is not open")
        try:
            return await self._writer.submit(operation)
        except FAULTS as error:
            self._note(error)
            raise StorageFailure(NAME, error) from error

    async def _read(self, question: Callable[[sqlite3.Connection], T]) -> T:
        if self._reader is None:
            raise StorageFailure(NAME, "it is not open")
        try:
            return await self._reader.ask(question)
        except FAULTS as error:
            self._note(error)
            raise StorageFailure(NAME, error) from error

    def _note(self, error: BaseException) -> None:
        """Remember that the file is damaged, if that is what an error says; in any thread."""
        cause = error.__cause__ if isinstance(error, StorageFailure) else error
        if isinstance(cause, FAULTS) and _is_damage(cause):
            self._damaged = True


class _Reader:
    """One thread with a connection that can't write."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"{NAME}-reader")

    def call(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return an answer and wait for it."""
        return self._thread.submit(self._answer, question).result()

    async def ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        """Return an answer."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, question)

    def close(self) -> None:
        """Answer what was asked and end."""
        self._thread.submit(self._close)
        self._thread.shutdown()

    def _answer(self, question: Callable[[sqlite3.Connection], T]) -> T:
        if self._connection is None:
            self._connection = schema.connect_reader(self._path)
        return question(self._connection)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()


def _is_damage(error: Exception) -> bool:
    """Return whether an error says that the file is not what we wrote; our own statements are right."""
    return not isinstance(error, sqlite3.Error) or primary_code(error) not in NOT_THE_FILES_FAULT


def _sync_log(path: Path) -> None:
    """Wait until the write-ahead log is on the disk: what was cleared stays cleared even if the power fails."""
    try:
        descriptor = os.open(path.with_name(path.name + "-wal"), os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageFailure(NAME, error) from error
