"""Killed at random under load, the daemon loses no charge and counts none twice; what is written down afterwards is lost.

`KILLS` in the environment says how often; `make torture-ledger` runs the same at length.
"""

import json
import os
import subprocess
import sys

import pytest

from tests.e2e.running import ROOT

KILLS = int(os.environ.get("KILLS", "25"))


def run(*words: str, timeout: float) -> tuple[int, dict[str, object], str]:
    """Return the exit code of a module, the JSON object on its last line, and what it said beside."""
    ended = subprocess.run([sys.executable, "-m", *words], capture_output=True, text=True, cwd=ROOT, timeout=timeout, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1]), ended.stderr


@pytest.mark.timeout(60 + KILLS * 2)
def test_no_call_is_lost_or_counted_twice(capfd: pytest.CaptureFixture[str]):
    """Whatever the provider charged is one row, settled or unknown; counters equal rows; nobody pays twice for one request id."""
    code, figures, said = run("tests.torture.daemon_kills", "--kills", str(KILLS), timeout=50 + KILLS * 2)
    with capfd.disabled():
        print("\n" + json.dumps(figures), flush=True)  # noqa: T201 - what was measured
    assert (code, said) == (0, "")
    assert [figures[name] for name in ("lost", "doubled", "phantom", "wrong", "unexpected")] == [0] * 5
    assert figures["kills"] == KILLS
    assert figures["charges"] > 0


@pytest.mark.not_on_floor
@pytest.mark.timeout(60)
def test_spoilt_truth_is_found_out():
    """Control: with a charge struck out of the truth and one invented, one row is a phantom, one charge lost, and the run fails."""
    code, figures, said = run("tests.torture.daemon_kills", "--kills", "1", "--control", timeout=50)
    assert (code, figures["lost"], figures["phantom"], figures["doubled"], figures["wrong"]) == (1, 1, 1, 0, 0)
    assert "I1 lost" in said
    assert "I2" in said


@pytest.mark.not_on_floor
@pytest.mark.timeout(60)
def test_what_is_written_down_afterwards_is_lost():
    """Control: a program that pays first and writes down later, in groups, loses charges when it is killed."""
    code, figures, _ = run("tests.torture.ledger_torture", "--kills", "6", "--afterwards", timeout=50)
    assert code == 1
    assert figures["lost"] > 0
