"""Months taken out of the ledger into files: nothing lost, nothing doubled, every sum as before."""

import asyncio
import gzip
import json
import shutil
import stat
import threading
from collections import Counter
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from aigend.errors import DomainError
from aigend.ledger import store
from aigend.ledger.archives import rows as archive_rows
from aigend.ledger.archives.archive import Archiver, check_archives, check_month
from aigend.ledger.archives.file import ArchiveDamaged, read_header, read_lines
from aigend.ledger.archives.rows import ArchiveState
from aigend.ledger.correcting import Corrected, intent_of
from aigend.ledger.corrections import Corrections, RecordedCall
from aigend.ledger.entries import AlreadyKnown, AttemptState
from aigend.ledger.entries_store import EntriesQuery, list_entries
from aigend.ledger.journal import Tail
from aigend.ledger.mark import mark_path, write_mark
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.reprice import Repricer
from aigend.ledger.statistics.hits import HitKey
from aigend.ledger.statistics.query import Dimension, stats_query
from aigend.ledger.statistics.stats import compute
from aigend.ledger.verify import verify
from aigend.types import Accounting, CacheOutcome, Route, SavingsCause, TokenUsage

from tests.daemon.ledger.ledger_calls import budget, intent, opened, rows, settlement
from tests.fakes import FakeClock

JANUARY = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
DAY = 86_400.0
KEY = HitKey("me", "s", "", "", "", "{}", "", "p", "m", CacheOutcome.HIT, "cache")
BUDGETS = (budget("daily", 10**9), budget("all", 10**12, period="session", each="session"))
STEPS = ("begun", "claiming", "claimed", "written", "registered", "taking", "taking hits", "taking journal", "done")
NO_REPLIES = b""


class Crash(Exception):  # noqa: N818 - names what happens
    """The process ends here."""


class CrashAt:
    """Ends the process at the nth passing of a step."""

    def __init__(self, step, nth=1):
        self.step, self.left = step, nth

    def __call__(self, step):
        """Count the passing."""
        if step == self.step:
            self.left -= 1
            if not self.left:
                raise Crash(step)


async def _call(ledger, request_id, *, nanos=600, ending="settle", **fields):
    reservation = await ledger.reserve(intent(request_id, **fields))
    if ending == "settle":
        saved = {SavingsCause.PROMPT_CACHE: -5}
        await ledger.settle(reservation, settlement(nanos, reply=NO_REPLIES, total_us=1_000, savings=saved))
    elif ending == "release":
        await ledger.release(reservation, reason="refused")
    elif ending == "unknown":
        await ledger.mark_unknown(reservation, reason="timeout")
    return reservation


async def _fill(ledger, clock):
    """Three months of calls of every ending, some of them across a month's end."""
    late = None
    for day in range(0, 75, 3):
        _at(clock, JANUARY + day * DAY + 40_000)
        await _call(ledger, f"r{day}", nanos=100 + day, session="run-1", labels={"team": "a"})
        await _call(ledger, f"free{day}", ending="release")
        ledger.hits.cell(KEY).add(clock.time(), 7, 100)
        await ledger.flush()
        if day == 9:
            await _call(ledger, "unknown", ending="unknown")
            late = await ledger.reserve(intent("late"))
            await _call(ledger, "retried", ending="release")
            await _call(ledger, "retried")
        if day == 39:
            await ledger.settle(late, settlement(50, reply=NO_REPLIES))
    _at(clock, JANUARY + 75 * DAY)
    await _call(ledger, "last")


@asynccontextmanager
async def _filled(folder):
    clock = FakeClock(JANUARY)
    async with opened(folder, *BUDGETS, clock=clock) as ledger:
        await _fill(ledger, clock)
        yield ledger, clock


def _at(clock, moment):
    clock.jump(moment - clock.time())


def _archiver(ledger, clock, **fields):
    return Archiver(path=ledger.path, directory=ledger.path.parent / "archive", write=ledger.write, clock=clock, **fields)


