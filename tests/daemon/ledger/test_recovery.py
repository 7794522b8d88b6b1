"""What a start finds and does: after a kill, a lost tail, a restored copy, and with files that are no ledger."""

import asyncio
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from aigend.clock import SystemClock
from aigend.config import LedgerSettings
from aigend.ledger import recovery, schema
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import AttemptState
from aigend.ledger.ledger import Ledger
from aigend.ledger.mark import TailState
from aigend.ledger.recovery import LedgerRefused
from aigend.ledger.verify import verify

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock


def at(directory: Path, *budgets) -> Ledger:
    """Return a ledger that is not open."""
    return Ledger(path=directory / "ledger.db", clock=FakeClock(NOW), settings=LedgerSettings(), budgets=BudgetBook(budgets))


async def copied_while_open(source: Path, target: Path) -> Path:
    """Return a copy of the files as a kill would leave them."""
    await asyncio.to_thread(shutil.copytree, source, target)
    return target


async def filled(directory: Path, calls: int = 3) -> Path:
    """Return a directory with a ledger of some settled calls, closed."""
    await asyncio.to_thread(directory.mkdir, exist_ok=True)
    async with opened(directory, budget()) as ledger:
        for number in range(calls):
            await ledger.settle(await ledger.reserve(intent(f"r{number}")), settlement(100))
    return directory


def damaged(directory: Path, statement: str) -> Path:
    """Change something behind the ledger's back."""
    connection = sqlite3.connect(directory / "ledger.db", isolation_level=None)
    connection.execute(statement)
    connection.close()
    return directory


async def test_new_ledger_is_private_and_empty(tmp_path):
    """A first start makes a file that is ours alone."""
    report = await (ledger := at(tmp_path)).open()
    await ledger.close()
    assert (report.created, report.tail, report.epoch, report.alarms) == (True, TailState.NEW, 1, ())
    assert (tmp_path / "ledger.db").stat().st_mode & 0o777 == 0o600


async def test_sent_before_a_kill_is_unknown_after_it(tmp_path):
    """A call that may have been charged is booked at its upper bound; a settled one stays as it is."""
    (tmp_path / "a").mkdir()
    async with opened(tmp_path / "a", budget()) as ledger:
        await ledger.settle(await ledger.reserve(intent("done")), settlement(600))
        await ledger.reserve(intent("open"))
        left = await copied_while_open(tmp_path / "a", tmp_path / "b")
    ledger = at(left, budget())
    report = await ledger.open()
    assert (report.epoch, report.unknown, report.released, report.tail) == (2, 1, 0, TailState.OK)
    state = ledger.budget_status(NOW)[0]
    assert (state.spent_nanos, state.reserved_nanos) == (1_600, 0)
    assert ledger.known("me", "open").state is AttemptState.UNKNOWN
    assert ledger.known("me", "done").state is AttemptState.SETTLED
    await ledger.close()
    assert verify(left / "ledger.db") == ()


async def test_reserved_before_a_kill_is_released_and_submitted_is_left(tmp_path):
    """What was not sent is given back; what a provider's batch job holds is the job poller's."""
    await filled(tmp_path, 3)
    damaged(tmp_path, "UPDATE attempt SET state = 'reserved', cost_nanos = NULL WHERE id = 1")
    damaged(tmp_path, "UPDATE attempt SET state = 'submitted', cost_nanos = NULL WHERE id = 2")
    ledger = at(tmp_path)
    report = await ledger.open()
    assert (report.released, report.unknown) == (1, 0)
    assert await rows(ledger, "SELECT state FROM attempt ORDER BY id") == [("released",), ("submitted",), ("settled",)]
    await ledger.close()


async def test_counter_that_differs_from_its_rows_is_corrected_and_said(tmp_path):
    """Rows win, and the difference is an alarm."""
    await filled(tmp_path)
    damaged(tmp_path, "UPDATE budget_window SET spent_nanos = 7")
    said = []
    async with opened(tmp_path, budget(), on_fault=said.append) as ledger:
        assert ledger.budget_status(NOW)[0].spent_nanos == 300
        assert await rows(ledger, "SELECT count(*) FROM journal WHERE event = 'alarm'") == [(1,)]
    assert "its rows say 0.0000003" in said[0]
    assert verify(tmp_path / "ledger.db") == ()


async def test_lost_tail_is_noticed_and_said(tmp_path):
    """Where the write-ahead log is gone, SQLite says all is well; the mark does not. The ledger serves."""
    (tmp_path / "a").mkdir()
    async with opened(tmp_path / "a", budget()) as ledger:
        await ledger._writer.submit(lambda connection: None)
        for number in range(3):
            await ledger.settle(await ledger.reserve(intent(f"r{number}")), settlement(100))
        await ledger._write_mark()
        left = await copied_while_open(tmp_path / "a", tmp_path / "b")
    (left / "ledger.db-wal").unlink()
    (left / "ledger.db-shm").unlink()
    ledger = at(left)
    report = await ledger.open()
    assert report.tail is TailState.LOST
    assert "tail is lost: rows 1 to 7" in report.alarms[0]
    await ledger.reserve(intent("new"))
    await ledger.close()
    again = at(left)
    assert (await again.open()).tail is TailState.OK
    await again.close()


async def test_control_without_mark_takes_a_lost_tail_for_sound(tmp_path):
    """The mark is the protection: without it, nothing but its absence is said."""
    (tmp_path / "a").mkdir()
    async with opened(tmp_path / "a") as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement(100))
        left = await copied_while_open(tmp_path / "a", tmp_path / "b")
    (left / "ledger.db-wal").unlink()
    (left / "ledger.db-mark").unlink(missing_ok=True)
    (left / "ledger.db.mark").unlink()
    ledger = at(left)
    assert (await ledger.open()).tail is TailState.NEW
    await ledger.close()


