"""The writer: groups, savepoints, durability, and what happens when writing fails."""

import asyncio
import contextlib
import errno
import os
import sqlite3
import threading
from pathlib import Path

import pytest
from aigend.errors import Reason
from aigend.storage import group_commit
from aigend.storage.failure import StorageFailure, is_storage_error
from aigend.storage.group_commit import OPERATION_BYTES, GroupCommitWriter
from aigend.storage.promise import Promise


def connect(path: Path) -> sqlite3.Connection:
    """Open a database with a write-ahead log and one table."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
    return connection


def put(text: str):
    """Return an operation that writes one row."""
    return lambda connection: connection.execute("INSERT INTO item (text) VALUES (?)", (text,)).lastrowid


def texts(path: Path) -> list[str]:
    """Return what another connection reads."""
    connection = sqlite3.connect(path)
    found = [text for (text,) in connection.execute("SELECT text FROM item ORDER BY id")]
    connection.close()
    return found


@pytest.fixture
def writer(tmp_path):
    """Return a writer that runs."""
    made = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items")
    made.start()
    yield made
    made.stop()


async def test_result_is_durable_before_it_is_known(writer, tmp_path):
    """Whoever has the result can read the row on another connection."""
    assert await writer.submit(put("a")) == 1
    assert texts(tmp_path / "items.db") == ["a"]


async def test_failed_operation_rolls_back_only_itself(writer, tmp_path):
    """Of a group, all but the operation that raised are durable."""
    gate = threading.Event()
    first = writer.submit(lambda connection: gate.wait(5))
    group = [writer.submit(put("a")), writer.submit(put("a")), writer.submit(put("b"))]
    gate.set()
    results = await asyncio.gather(first, *group, return_exceptions=True)
    assert isinstance(results[2], sqlite3.IntegrityError)
    assert texts(tmp_path / "items.db") == ["a", "b"]


async def test_half_done_operation_leaves_nothing(writer, tmp_path):
    """What an operation wrote before it raised is gone."""

    def half(connection):
        put("half")(connection)
        raise KeyError("half")

    with pytest.raises(KeyError):
        await writer.submit(half)
    assert texts(tmp_path / "items.db") == []


async def test_what_arrives_during_a_commit_is_one_group(writer):
    """Operations that wait together are committed together, and a lone one is not kept waiting."""
    gate = threading.Event()
    first = writer.submit(lambda connection: gate.wait(5))
    waiting = [writer.submit(put(str(number))) for number in range(50)]
    gate.set()
    await asyncio.gather(first, *waiting)
    assert writer.group_count <= 2
    assert writer.operation_count == 51


async def test_what_comes_before_the_commit_goes_with_it(writer):
    """Operations that come while a group is being written are part of it, also those that come while those are written."""
    begun, gate = threading.Event(), threading.Event()
    first = writer.submit(lambda connection: (begun.set(), gate.wait(5)))
    await asyncio.to_thread(begun.wait, 5)
    again: list[asyncio.Future[int]] = []
    loop = asyncio.get_running_loop()

    def second(connection):
        asyncio.run_coroutine_threadsafe(one_more(), loop).result(5)
        return put("b")(connection)

    async def one_more():
        again.append(writer.submit(put("c")))

    waiting = writer.submit(second)
    gate.set()
    await asyncio.gather(first, waiting)
    await again[0]
    assert (writer.group_count, writer.operation_count) == (1, 3)


async def test_what_has_no_room_beside_a_group_is_the_next_one(promising, tmp_path):
    """An operation that would need more of the log than there is waits for the next group, which asks the disk for it."""
    begun, gate = threading.Event(), threading.Event()
    first = promising.submit(lambda connection: (begun.set(), gate.wait(5)))
    await asyncio.to_thread(begun.wait, 5)
    large = promising.submit(put("large"), size=3_000_000)
    small = promising.submit(put("small"))
    gate.set()
    await asyncio.gather(first, large, small)
    assert promising.group_count == 2
    assert texts(tmp_path / "items.db") == ["large", "small"]


async def test_what_is_durable_is_told_first_and_without_a_waiter(writer):
    """Whoever wants to know of a durable result is told before its waiter wakes, and where that was cancelled too."""
    told = []
    writer.submit(put("a"), applied=told.append).cancel()
    assert await writer.submit(put("b"), applied=told.append) == 2
    assert told == [1, 2]
    with pytest.raises(sqlite3.IntegrityError):
        await writer.submit(put("b"), applied=told.append)
    assert told == [1, 2]


async def test_mistake_of_who_is_told_harms_nobody(writer):
    """What goes wrong there is said by the loop, and every waiter of the group gets its result."""
    said = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context["exception"]))
    results = await asyncio.gather(writer.submit(put("a"), applied=lambda _: 1 // 0), writer.submit(put("b")))
    assert results == [1, 2]
    assert [type(error) for error in said] == [ZeroDivisionError]


async def test_loop_is_woken_once_a_group(writer, monkeypatch):
    """A group of fifty costs the event loop one call from the thread."""
    loop, calls = asyncio.get_running_loop(), []
    original = loop.call_soon_threadsafe
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda *args: (calls.append(args), original(*args)))
    gate = threading.Event()
    first = writer.submit(lambda connection: gate.wait(5))
    waiting = [writer.submit(put(str(number))) for number in range(50)]
    gate.set()
    await asyncio.gather(first, *waiting)
    assert len(calls) <= 2


async def test_cancelled_waiter_does_not_cancel_the_operation(writer, tmp_path):
    """Money is written down even where nobody waits for it any more."""
    future = writer.submit(put("a"))
    future.cancel()
    await writer.submit(put("b"))
    assert texts(tmp_path / "items.db") == ["a", "b"]


def test_call_blocks_without_a_loop(writer):
    """Start-up and tools write without an event loop."""
    assert writer.call(put("a")) == 1


async def test_start_raises_what_connect_raised():
    """A database that can't be opened is the caller's error."""

    def refuse():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        GroupCommitWriter(refuse, name="items").start()


async def test_stop_writes_what_waits_and_then_refuses(tmp_path):
    """Nothing submitted before the stop is lost, and nothing is taken after it."""
    writer = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items")
    writer.start()
    waiting = [writer.submit(put(str(number))) for number in range(20)]
    await asyncio.to_thread(writer.stop)
    await asyncio.gather(*waiting)
    with pytest.raises(StorageFailure, match="stopped"):
        await writer.submit(put("late"))
    writer.stop()
    assert len(texts(tmp_path / "items.db")) == 20
    assert not (tmp_path / "items.db-wal").exists()


def failing(writer: GroupCommitWriter, code: int, name: str):
    """Make an operation fail as SQLite does when its storage fails."""

    def operation(connection):
        error = sqlite3.OperationalError(name)
        error.sqlite_errorcode = code
        raise error

    return operation


async def test_io_error_fails_the_group_and_all_that_follow(tmp_path):
    """After an I/O error nothing is written any more: a failed fsync is not retried."""
    said = []
    writer = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items", on_failure=said.append)
    writer.start()
    gate = threading.Event()
    first = writer.submit(lambda connection: gate.wait(5))
    group = [writer.submit(put("a")), writer.submit(failing(writer, sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error"))]
    gate.set()
    results = await asyncio.gather(first, *group, return_exceptions=True)
    assert {result.reason for result in results[1:]} == {Reason.STORAGE_DAMAGED}
    with pytest.raises(StorageFailure, match="disk I/O error"):
        await writer.submit(put("b"))
    assert writer.failed is not None
    assert writer.failed.lasting
    assert len(said) == 1
    writer.stop()
    assert texts(tmp_path / "items.db") == []


async def test_full_disk_passes(writer, tmp_path):
    """Once there is room again, writing goes on."""
    with pytest.raises(StorageFailure) as caught:
        await writer.submit(failing(writer, sqlite3.SQLITE_FULL, "database or disk is full"))
    assert caught.value.reason is Reason.STORAGE_FULL
    assert writer.failed is not None
    await writer.submit(put("a"))
    assert writer.failed is None
    assert texts(tmp_path / "items.db") == ["a"]


async def test_transaction_ended_by_sqlite_fails_the_group(writer, tmp_path):
    """Where SQLite has rolled all back by itself, nobody of the group is told that it is durable."""
    with pytest.raises(StorageFailure):
        await writer.submit(lambda connection: (put("a")(connection), connection.execute("ROLLBACK"), 1 / 0))
    assert texts(tmp_path / "items.db") == []


async def test_quiet_writer_checkpoints(tmp_path, monkeypatch):
    """When nobody comes for a while, the write-ahead log is moved into the database."""
    monkeypatch.setattr(group_commit, "QUIET_OPERATIONS", 1)
    monkeypatch.setattr(group_commit, "QUIET_S", 0.001)
    writer = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items")
    moved = threading.Event()
    original = writer._checkpoint
    monkeypatch.setattr(writer, "_checkpoint", lambda *args: (original(*args), moved.set()))
    writer.start()
    await writer.submit(put("a"))
    assert await asyncio.to_thread(moved.wait, 5)
    writer.stop()


async def test_failed_checkpoint_is_a_failure(tmp_path):
    """A checkpoint that can't be made durable stops the writer."""
    writer = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items")
    writer.start()
    await writer.submit(put("a"))

    class Broken:
        def execute(self, statement):
            raise sqlite3.OperationalError("disk I/O error")

        in_transaction = False

    writer._checkpoint(Broken(), "PASSIVE")
    assert writer.failed is not None
    writer.stop()