async def _sums(ledger, clock):
    """All that statistics, savings and budgets say."""
    found = []
    for group in ((), (Dimension.DAY,), (Dimension.SESSION,), (Dimension.LABEL,), (Dimension.MODEL, Dimension.OUTCOME)):
        query = stats_query(scope="me", now=clock.time(), group_by=group, label_key="team" if Dimension.LABEL in group else "")
        found.append(await ledger.read(lambda connection, query=query: compute(connection, query)))
    aligned = stats_query(scope="me", now=clock.time(), start=JANUARY + 5 * DAY, end=JANUARY + 50 * DAY)
    found.append(await ledger.read(lambda connection: compute(connection, aligned)))
    found.append(await rows(ledger, "SELECT budget, key, window, spent_nanos, reserved_nanos FROM budget_window ORDER BY id"))
    found.append([(state.budget, state.key, state.spent_nanos) for state in ledger.budget_status(clock.time())])
    return found


def _in_files(folder):
    """Ids of attempts and numbers of journal rows that files hold, counted."""
    attempts, journal, hits = Counter(), Counter(), 0
    for path in sorted((folder / "archive").glob("*.gz")):
        for row in read_lines(path):
            if row.get("row") == "attempt":
                attempts[row["id"]] += 1
            elif row.get("row") == "journal":
                journal[row["seq"]] += 1
            elif row.get("row") == "hit":
                hits += row["count"]
    return attempts, journal, hits


async def test_sums_are_the_same_before_and_after(tmp_path):
    """Statistics by anything, savings, windows and running budgets do not change, and the ledger verifies."""
    async with _filled(tmp_path) as (ledger, clock):
        before = await _sums(ledger, clock)
        done = await _archiver(ledger, clock).run("2026-03")
        assert [(archive.month, archive.state) for archive in done] == [("2026-01", "done"), ("2026-02", "done")]
        assert await _sums(ledger, clock) == before
    assert verify(tmp_path / "ledger.db") == ()


async def test_each_row_is_here_or_in_one_file(tmp_path):
    """No attempt lost, none in two places; the journal's files follow each other without a gap."""
    async with _filled(tmp_path) as (ledger, clock):
        (attempts_before,), (seq_before,) = await rows(ledger, "SELECT count(*) FROM attempt"), await rows(ledger, _TAIL)
        await _archiver(ledger, clock).run("2026-03")
        here = [row[0] for row in await rows(ledger, "SELECT id FROM attempt")]
        (seq_after,) = await rows(ledger, _TAIL)
        archives = await ledger.read(archive_rows.archives)
    attempts, journal, hits = _in_files(tmp_path)
    assert set(attempts.values()) == {1}
    assert not set(attempts) & set(here)
    assert len(attempts) + len(here) == attempts_before[0]
    assert sorted(journal) == list(range(1, archives[-1].last_seq + 1))
    assert seq_after == seq_before
    assert hits == 20  # one every third day of 59


_TAIL = "SELECT max(seq) FROM journal"


async def test_what_is_not_over_stays(tmp_path):
    """Unknown outcomes stay with their journal, and what ended after its month goes with the month in which it ended."""
    async with _filled(tmp_path) as (ledger, clock):
        archiver = _archiver(ledger, clock)
        (january,) = await archiver.run("2026-02")
        found = await rows(ledger, "SELECT request_id FROM attempt WHERE create_us < 1769904000000000")
        here = {row[0] for row in found}
        assert here == {"unknown", "late"}
        await archiver.run("2026-03")
        assert {row[0] for row in await rows(ledger, "SELECT request_id FROM attempt")} >= {"unknown", "last"}
        assert not await rows(ledger, "SELECT 1 FROM attempt WHERE request_id = 'late'")
        kept = await rows(ledger, f"SELECT count(*) FROM journal WHERE seq <= {january.last_seq}")  # noqa: S608 - a number
        assert kept == [(2,)]  # sent and unknown
    assert verify(tmp_path / "ledger.db") == ()


