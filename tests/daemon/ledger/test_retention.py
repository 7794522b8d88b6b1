"""Months are archived on a schedule, where that is switched on."""

import asyncio
from pathlib import Path

import pytest
from aigend.config import LedgerSettings
from aigend.ledger.archives.archive import Archiver
from aigend.ledger.retention import EVERY_S, FIRST_AFTER_S, Retention, archive_directory
from structlog.testing import capture_logs

from tests.daemon.ledger.ledger_calls import intent, opened, rows, settlement
from tests.fakes import FakeClock

JANUARY = 1_767_225_600.0
DAY = 86_400.0


async def _two_months(ledger, clock):
    for day in (0, 1, 40, 75):
        clock.jump(JANUARY + day * DAY - clock.time())
        reservation = await ledger.reserve(intent(f"r{day}"))
        await ledger.settle(reservation, settlement(reply=b""))


async def test_only_months_older_than_the_retention_go(tmp_path):
    """In March, one whole month is kept besides the one that runs: January goes, February stays."""
    clock = FakeClock(JANUARY)
    async with opened(tmp_path, clock=clock) as ledger:
        await _two_months(ledger, clock)
        settings = LedgerSettings(retention_months=1, archive_directory=tmp_path / "elsewhere")
        done = await Retention(ledger, settings=lambda: settings, clock=clock).once()
        assert [(archive.month, Path(archive.file).parent) for archive in done] == [("2026-01", tmp_path / "elsewhere")]
        assert [row[0] for row in await rows(ledger, "SELECT request_id FROM attempt ORDER BY id")] == ["r40", "r75"]


async def test_without_a_retention_all_stays_and_what_was_begun_is_finished(tmp_path):
    """Nothing is begun; an archive that a run by hand has left is brought to its end."""
    clock = FakeClock(JANUARY)

    def stop(step):
        if step == "written":
            raise KeyError(step)

    async with opened(tmp_path, clock=clock) as ledger:
        await _two_months(ledger, clock)
        retention = Retention(ledger, settings=LedgerSettings, clock=clock)
        assert await retention.once() == []
        directory = archive_directory(LedgerSettings(), tmp_path)
        with pytest.raises(KeyError):
            await Archiver(path=ledger.path, directory=directory, write=ledger.write, clock=clock, passing=stop).run("2026-02")
        assert [archive.month for archive in await retention.once()] == ["2026-01"]
        assert await retention.once() == []


async def test_it_looks_again_and_again_and_says_what_it_can_not_do(tmp_path):
    """A directory that can't be used is an error in the log each time, and no reason to stop."""
    clock = FakeClock(JANUARY)
    (tmp_path / "file").write_text("in the way")
    async with opened(tmp_path, clock=clock) as ledger:
        await _two_months(ledger, clock)
        settings = LedgerSettings(retention_months=1, archive_directory=tmp_path / "file" / "archive")
        with capture_logs() as logs:
            task = asyncio.create_task(Retention(ledger, settings=lambda: settings, clock=clock).keep())
            for pause in (FIRST_AFTER_S, EVERY_S):
                seen = len(logs)
                await asyncio.sleep(0)
                clock.advance(pause)
                while "ledger_archive_failed" not in [log["event"] for log in logs[seen:]]:  # noqa: ASYNC110 - a list has no event
                    await asyncio.sleep(0.001)
            task.cancel()
        assert [log["event"] for log in logs].count("ledger_archive_failed") == 2
