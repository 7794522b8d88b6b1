"""Runs the demo pipeline on temporary paths and leaves nothing behind: emulator, daemon, pipeline, tables.

`python examples/run.py` never leaves loopback. `--real` sends every agent to one OpenAI-compatible endpoint instead
(OPENAI_API_KEY, OPENAI_BASE_URL, `--model`): it shows what that can cost at most, asks, and sets a budget of 1 USD.
"""

import argparse
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from string import Template
from types import FrameType
from typing import IO

import aigen

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 5.0
SOCKET_PATH_BYTES = 107  # what the kernel allows
DEFAULT_BASE_URL = "https://api.openai.com/v1"
MODEL_LINE = re.compile(r'^default_model: &model "openai/(?P<model>[^"]+)"$', re.MULTILINE)
PACE = ("--first-token-ms", "150", "--token-ms", "1")  # about as slow as a fast provider


_ENDS = (signal.SIGINT, signal.SIGTERM)


class RunError(Exception):
    """The demo can't go on; its text says why."""


@dataclass(frozen=True, kw_only=True)
class Child:
    """A process that this one started, and where its log goes."""

    name: str
    process: subprocess.Popen[str]
    log: Path

    def failure(self) -> RunError:
        """Return the error that shows the end of the child's log."""
        tail = "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-20:])
        return RunError(f"{self.name} did not become ready (exit code {self.process.poll()}); the end of its log:\n{tail}")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    options = _parser().parse_args(argv)
    for number in _ENDS:
        signal.signal(number, _end)
    try:
        with ExitStack() as stack:
            directory = stack.enter_context(_temporary_directory())
            return _real(stack, directory, options) if options.real else _demo(stack, directory)
    except RunError as failed:
        print(f"run.py: {failed}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as ended:
        print("run.py: interrupted; everything that was started has been stopped", file=sys.stderr)
        return int(ended.args[0])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Run the business plan pipeline twice and show what it cost and saved.")
    parser.add_argument("--real", action="store_true", help="call the OpenAI-compatible endpoint of OPENAI_BASE_URL; costs money")
    parser.add_argument("--model", help="model for --real (default: the one that real.yaml names)")
    parser.add_argument("--yes", action="store_true", help="with --real: do not ask")
    return parser


def _end(number: int, frame: FrameType | None) -> None:
    """Unwind the stack, which stops the children; a second signal must not stop the stopping."""
    del frame
    for each in _ENDS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt(128 + number)


def _demo(stack: ExitStack, directory: Path) -> int:
    base_url = _start_emulator(stack, directory)
    settings = _write_settings(directory, "demo.yaml", {"emulator": base_url})
    socket = _start_daemon(stack, directory, settings, {"AIGEN_DEMO_API_KEY": "demo"})
    if code := _run("examples/business_plan.py", str(HERE / "business_plan.py"), "--check", socket=socket):
        return code
    return _show_tables(socket)


def _real(stack: ExitStack, directory: Path, options: argparse.Namespace) -> int:
    if not os.environ.get("OPENAI_API_KEY"):
        raise RunError("OPENAI_API_KEY is not set; --real needs a key for the endpoint of OPENAI_BASE_URL")
    base_url = os.environ.get("OPENAI_BASE_URL") or DEFAULT_BASE_URL
    settings = _write_settings(directory, "real.yaml", {"base_url": base_url})
    model = _name_model(settings, options.model)
    socket = _start_daemon(stack, directory, settings, {})
    print(f"Endpoint: {base_url}\nModel:    {model}\nPrices:   {_price_source(socket, model)}")
    print("Budget:   1 USD, calls beyond it are refused\n")
    if code := _run("the estimate", str(HERE / "business_plan.py"), "--estimate", socket=socket):
        return code
    if not _agreed(options):
        print("Nothing was called, nothing was paid.")
        return 0
    if code := _run("examples/business_plan.py", str(HERE / "business_plan.py"), socket=socket):
        return code
    return _show_tables(socket)


def _name_model(settings: Path, model: str | None) -> str:
    """Return the model that the settings name, after putting the wished one there."""
    text = settings.read_text("utf-8")
    if model is not None:
        text = MODEL_LINE.sub(lambda _: f"default_model: &model {json.dumps(f'openai/{model}')}", text)
        settings.write_text(text, "utf-8")
    found = MODEL_LINE.search(text)
    if found is None:
        raise RunError(f"examples/real.yaml has no line like: {MODEL_LINE.pattern}")
    return found["model"]


def _price_source(socket: Path, model: str) -> str:
    with aigen.Client(socket) as client:
        price = client.model(f"openai/{model}").price
    return f"{price.source}, checked {price.checked_on or 'at no known time'}" if price else "not known"


def _agreed(options: argparse.Namespace) -> bool:
    if options.yes:
        return True
    if not sys.stdin.isatty():
        raise RunError("--real asks before it spends money; standard input is not a terminal: pass --yes")
    return input("Go on? [y/N] ").strip().lower() in ("y", "yes")


def _show_tables(socket: Path) -> int:
    for command in (["stats", "--by", "agent", "--by", "provider"], ["cache", "stats"]):
        print(f"\n$ aigenctl {' '.join(command)}", flush=True)
        if code := _run("aigenctl", "-m", "aigenctl", *command, socket=socket):
            return code
    return 0


def _run(name: str, *arguments: str, socket: Path) -> int:
    sys.stdout.flush()
    code = subprocess.run([sys.executable, *arguments], env=os.environ | {"AIGEN_SOCKET": str(socket)}, check=False).returncode
    if code:
        print(f"run.py: {name} ended with exit code {code}", file=sys.stderr)
    return code


def _start_emulator(stack: ExitStack, directory: Path) -> str:
    truth = directory / "truth.jsonl"
    child = stack.enter_context(
        _started("the emulator", ["-m", "aigen_emulator", "--port", "0", "--truth", str(truth), *PACE], directory, environment={})
    )
    line = _first_line(child)
    try:
        return str(json.loads(line)["base_url"]).removesuffix("/v1").rstrip("/")
    except (ValueError, KeyError, TypeError) as error:
        raise child.failure() from error


def _start_daemon(stack: ExitStack, directory: Path, settings: Path, environment: Mapping[str, str]) -> Path:
    command = ["-m", "aigend", "serve", "--config", str(settings)]
    child = stack.enter_context(_started("aigend", command, directory, environment=environment))
    socket = directory / "aigend.sock"
    end = time.monotonic() + START_TIMEOUT_S
    with aigen.Client(socket, connect_timeout=0.2) as client:
        while time.monotonic() < end and child.process.poll() is None:
            with suppress(aigen.DaemonUnavailable, aigen.DeadlineExceeded):
                client.status(timeout=1.0)
                return socket
    raise child.failure()


@contextmanager
def _started(name: str, command: Sequence[str], directory: Path, *, environment: Mapping[str, str]) -> Iterator[Child]:
    """Start a Python program in a session of its own, so that Ctrl-C reaches this process alone, and stop it at the end."""
    log = directory / f"{name.rpartition(' ')[2]}.log"
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            [sys.executable, *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )
    try:
        yield Child(name=name, process=process, log=log)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _first_line(child: Child) -> str:
    """Return the first line that the child prints, or fail when none comes in time."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    threading.Thread(target=_hand_over_line, args=(child.process.stdout, lines), daemon=True).start()
    try:
        line = lines.get(timeout=START_TIMEOUT_S)
    except queue.Empty:
        line = ""
    if not line:
        raise child.failure()
    return line


def _hand_over_line(pipe: IO[str], lines: queue.SimpleQueue[str]) -> None:
    lines.put(pipe.readline())


def _write_settings(directory: Path, name: str, values: Mapping[str, str]) -> Path:
    text = Template((HERE / name).read_text("utf-8")).substitute(values, directory=directory)
    path = directory / name
    path.write_text(text, "utf-8")
    path.chmod(0o600)
    return path


@contextmanager
def _temporary_directory() -> Iterator[Path]:
    """Give a directory whose socket path the kernel accepts, and remove it at the end."""
    for parent in (tempfile.gettempdir(), "/tmp"):  # noqa: S108 - mkdtemp makes the name and the mode safe
        path = Path(tempfile.mkdtemp(prefix="aigen-", dir=parent))
        if len(os.fsencode(path / "aigend.sock")) <= SOCKET_PATH_BYTES:
            break
        path.rmdir()
    else:
        raise RunError(f"{tempfile.gettempdir()} and /tmp are too long for a socket path of {SOCKET_PATH_BYTES} bytes")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