async def test_an_unknown_outcome_is_settled_after_its_month_was_archived(tmp_path):
    """What stayed goes on as ever, budgets and roll-ups follow, a start after a crash believes them; the next month takes it."""
    async with _filled(tmp_path) as (ledger, clock):
        await _archiver(ledger, clock).run("2026-03")
        ((attempt_id,),) = await rows(ledger, "SELECT id FROM attempt WHERE request_id = 'unknown'")
        await ledger.correct(_release(attempt_id), size=10_000)
        before = await _sums(ledger, clock)
        shutil.copytree(tmp_path, tmp_path / "crashed", ignore=shutil.ignore_patterns("crashed"))
    async with opened(tmp_path / "crashed", *BUDGETS, clock=clock) as again:
        assert await _sums(again, clock) == before
        _at(clock, JANUARY + 100 * DAY)
        await _call(again, "April")
        await _archiver(again, clock).run("2026-04")
        assert not await rows(again, "SELECT 1 FROM attempt WHERE request_id = 'unknown'")
    assert verify(tmp_path / "crashed" / "ledger.db") == ()


def _release(attempt_id):
    def work(connection, book):
        whose = intent_of(connection, attempt_id)
        change = store.release(connection, attempt_id, reason="x", moment=book.moment, source=AttemptState.UNKNOWN)
        return Corrected(value=None, changes=((whose, AttemptState.RELEASED, change),))

    return work


@pytest.mark.parametrize("nth", [1, 2])
@pytest.mark.parametrize("step", STEPS)
async def test_a_crash_at_any_step_is_finished_by_the_next_run(tmp_path, step, nth):
    """Killed between any two steps: what is there verifies, sums hold, and the next run ends with the same ledger and files."""
    async with _filled(tmp_path) as (ledger, clock):
        before = await _sums(ledger, clock)
        (count,) = await rows(ledger, "SELECT count(*) FROM attempt")
        with pytest.raises(Crash):
            await _archiver(ledger, clock, passing=CrashAt(step, nth if step not in ("begun", "claiming") else 1)).run("2026-03")
        shutil.copytree(tmp_path, tmp_path / "killed", ignore=shutil.ignore_patterns("killed"))
    killed = tmp_path / "killed"
    assert verify(killed / "ledger.db") == ()
    async with opened(killed, *BUDGETS, clock=clock) as again:
        assert await _sums(again, clock) == before
        await _moved(again, tmp_path, killed)
        await _archiver(again, clock).run("2026-03")
        assert await _sums(again, clock) == before
        here = await rows(again, "SELECT id FROM attempt")
        assert await again.read(check_archives) == []
    attempts, _, _ = _in_files(killed)
    assert set(attempts.values()) == {1}
    assert len(attempts) + len(here) == count[0]
    assert verify(killed / "ledger.db") == ()


async def _moved(ledger, before, after):
    """A copy of the folder names its own files."""
    await ledger.write(
        lambda connection: connection.execute("UPDATE archive SET file = replace(file, ?, ?)", (str(before), str(after))).close()
    )


async def test_an_archived_id_is_known_for_ever_and_a_released_one_is_free(tmp_path):
    """An answer that was paid for is never paid again under its id; numbers are never given twice."""
    async with _filled(tmp_path) as (ledger, clock):
        (newest,) = await rows(ledger, "SELECT max(id) FROM attempt")
        await _archiver(ledger, clock).run("2026-03")
        with pytest.raises(AlreadyKnown):
            await ledger.reserve(intent("r0", session="run-1", labels={"team": "a"}))
        with pytest.raises(DomainError, match="REQUEST_ID_REUSED"):
            await ledger.reserve(intent("r0", digest=b"another"))
        again = await _call(ledger, "free0")
        assert again.attempt_id == newest[0] + 1
    assert verify(tmp_path / "ledger.db") == ()


