"""One thread and one connection that writes and checkpoints; what arrives while it commits is the next group.

It never waits for company: an operation that comes alone is committed alone, and what has come by the time that a group is about to
be committed goes with it. Nothing here knows what is written. Before a group begins, room on the disk is made sure of for it and
for what it promises.
"""

import asyncio
import contextlib
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future as ThreadFuture
from typing import Any, TypeVar

from aigend.storage.deferring import DeferringConnection
from aigend.storage.failure import StorageFailure, is_full, is_storage_error
from aigend.storage.promise import Promise, PromisedRoom

T = TypeVar("T")

GROUP_LIMIT = 256  # operations a transaction: bounds how long the first of a group waits for the last
QUIET_S = 0.02  # nobody came for so long: a checkpoint disturbs nobody
QUIET_OPERATIONS = 64  # checkpointed when it is quiet
LOUD_PAGES = 4_000  # checkpointed within a commit, so that the write-ahead log is bounded
OPERATION_BYTES = 96 * 1024  # that an operation takes of the write-ahead log at most, about: two dozen pages

Operation = Callable[[sqlite3.Connection], T]


class _Job:
    """An operation, who waits for it, and how it ended."""

    __slots__ = ("applied", "error", "future", "lean", "operation", "promise", "result", "size")

    def __init__(
        self,
        operation: Operation[Any],
        future: "asyncio.Future[Any] | ThreadFuture[Any]",
        *,
        promise: Promise = Promise.NONE,
        size: int = OPERATION_BYTES,
        lean: Operation[Any] | None = None,
        applied: Callable[[Any], None] | None = None,
    ) -> None:
        self.operation = operation
        self.future = future
        self.applied = applied
        self.promise = promise
        self.size = size
        self.lean = lean or operation
        self.result: Any = None
        self.error: BaseException | None = None

    def begin_lean(self) -> None:
        """Do what takes the least room instead, from the start."""
        self.operation, self.result, self.error = self.lean, None, None

    def deliver(self) -> None:
        """Wake the waiter, unless it has gone."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)

    def tell(self) -> None:
        """Say what is durable, whether or not somebody waits; what goes wrong there is no matter of the others of a group."""
        if self.applied is None or self.error is not None:
            return
        try:
            self.applied(self.result)
        except Exception as error:  # noqa: BLE001 - the loop's handler says it
            self.future.get_loop().call_exception_handler({"message": "a durable change was not taken over", "exception": error})  # type: ignore[union-attr]


class GroupCommitWriter:
    """Runs operations in groups, each group one durable transaction.

    An operation gets the connection inside a SAVEPOINT of its own and neither commits nor rolls back. What it raises rolls back
    only itself. A waiter that is cancelled does not cancel its operation.

    Args:
        connect: Opens the connection (`isolation_level=None`, WAL); called in the writer's thread.
        name: The database, as people know it; stands in errors and in the thread's name.
        on_failure: Called in the writer's thread, once for each time that storage begins to fail.
        promise_bytes: Room that is kept for each promised operation, in bytes of the write-ahead log; 0 keeps none.

    Attributes:
        failed: Why nothing can be written; None while all is well. A lasting failure (I/O error, failed fsync) is never retried.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        *,
        name: str,
        on_failure: Callable[[BaseException], None] | None = None,
        promise_bytes: int = 0,
    ) -> None:
        self.failed: StorageFailure | None = None
        self.group_count = 0
        self.operation_count = 0
        self._connect = connect
        self._name = name
        self._on_failure = on_failure
        self._promise_bytes = promise_bytes
        self._room: PromisedRoom | None = None
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

    def submit(
        self,
        operation: Operation[T],
        *,
        promise: Promise = Promise.NONE,
        size: int = OPERATION_BYTES,
        lean: Operation[T] | None = None,
        applied: Callable[[T], None] | None = None,
    ) -> "asyncio.Future[T]":
        """Return a future that holds the operation's result once it is durable; called on the event loop.

        The operation is done even where the future is cancelled.

        Args:
            operation: What to do.
            promise: MADE: one more operation will find room, whatever comes; KEPT: this is such a one.
            size: What it takes of the write-ahead log at most, about, in bytes.
            lean: Done in its stead where a promised operation has not so much room.
            applied: Called on the event loop with the result once it is durable, before the waiter, and where that has gone too.

        Raises (by the future):
            StorageFailure: The group could not be committed or found no room, or the writer has failed or stopped.
        """
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._enqueue(_Job(operation, future, promise=promise, size=size, lean=lean, applied=applied))
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
            self._room = PromisedRoom(connection, each=self._promise_bytes) if self._has_wal and self._promise_bytes else None
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
        if self._lasts(group):
            return
        admitted = list(self._admit(connection, group))
        if not admitted or self._lasts(admitted):
            return
        whole, count = len(admitted) == len(group), len(admitted)
        try:
            self._commit(connection, admitted)
        except Exception as error:  # noqa: BLE001 - whatever it was, none of the group is durable, and each waiter is told
            self._begin_failure(connection, admitted, error)
            self._commit_promised(connection, admitted, error)
            return
        finally:
            group += admitted[count:]  # what came meanwhile is delivered with it
        if self.failed is not None and whole and any(self._need(job) >= self._usual for job in group):
            self.failed = None  # a full disk that has room again; lasting failures never come here

    def _lasts(self, group: list[_Job]) -> bool:
        """Fail a group if nothing is written any more."""
        if self.failed is None or not self.failed.lasting:
            return False
        _fail(group, self.failed)
        return True

    def _admit(self, connection: sqlite3.Connection, group: list[_Job]) -> list[_Job]:
        """Return the operations that have room beside all that is promised, and tell the others that they have none."""
        need = sum(map(self._need, group)) if self._room is not None else 0
        if self._room is None or not need:
            return group
        try:
            self._room.ask(self._room.promised_bytes + need)
        except (OSError, sqlite3.Error) as error:
            if StorageFailure(self._name, error).lasting:
                self._begin_failure(connection, group, error)
                return []
            return self._admit_singly(connection, group, self._room)
        return group

    def _admit_singly(self, connection: sqlite3.Connection, group: list[_Job], room: PromisedRoom) -> list[_Job]:
        """Admit as many of a group as there is room for; what was promised has it, in its lean form at least."""
        admitted, taken = [], room.promised_bytes
        for job in group:
            need = self._need(job)
            try:
                if need:
                    room.ask(taken + need)
                    taken += need
            except (OSError, sqlite3.Error) as error:
                if job.promise is not Promise.KEPT:
                    self._refuse(connection, job, error)
                    continue
                job.begin_lean()
            admitted.append(job)
        return admitted

    def _refuse(self, connection: sqlite3.Connection, job: _Job, error: Exception) -> None:
        """Tell a waiter that there is no room; a large operation that finds none says nothing of what others would find."""
        failure = StorageFailure(self._name, error)
        if failure.lasting or self._need(job) <= self._usual:
            self._begin_failure(connection, [job], error)
        else:
            _fail([job], failure)

    def _need(self, job: _Job) -> int:
        return job.size if self._room is None else self._room.need(job.promise, job.size)

    @property
    def _usual(self) -> int:
        """What an operation of the usual size needs together with the promise that it makes."""
        return OPERATION_BYTES if self._room is None else self._room.need(Promise.MADE, OPERATION_BYTES)

    def _commit(self, connection: sqlite3.Connection, group: list[_Job], *, alone: bool = False) -> None:
        """Do what a group asks for in one transaction; what has come by then is done with it and becomes part of it."""
        done, deferring = 0, connection if isinstance(connection, DeferringConnection) else None
        connection.execute("BEGIN IMMEDIATE")
        if deferring is not None:
            deferring.begin_group()
        while done < len(group):
            for job in group[done:]:
                self._apply(connection, job)
            done = len(group)
            if not alone:
                self._join(group)
        if deferring is not None:
            deferring.end_group()
        connection.execute("COMMIT")
        self.group_count += 1
        self.operation_count += len(group)
        self._unmoved += len(group)
        if self._room is not None:
            self._room.count(job.promise for job in group if job.error is None)

    def _join(self, group: list[_Job]) -> None:
        """Add what waits to a group about to be committed, if all of it surely has room; else it is the next group."""
        came = [self._waiting.popleft() for _ in range(min(len(self._waiting), GROUP_LIMIT - len(group)))]
        if came and self._room is not None and not self._room.holds(self._room.promised_bytes + sum(map(self._need, group + came))):
            self._waiting.extendleft(reversed(came))
        else:
            group += came

    def _commit_promised(self, connection: sqlite3.Connection, group: list[_Job], error: Exception) -> None:
        """Commit what was promised room by itself where the disk had none for the group; what is full can be tried again."""
        promised = [job for job in group if job.promise is Promise.KEPT]
        if not promised or not is_full(error):
            return
        for job in promised:
            job.begin_lean()
        try:
            self._commit(connection, promised, alone=True)
        except Exception as again:  # noqa: BLE001 - as for a whole group
            self._begin_failure(connection, promised, again)

    def _apply(self, connection: sqlite3.Connection, job: _Job) -> None:
        """Run one operation in its own SAVEPOINT; raise only what concerns the whole group."""
        due = connection.noted() if isinstance(connection, DeferringConnection) else None
        connection.execute("SAVEPOINT operation")
        try:
            job.result = job.operation(connection)
        except Exception as error:  # the waiter gets it
            if is_storage_error(error) or not connection.in_transaction:
                raise
            job.error = error
            connection.execute("ROLLBACK TO operation")
            if isinstance(connection, DeferringConnection):
                connection.due = due
        connection.execute("RELEASE operation")

    def _begin_failure(self, connection: sqlite3.Connection, group: list[_Job], error: Exception) -> None:
        with contextlib.suppress(sqlite3.Error):
            if isinstance(connection, DeferringConnection):
                connection.due = None
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        failure = StorageFailure(self._name, error)
        _fail(group, failure)
        began = self.failed is None
        if self.failed is None or not self.failed.lasting:
            self.failed = failure
        if began and self._on_failure is not None:
            self._on_failure(failure)

    def _checkpoint(self, connection: sqlite3.Connection, mode: str) -> None:
        """Move the write-ahead log into the database; a failed fsync is not tried again, lack of room is."""
        if self.failed is not None:
            return
        self._unmoved = 0
        try:
            connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
        except sqlite3.Error as error:
            if StorageFailure(self._name, error).lasting:  # a commit needs room in the log alone
                self._begin_failure(connection, [], error)

    def _close(self, connection: sqlite3.Connection) -> None:
        if self._has_wal:
            self._checkpoint(connection, "TRUNCATE")
        with contextlib.suppress(sqlite3.Error):
            connection.close()
        if self._room is not None:
            self._room.close()


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
        job.tell()
        job.deliver()
