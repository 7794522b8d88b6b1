"""A write-ahead log that was cut anywhere, and an old copy put back: what is left is a true beginning, and what is gone is said."""

import asyncio
import random
import shutil
from pathlib import Path

from aigend.ledger.mark import TailState
from aigend.ledger.verify import verify

from tests.daemon.ledger.ledger_calls import budget, intent, opened, rows, settlement
from tests.ledger_invariants import check_invariants

CALLS = 12
CUTS = 25
PARTS = ("ledger.db", "ledger.db-wal", "ledger.db.mark")


def copied(source: Path, target: Path) -> Path:
    """Return a copy of a ledger in use, as a kill would leave it."""
    target.mkdir()
    for name in PARTS:
        shutil.copy(source / name, target / name)
    return target


async def in_use(source: Path, target: Path) -> list[int]:
    """Make calls, copy the files with all of them in the log, and return how many frames it had after each."""
    await asyncio.to_thread(source.mkdir)
    async with opened(source, budget(limit_nanos=10**6)) as ledger:
        sizes = []
        for number in range(CALLS):
            await ledger.settle(await ledger.reserve(intent(f"r{number}")), settlement(100))
            sizes.append(ledger._writer._room._room._written())  # type: ignore[union-attr]
        await ledger._write_mark()
        copied(source, target)
    return sizes


async def test_log_cut_anywhere_leaves_a_true_beginning(tmp_path: Path) -> None:
    """Calls are there in the order in which they were made, up to the cut; sums are theirs; the lost tail is said."""
    frames = await in_use(tmp_path / "a", tmp_path / "whole")
    dice, end = random.Random(7), 32 + frames[-1] * 4_120  # noqa: S311 - chooses where, guards nothing
    kept = set()
    for cut in range(CUTS):
        place = copied(tmp_path / "whole", tmp_path / str(cut))
        with (place / "ledger.db-wal").open("r+b") as log:
            log.truncate(dice.randrange(end))
        async with opened(place, budget(limit_nanos=10**6)) as ledger:
            found = await rows(ledger, "SELECT request_id FROM attempt ORDER BY id")
            assert [name for (name,) in found] == [f"r{number}" for number in range(len(found))]
            alarms = await rows(ledger, "SELECT detail FROM journal WHERE event = 'alarm'")
            assert ["tail is lost" in text for (text,) in alarms] == [True]
            charged = await rows(ledger, "SELECT request_id, attempt_number FROM attempt")
            assert check_invariants(ledger.path, [{"request_id": name, "attempt": number} for name, number in charged]) == []
        assert verify(place / "ledger.db") == ()
        kept.add(len(found))
    assert len(kept) > CALLS // 3


async def test_whole_log_loses_nothing(tmp_path: Path) -> None:
    """The control: nothing was cut, and nothing is said."""
    await in_use(tmp_path / "a", tmp_path / "whole")
    async with opened(tmp_path / "whole", budget(limit_nanos=10**6)) as ledger:
        assert await rows(ledger, "SELECT count(*) FROM attempt WHERE state = 'settled'") == [(CALLS,)]
        assert await rows(ledger, "SELECT count(*) FROM journal WHERE event = 'alarm'") == [(0,)]


async def test_old_copy_put_back_is_said(tmp_path: Path) -> None:
    """A copy that lacks what was written since is served, and the missing rows are named."""
    (tmp_path / "a").mkdir()
    async with opened(tmp_path / "a"):
        pass
    shutil.copy(tmp_path / "a" / "ledger.db", tmp_path / "old")
    async with opened(tmp_path / "a") as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement(100))
    shutil.copy(tmp_path / "old", tmp_path / "a" / "ledger.db")
    said: list[str] = []
    async with opened(tmp_path / "a", on_fault=said.append) as ledger:
        assert await rows(ledger, "SELECT count(*) FROM attempt") == [(0,)]
        assert "rows 2 to 4 were written once and are gone" in said[0]
        assert f'"tail":"{TailState.LOST}"' in (await rows(ledger, "SELECT detail FROM journal WHERE event = 'opened'"))[-1][0]