async def test_without_the_check_of_the_file_nothing_would_be_noticed(tmp_path):
    """A file that was changed before rows are taken out stops the run; the rows stay."""
    async with _filled(tmp_path) as (ledger, clock):
        (before,) = await rows(ledger, "SELECT count(*) FROM attempt")
        with pytest.raises(Crash):
            await _archiver(ledger, clock, passing=CrashAt("registered")).run("2026-03")
        path = tmp_path / "archive" / "ledger-2026-01.jsonl.gz"
        text = gzip.decompress(path.read_bytes())
        path.write_bytes(gzip.compress(text.replace(b'"cost_nanos":100', b'"cost_nanos":900', 1)))
        with pytest.raises(ArchiveDamaged, match="nothing is taken out"):
            await _archiver(ledger, clock).run("2026-03")
        assert (before,) == tuple(await rows(ledger, "SELECT count(*) FROM attempt"))
        assert "it is not what was written" in (await ledger.read(check_archives))[0]


@pytest.mark.parametrize("damage", ["missing", "cut", "foreign", "row"])
async def test_a_damaged_file_is_found(tmp_path, damage):
    """Files are compared with what the ledger keeps of them: gone, cut, another's, or a row taken out."""
    async with _filled(tmp_path) as (ledger, clock):
        await _archiver(ledger, clock).run("2026-03")
        assert await ledger.read(check_archives) == []
        path = tmp_path / "archive" / "ledger-2026-01.jsonl.gz"
        lines = gzip.decompress(path.read_bytes()).splitlines(keepends=True)
        if damage == "missing":
            path.unlink()
        elif damage == "cut":
            path.write_bytes(path.read_bytes()[:-100])
        elif damage == "foreign":
            path.write_bytes(gzip.compress(b'{"format":"another"}\n'))
        else:
            path.write_bytes(gzip.compress(b"".join(line for line in lines if b'"seq":3,' not in line)))
        (fault,) = await ledger.read(check_archives)
        assert str(path) in fault


async def test_a_file_says_what_it_is(tmp_path):
    """Its header names month, journal, counts and totals; it is for its owner alone."""
    async with _filled(tmp_path) as (ledger, clock):
        (january, _) = await _archiver(ledger, clock).run("2026-03")
    path = tmp_path / "archive" / "ledger-2026-01.jsonl.gz"
    header = read_header(path)
    assert (header["month"], header["first_seq"], header["last_seq"]) == ("2026-01", 1, january.last_seq)
    assert header["totals"] == {"USD": {"cost_nanos": january.cost_nanos}}
    assert header["counts"]["attempt"] == january.attempt_count > 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [name.name for name in path.parent.iterdir() if name.suffix != ".gz"] == []
    first = json.loads(gzip.decompress(path.read_bytes()).splitlines()[0])
    assert first == header


async def test_a_kept_reply_holds_its_operation_back(tmp_path):
    """What may still be replayed stays until its reply has gone."""
    clock = FakeClock(JANUARY)
    async with opened(tmp_path, clock=clock) as ledger:
        reservation = await ledger.reserve(intent("kept"))
        await ledger.settle(reservation, settlement())
        _at(clock, JANUARY + 40 * DAY)
        await _call(ledger, "last")
        await ledger.write(lambda connection: connection.execute("UPDATE reply SET expire_us = expire_us * 2").close())
        await _archiver(ledger, clock).run("2026-02")
        assert ("kept",) in await rows(ledger, "SELECT request_id FROM attempt")
    assert verify(tmp_path / "ledger.db") == ()


async def test_a_clock_that_jumped_takes_nothing_that_its_journal_does_not_hold(tmp_path):
    """Set forward by a month and back again, the clock gives rows younger times than later ones; they stay."""
    clock = FakeClock(JANUARY)
    async with opened(tmp_path, clock=clock) as ledger:
        await _call(ledger, "before")
        _at(clock, JANUARY + 60 * DAY)
        await _call(ledger, "jumped")
        _at(clock, JANUARY + DAY)
        await _call(ledger, "after")
        _at(clock, JANUARY + 45 * DAY)
        await _call(ledger, "last")
        await _archiver(ledger, clock).run("2026-02")
        assert {row[0] for row in await rows(ledger, "SELECT request_id FROM attempt")} >= {"jumped", "after", "last"}
    assert verify(tmp_path / "ledger.db") == ()


