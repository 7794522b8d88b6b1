"""Copies of a ledger, and ledgers put back: complete, noticed, and never in a running daemon's place."""

import contextlib
import os
import sqlite3
from pathlib import Path

import pytest
from aigend.__main__ import main
from aigend.ledger.backup import back_up, put_back
from aigend.ledger.mark import TailState
from aigend.ledger.verify import verify
from aigend.storage.files import StorageRefused, lock

from tests.daemon.ledger.ledger_calls import NOW, intent, opened, rows, settlement


async def _pay(ledger, request_id: str) -> None:
    await ledger.settle(await ledger.reserve(intent(request_id)), settlement(600))


async def test_copy_of_a_ledger_in_use_is_sound(tmp_path: Path) -> None:
    """A copy made while calls are booked is one sound file of mode 0600, with all that was settled before."""
    async with opened(tmp_path) as ledger:
        await _pay(ledger, "r1")
        assert back_up(ledger.path, tmp_path / "copy.db") > 0
        await _pay(ledger, "r2")
    assert verify(tmp_path / "copy.db") == ()
    assert os.stat(tmp_path / "copy.db").st_mode & 0o777 == 0o600
    assert sorted(name for name in os.listdir(tmp_path) if name.startswith("copy")) == ["copy.db"]


async def test_restored_ledger_is_noticed(tmp_path: Path) -> None:
    """What was booked after the copy is gone, and the next start says so; what was there is kept beside."""
    async with opened(tmp_path) as ledger:
        await _pay(ledger, "r1")
        back_up(ledger.path, tmp_path / "copy.db")
        await _pay(ledger, "r2")
    moved = put_back(tmp_path / "copy.db", tmp_path / "ledger.db", now=NOW)
    assert all(path.exists() for path in moved)
    faults: list[str] = []
    async with opened(tmp_path, on_fault=faults.append) as ledger:
        assert await rows(ledger, "SELECT request_id FROM attempt") == [("r1",)]
        await _pay(ledger, "r3")
        assert verify(ledger.path) == ()
    assert [fault for fault in faults if TailState.LOST in fault or "are gone" in fault]


async def test_without_the_mark_nothing_would_be_noticed(tmp_path: Path) -> None:
    """The mark is what notices a restored copy: once it is gone, no row is missed."""
    async with opened(tmp_path) as ledger:
        await _pay(ledger, "r1")
        back_up(ledger.path, tmp_path / "copy.db")
        await _pay(ledger, "r2")
    put_back(tmp_path / "copy.db", tmp_path / "ledger.db", now=NOW)
    (tmp_path / "ledger.db.mark").unlink()
    faults: list[str] = []
    async with opened(tmp_path, on_fault=faults.append):
        assert not [fault for fault in faults if "are gone" in fault]


async def test_copy_never_overwrites(tmp_path: Path) -> None:
    """A path where something lies, or whose directory is missing, is refused."""
    async with opened(tmp_path) as ledger:
        (tmp_path / "there").write_text("mine")
        for target in (tmp_path / "there", tmp_path / "none" / "copy.db"):
            with pytest.raises(StorageRefused):
                back_up(ledger.path, target)
    assert (tmp_path / "there").read_text() == "mine"


@pytest.mark.parametrize("content", [b"", b"no database", None])
async def test_what_is_no_copy_is_not_put_back(tmp_path: Path, content: bytes | None) -> None:
    """A file that is no ledger leaves the ledger as it is."""
    async with opened(tmp_path) as ledger:
        await _pay(ledger, "r1")
    copy = tmp_path / "copy.db"
    if content is not None:
        copy.write_bytes(content)
    with pytest.raises(StorageRefused, match="allowed: a copy made by"):
        put_back(copy, tmp_path / "ledger.db", now=NOW)
    assert verify(tmp_path / "ledger.db") == ()


async def test_unsound_copy_is_not_put_back(tmp_path: Path) -> None:
    """A copy whose rows were changed is refused with what is wrong."""
    async with opened(tmp_path) as ledger:
        await _pay(ledger, "r1")
        back_up(ledger.path, tmp_path / "copy.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "copy.db", isolation_level=None)) as connection:
        connection.execute("UPDATE attempt SET cost_nanos = 1")
    with pytest.raises(StorageRefused, match="unsound"):
        put_back(tmp_path / "copy.db", tmp_path / "ledger.db", now=NOW)


async def test_commands_back_up_and_restore(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`aigend ledger backup` works beside a daemon, `restore` not; without one it puts the copy back."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    async with opened(state) as ledger:
        await _pay(ledger, "r1")
    environ = {"AIGEND_STATE_DIRECTORY": str(state), "HOME": str(tmp_path)}
    held = lock(state / "aigend.lock", what="state")
    assert main(["ledger", "backup", str(tmp_path / "copy.db")], environ) == 0
    assert main(["ledger", "restore", str(tmp_path / "copy.db")], environ) == 75
    held.release()
    assert main(["ledger", "restore", str(tmp_path / "copy.db")], environ) == 0
    assert "the next start says which rows are missing" in capsys.readouterr().out
    assert verify(state / "ledger.db") == ()
    (state / "ledger.db").write_bytes(b"no ledger")
    assert main(["ledger", "repair"], environ) == 0
    assert main(["ledger", "restore", str(tmp_path / "copy.db")], environ) == 0
    assert "no mark is left that tells which rows" in capsys.readouterr().out
    assert verify(state / "ledger.db") == ()
    assert main(["ledger", "backup", str(tmp_path / "copy.db")], environ) == 78


def test_nothing_to_back_up_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a ledger there is nothing to copy."""
    environ = {"AIGEND_STATE_DIRECTORY": str(tmp_path / "state"), "HOME": str(tmp_path)}
    assert main(["ledger", "backup", str(tmp_path / "copy.db")], environ) == 78
    assert "does not exist" in capsys.readouterr().err
