"""A disk that fills while calls are under way: those are settled and answered, no other is begun, and nothing is lost."""

import os
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import aigen
import pytest

from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually
from tests.e2e.small_disk import SmallDisk
from tests.emulator_server import RunningEmulator

pytestmark = pytest.mark.not_on_floor
MODEL = "gpt-4o-mini"
CALLS = 12
SETTINGS = {"limits": {"per_provider": CALLS}}
ROOMLESS = """
from aigend.storage.room import WalRoom
WalRoom.keep = lambda self, size: None
"""


@pytest.fixture
def disk(make_daemon: MakeDaemon) -> SmallDisk:
    """A disk of a few MiB for a daemon that does not run yet."""
    return SmallDisk(make_daemon(SETTINGS), mib=6)


def under_way(pool: ThreadPoolExecutor, daemon: Aigend, emulator: RunningEmulator, *, tokens: int) -> list[Future[str]]:
    """Begin calls, and return once the provider has them all; each ends with its outcome or with its reason."""
    before, client = emulator.requests(), daemon.client()

    def ask(number: int) -> str:
        try:
            return client.complete(f"[[fault:delay_ms=700]] [[answer:tokens={tokens}]] {number}", model=MODEL).cache_outcome
        except aigen.AigenError as error:
            return error.reason

    asked = [pool.submit(ask, number) for number in range(CALLS)]
    eventually(lambda: emulator.requests() - before == CALLS)
    return asked


def booked(client: aigen.Client) -> Counter[str]:
    """Return how many entries are in which state."""
    return Counter(str(entry.state) for entry in client.ledger_entries())


@pytest.mark.parametrize("tokens", [50, 4_000, 40_000])
def test_calls_under_way_when_the_disk_fills_are_answered(disk: SmallDisk, emulator: RunningEmulator, tokens: int):
    """Each is settled and answered although others take every byte; the next is refused before it is sent, and hits go on."""
    daemon = disk.start()
    client = daemon.client()
    client.complete("kept", model=MODEL)
    with ThreadPoolExecutor(CALLS) as pool:
        asked = under_way(pool, daemon, emulator, tokens=tokens)
        with disk.filled():
            assert [call.result() for call in asked] == ["miss"] * CALLS
            refused = _refusal(client)
            assert client.complete("kept", model=MODEL).cache_outcome == "hit"
    assert (refused.reason, refused.code, refused.metadata["storage"]) == ("STORAGE_FULL", "RESOURCE_EXHAUSTED", "ledger")
    assert booked(client) == {"settled": len(emulator.charges())}
    assert client.status().state == "cache_only"
    disk.empty()
    eventually(lambda: client.status().state == "serving")
    assert client.complete("room again", model=MODEL).cache_outcome == "miss"


def test_control_without_room_loses_answers(disk: SmallDisk, emulator: RunningEmulator, tmp_path: Path):
    """With nothing kept in the log, calls that were paid for can't be booked: the room is the protection."""
    (tmp_path / "sitecustomize.py").write_text(ROOMLESS, encoding="utf-8")
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    daemon = disk.start(PYTHONPATH=path)
    with ThreadPoolExecutor(CALLS) as pool:
        asked = under_way(pool, daemon, emulator, tokens=4_000)
        with disk.filled():
            outcomes = Counter(call.result() for call in asked)
    assert outcomes["STORAGE_FULL"] > 0
    assert booked(daemon.client())["sent"] == outcomes["STORAGE_FULL"]


def _refusal(client: aigen.Client) -> aigen.DaemonFault:
    """Ask what was never asked until it is refused; what is left in the log may take a few calls more."""
    for number in range(200):
        try:
            client.complete(f"one more, {number}", model=MODEL)
        except aigen.DaemonFault as refused:
            return refused
    raise AssertionError("the disk was never full")