async def test_a_ledger_whose_journal_is_all_old_keeps_its_end(tmp_path):
    """The last row, operation and attempt never go: the next numbers are counted from them."""
    clock = FakeClock(JANUARY)
    async with opened(tmp_path, clock=clock) as ledger:
        for name in ("a", "b", "c"):
            await _call(ledger, name)
        _at(clock, JANUARY + 400 * DAY)
        assert len(await _archiver(ledger, clock).run("2026-06")) <= 2
        assert await _archiver(ledger, clock).run("2026-06") == []
        (tail,) = await rows(ledger, _TAIL)
        await _call(ledger, "d")
        (after,) = await rows(ledger, _TAIL)
        assert after[0] == tail[0] + 2
        assert ("c",) in await rows(ledger, "SELECT request_id FROM attempt")
    assert verify(tmp_path / "ledger.db") == ()


async def test_a_mark_older_than_the_archive_is_no_alarm(tmp_path):
    """A ledger that was archived while nobody served it opens without a word."""
    async with _filled(tmp_path) as (ledger, clock):
        (row,) = await rows(ledger, "SELECT seq, checksum FROM journal WHERE seq = 9")
        await _archiver(ledger, clock).run("2026-03")
    write_mark(mark_path(tmp_path / "ledger.db"), Tail(*row))
    faults = []
    async with opened(tmp_path, *BUDGETS, clock=clock, on_fault=faults.append):
        pass
    assert faults == []


async def test_ends_within_an_archived_quarter_are_moved_outward(tmp_path):
    """A range that cuts a quarter whose rows are gone counts the whole quarter, and never less than it holds."""
    async with _filled(tmp_path) as (ledger, clock):
        at = JANUARY + 40_000
        cut = stats_query(scope="me", now=clock.time(), start=at - 10, end=at + 10)
        before = await ledger.read(lambda connection: compute(connection, cut))
        await _archiver(ledger, clock).run("2026-03")
        after = await ledger.read(lambda connection: compute(connection, cut))
    assert before.totals.cost_nanos == after.totals.cost_nanos == 100


async def test_a_plan_changes_nothing(tmp_path):
    """What would go, by month, and what would stay."""
    async with _filled(tmp_path) as (ledger, clock):
        planned = await _archiver(ledger, clock).plan("2026-03")
        assert [(month.month, month.staying_count) for month in planned] == [("2026-01", 1), ("2026-02", 0)]
        assert all(month.attempt_count for month in planned)
        assert await ledger.read(archive_rows.archives) == []
    assert not (tmp_path / "archive").exists()


@pytest.mark.parametrize("before", ["2026-04", "2026-13", "soon", "2026-3", ""])
def test_a_month_that_has_not_begun_is_refused(before):
    """Only whole months that are over go."""
    with pytest.raises(DomainError, match="before is"):
        check_month(before, now=JANUARY + 75 * DAY)


async def test_entries_in_files_are_no_longer_listed(tmp_path):
    """The list shows what is here; the file of an entry can be asked for."""
    async with _filled(tmp_path) as (ledger, clock):
        await _archiver(ledger, clock).run("2026-03")
        page = await ledger.read(lambda connection: list_entries(connection, EntriesQuery(scope="me", request_id="r0")))
        assert page.entries == ()
        file = await ledger.read(lambda connection: archive_rows.file_of_entry(connection, "me", "1"))
        assert Path(file).name == "ledger-2026-01.jsonl.gz"
        none = await ledger.read(lambda connection: archive_rows.file_of_entry(connection, "somebody else", "1"))
        assert none == ""
        found = await ledger.read(lambda connection: archive_rows.files_of_range(connection, JANUARY, JANUARY + 3 * DAY))
        assert [Path(name).name for name in found] == ["ledger-2026-01.jsonl.gz"]
        assert (await ledger.read(archive_rows.archives))[0].state is ArchiveState.DONE


