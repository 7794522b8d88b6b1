"""A daemon with an inbox: lines go the way of every other call, are counted and shown; without one nothing of it is loaded."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aigend.clock import SystemClock
from aigend.config import SettingsError
from aigend.observing import metric_sources
from aigend.storage.files import StorageRefused
from aigend.telemetry import names
from aigend.telemetry.instruments import Measurement

from tests.emulator_server import RunningEmulator
from tests.serving import MODEL, House, eventually, loaded_settings, serving

QUICK = {"max_wait_s": 0.05, "gather_s": 0.05, "poll_min_s": 0.05, "poll_max_s": 0.1}


def inbox(folder: Path, **more: object) -> dict[str, Any]:
    """Return settings with an inbox."""
    return {"inbox": {"directory": str(folder / "box"), "poll_s": 0.05, "retry_delay_s": 0.05, **more}, "deferred": QUICK}


def drop(folder: Path, *lines: dict[str, object] | str, name: str = "a.jsonl") -> None:
    """Put a file into an inbox."""
    text = "".join((line if isinstance(line, str) else json.dumps({"model": MODEL} | line)) + "\n" for line in lines)
    (folder / "box" / "inbox" / "fresh").write_text(text, encoding="utf-8")
    (folder / "box" / "inbox" / "fresh").rename(folder / "box" / "inbox" / name)


async def results(folder: Path, name: str = "a.jsonl") -> list[dict[str, Any]]:
    """Return the results of a file, once they are there."""
    path = folder / "box" / "results" / name
    await eventually(path.exists)
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def states(house: House) -> list[str]:
    """Return the states of all charges."""
    return [str(entry.state) async for entry in house.client.ledger_entries()]


async def test_lines_of_every_kind(tmp_path: Path, emulator: RunningEmulator):
    """A lane of its own, the batch price by itself, an error by line and field, and the account that a line names."""
    own = {"openai": {"base_url": emulator.base_url, "api_key": "made-up", "batch_api": "use"}}
    async with serving(tmp_path, providers=own, **inbox(tmp_path)) as house:
        drop(
            tmp_path,
            {"prompt": "now", "lane": "interactive", "session": "run-7"},
            {"prompt": "later", "request_id": "mine"},
            "",
            {"prompt": "bad", "temperature": 9},
        )
        now, later, bad = await results(tmp_path)
        assert (now["index"], now["line"], later["request_id"]) == (0, 1, "mine")
        assert now["response"]["text"]
        assert (later["response"]["saved_cause"], now["response"].get("saved_cause")) == ("batch", None)
        assert (bad["line"], bad["error"]["reason"], bad["error"]["metadata"]["field"]) == (4, "INVALID_REQUEST", "temperature")
        assert len(emulator.charges()) == 2
        entries = [entry async for entry in house.client.ledger_entries()]
        assert {entry.request_id: entry.session for entry in entries} == {now["request_id"]: "run-7", "mine": ""}
        sources = metric_sources(house.daemon._parts, clock=SystemClock())
        await eventually(lambda: house.daemon._parts.intake and not house.daemon._parts.intake.under_way)
        assert sources.read(names.INTAKE) == [
            Measurement(0, {names.STATE: "waiting"}),
            Measurement(0, {names.STATE: "under_way"}),
        ]
        assert sorted(measured.value for measured in sources.read(names.INTAKE_RESULTS)) == [1, 2]


async def test_same_file_again_is_replayed_not_charged(tmp_path: Path, emulator: RunningEmulator):
    """Ids are those of the first time, so that the ledger answers with what was paid then; another line under an id is refused."""
    line = {"prompt": "once", "lane": "interactive", "mode": "bypass"}
    async with serving(tmp_path, emulator.base_url, **inbox(tmp_path)) as house:
        drop(tmp_path, line, line | {"request_id": "mine"})
        before = await results(tmp_path)
        (tmp_path / "box" / "results" / "a.jsonl").unlink()
        drop(tmp_path, line, line | {"request_id": "mine"})
        assert [found["response"]["text"] for found in await results(tmp_path)] == [found["response"]["text"] for found in before]
        drop(tmp_path, line | {"request_id": "mine", "prompt": "another"}, name="b.jsonl")
        (found,) = await results(tmp_path, "b.jsonl")
        assert found["error"]["reason"] == "REQUEST_ID_REUSED"
        assert (len(emulator.charges()), await states(house)) == (2, ["settled", "settled"])


async def test_reply_that_has_gone_is_a_result(tmp_path: Path, emulator: RunningEmulator):
    """A line under an id whose reply is no longer kept is told so, and not paid for again."""
    line = {"prompt": "once", "lane": "interactive", "mode": "bypass", "request_id": "mine"}
    async with serving(tmp_path, emulator.base_url, features={"replay": False}, **inbox(tmp_path)):
        for name in ("a.jsonl", "b.jsonl"):
            drop(tmp_path, line, name=name)
            (found,) = await results(tmp_path, name)
        assert found["error"]["reason"] == "REPLY_GONE"
        assert len(emulator.charges()) == 1


async def test_spent_budget_is_waited_out_and_then_told(tmp_path: Path, emulator: RunningEmulator):
    """A line that a budget refuses is tried until patience ends; its refusal is then the result, and nothing was charged."""
    budget = {"name": "none", "period": "daily", "limit_usd": "0.000000001"}
    async with serving(tmp_path, emulator.base_url, budgets=[budget], **inbox(tmp_path, patience_s=0.3)) as house:
        drop(tmp_path, {"prompt": "too dear", "lane": "interactive"})
        await eventually(lambda: house.daemon._parts.intake and house.daemon._parts.intake.waiting)
        assert (await house.client.status()).intake_waiting_count == 1
        (found,) = await results(tmp_path)
        assert (found["error"]["reason"], found["error"]["metadata"]["budget"]) == ("BUDGET_EXCEEDED", "none")
        assert emulator.charges() == []


async def test_directory_open_to_others_ends_the_start(tmp_path: Path):
    """Code 78 names the setting."""
    (tmp_path / "box").mkdir()
    (tmp_path / "box").chmod(0o777)
    with pytest.raises(StorageRefused, match=r"inbox\.directory") as caught:
        async with serving(tmp_path, **inbox(tmp_path)):
            pass
    assert caught.value.exit_code == 78


@pytest.mark.parametrize(
    ("values", "key"),
    [({"directory": "box"}, "inbox.directory"), ({"retry_delay_s": 9, "max_retry_delay_s": 1}, "inbox.retry_delay_s")],
)
def test_settings_that_do_not_go_together_are_named(tmp_path: Path, values: dict[str, object], key: str):
    """A relative path, and a first wait that is longer than the longest."""
    with pytest.raises(SettingsError) as caught:
        loaded_settings(tmp_path, inbox=values)
    assert [problem.key for problem in caught.value.problems] == [key]


def test_nothing_of_the_intake_is_loaded_unless_configured(tmp_path: Path):
    """A daemon without an inbox imports no module of the room; one with an inbox does."""
    program = f"""
import asyncio, sys
from pathlib import Path
from aigend.clock import SystemClock
from aigend.config import load_settings
from aigend.server import Daemon

async def loaded(environ):
    Daemon(load_settings(None, environ), environ=environ, clock=SystemClock())
    return any(name.startswith("aigend.intake") for name in sys.modules)

home = {{"HOME": {str(tmp_path)!r}}}
print(asyncio.run(loaded(home)), asyncio.run(loaded(home | {{"AIGEND_INBOX__DIRECTORY": {str(tmp_path)!r}}})))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ended.stdout == "False True\n"
