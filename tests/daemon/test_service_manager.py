"""What the service manager hears, over a real datagram socket."""

import asyncio
import contextlib
import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from aigend.clock import SystemClock
from aigend.service_manager import ServiceManager

from tests.fakes import FakeClock


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """Listen as the service manager does, on a path and in the abstract namespace."""
    address = str(tmp_path / "notify") if request.param == "path" else f"@aigen-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address.replace("@", "\0", 1))
        listener.settimeout(5)
        yield listener, address


def heard(listener: socket.socket) -> list[str]:
    """Return the lines of the next message."""
    return listener.recv(4096).decode().split("\n")


def test_every_message_arrives_as_the_protocol_spells_it(manager):
    """READY, STATUS, RELOADING, STOPPING and a longer timeout reach the service manager."""
    listener, address = manager
    clock = FakeClock()
    told = ServiceManager({"NOTIFY_SOCKET": address}, clock=clock)
    assert told.present
    told.ready("serving /run/x")
    assert heard(listener) == ["READY=1", "STATUS=serving /run/x", f"MAINPID={os.getpid()}"]
    told.status("5 calls\nREADY=1")
    assert heard(listener) == ["STATUS=5 calls READY=1"]
    told.reloading()
    assert heard(listener) == ["RELOADING=1", f"MONOTONIC_USEC={int(clock.monotonic() * 1_000_000)}"]
    told.extend_timeout(2.5)
    assert heard(listener) == ["EXTEND_TIMEOUT_USEC=2500000"]
    told.stopping("draining")
    assert heard(listener) == ["STOPPING=1", "STATUS=draining"]
    assert told.failure is None


async def test_the_watchdog_is_pinged_at_half_its_interval(manager):
    """Pings come from the event loop: at once, then each time half the interval has passed."""
    listener, address = manager
    listener.settimeout(0)
    clock = FakeClock()
    told = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, clock=clock)
    assert told.watchdog_interval_s == 3.0
    task = asyncio.create_task(told.keep_alive())
    await asyncio.sleep(0)
    assert heard(listener) == ["WATCHDOG=1"]
    clock.advance(1.4)
    await asyncio.sleep(0)
    with pytest.raises(BlockingIOError):
        listener.recv(4096)
    clock.advance(0.1)
    await asyncio.sleep(0)
    assert heard(listener) == ["WATCHDOG=1"]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize(
    "environ",
    [
        {"WATCHDOG_USEC": "3000000"},
        {"NOTIFY_SOCKET": "/x/y"},
        {"NOTIFY_SOCKET": "/x/y", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/x/y", "WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": "/x/y", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"},
    ],
)
async def test_nobody_is_pinged_who_does_not_watch_this_process(environ):
    """Without socket or interval, or for another process, the ping ends at once."""
    told = ServiceManager(environ, clock=SystemClock())
    assert told.watchdog_interval_s is None
    await told.keep_alive()


@pytest.mark.parametrize("address", ["", "@", "relative", "vsock:2:1234"])
def test_without_a_manager_nothing_is_sent(address):
    """A daemon started by hand does not care."""
    told = ServiceManager({"NOTIFY_SOCKET": address}, clock=SystemClock())
    assert not told.present
    told.ready("serving")
    assert told.failure is None


def test_a_manager_that_is_gone_does_not_stop_the_daemon(tmp_path):
    """A message that can't be sent is noted and nothing is raised."""
    told = ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "gone")}, clock=SystemClock())
    told.ready("serving")
    assert isinstance(told.failure, FileNotFoundError)


async def test_a_full_socket_does_not_block_the_event_loop(tmp_path):
    """A manager that reads nothing loses pings; the loop never waits for it."""
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(address)
        told = ServiceManager({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "3000000"}, clock=SystemClock())
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as noise:
            noise.settimeout(0)
            noise.connect(address)
            with contextlib.suppress(BlockingIOError):
                while True:
                    noise.send(b"X=1")
        task = asyncio.create_task(told.keep_alive())
        await asyncio.sleep(0)
        assert isinstance(told.failure, BlockingIOError)
        task.cancel()
