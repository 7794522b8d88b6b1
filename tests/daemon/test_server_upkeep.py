"""What a daemon that runs for months must not gather, and reloads that come at the same time."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigend import server

from tests.emulator_server import RunningEmulator
from tests.serving import House, eventually, serving, write_settings


@pytest.fixture
async def house(tmp_path: Path, emulator: RunningEmulator) -> AsyncIterator[House]:
    """A daemon whose provider is the emulator."""
    async with serving(tmp_path / "h", emulator.base_url) as house:
        yield house


async def test_reloads_leave_no_tasks_behind(house: House) -> None:
    """However often the settings are read again, no finished task is kept."""
    await asyncio.sleep(0)
    standing = set(house.daemon._tasks)
    for _ in range(5):
        house.daemon._on_reload_signal()
        await asyncio.gather(*(house.daemon._tasks - standing))
    await asyncio.sleep(0)
    assert house.daemon._tasks <= standing


async def test_warnings_are_bounded_and_said_once(house: House) -> None:
    """GetStatus shows each fault once, the latest ones, however many came."""
    fault = house.daemon._parts.ledger._on_fault
    for number in range(500):
        fault("the mark can't be written")
        fault(f"fault {number}")
    warnings = (await house.daemon.status()).warnings
    assert len(warnings) == server.MOST_WARNINGS
    assert list(warnings).count("the mark can't be written") == 1
    assert warnings[-1] == "fault 499"


async def test_last_of_two_reloads_wins(house: House, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reload that began earlier and took longer does not undo a later one."""
    load, go_on, loaded = server.load_settings, threading.Event(), []

    def slow(path, environ):
        settings = load(path, environ)
        loaded.append(settings)
        if len(loaded) == 1:
            write_settings(house.folder, emulator.base_url, time_zone="Asia/Seoul")
            go_on.wait(5)
        return settings

    monkeypatch.setattr(server, "load_settings", slow)
    first = asyncio.create_task(house.daemon.reload())
    await eventually(lambda: loaded)
    second = asyncio.create_task(house.daemon.reload())
    await asyncio.wait({second}, timeout=0.05)  # where it did not have to wait, it would be done
    go_on.set()
    await asyncio.gather(first, second)
    assert house.daemon._parts.engine.snapshot.settings.time_zone == "Asia/Seoul"
