"""One thread and one connection that writes and checkpoints; what arrives while it commits is the next group.

It never waits for company: an operation that comes alone is committed alone. Nothing here knows what is written.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

from aigend.storage.failure import StorageFailure, is_storage_error

T = TypeVar("T")

GROUP_LIMIT = 256  # operations a transaction: bounds how long the first of a group waits for the last
QUIET_S = 0.02  # nobody came for so long: a checkpoint disturbs nobody
QUIET_OPERATIONS = 64  # checkpointed when it is quiet
LOUD_PAGES = 4_000  # checkpointed within a commit, so that the write-ahead log is bounded

Operation = Callable[[sqlite3.Connection], T]


class _Job:
    """An operation, who waits for it, and how it ended."""

    __slots__ = ("error", "future", "operation", "result")

    def __init__(self, operation: Operation[Any], future: "asyncio.Future[Any] | ThreadFuture[Any]") -> None:
        self.operation = operation
        self.future = future
        self.result: Any = None
        self.error: BaseException | None = None

    def deliver(self) -> None:
        """Wake the waiter, unless it has gone."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class GroupCommitWriter:
    """Runs operations in groups, each group one durable transaction.

    An operation gets the connection inside a SAVEPOINT of its own and neither commits nor rolls back. What it raises rolls back
    only itself. A waiter that is cancelled does not cancel its operation.

    Args:
        connect: Opens the connection (`isolation_level=None`, WAL); called in the writer's thread.
        name: The database, as people know it; stands in errors and in the thread's name.
        on_failure: Called in the writer's thread, once for each time that storage begins to fail.

    Attributes:
        failed: Why nothing can be written; None while all is well. A lasting failure (I/O error, failed fsync) is never retried.
    """

    def __init__(
        self, connect: Callable[[], sqlite3.Connection], *, name: str, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        self.failed: StorageFailure | None = None
        self.group_count = 0
        self.operation_count = 0
        self._connect = connect
        self._name = name
        self._on_failure = on_failure
        self._waiting: deque[_Job] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._has_wal = False
        self._unmoved = 0  # operations that only the write-ahead log holds
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the connection in the writer's thread and begin to write.

        Raises:
            Exception: What `connect` raised.
        """
        opened: ThreadFuture[None] = ThreadFuture()
        self._thread = threading.Thread(target=self._run, args=(opened,), name=f"{self._name}-writer", daemon=True)
        self._thread.start()
        opened.result()

    def submit(self, operation: Operation[T]) -> "asyncio.Future[T]":
        """Return a future that holds the operation's result once it is durable; called on the event loop.

        Raises (by the future):
            StorageFailure: The group could not be committed, or the writer has failed or stopped.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(_Job(operation, future))
        return future

    def call(self, operation: Operation[T]) -> T:
        """Run one operation durably and wait for it; for start-up and tools without an event loop."""
        future: ThreadFuture[T] = ThreadFuture()
        self._enqueue(_Job(operation, future))
        return future.result()

    def stop(self) -> None:
        """Write what waits, checkpoint, close the connection and end the thread; more than once is harmless."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()

    def _enqueue(self, job: _Job) -> None:
        with self._wake:
            if not self._stopping and self._thread is not None:
                self._waiting.append(job)
                self._wake.notify()
                return
        job.error = StorageFailure(self._name, "its writer has stopped")
        job.deliver()

    def _run(self, opened: "ThreadFuture[None]") -> None:
        try:
            connection = self._connect()
            self._has_wal = _bounded_wal(connection)
        except BaseException as error:  # noqa: BLE001 - start() raises it to the caller
            opened.set_exception(error)
            return
        opened.set_result(None)
        while group := self._next_group(connection):
            self._write(connection, group)
            _deliver(group)
        self._close(connection)

    def _next_group(self, connection: sqlite3.Connection) -> list[_Job]:
        """Return what waits; an empty list says that the writer shall end."""
        with self._wake:
            quiet = not self._wake.wait_for(self._has_work, timeout=QUIET_S)
        if quiet and self._has_wal and self._unmoved >= QUIET_OPERATIONS:
            self._checkpoint(connection, "PASSIVE")
        with self._wake:
            self._wake.wait_for(self._has_work)
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_LIMIT))]

    def _has_work(self) -> bool:
        return bool(self._waiting) or self._stopping

    def _write(self, connection: sqlite3.Connection, group: list[_Job]) -> None:
        if self.failed is not None and self.failed.lasting:
            _fail(group, self.failed)
            return
        try:
            connection.execute("BEGIN IMMEDIATE")
            for job in group:
                self._apply(connection, job)
            connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it was, none of the group is durable, and each waiter is told
            self._begin_failure(connection, group, error)
            return
        self.failed = None  # a full disk that has room again; lasting failures never come here
        self.group_count += 1
        self.operation_count += len(group)
        self._unmoved += len(group)

    def _apply(self, connection: sqlite3.Connection, job: _Job) -> None:
        """Run one operation in its own SAVEPOINT; raise only what concerns the whole group."""
        connection.execute("SAVEPOINT operation")
        try:
            job.result = job.operation(connection)
        except Exception as error:  # the waiter gets it
            if is_storage_error(error) or not connection.in_transaction:
                raise
            job.error = error
            connection.execute("ROLLBACK TO operation")
        connection.execute("RELEASE operation")

    def _begin_failure(self, connection: sqlite3.Connection, group: list[_Job], error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        failure = StorageFailure(self._name, error)
        _fail(group, failure)
        began, self.failed = self.failed is None, failure
        if began and self._on_failure is not None:
            self._on_failure(failure)

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        """Move the write-ahead log into the database; a failed one is a failed fsync and is not tried again."""
        if self.failed is not None:
            return
        self._unmoved = 0
        try:
            connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        except sqlite3.Error as error:
            self._begin_failure(connection, [], error)

    def _close(self, connection: sqlite3.Connection) -> None:
        if self._has_wal:
            self._checkpoint(connection, "TRUNCATE")
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _bounded_wal(connection: sqlite3.Connection) -> bool:
    """Bound the write-ahead log and return True; False where the database has none."""
    if connection.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
        return False
    connection.execute(f"PRAGMA wal_autocheckpoint={LOUD_PAGES}")
    return True


def _fail(group: Iterable[_Job], failure: StorageFailure) -> None:
    """Give each job of a group its own copy of the failure, so that tracebacks do not grow into each other."""
    for job in group:
        job.error = StorageFailure(failure.metadata["storage"], failure.__cause__ or failure.text)


def _deliver(group: Iterable[_Job]) -> None:
    """Wake the waiters of a group, those of an event loop with one call."""
    loops: dict[asyncio.AbstractEventLoop, list[_Job]] = {}
    for job in group:
        if isinstance(job.future, ThreadFuture):
            job.deliver()
        else:
            loops.setdefault(job.future.get_loop(), []).append(job)
    for loop, jobs in loops.items():
        with contextlib.suppress(RuntimeError):  # the loop was closed: nobody waits any more
            loop.call_soon_threadsafe(_deliver_all, jobs)


def _deliver_all(jobs: Iterable[_Job]) -> None:
    for job in jobs:
        job.deliver()
