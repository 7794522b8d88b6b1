"""A few power cuts in every test run, what they are worth, and what becomes of the ledger where a write or a sync fails."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest
import structlog
from aigend.errors import Reason
from aigend.ledger.verify import verify

from tests.torture import disk_shim
from tests.torture.disk_shim import Note
from tests.torture.ledger_torture import open_ledger
from tests.torture.power_cut import main

pytestmark = pytest.mark.skipif(disk_shim.compiler() is None, reason="needs a C compiler")

FAILING = """
import asyncio, json, os, sys
from pathlib import Path
from aigend.errors import DomainError
from aigend.ledger.entries import Settlement
from aigend.types import Cost, CostBasis, TokenUsage
from tests.torture import disk_shim
from tests.torture.ledger_torture import intent, open_ledger

END = Settlement(usage=TokenUsage(input=9, output=3), cost=Cost(nanos=7, basis=CostBasis.PRICED), reply=b"answer")

async def reason(awaitable):
    try:
        await awaitable
    except DomainError as error:
        return str(error.reason)

async def main(directory, what, closes):
    ledger = open_ledger(directory)
    await ledger.open()
    await ledger.settle(await ledger.reserve(intent("before")), END)
    under_way = await ledger.reserve(intent("under way"))
    disk_shim.fail_next(Path(os.environ["DISK_SHIM_LOG"]), what)
    refused = [await reason(ledger.settle(under_way, END))]
    refused += [await reason(ledger.reserve(intent(f"next {number}"))) for number in range(5)]
    await ledger._upkeep(sweep=True) if not ledger.failed else None
    (directory / "asked").write_text("so far")
    reply = await ledger.reply("torture", "before")
    print("\\n" + json.dumps({"refused": refused, "failed": ledger.failed, "reply": (reply or b"").decode()}), flush=True)
    if not closes:
        os._exit(0)
    await ledger.close()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3] == "closes"))
"""


def power_cuts(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    """Return what some power cuts found."""
    try:
        main([*arguments, "--calls", "120"])
    finally:
        structlog.reset_defaults()  # the command keeps quiet, which other tests must not
    found: dict[str, object] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


@pytest.mark.timeout(60)
def test_power_cuts_lose_nothing_acknowledged(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever was not synced is gone or torn, and every acknowledged row is there; no counter differs from its rows."""
    found = power_cuts(capsys, "--cuts", "15")
    assert (found["lost"], found["wrong"], found["alarmed"], found["refused"]) == (0, [], 0, 0)
    assert int(str(found["dropped"])) > 15


@pytest.mark.timeout(60)
def test_control_without_sync_loses(capsys: pytest.CaptureFixture[str]) -> None:
    """Commits that do not wait for the disk lose acknowledged rows: the sync is the protection."""
    assert int(str(power_cuts(capsys, "--cuts", "15", "--normal")["lost"])) > 0


def run_failing(directory: Path, what: str, *, closes: bool) -> tuple[dict[str, object], list[Note]]:
    """Let the next write or sync of a ledger in use fail; return what it said, and what was done to its files from then on."""
    (state := directory / "state").mkdir()
    shim, log = disk_shim.build(directory / "shim.so"), directory / "log"
    done = subprocess.run(
        [sys.executable, "-c", FAILING, str(state), what, "closes" if closes else "dies"],
        env={"PATH": "/usr/bin:/bin", **disk_shim.environment(shim, watched=state, log=log)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    notes = disk_shim.read_notes(log)
    failure = next(place for place, note in enumerate(notes) if note.kind == what[:1].encode().lower())
    return json.loads(done.stdout.splitlines()[-1]), notes[failure + 1 :]


@pytest.mark.parametrize(
    ("what", "closes", "left"),
    [("write", True, "unknown"), ("write", False, "unknown"), ("sync", True, "unknown"), ("sync", False, "settled")],
)
def test_failed_write_or_sync_is_not_tried_again(tmp_path: Path, what: str, closes: bool, left: str) -> None:  # noqa: FBT001 - a case
    """The call under way and all later ones are refused, nothing is written until the end, replies go on, a start finds the rest.

    Closing in order lets SQLite move what was committed before into the database. What only lacks its sync is there after a kill:
    the call was charged, and it is booked once.
    """
    said, after = run_failing(tmp_path, what, closes=closes)
    assert said == {"refused": [str(Reason.STORAGE_DAMAGED)] * 6, "failed": True, "reply": "answer"}
    asked = next(place for place, note in enumerate(after) if note.name == "asked")
    assert [note for note in after[:asked] if note.name.startswith("ledger.db")] == []
    ledger = open_ledger(tmp_path / "state")
    assert asyncio.run(_states(ledger)) == {"before": "settled", "under way": left}
    assert verify(ledger.path) == ()


async def _states(ledger) -> dict[str, str]:  # type: ignore[no-untyped-def]
    report = await ledger.open()
    assert report.alarms == ()
    found = await ledger.read(lambda connection: connection.execute("SELECT request_id, state FROM attempt").fetchall())
    await ledger.close()
    return dict(found)
