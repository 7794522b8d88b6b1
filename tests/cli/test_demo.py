"""The demo as a person runs it: real emulator, real daemon, real processes, and nothing left behind."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

RUN = Path(__file__).parents[2] / "examples" / "run.py"
MARK = "AIGEN_DEMO_TEST"

pytestmark = [pytest.mark.timeout(60), pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of a run: marked, so that whatever it starts can be found, and with a temporary directory of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "AIGEN"))}
    return kept | {MARK: uuid.uuid4().hex, "TMPDIR": str(tmp_path)}


def left_over(environment: dict[str, str]) -> list[int]:
    """Return the processes that carry the mark of a run."""
    mark = f"{MARK}={environment[MARK]}".encode()
    return [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if mark in _environ(path).split(b"\0")]


def _environ(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # ended meanwhile, or somebody else's
        return b""


def run(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the demo to its end."""
    command = [sys.executable, str(RUN), *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=55
    )


def test_demo_passes_and_leaves_nothing(environment, tmp_path):
    """Two passes, the second all hits and free, both tables, exit code 0, no process and no file left."""
    result = run(environment)
    assert result.returncode == 0, result.stderr
    passes = result.stdout.partition("Totals")[0]
    assert (passes.count(" MISS "), passes.count(" HIT ")) == (8, 8)
    assert "Checked: 8 answers byte-identical, every call a HIT, cost 0, saved more than 0." in result.stdout
    assert "Token Usage Summary" in result.stdout
    assert "Hit Rate:        50.0%" in result.stdout
    assert left_over(environment) == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "term"])
def test_interrupted_demo_leaves_nothing(environment, tmp_path, number):
    """Ended in the middle of the first pass, the demo stops what it started and removes its files."""
    process = subprocess.Popen(
        [sys.executable, str(RUN)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    with process.stdout:
        while "1 framing" not in process.stdout.readline():
            assert process.poll() is None
        assert len(left_over(environment)) >= 3
        os.killpg(process.pid, number)  # as a terminal does
        process.stdout.read()
    assert process.wait(30) in (130, 128 + number)
    assert left_over(environment) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def endpoint(environment) -> Iterator[str]:
    """An OpenAI-compatible endpoint that demands a key."""
    command = [sys.executable, "-m", "aigen_emulator", "--port", "0", "--api-key", "sk-real"]
    clean = {name: value for name, value in environment.items() if name != MARK}
    with subprocess.Popen(command, env=clean, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())["base_url"]
        process.terminate()


def test_real_run_shows_estimate_and_keeps_to_the_endpoint(environment, endpoint):
    """`--real` shows the bound of each call, the budget and the endpoint, runs through it, and saves on the second pass."""
    result = run(environment | {"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": endpoint}, "--real", "--yes")
    assert result.returncode == 0, result.stderr
    assert endpoint in result.stdout
    assert "Budget:   1 USD" in result.stdout
    assert "1 framing    claude      gpt-4o-mini" in result.stdout
    assert "at most $" in result.stdout
    assert "sk-real" not in result.stdout + result.stderr
    assert left_over(environment) == []


def test_real_run_asks_first(environment, endpoint):
    """Where nobody can be asked, `--real` without `--yes` pays nothing and says what to pass."""
    result = run(environment | {"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": endpoint}, "--real")
    assert result.returncode == 1
    assert "pass --yes" in result.stderr
    assert " MISS " not in result.stdout


def test_real_run_says_where_prices_come_from(environment, endpoint):
    """A model that no price list names counts at the dearest rate of the four agents, and the run says so before it asks."""
    known = environment | {"OPENAI_API_KEY": "sk-real", "OPENAI_BASE_URL": endpoint}
    result = run(known, "--real", "--yes", "--model", "no-such-model-1")
    assert result.returncode == 0, result.stderr
    before, _, after = result.stdout.partition("run-1")
    assert "Prices:   " in before
    assert "not known" not in before
    assert "unknown" not in after


def test_real_run_needs_a_key(environment):
    """Without OPENAI_API_KEY nothing is started."""
    result = run(environment, "--real")
    assert result.returncode == 1
    assert "OPENAI_API_KEY is not set" in result.stderr


def test_a_child_that_fails_is_shown(environment, tmp_path):
    """Where the daemon does not come up, the end of its log is shown, and the emulator is stopped."""
    result = run(environment | {"AIGEND_CACHE__TTL_S": "-1"})
    assert result.returncode == 1
    assert "aigend did not become ready" in result.stderr
    assert "ttl_s" in result.stderr
    assert left_over(environment) == []
