"""Examples in README.md and docs/ run as they stand, against a daemon and the emulator."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template

import aigen
import pytest

from tests.house import tree

BLOCK = re.compile(r"^(<!-- not run: [^\n]+ -->\n)?```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = [page for page in tree.pages() if BLOCK.search(page.read_text(encoding="utf-8"))]


def script(text: str, *, runnable: bool) -> str:
    """Return a page's Python blocks as one script in which every line keeps its number; with `runnable`, without those marked."""
    lines = ["" for _ in text.splitlines()]
    for found in BLOCK.finditer(text):
        first = text[: found.start(2)].count("\n")
        block = found[2].splitlines()
        if not (runnable and found[1]):
            lines[first : first + len(block)] = block
    return "\n".join(lines) + "\n"


@contextlib.contextmanager
def started(*command: str, log: Path) -> Iterator[subprocess.Popen[str]]:
    """Run a Python program of ours until the end of the block."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIGEND_", "OPENAI_"))}
    with log.open("w") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment | {"AIGEN_DEMO_API_KEY": "demo"},
        )
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=15)


@pytest.fixture(scope="module")
def socket() -> Iterator[Path]:
    """Give the socket of a daemon with the demo's settings, whose providers are played by the emulator."""
    with tempfile.TemporaryDirectory(prefix="aigen-") as name:
        folder = Path(name)
        with started("-m", "aigen_emulator", "--port", "0", log=folder / "emulator.log") as emulator:
            assert emulator.stdout is not None
            address = json.loads(emulator.stdout.readline())["base_url"].removesuffix("/v1").rstrip("/")
            settings = folder / "aigend.yaml"
            template = Template((tree.ROOT / "examples" / "demo.yaml").read_text(encoding="utf-8"))
            settings.write_text(template.substitute(directory=folder, emulator=address), encoding="utf-8")
            settings.chmod(0o600)
            with started("-m", "aigend", "serve", "--config", str(settings), log=folder / "aigend.log"):
                wait_until_ready(folder)
                yield folder / "aigend.sock"


def wait_until_ready(folder: Path) -> None:
    """Return once the daemon in the folder answers; what it logged is in the error where it does not."""
    try:
        with aigen.Client(socket=str(folder / "aigend.sock")) as client:
            client.status(timeout=15.0)
    except aigen.AigenError as error:
        raise AssertionError((folder / "aigend.log").read_text(encoding="utf-8")) from error


def run(code: str, *, socket: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script in an empty folder with the daemon's socket in its environment."""
    path = folder / "page.py"
    path.write_text(code, encoding="utf-8")
    environment = {**os.environ, "AIGEN_SOCKET": str(socket)}
    command = [sys.executable, "-W", "error", str(path)]
    return subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=45
    )


def test_the_readme_shows_how_it_is_used() -> None:
    """README.md has an example in Python that runs."""
    assert any(not found[1] for found in BLOCK.finditer((tree.ROOT / "README.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_compile(page: Path) -> None:
    """Each example is Python, those that can't be run included."""
    compile(script(page.read_text(encoding="utf-8"), runnable=False), str(page), "exec")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page: Path, socket: Path, tmp_path: Path) -> None:
    """The examples of a page run from top to bottom."""
    result = run(script(page.read_text(encoding="utf-8"), runnable=True), socket=socket, folder=tmp_path)
    assert result.returncode == 0, result.stderr


@pytest.mark.timeout(60)
def test_the_batch_job_of_the_examples_is_answered_and_paid_once(socket: Path, tmp_path: Path) -> None:
    """The job is handed in, waited for and found again by its id; the second run shows the same and costs nothing more."""
    code = (tree.ROOT / "examples" / "batch_job.py").read_text(encoding="utf-8")
    code = code.replace("parse_args(argv)", 'parse_args(["--wait"])')
    first, second = (run(code, socket=socket, folder=tmp_path) for _ in range(2))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert sorted(first.stdout.splitlines()) == sorted(second.stdout.splitlines())
    assert first.stdout.splitlines()[-1].startswith("4 of 4 answered: ")
    with aigen.Client(socket=str(socket)) as client:
        assert client.stats(session="nightly").totals.miss_count == 4


@pytest.mark.timeout(60)
def test_a_broken_example_is_noticed(socket: Path, tmp_path: Path) -> None:
    """Control: a page whose example asks for an agent that doesn't exist fails, and the line is the page's own."""
    text = "# Page\n\n```python\nimport aigen\n\nwith aigen.Client() as client:\n    client.complete('Hi', agent='nobody')\n```\n"
    result = run(script(text, runnable=True), socket=socket, folder=tmp_path)
    assert result.returncode == 1
    assert "line 7" in result.stderr
    assert "UnknownModel" in result.stderr