async def test_a_released_id_that_is_used_again_while_it_is_archived(tmp_path):
    """Its new attempt stays with its operation, its old one is in the file, and the ledger verifies."""
    async with _filled(tmp_path) as (ledger, clock):
        with pytest.raises(Crash):
            await _archiver(ledger, clock, passing=CrashAt("claimed")).run("2026-02")
        again = await _call(ledger, "free0")
        assert again.attempt_number == 2
        await _archiver(ledger, clock).run("2026-03")
        assert await rows(ledger, "SELECT attempt_number FROM attempt WHERE request_id = 'free0'") == [(2,)]
    assert verify(tmp_path / "ledger.db") == ()


async def test_what_is_claimed_is_not_repriced(tmp_path):
    """A correction between the claim and the file's end would be in one place only: it leaves what is claimed alone."""
    async with _filled(tmp_path) as (ledger, clock):
        with pytest.raises(Crash):
            await _archiver(ledger, clock, passing=CrashAt("claimed")).run("2026-02")
        price = PriceEntry(id="new", input=Decimal(1_000), output=Decimal(1_000))
        query = EntriesQuery(scope="me", end=JANUARY + 32 * DAY)
        found = await Repricer(ledger, price_of=lambda *_: price).run(query, validate_only=False)
        assert found.changed_count == 1  # the late one, which is not claimed
        assert found.examined_count > 5
        await ledger.write(lambda connection: connection.execute("UPDATE operation SET archive_id = NULL").close())
        control = await Repricer(ledger, price_of=lambda *_: price).run(query, validate_only=False)
        assert control.changed_count == control.examined_count - 1


async def test_whoever_is_cancelled_leaves_no_thread_behind(tmp_path):
    """A daemon that stops does not wait for a file to be written: the thread ends, and nothing is left of the file."""
    async with _filled(tmp_path) as (ledger, clock):
        archiver = _archiver(ledger, clock)
        archiver._stopped.set()
        with pytest.raises(ArchiveDamaged, match="stopped"):
            await archiver.run("2026-02")
        assert list((tmp_path / "archive").iterdir()) == []
        goes_on = threading.Event()
        task = asyncio.create_task(_archiver(ledger, clock)._in_thread(goes_on.wait))
        await asyncio.sleep(0)
        task.cancel()
        goes_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(await _archiver(ledger, clock).run("2026-02")) == 1


async def test_corrections_of_what_is_archived_name_its_file(tmp_path):
    """It can neither be settled nor released nor recorded again; each refusal says in which file it is."""
    async with _filled(tmp_path) as (ledger, clock):
        corrections = Corrections(ledger, price_of=lambda *_: None)
        told = {"scope": "me", "request_digest": b"told", "accounting": Accounting(), "route": Route("p", "m")}
        call = RecordedCall(request_id="told", usage=TokenUsage(input=1), create_time=JANUARY, **told)
        _at(clock, JANUARY + 5 * DAY)
        recorded = await corrections.record(call, now=clock.time())
        assert (await corrections.record(call, now=clock.time())).created is False
        _at(clock, JANUARY + 75 * DAY)
        await _archiver(ledger, clock).run("2026-03")
        for refused in (corrections.settle("me", "1", usage=None, cost_nanos=1), corrections.release("me", "1")):
            with pytest.raises(DomainError, match=r"NOT_FOUND: ledger entry 1 is archived in .*2026-01"):
                await refused
        with pytest.raises(DomainError, match="NOT_FOUND: there is no ledger entry '999999'"):
            await corrections.release("me", "999999")
        assert recorded.created
        again = RecordedCall(
            request_id="r0", usage=TokenUsage(input=1), create_time=JANUARY, **told | {"request_digest": b"digest"}
        )
        with pytest.raises(DomainError, match=r"REPLY_GONE: .* its entry 1 is archived in .*2026-01"):
            await corrections.record(again, now=clock.time())
