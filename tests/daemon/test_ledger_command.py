"""`aigend ledger verify` and `aigend ledger repair`."""

import sqlite3
from pathlib import Path

import pytest
from aigend.__main__ import main
from aigend.clock import SystemClock
from aigend.config import LedgerSettings
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.storage.files import lock

from tests.daemon.ledger.ledger_calls import NOW, intent, opened, settlement
from tests.fakes import FakeClock


@pytest.fixture
async def state(tmp_path: Path) -> Path:
    """A state directory with a ledger that a daemon has made."""
    folder = tmp_path / "state"
    folder.mkdir(mode=0o700)
    ledger = Ledger(path=folder / "ledger.db", clock=SystemClock(), settings=LedgerSettings(), budgets=BudgetBook(()))
    await ledger.open()
    await ledger.close()
    return folder


def _run(state: Path, action: str) -> int:
    environ = {"AIGEND_STATE_DIRECTORY": str(state), "HOME": str(state)}
    return main(["ledger", action], environ)


def test_sound_ledger_is_ok(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger that adds up ends with 0."""
    assert _run(state, "verify") == 0
    assert "ledger.db: ok" in capsys.readouterr().out


def test_changed_row_is_found(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A journal row that was changed afterwards ends with 65 and is named."""
    with sqlite3.connect(state / "ledger.db") as connection:
        connection.execute("UPDATE journal SET detail = '{}' WHERE seq = 1")
    assert _run(state, "verify") == 65
    assert "ledger.db" in capsys.readouterr().out


def test_unreadable_ledger_is_said(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is no database ends with 65."""
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    assert _run(state, "verify") == 65
    assert "can't be read" in capsys.readouterr().out


def test_repair_sets_a_damaged_ledger_aside(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """After a repair nothing lies where the ledger was, and all of it lies beside."""
    (state / "ledger.db").write_bytes(b"no database at all" * 100)
    assert _run(state, "repair") == 0
    assert not (state / "ledger.db").exists()
    assert any(path.name.startswith("ledger.db.") for path in state.iterdir())
    assert "set aside as" in capsys.readouterr().out


def test_sound_ledger_is_never_set_aside(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A ledger that adds up is not let go of by mistake."""
    assert _run(state, "repair") == 78
    assert "is sound" in capsys.readouterr().err
    assert (state / "ledger.db").exists()


@pytest.mark.parametrize("action", ["verify", "repair"])
def test_missing_ledger_is_said(tmp_path: Path, action: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a ledger there is nothing to do, and the path is named."""
    assert _run(tmp_path / "nowhere", action) == 78
    assert "does not exist" in capsys.readouterr().err


def test_served_ledger_is_left_alone(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """While a daemon holds the lock the command ends with 75."""
    held = lock(state / "aigend.lock", what="state")
    try:
        assert _run(state, "repair") == 75
    finally:
        held.release()
    assert (state / "ledger.db").exists()


@pytest.mark.parametrize("words", [["verify"], ["backup", "copy.db"], ["archive", "--before", "2026-01"], ["repair"]])
def test_state_directory_can_be_given(state: Path, words: list[str], monkeypatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each action takes the directory as `serve` does, and it wins over settings and environment."""
    monkeypatch.chdir(state)
    environ = {"AIGEND_STATE_DIRECTORY": str(state / "elsewhere"), "HOME": str(state)}
    expected = 78 if words == ["repair"] else 0  # a sound ledger is never set aside
    assert main(["ledger", *words, "--state-directory", str(state)], environ) == expected
    shown = capsys.readouterr()
    assert "does not exist" not in shown.out + shown.err
    assert main(["ledger", *words], environ) == 78  # control: without it there is no ledger
    assert "does not exist" in capsys.readouterr().err


class TestArchive:
    """`aigend ledger archive` and `verify --archives`."""

    @pytest.fixture
    async def old(self, tmp_path: Path) -> Path:
        """A state directory whose ledger holds a call of January."""
        folder = tmp_path / "old"
        folder.mkdir(mode=0o700)
        clock = FakeClock(NOW)
        async with opened(folder, clock=clock) as ledger:
            for name in ("a", "b", "c"):
                await ledger.settle(await ledger.reserve(intent(name)), settlement(nanos=700, reply=b""))
                clock.jump(20 * 86_400.0)
        return folder

    def _run(self, state: Path, *words: str) -> int:
        return main(["ledger", *words], {"AIGEND_STATE_DIRECTORY": str(state), "HOME": str(state)})

    def test_a_plan_and_then_the_archive(self, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """What would go is said, then goes, and both ledger and files verify."""
        assert self._run(old, "archive", "--before", "2026-02", "--dry-run") == 0
        assert capsys.readouterr().out == "2026-01: 2 attempts, 0.0000014 USD would be archived\n"
        assert self._run(old, "archive", "--before", "2026-02") == 0
        file = old / "archive" / "ledger-2026-01.jsonl.gz"
        assert capsys.readouterr().out == f"2026-01: 2 attempts, 0.0000014 USD archived in {file}\n"
        assert self._run(old, "verify", "--archives") == 0
        file.write_bytes(file.read_bytes()[:-20])
        assert self._run(old, "verify") == 0
        assert self._run(old, "verify", "--archives") == 65
        assert str(file) in capsys.readouterr().out

    @pytest.mark.parametrize(("words", "said"), [(("--dry-run",), "would be"), ((), "is")])
    def test_nothing_to_archive_is_said(
        self, old: Path, words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """A month before which nothing was charged is no silence."""
        assert self._run(old, "archive", "--before", "2026-01", *words) == 0
        assert capsys.readouterr().out == f"nothing {said} archived: no month before 2026-01 has charges that can go\n"

    def test_a_file_that_was_changed_stops_it(self, old: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """A run that finds another file than it wrote takes nothing out."""
        assert self._run(old, "archive", "--before", "2026-02") == 0
        with sqlite3.connect(old / "ledger.db") as connection:
            connection.execute("UPDATE archive SET state = 'written', size_bytes = size_bytes, cost_nanos = 1")
        assert self._run(old, "archive", "--before", "2026-02") == 65
        assert "nothing is taken out" in capsys.readouterr().out

    @pytest.mark.parametrize("month", ["2999-01", "soon"])
    def test_a_month_that_can_not_be_is_wrong_usage(self, old: Path, month: str, capsys: pytest.CaptureFixture[str]) -> None:
        """The month that runs, and what is no month, are refused by name."""
        assert self._run(old, "archive", "--before", month) == 64
        assert "--before is" in capsys.readouterr().err

    def test_a_ledger_that_is_served_is_left_alone(self, old: Path) -> None:
        """A daemon archives by itself; nobody else writes beside it."""
        held = lock(old / "aigend.lock", what="it")
        assert self._run(old, "archive", "--before", "2026-02") == 75
        held.release()
