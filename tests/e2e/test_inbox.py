"""An inbox through real processes: killed at any moment, every line has exactly one result and was charged exactly once."""

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import ROOT, Aigend, eventually
from tests.e2e.test_batch_jobs import QUICK, breaches, provider, truth
from tests.emulator_server import RunningEmulator

KILLS = 7
LINES = 20  # of each of two files
FORGETFUL = (sys.executable, str(ROOT / "tests" / "e2e" / "forgetful.py"))


def settings(emulator: RunningEmulator, folder: Path) -> dict[str, Any]:
    """Return settings of a daemon with an inbox whose lines leave few at a time."""
    inbox = {"directory": str(folder), "poll_s": 0.05, "max_in_flight": 4, "retry_delay_s": 0.05}
    return {"deferred": QUICK, "inbox": inbox, "providers": provider(emulator, "openai")}


def drop(folder: Path, name: str, lines: Sequence[dict[str, Any]]) -> None:
    """Put a file into an inbox as a producer does; the cache and equal calls in flight take no part in it."""
    inbox = folder / "inbox"
    inbox.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    fresh = inbox / f".{name}"
    fresh.write_text(
        "".join(json.dumps({"model": "gpt-4o-mini", "mode": "bypass"} | line) + "\n" for line in lines), encoding="utf-8"
    )
    fresh.rename(inbox / name)


def dropped(folder: Path) -> None:
    """Put two files into an inbox; half of the lines of one name their ids."""
    drop(folder, "plain.jsonl", [{"prompt": f"question {number}"} for number in range(LINES)])
    named = [{"request_id": f"mine-{number}"} if number % 2 else {} for number in range(LINES)]
    drop(folder, "named.jsonl", [{"prompt": f"other question {number}"} | name for number, name in enumerate(named)])


def results(folder: Path) -> dict[str, list[dict[str, Any]]]:
    """Return the results of whole files."""
    return {
        path.name: [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for path in (folder / "results").glob("*")
    }


def finished(folder: Path) -> bool:
    """Return whether both files have their results."""
    return len(list((folder / "results").glob("*"))) == 2


def end(daemon: Aigend, folder: Path) -> None:
    """Let a daemon finish what is there, and stop it."""
    eventually(lambda: finished(folder), within_s=40)
    daemon.stop()


def charged(daemon: Aigend, emulator: RunningEmulator) -> Counter[str]:
    """Return how often each request id was charged."""
    return Counter(charge["request_id"] for charge in truth(emulator, daemon.ledger))


@pytest.mark.timeout(90)
def test_every_line_has_one_result_and_one_charge(make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path):
    """Killed seven times at random while forty lines go through the batch API, the daemon loses none and pays for none twice."""
    folder, dice = tmp_path / "box", random.Random(7)  # noqa: S311 - chooses moments, guards nothing
    dropped(folder)
    daemon = make_daemon(settings(emulator, folder), base_url="")
    lives = 0
    while lives < KILLS and not finished(folder):
        daemon.start()
        time.sleep(dice.uniform(0.02, 0.5))
        daemon.kill()
        lives += 1
    end(daemon.start(), folder)
    found = results(folder)
    assert {name: [line["index"] for line in lines] for name, lines in found.items()} == {
        "named.jsonl": list(range(LINES)),
        "plain.jsonl": list(range(LINES)),
    }
    lines = [line for lines in found.values() for line in lines]
    assert [line for line in lines if not line.get("response", {}).get("text")] == []
    assert charged(daemon, emulator) == Counter(line["request_id"] for line in lines)
    assert set(charged(daemon, emulator).values()) == {1}
    assert breaches(daemon, emulator) == []
    assert sorted(path.name for path in (folder / "done").iterdir()) == ["named.jsonl", "plain.jsonl"]
    assert list((folder / "work").iterdir()) == []
    assert lives >= 4


@pytest.mark.timeout(60)
def test_control_with_other_ids_each_time_lines_are_paid_for_twice(
    make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path
):
    """Control: with ids that differ from read to read a kill makes the same lines be charged again."""
    folder = tmp_path / "box"
    dropped(folder)
    daemon = make_daemon(settings(emulator, folder), base_url="")
    daemon.start(wrapper=FORGETFUL)
    eventually(lambda: daemon.client().status().deferred_submitted_count)
    daemon.kill()
    end(daemon.start(wrapper=FORGETFUL), folder)
    assert sum(charged(daemon, emulator).values()) > 2 * LINES


def test_drain_leaves_the_rest_for_the_next_start(make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path):
    """A stop ends at once with code 0 although lines wait for a job; the next daemon goes on, and nothing is charged twice."""
    folder = tmp_path / "box"
    dropped(folder)
    slow = settings(emulator, folder)
    daemon = make_daemon(slow | {"deferred": QUICK | {"max_wait_s": 60, "gather_s": 60}}, base_url="").start()
    client = daemon.client()
    eventually(lambda: client.status().deferred_waiting_count == 4)
    assert client.status().intake_waiting_count == LINES  # the second file is not taken before there is room
    assert daemon.stop() == 0
    assert results(folder) == {}
    daemon.write_settings(slow)
    end(daemon.start(), folder)
    assert set(charged(daemon, emulator).values()) == {1}
    assert len(charged(daemon, emulator)) == 2 * LINES
    assert breaches(daemon, emulator) == []


def test_two_daemons_never_share_an_inbox(make_daemon: MakeDaemon, emulator: RunningEmulator, tmp_path: Path):
    """The second ends with 75 and names the setting; the first is untouched."""
    first = make_daemon(settings(emulator, tmp_path / "box"), base_url="").start()
    second = make_daemon(settings(emulator, tmp_path / "box"), name="b", base_url="")
    second.start(ready=False)
    assert second.wait() == 75
    assert "inbox.directory" in second.log()
    assert first.stop() == 0
