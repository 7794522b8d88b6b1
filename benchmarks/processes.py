"""The processes that are measured: the echo, the emulator and the daemon, each started and ended by pid."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import yaml

ROOT = Path(__file__).resolve().parent.parent
READY_S = 20.0
STOP_S = 20.0
DAEMON_CORE, LOAD_CORE = 0, 1


@dataclass(frozen=True, slots=True)
class Running:
    """A process that serves."""

    pid: int
    socket: str
    ready_s: float


@dataclass(frozen=True, slots=True)
class Emulating:
    """An emulator that serves."""

    pid: int
    base_url: str


@contextmanager
def process(
    command: list[str], *, environ: dict[str, str] | None = None, log: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run a command until the block ends."""
    errors: IO[str] | int = log.open("w") if log else subprocess.DEVNULL
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=os.environ | (environ or {}))
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextmanager
def echo(folder: Path) -> Iterator[Running]:
    """Run the echo."""
    socket = folder / "echo.sock"
    began = time.monotonic()
    with process([sys.executable, str(ROOT / "benchmarks" / "echo.py"), str(socket)]) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield Running(child.pid, str(socket), time.monotonic() - began)


@contextmanager
def emulator(*, truth: Path | None = None, flags: tuple[str, ...] = ()) -> Iterator[Emulating]:
    """Run the emulator."""
    command = [sys.executable, "-m", "aigen_emulator", "--port", "0", *flags, *(("--truth", str(truth)) if truth else ())]
    with process(command) as child:
        assert child.stdout is not None
        yield Emulating(child.pid, json.loads(child.stdout.readline())["base_url"])


@contextmanager
def daemon(folder: Path, *, base_url: str | None, settings: dict[str, object] | None = None) -> Iterator[Running]:
    """Run the daemon on paths below `folder`; without an address it has no provider."""
    folder.mkdir(mode=0o700, exist_ok=True)
    file, socket = folder / "aigend.yaml", folder / "aigend.sock"
    values: dict[str, object] = {
        "socket": str(socket),
        "state_directory": str(folder / "state"),
        "cache_directory": str(folder / "cache"),
        "log": {"level": "warning"},
    }
    if base_url:
        values["providers"] = {"openai": {"base_url": base_url, "api_key_env": "BENCH_KEY"}}
    file.write_text(yaml.safe_dump(values | (settings or {})))
    file.chmod(0o600)
    began = time.monotonic()
    command = [sys.executable, "-m", "aigend", "serve", "--config", str(file)]
    with process(command, environ={"BENCH_KEY": "not-a-secret"}, log=folder / "log") as child:
        while not socket.exists():
            if child.poll() is not None or time.monotonic() - began > READY_S:
                raise RuntimeError("aigend did not start: " + (folder / "log").read_text())
            time.sleep(0.005)
        yield Running(child.pid, str(socket), time.monotonic() - began)


@contextmanager
def placed(*servers: int, beside_load: tuple[int, ...] = ()) -> Iterator[None]:
    """Keep servers on one core and the load, this process, on another: a serial caller's latency is mostly their wake-up.

    Args:
        servers: Processes on the first core.
        beside_load: Processes on the load's core.
    """
    cores = dict.fromkeys(servers, DAEMON_CORE) | dict.fromkeys((*beside_load, os.getpid()), LOAD_CORE)
    for pid, core in cores.items():
        pin(pid, core)
    try:
        yield
    finally:
        for pid in cores:
            pin(pid, None)


def pin(pid: int, core: int | None) -> None:
    """Keep a process and its threads on one core; None lets it run on all. Children started later inherit it."""
    cores = set(range(os.cpu_count() or 1)) if core is None or (os.cpu_count() or 1) < 2 else {core}
    for task in Path(f"/proc/{pid}/task").iterdir():
        os.sched_setaffinity(int(task.name), cores)