def test_database_without_wal_works(tmp_path):
    """The writer needs no write-ahead log."""
    writer = GroupCommitWriter(lambda: sqlite3.connect(":memory:", isolation_level=None), name="memory")
    writer.start()
    assert writer.call(lambda connection: connection.execute("SELECT 1").fetchone()) == (1,)
    writer.stop()


def test_waiters_of_a_closed_loop_do_no_harm(writer, tmp_path):
    """A loop that was closed meanwhile has nobody who waits."""
    gate = threading.Event()

    async def leave():
        writer.submit(lambda connection: gate.wait(5))

    asyncio.run(leave())
    gate.set()
    writer.call(put("a"))
    assert texts(tmp_path / "items.db") == ["a"]


def test_only_storage_errors_are_storage_errors():
    """A broken constraint concerns one statement; a failed disk concerns all."""
    assert not is_storage_error(sqlite3.IntegrityError("UNIQUE"))
    assert not is_storage_error(KeyError("x"))
    assert is_storage_error(OSError("disk"))
    corrupt = sqlite3.DatabaseError("malformed")
    corrupt.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    assert is_storage_error(corrupt)


PROMISE_BYTES = 100_000


@pytest.fixture
def promising(tmp_path):
    """Return a writer that keeps room for what is promised."""
    made = GroupCommitWriter(lambda: connect(tmp_path / "items.db"), name="items", promise_bytes=PROMISE_BYTES)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def disk(monkeypatch):
    """Return the most bytes that the disk gives to a file at once, which a test may change."""
    most = {"bytes": 10**9}
    give = os.posix_fallocate

    def allocate(descriptor, offset, size):
        if offset + size > most["bytes"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        give(descriptor, offset, size)

    monkeypatch.setattr(os, "posix_fallocate", allocate)
    return most


async def together(writer: GroupCommitWriter, *submits):
    """Return how operations end that stand in one group, or that find no room in one and are the next."""
    begun, gate = threading.Event(), threading.Event()
    first = writer.submit(lambda connection: (begun.set(), gate.wait(5)), size=0)
    await asyncio.to_thread(begun.wait, 5)
    waiting = [submit() for submit in submits]
    gate.set()
    return (await asyncio.gather(first, *waiting, return_exceptions=True))[1:]


def keeping(writer: GroupCommitWriter, text: str, **how):
    """Return what submits a promised row."""
    return lambda: writer.submit(put(text), promise=Promise.KEPT, **how)


async def test_promised_operation_is_written_where_its_group_found_no_room(promising, tmp_path):
    """Of a group that was full and rolled back whole, what was promised is written after all, in its lean form."""
    await promising.submit(put("a"), promise=Promise.MADE)
    kept, other, full = await together(
        promising,
        keeping(promising, "large", lean=put("lean")),
        lambda: promising.submit(put("other")),
        lambda: promising.submit(failing(promising, sqlite3.SQLITE_FULL, "database or disk is full")),
    )
    assert isinstance(kept, int)
    assert {other.reason, full.reason} == {Reason.STORAGE_FULL}
    assert texts(tmp_path / "items.db") == ["a", "lean"]
    assert promising.failed is not None
    await promising.submit(put("b"), promise=Promise.MADE)
    assert promising.failed is None


async def test_failed_sync_is_not_tried_again_for_a_promise(promising, tmp_path):
    """A group that failed for anything but room is over, promised or not."""
    results = await together(
        promising,
        keeping(promising, "a"),
        lambda: promising.submit(failing(promising, sqlite3.SQLITE_IOERR_FSYNC, "disk I/O error")),
    )
    assert {result.reason for result in results} == {Reason.STORAGE_DAMAGED}
    assert texts(tmp_path / "items.db") == []


async def test_promised_operation_that_finds_no_room_is_told(promising):
    """Where even by itself it does not fit, its waiter gets STORAGE_FULL."""
    full = failing(promising, sqlite3.SQLITE_FULL, "database or disk is full")
    with pytest.raises(StorageFailure) as caught:
        await promising.submit(full, promise=Promise.KEPT)
    assert caught.value.reason is Reason.STORAGE_FULL


async def test_promise_is_refused_before_it_is_written(promising, disk, tmp_path):
    """Without room for it and for what it promises an operation is not begun; it is again as soon as there is room."""
    disk["bytes"] = 0
    with pytest.raises(StorageFailure) as caught:
        await promising.submit(put("a"), promise=Promise.MADE)
    assert caught.value.reason is Reason.STORAGE_FULL
    assert promising.failed is not None
    assert not promising.failed.lasting
    assert texts(tmp_path / "items.db") == []
    disk["bytes"] = 10**9
    await promising.submit(put("a"), promise=Promise.MADE)
    assert promising.failed is None


async def test_as_many_are_promised_as_there_is_room_for(promising, disk, tmp_path):
    """Of a group that asks for more than there is, some are refused; what was promised the others is written."""
    disk["bytes"] = 1_000_000
    made = await together(
        promising, *(lambda text=str(number): promising.submit(put(text), promise=Promise.MADE) for number in range(20))
    )
    promised = [result for result in made if isinstance(result, int)]
    assert 2 <= len(promised) < 10
    assert promising.failed is not None
    disk["bytes"] = 0
    kept = await together(promising, *(keeping(promising, f"end of {number}" * 5_000) for number in promised))
    assert [type(result) for result in kept] == [int] * len(promised)
    assert len(texts(tmp_path / "items.db")) == 2 * len(promised)
    assert promising.failed is not None  # room for a promise that was kept says nothing of another one


async def test_promised_operation_larger_than_its_room_is_done_lean(promising, disk, tmp_path):
    """What is above the promise needs room that is there; else the lean form is written."""
    for text in ("a", "b"):
        await promising.submit(put(text), promise=Promise.MADE)
    await keeping(promising, "large", size=PROMISE_BYTES + 500_000, lean=put("lean"))()
    disk["bytes"] = 0
    await keeping(promising, "also large", size=PROMISE_BYTES + 500_000_000, lean=put("lean as well"))()
    assert texts(tmp_path / "items.db") == ["a", "b", "large", "lean as well"]


async def test_large_operation_that_finds_no_room_stops_nothing(promising, disk, tmp_path):
    """It is refused alone, and others go on."""
    disk["bytes"] = 2_000_000
    with pytest.raises(StorageFailure) as caught:
        await promising.submit(put("large"), size=10_000_000)
    assert caught.value.reason is Reason.STORAGE_FULL
    assert promising.failed is None
    await promising.submit(put("a"), promise=Promise.MADE)
    assert texts(tmp_path / "items.db") == ["a"]


async def test_small_operation_does_not_say_that_there_is_room(promising, disk):
    """What fits although no promise would leaves the failure standing."""
    disk["bytes"] = OPERATION_BYTES + PROMISE_BYTES // 2
    await promising.submit(put("a"))
    with pytest.raises(StorageFailure):
        await promising.submit(put("b"), promise=Promise.MADE)
    await promising.submit(put("c"), size=1)
    assert promising.failed is not None


async def test_disk_that_breaks_while_room_is_asked_for_is_broken(promising, monkeypatch):
    """An error of the disk that is not lack of room ends all writing, and later lack of room does not cover it."""

    def broken(descriptor, offset, size):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "posix_fallocate", broken)
    results = await together(
        promising, lambda: promising.submit(put("a"), promise=Promise.MADE), keeping(promising, "b"), keeping(promising, "c")
    )
    assert {result.reason for result in results} == {Reason.STORAGE_DAMAGED}
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        promising._begin_failure(connection, [], OSError(errno.ENOSPC, "No space left on device"))
    assert promising.failed is not None
    assert promising.failed.lasting


async def test_checkpoint_without_room_is_no_failure(promising):
    """The log stays as it is; a commit needs room in the log alone."""

    class Full:
        def execute(self, statement):
            error = sqlite3.OperationalError("database or disk is full")
            error.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise error

        in_transaction = False

    promising._checkpoint(Full(), "PASSIVE")
    assert promising.failed is None
