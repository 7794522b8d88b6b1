"""Real daemons for tests: started in processes of their own, heard over the service manager's socket, ended by pid."""

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import aigen
import yaml
from aigend.clock import SystemClock
from aigend.config import LedgerSettings
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.ledger.verify import verify

from tests.ledger_invariants import check_invariants

ROOT = Path(__file__).resolve().parents[2]
KEY = "sk-planted-3b1f9c07d2e84a65"  # must never appear in anything that a daemon writes
PATIENCE_S = 15.0
_INHERITED = ("PATH", "PYTHONPATH", "LANG", "TZ", "VIRTUAL_ENV")


class Warm:
    """The process out of which daemons are forked."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(ROOT / "tests" / "e2e" / "warm.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: os.environ[name] for name in _INHERITED if name in os.environ},
        )

    def start(self, arguments: Sequence[str], *, environ: Mapping[str, str], log: Path) -> int:
        """Fork a daemon and return its pid."""
        return self._ask({"start": list(arguments), "environ": dict(environ), "log": str(log)})

    def wait(self, pid: int) -> int:
        """Return the exit code of one that was forked, negative for a signal."""
        return self._ask({"wait": pid})

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()

    def _ask(self, command: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


class Aigend:
    """One daemon and its places; it may be started, ended and started again.

    Args:
        folder: Where everything of it lies.
        base_url: Address of its provider.
        settings: Merged over those that every daemon here has, section by section.
        environ: Added to its environment.
        warm: What forks it; None runs a fresh interpreter.
    """

    def __init__(
        self,
        folder: Path,
        *,
        base_url: str = "",
        settings: Mapping[str, Any] | None = None,
        environ: Mapping[str, str] | None = None,
        warm: Warm | None = None,
    ) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder, self.socket, self.config = folder, folder / "aigend.sock", folder / "aigend.yaml"
        self.state, self.cache = folder / "state", folder / "cache"
        self.ledger = self.state / "ledger.db"
        self.environ = dict(environ or {})
        self.pid = 0
        self._base_url = base_url
        self._warm = warm
        self._forked_by: Warm | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._clients: list[aigen.Client] = []
        self._ear = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._ear.bind(str(folder / "notify"))
        self._ear.settimeout(0.1)
        self.write_settings(settings or {})

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write the settings file anew."""
        values: dict[str, Any] = {
            "socket": str(self.socket),
            "state_directory": str(self.state),
            "cache_directory": str(self.cache),
            "retry": {"base_delay_s": 0.01, "max_delay_s": 0.05},
            "providers": {"openai": {"base_url": self._base_url, "api_key_env": "E2E_KEY"}} if self._base_url else {},
        }
        for name, value in settings.items():
            both = isinstance(value, Mapping) and isinstance(values.get(name), Mapping)
            values[name] = values[name] | value if both else value
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")
        self.config.chmod(0o600)

    def start(
        self,
        *,
        ready: bool = True,
        fresh: bool = False,
        arguments: Sequence[str] | None = None,
        wrapper: Sequence[str] = (),
        **environ: str,
    ) -> "Aigend":
        """Start it and, unless told otherwise, wait until it is ready.

        Args:
            ready: Whether to wait.
            fresh: Run `python -m aigend` even where daemons are forked.
            arguments: Words after `aigend`; None serves with the settings file.
            wrapper: Command that runs it in its own place; it implies `fresh`.
            environ: Added to its environment this once.
        """
        known = {name: os.environ[name] for name in _INHERITED if name in os.environ}
        notify = {"NOTIFY_SOCKET": str(self.folder / "notify")}
        own = known | notify | {"HOME": str(self.folder), "E2E_KEY": KEY} | self.environ | environ
        words = list(arguments) if arguments is not None else ["serve", "--config", str(self.config)]
        self._forked_by = None if fresh or wrapper else self._warm
        if self._forked_by is not None:
            self.pid = self._forked_by.start(words, environ=own, log=self.folder / "log")
        else:
            with (self.folder / "log").open("ab") as log:
                self._process = subprocess.Popen([*wrapper, sys.executable, "-m", "aigend", *words], stderr=log, env=own)
            self.pid = self._process.pid
        if ready:
            self.hear("READY=1")
        return self

    def hear(self, word: str, *, within_s: float = PATIENCE_S) -> list[str]:
        """Return the lines of the next message to the service manager that has this line."""
        end = time.monotonic() + within_s
        while time.monotonic() < end:
            with contextlib.suppress(TimeoutError):
                if word in (lines := self._ear.recv(4_096).decode().split("\n")):
                    return lines
                continue
            if self.ended:
                break
        raise AssertionError(f"aigend did not say {word}; its log:\n{self.log()}")

    @property
    def ended(self) -> bool:
        """Whether the process has ended, waited for or not."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] in "ZX"
        except FileNotFoundError:
            return True

    def client(self, **options: Any) -> aigen.Client:
        """Return a client of its own."""
        client = aigen.Client(self.socket, **({"timeout": PATIENCE_S} | options))
        self._clients.append(client)
        return client

    def signal(self, number: int) -> None:
        """Send a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once, in the middle of whatever it does."""
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def stop(self) -> int:
        """End it in order and return its exit code."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Return the exit code, negative for a signal."""
        if self._forked_by is not None:
            eventually(lambda: self.ended, within_s=40)
            code = self._forked_by.wait(self.pid)
        else:
            assert self._process is not None
            code = self._process.wait(40)
            self._process = None
        self.pid = 0
        self._forget_words()
        return code

    def log(self) -> str:
        """Return everything that it has written to standard error."""
        path = self.folder / "log"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def close(self) -> None:
        """Leave nothing running."""
        for client in self._clients:
            client.close()
        if self.pid:
            self.signal(signal.SIGKILL)
            self.wait()
        self._ear.close()

    def breaches(self, truth: Sequence[Mapping[str, Any]]) -> list[str]:
        """Return what is wrong with the ledger of a daemon that has ended, opened again as a copy."""
        copy = self.folder / "copy"
        shutil.copytree(self.state, copy)
        try:
            return [
                *asyncio.run(_opened(copy / "ledger.db")),
                *check_invariants(copy / "ledger.db", truth),
                *verify(copy / "ledger.db"),
            ]
        finally:
            shutil.rmtree(copy)

    def _forget_words(self) -> None:
        self._ear.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while True:
                self._ear.recv(4_096)
        self._ear.settimeout(0.1)


async def _opened(path: Path) -> list[str]:
    """Open a ledger, as a start does, and return its alarms."""
    ledger = Ledger(path=path, clock=SystemClock(), settings=LedgerSettings(), budgets=BudgetBook(()))
    report = await ledger.open()
    await ledger.close()
    return list(report.alarms)


def eventually(holds: Callable[[], Any], *, within_s: float = PATIENCE_S) -> Any:
    """Return the first true value, looked at again and again; fail where none comes in time."""
    end = time.monotonic() + within_s
    while not (value := holds()):
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.003)
    return value


def charges(truth: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a truth log."""
    text = truth.read_text(encoding="utf-8") if truth.exists() else ""
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
