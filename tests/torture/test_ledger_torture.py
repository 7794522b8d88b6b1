"""A short torture in every test run; longer ones are run by hand and in CI."""

import json
import subprocess
import sys

COMMAND = [sys.executable, "-m", "tests.torture.ledger_torture"]


def run(*arguments: str) -> dict[str, object]:
    """Return what a torture found."""
    done = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_ten_kills_lose_nothing():
    """After ten kills every charged call is booked once, nothing is settled without a charge, and counters equal rows."""
    found = run("--kills", "10")
    assert (found["kills"], found["lost"], found["wrong"], found["faults"]) == (10, 0, 0, [])
    assert found["charged"] > 0
    assert found["open_s"] < 1


def test_control_that_writes_afterwards_loses():
    """Usage written down after the calls, in groups, is lost by kills: writing the intent first is the protection."""
    assert run("--kills", "5", "--afterwards")["lost"] > 0
