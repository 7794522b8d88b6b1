"""Work that is put off to the end of a group: done once, in its transaction, and never for what was undone."""

import asyncio
import sqlite3
import threading

import pytest
from aigend.errors import DomainError
from aigend.storage.deferring import DeferringConnection, catch_up, defer
from aigend.storage.group_commit import GroupCommitWriter


class Noted:
    """Work that writes down for how much it was done at once."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(self, connection: sqlite3.Connection, items: list[str]) -> None:
        """Write a row for each item."""
        self.calls.append(items)
        connection.executemany("INSERT INTO item VALUES (?)", [(item,) for item in items])


@pytest.fixture
def work():
    """Return work that is noted."""
    return Noted()


@pytest.fixture
def database(tmp_path):
    """Return a function that opens the database of a test."""

    def connect() -> DeferringConnection:
        connection = sqlite3.connect(tmp_path / "items.db", isolation_level=None, factory=DeferringConnection)
        connection.execute("CREATE TABLE IF NOT EXISTS item (text TEXT)")
        return connection

    return connect


async def in_one_group(connect, *operations):
    """Return how operations end that stand in one group, and what is in the table then."""
    writer = GroupCommitWriter(connect, name="items")
    writer.start()
    begun, gate = threading.Event(), threading.Event()
    first = writer.submit(lambda _: (begun.set(), gate.wait(5)))
    await asyncio.to_thread(begun.wait, 5)
    waiting = [writer.submit(operation) for operation in operations]
    gate.set()
    results = await asyncio.gather(first, *waiting, return_exceptions=True)
    assert writer.group_count <= 1
    rows = writer.call(lambda connection: [text for (text,) in connection.execute("SELECT text FROM item")])
    await asyncio.to_thread(writer.stop)
    return results[1:], rows


def half_done(work, *, after: bool):
    """Return an operation that puts work off, perhaps catches up, and fails."""

    def operation(connection):
        defer(connection, work, "undone")
        if after:
            catch_up(connection, work)
        raise KeyError("half")

    return operation


async def test_work_is_done_once_for_a_group(database, work):
    """However many operations leave an item, the work is done once for all of them."""
    putting = [lambda connection, item=item: defer(connection, work, item) for item in "abc"]
    _, rows = await in_one_group(database, *putting)
    assert (work.calls, rows) == ([["a", "b", "c"]], ["a", "b", "c"])


@pytest.mark.parametrize("after", [False, True])
async def test_what_a_failed_operation_left_is_dropped_alone(database, work, after):
    """An operation that fails takes its own items with it, even where it had done the others' work within what is undone."""
    results, rows = await in_one_group(
        database,
        lambda connection: defer(connection, work, "a"),
        half_done(work, after=after),
        lambda connection: defer(connection, work, "b"),
    )
    assert isinstance(results[1], KeyError)
    assert rows == ["a", "b"]


async def test_control_without_the_note_a_failed_operation_spoils_others(database, work, monkeypatch):
    """Were what is due not restored, the failed operation's item would be written and the other's lost."""
    monkeypatch.setattr(DeferringConnection, "noted", lambda self: self.due)
    _, rows = await in_one_group(database, lambda connection: defer(connection, work, "a"), half_done(work, after=False))
    assert rows == ["a", "undone"]


async def test_those_who_read_catch_up(database, work):
    """Within a group, whoever needs what was put off has it done first, and it is not done again."""
    _, rows = await in_one_group(
        database,
        lambda connection: defer(connection, work, "a"),
        lambda connection: catch_up(connection, work),
        lambda connection: defer(connection, work, "b"),
    )
    assert (work.calls, rows) == ([["a"], ["b"]], ["a", "b"])


async def test_group_that_fails_leaves_nothing_due(database, work):
    """After a rollback the next group does not do the work of the one before."""

    def full(_):
        error = sqlite3.OperationalError("full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    results, rows = await in_one_group(database, lambda connection: defer(connection, work, "a"), full)
    assert all(isinstance(result, DomainError) for result in results)
    assert (work.calls, rows) == ([], [])


def test_outside_a_group_nothing_is_put_off(database, work):
    """A connection that has no group, or is no such connection at all, does the work at once."""
    connection = database()
    defer(connection, work, "a")
    catch_up(connection, work)
    connection.close()
    plain = sqlite3.connect(":memory:", isolation_level=None)
    plain.execute("CREATE TABLE item (text TEXT)")
    defer(plain, work, "b")
    catch_up(plain, work)
    plain.close()
    assert work.calls == [["a"], ["b"]]
