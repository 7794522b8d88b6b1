"""What adaptive marking has learned survives a restart, and never stands in its way."""

import json
import stat
from pathlib import Path

import pytest
from aigend.completion.prompt_cache.learned_marks import FILE_NAME, SAVE_EVERY_S, LearnedMarks
from aigend.scheduling.prompt_cache.marking import Terms
from aigend.scheduling.prompt_cache.prefixes import Prefix, Prefixes
from aigend.types import PartPlace

from tests.fakes import FakeClock

PREFIX = Prefix(digest=b"d" * 16, tokens=2_000, place=PartPlace(None, 0), blocks=1)


def learned(path: Path) -> LearnedMarks:
    """Return what was learned, having seen one request."""
    marks = LearnedMarks(path, clock=FakeClock())
    marks.adaptive.note(Prefixes(every=(PREFIX,)), Terms(owner="me"), now=1.0)
    return marks


def listed(folder: Path) -> list[str]:
    """Return what a folder holds."""
    return [found.name for found in folder.iterdir()]


async def test_what_was_learned_is_read_again(tmp_path: Path) -> None:
    """The file is private, and holds digests alone."""
    path = tmp_path / FILE_NAME
    await learned(path).save()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert listed(tmp_path) == [FILE_NAME]
    assert len(LearnedMarks(path, clock=FakeClock()).adaptive.tree) == 1


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": 9}', b"\xff", b"[" * 100_000])
def test_a_damaged_file_begins_anew(tmp_path: Path, data: bytes) -> None:
    """Whatever lies there, the daemon starts and knows nothing."""
    path = tmp_path / FILE_NAME
    path.write_bytes(data)
    assert len(LearnedMarks(path, clock=FakeClock()).adaptive.tree) == 0


def test_a_file_that_can_not_be_opened_begins_anew(tmp_path: Path) -> None:
    """A directory in its place is no reason not to start."""
    (tmp_path / FILE_NAME).mkdir()
    assert len(LearnedMarks(tmp_path / FILE_NAME, clock=FakeClock()).adaptive.tree) == 0


def test_a_huge_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is larger than it could be was not written here."""
    monkeypatch.setattr("aigend.completion.prompt_cache.learned_marks.MOST_BYTES", 4)
    path = tmp_path / FILE_NAME
    path.write_text(json.dumps({"version": 1}))
    assert len(LearnedMarks(path, clock=FakeClock()).adaptive.tree) == 0


async def test_a_disk_that_refuses_is_no_fault(tmp_path: Path) -> None:
    """What can't be written is only logged, and leaves no half file behind."""
    marks = learned(tmp_path / FILE_NAME)
    (tmp_path / FILE_NAME).mkdir()
    await marks.save()
    assert listed(tmp_path) == [FILE_NAME]
    await learned(tmp_path / "missing" / FILE_NAME).save()


async def test_it_is_written_now_and_then(tmp_path: Path) -> None:
    """Between two writings lie five minutes."""
    waits: list[float] = []

    class Stop(Exception):  # noqa: N818 - ends the loop
        """Ends the loop."""

    class Clock(FakeClock):
        """Counts its waits."""

        async def sleep(self, seconds: float) -> None:
            """End after two waits."""
            waits.append(seconds)
            if len(waits) > 2:
                raise Stop

    marks = LearnedMarks(tmp_path / FILE_NAME, clock=Clock())
    with pytest.raises(Stop):
        await marks.keep()
    assert waits == [SAVE_EVERY_S] * 3
    assert (tmp_path / FILE_NAME).exists()
