"""After calls of every kind, many of which go wrong, all that tells of money agrees; `make mixed-run` does it at length."""

import json
import subprocess
import sys

import pytest

from tests.e2e.running import ROOT

pytestmark = pytest.mark.not_on_floor
CALLS = 600


def run(*words: str) -> tuple[int, dict[str, object], str]:
    """Return the exit code of a mixed run, the JSON object on its last line, and what it found."""
    command = [sys.executable, "-m", "tests.torture.mixed_run", *words]
    ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=150, check=False)
    assert ended.stdout, ended.stderr
    return ended.returncode, json.loads(ended.stdout.splitlines()[-1]), ended.stderr


@pytest.mark.timeout(160)
def test_all_that_tells_of_money_agrees_to_the_nano_dollar():
    """Rows, statistics, roll-ups, reports, exports, counters and charges agree, before corrections and after them."""
    code, figures, found = run("--calls", str(CALLS))
    assert (code, found, figures["disagreements"]) == (0, "", 0)
    assert figures["calls"] >= CALLS
    for kind in ("hit", "coalesced", "bypass", "refresh", "replay", "flagged"):
        assert figures[kind] > 0, kind
    for kind in ("unknown", "released", "unpriced", "flex", "batch"):
        assert figures[f"{kind}_count"] > 0, kind


@pytest.mark.timeout(160)
@pytest.mark.parametrize(
    ("control", "said"),
    [
        ("row", "nano-dollar too much stands in one row: charges, roll-ups and statistics say so"),
        ("counter", "a counter that is not exported"),
        ("charge", "a charge that the provider did not make"),
    ],
)
def test_what_is_spoilt_is_found(control: str, said: str):
    """Control: with one number spoilt, the run finds it and fails."""
    code, figures, found = run("--calls", "60", "--control", control)
    assert code == 1, said
    assert figures["disagreements"] > 0
    wanted = {
        "row": ("charged was", "stats", "metric cost with", "differ"),
        "counter": ("metric cost with corrections",),
        "charge": ("is settled and was not charged", "I2"),
    }
    assert [word for word in wanted[control] if word not in found] == []
