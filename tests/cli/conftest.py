"""A scripted daemon and a way to run `aigenctl` against it, in this process or as a real one."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from aigenctl.app import app
from typer.testing import CliRunner

from tests.cli.scripted_daemon import ScriptedDaemon


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory whose path leaves room for a socket's name."""
    path = Path(tempfile.mkdtemp(prefix="cli-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def daemon(short_directory: Path) -> Iterator[ScriptedDaemon]:
    """A daemon that says what the test tells it to."""
    scripted = ScriptedDaemon(short_directory / "d.sock")
    scripted.start()
    yield scripted
    scripted.stop()


@pytest.fixture
def run(daemon: ScriptedDaemon) -> Callable[..., object]:
    """Run `aigenctl` in this process against the scripted daemon."""

    def invoke(*arguments: str, stdin: str | None = None) -> object:
        return CliRunner(env={"COLUMNS": "200"}).invoke(app, ["--socket", str(daemon.socket), *arguments], input=stdin)

    return invoke


@pytest.fixture
def at_terminal(daemon: ScriptedDaemon) -> Callable[..., tuple[int, str]]:
    """Run `aigenctl` as a real process whose standard streams are a terminal; returns exit code and what was shown."""

    def invoke(*arguments: str, typed: str) -> tuple[int, str]:
        ours, theirs = os.openpty()
        os.write(ours, typed.encode())
        process = subprocess.Popen(
            [sys.executable, "-m", "aigenctl", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=os.environ | {"AIGEN_SOCKET": str(daemon.socket), "TERM": "dumb", "COLUMNS": "200"},
        )
        os.close(theirs)
        shown = _read_all(ours)
        os.close(ours)
        return process.wait(15), shown

    return invoke


def _read_all(descriptor: int) -> str:
    shown = b""
    while True:
        try:
            piece = os.read(descriptor, 65_536)
        except OSError:  # a terminal ends with EIO where a pipe has an end of file
            piece = b""
        if not piece:
            return shown.decode()
        shown += piece