async def test_restored_old_copy_is_noticed(tmp_path):
    """A copy that went its own way has other rows than those that were marked."""
    await filled(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "old")
    async with opened(tmp_path / "a", budget()) as ledger:
        await ledger.settle(await ledger.reserve(intent("one")), settlement(100))
    async with opened(tmp_path / "old", budget(), clock=FakeClock(NOW + 5)) as ledger:
        for number in range(4):
            await ledger.settle(await ledger.reserve(intent(f"other{number}")), settlement(100))
    shutil.copy(tmp_path / "a" / "ledger.db.mark", tmp_path / "old" / "ledger.db.mark")
    ledger = at(tmp_path / "old")
    report = await ledger.open()
    assert report.tail is TailState.FOREIGN
    assert "restored old copy" in report.alarms[0]
    await ledger.close()


async def test_missing_mark_is_said(tmp_path):
    """Without its mark a ledger serves and says so."""
    await filled(tmp_path)
    (tmp_path / "ledger.db.mark").unlink()
    ledger = at(tmp_path)
    assert (await ledger.open()).tail is TailState.UNMARKED
    await ledger.close()


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda path: path.touch(), "is empty"),
        (lambda path: path.write_bytes(b"something else " * 100), "is no ledger of aigen"),
        (lambda path: sqlite3.connect(path).execute("CREATE TABLE t (x)").connection.close(), "is no ledger of aigen"),
        (lambda path: path.with_name("ledger.db-wal").write_bytes(b"x"), "is missing, but its write-ahead log is there"),
    ],
)
async def test_file_that_is_no_ledger_is_refused(tmp_path, make, why):
    """Nothing is written into a file that is not ours, and the error names it and what to do."""
    make(tmp_path / "ledger.db")
    with pytest.raises(LedgerRefused, match=f"ledger.db {why}.*aigend ledger repair") as caught:
        await at(tmp_path).open()
    assert caught.value.exit_code == 78


async def test_newer_ledger_is_refused(tmp_path):
    """A ledger of a newer aigen is not touched."""
    await filled(tmp_path)
    damaged(tmp_path, f"PRAGMA user_version = {schema.NEWEST_VERSION + 1}")
    with pytest.raises(LedgerRefused, match="newer aigen"):
        await at(tmp_path).open()


async def test_truncated_ledger_is_refused(tmp_path):
    """A file that was cut is never served."""
    await filled(tmp_path)
    os.truncate(tmp_path / "ledger.db", 20_000)
    with pytest.raises(LedgerRefused, match="is damaged"):
        await at(tmp_path).open()


async def test_changed_journal_row_is_refused(tmp_path):
    """A journal that was tampered with since it was sealed is not served."""
    await filled(tmp_path)
    damaged(tmp_path, "UPDATE meta SET value = 1 WHERE name = 'sealed_seq'")
    damaged(tmp_path, "UPDATE journal SET spent_delta = 1 WHERE seq = 3")
    with pytest.raises(LedgerRefused, match="journal row 3 was changed"):
        await at(tmp_path).open()


async def test_set_aside_makes_room_for_a_new_ledger(tmp_path):
    """The refused ledger is kept under another name, and the next start begins anew."""
    await filled(tmp_path)
    os.truncate(tmp_path / "ledger.db", 20_000)
    moved = recovery.set_aside(tmp_path / "ledger.db", now=NOW)
    assert sorted(path.name for path in moved) == ["ledger.db.20260101T000000Z", "ledger.db.20260101T000000Z.mark"]
    ledger = at(tmp_path)
    assert (await ledger.open()).created
    await ledger.close()


async def test_interrupted_creation_is_begun_again(tmp_path):
    """A ledger appears complete or not at all."""
    (tmp_path / "ledger.db.new").write_bytes(b"half")
    ledger = at(tmp_path)
    assert (await ledger.open()).created
    await ledger.close()


async def test_older_ids_are_found_by_the_index(tmp_path):
    """Memory holds recent ids only; an old one is still not sent twice."""
    await filled(tmp_path)
    async with opened(tmp_path, clock=FakeClock(NOW + 10_000)) as ledger:
        assert ledger.known("me", "r1") is None
        with pytest.raises(Exception, match="request id is settled"):
            await ledger.reserve(intent("r1"))


def test_remembered_ids_are_bounded(tmp_path):
    """The longest unchanged are forgotten first."""
    from aigend.ledger.journal import Tail
    from aigend.ledger.known import KnownOperations
    from aigend.ledger.store import Change

    known = KnownOperations(ttl_s=60, limit=2)
    for number in range(3):
        change = Change(attempt_id=number, operation_id=number, attempt_number=1, tail=Tail())
        known.update(intent(f"r{number}"), AttemptState.SETTLED, change, now=NOW)
    assert [known.get("me", f"r{number}", NOW) is not None for number in range(3)] == [False, True, True]


async def test_start_uses_the_index_of_open_attempts():
    """A start does not read every attempt that was ever made."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(connection)
    plan = connection.execute(f"EXPLAIN QUERY PLAN {recovery._OPEN_ATTEMPTS}", (1,)).fetchall()
    assert any("attempt_open" in row[3] for row in plan)
    connection.close()


async def test_real_clock_ticks(tmp_path):
    """With the machine's own clock, upkeep runs by itself."""
    ledger = Ledger(path=tmp_path / "ledger.db", clock=SystemClock(), settings=LedgerSettings(), budgets=BudgetBook([]))
    await ledger.open()
    assert not ledger.failed
    await ledger.close()
