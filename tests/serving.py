"""A whole daemon in the test's own process and event loop, on a real socket, with the emulator as its provider."""

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aigen
import yaml
from aigend.clock import SystemClock
from aigend.config import LoadedSettings, load_settings
from aigend.server import Daemon, take_locks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
MODEL = "gpt-4o-mini"


class House:
    """A running daemon and its files."""

    def __init__(self, folder: Path, daemon: Daemon, client: aigen.AsyncClient) -> None:
        self.folder = folder
        self.daemon = daemon
        self.client = client
        self.socket = folder / "s"
        self.stopped = False

    async def stop(self) -> None:
        """Stop the daemon, once."""
        if not self.stopped:
            self.stopped = True
            await self.daemon.stop()


def write_settings(folder: Path, base_url: str = "", **settings: Any) -> Path:
    """Write a settings file whose places lie in `folder`; its only provider is at `base_url`, where one is given."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    own: dict[str, Any] = {
        "socket": str(folder / "s"),
        "state_directory": str(folder / "st"),
        "cache_directory": str(folder / "ca"),
    }
    if base_url:
        own["providers"] = {"openai": {"base_url": base_url, "api_key": "made-up"}}
    path = folder / "aigend.yaml"
    path.write_text(yaml.safe_dump(own | {"retry": {"max_attempts": 1}} | settings), encoding="utf-8")
    path.chmod(0o600)
    return path


def loaded_settings(
    folder: Path, base_url: str = "", *, environ: Mapping[str, str] | None = None, **settings: Any
) -> LoadedSettings:
    """Return settings whose places lie in `folder`."""
    return load_settings(write_settings(folder, base_url, **settings), {"HOME": str(folder)} | dict(environ or {}))


@asynccontextmanager
async def serving(
    folder: Path, base_url: str = "", *, environ: Mapping[str, str] | None = None, **settings: Any
) -> AsyncIterator[House]:
    """Serve for as long as the block lasts."""
    loaded = loaded_settings(folder, base_url, environ=environ, **settings)
    thresholds = gc.get_threshold()
    with ExitStack() as stack:
        for held in take_locks(loaded):
            stack.callback(held.release)
        daemon = Daemon(loaded, environ={"HOME": str(folder)} | dict(environ or {}), clock=SystemClock())
        await daemon.start()
        house = House(folder, daemon, aigen.AsyncClient(folder / "s", timeout=10.0))
        try:
            yield house
        finally:
            await house.client.close()
            await house.stop()
            for number in SIGNALS:
                asyncio.get_running_loop().remove_signal_handler(number)
            gc.unfreeze()
            gc.set_threshold(*thresholds)


async def eventually(holds: Callable[[], Any]) -> Any:
    """Return the first true value, looked at each time that the loop comes round; the test's timeout bounds it."""
    while not (value := holds()):  # noqa: ASYNC110 - the daemon's own state signals nobody
        await asyncio.sleep(0.001)
    return value
