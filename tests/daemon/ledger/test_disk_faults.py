"""A disk that is full or broken: paid calls are refused, nothing acknowledged is lost, and what can pass passes."""

import asyncio
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger import schema
from aigend.ledger.hits import HitKey
from aigend.ledger.verify import verify
from aigend.storage.files import StorageRefused
from aigend.types import CacheOutcome, SavingsCause

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement

FILE_SIZE_LIMIT = 600_000
KEY = HitKey("me", "", "", "", "", "{}", "", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)


def storage_error(code: int) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it when its storage fails."""
    error = sqlite3.OperationalError("made up by a test")
    error.sqlite_errorcode = code
    return error


class FailingConnection(sqlite3.Connection):
    """A connection whose COMMIT fails as long as the test says so."""

    failure: int | None = None

    def execute(self, statement, *parameters):
        """Fail a COMMIT, do all else."""
        if statement == "COMMIT" and FailingConnection.failure is not None:
            raise storage_error(FailingConnection.failure)
        return super().execute(statement, *parameters)


@pytest.fixture
def failing(monkeypatch):
    """Make the writer's connection one that can be told to fail."""
    connect = sqlite3.connect

    def open_failing(path):
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **rest: connect(*args, factory=FailingConnection, **rest))
        made = schema.connect_writer(path)
        monkeypatch.setattr(sqlite3, "connect", connect)
        return made

    monkeypatch.setattr(schema, "open_writer", open_failing)
    monkeypatch.setattr(FailingConnection, "failure", None)
    return FailingConnection


async def test_failed_fsync_refuses_paid_calls_for_good(tmp_path, failing):
    """After a failed fsync nothing is written any more, an operator is told, and reading goes on."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent("r1"))
        assert ledger.failure == ""
        failing.failure = sqlite3.SQLITE_IOERR_FSYNC
        with pytest.raises(DomainError) as caught:
            await ledger.settle(reservation, settlement())
        assert caught.value.reason is Reason.STORAGE_DAMAGED
        failing.failure = None
        with pytest.raises(DomainError) as caught:
            await ledger.reserve(intent("r2"))
        assert caught.value.reason is Reason.STORAGE_DAMAGED
        assert ledger.failed
        assert "paid calls are refused" in ledger.failure
        assert ledger.budget_status(NOW)[0].reserved_nanos == 1_000
        assert await rows(ledger, "SELECT state FROM attempt") == [("sent",)]
    async with opened(tmp_path, budget()) as ledger:
        assert await rows(ledger, "SELECT state FROM attempt") == [("unknown",)]
    assert verify(tmp_path / "ledger.db") == ()


async def test_full_disk_refuses_paid_calls_until_there_is_room(tmp_path, failing):
    """A call whose intent can't be written is refused with nothing held, and calls go on once there is room."""
    async with opened(tmp_path, budget()) as ledger:
        failing.failure = sqlite3.SQLITE_FULL
        with pytest.raises(DomainError) as caught:
            await ledger.reserve(intent("r1"))
        assert caught.value.reason is Reason.STORAGE_FULL
        assert ledger.failed
        assert ledger.known("me", "r1") is None
        failing.failure = None
        await ledger._upkeep(sweep=False)
        assert not ledger.failed
        await ledger.settle(await ledger.reserve(intent("r1")), settlement())
    assert verify(tmp_path / "ledger.db") == ()


async def test_full_disk_at_the_start_is_said(tmp_path, failing):
    """A ledger that can't be written at the start is named with what is allowed, and a process ends with 74."""
    async with opened(tmp_path, budget()):
        pass
    failing.failure = sqlite3.SQLITE_FULL
    with pytest.raises(StorageRefused, match="allowed: a disk with room") as refused:
        async with opened(tmp_path, budget()):
            pass
    assert refused.value.exit_code == 74
    assert str(tmp_path) in refused.value.text


async def test_hits_counted_while_nothing_can_be_written_are_not_lost(tmp_path, failing):
    """Counts wait in memory until they can be written."""
    async with opened(tmp_path) as ledger:
        cell = ledger.hits.cell(KEY)
        cell.add(NOW, 1, 1)
        failing.failure = sqlite3.SQLITE_FULL
        with pytest.raises(DomainError):
            await ledger.flush()
        cell.add(NOW, 1, 1)
        failing.failure = None
        assert await rows(ledger, "SELECT count FROM hit_minute") == [(2,)]


FILL = """
import asyncio, json, resource, sys
from pathlib import Path
from aigend.errors import DomainError
from tests.daemon.ledger.ledger_calls import budget, intent, opened, settlement

async def main(directory):
    settled, refused = 0, None
    async with opened(directory, budget(limit_nanos=10**9)) as ledger:
        if len(sys.argv) > 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
        for number in range(100_000):
            try:
                reservation = await ledger.reserve(intent(f"r{number}"))
                await ledger.settle(reservation, settlement(10, reply=bytes(5_000)))
                settled += 1
            except DomainError as error:
                refused = error.reason
                break
        print(json.dumps({"settled": settled, "refused": refused, "failed": ledger.failed}))

asyncio.run(main(Path(sys.argv[1])))
"""


def filled(command: list[str]) -> dict[str, object]:
    """Run FILL in a process of its own and return what it says on its last line."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


async def check_after(directory, said):
    """All that was acknowledged is there, and nothing is counted wrongly."""
    async with opened(directory, budget(limit_nanos=10**9)) as ledger:
        assert await rows(ledger, "SELECT count(*) FROM attempt WHERE state = 'settled'") == [(said["settled"],)]
    assert verify(directory / "ledger.db") == ()


async def test_file_size_limit_loses_nothing_acknowledged(tmp_path):
    """A real write that fails refuses the next calls; every settled call is there afterwards."""
    said = filled([sys.executable, "-c", FILL, str(tmp_path), str(FILE_SIZE_LIMIT)])
    assert said["settled"] > 5
    assert said["refused"] in (Reason.STORAGE_DAMAGED, Reason.STORAGE_FULL)
    assert said["failed"]
    await check_after(tmp_path, said)


def can_mount() -> bool:
    """Tell whether a small file system may be mounted in a namespace of our own."""
    if shutil.which("unshare") is None:
        return False
    command = ["unshare", "-Urm", "sh", "-c", "mount -t tmpfs -o size=1m none /mnt"]
    return subprocess.run(command, capture_output=True, check=False, timeout=10).returncode == 0


async def test_really_full_disk_loses_nothing_acknowledged(tmp_path):
    """On a file system of 1 MiB the calls that no longer fit are STORAGE_FULL; every settled call is there afterwards."""
    if not await asyncio.to_thread(can_mount):
        pytest.skip("needs unshare -Urm and a tmpfs in it")
    (tmp_path / "small").mkdir()
    (tmp_path / "out").mkdir()
    script = (
        f"mount -t tmpfs -o size=1m none {tmp_path}/small && "
        f'{sys.executable} -c "$FILL" {tmp_path}/small; status=$?; cp {tmp_path}/small/* {tmp_path}/out; exit $status'
    )
    environment = dict(os.environ, FILL=FILL)
    done = await asyncio.to_thread(
        subprocess.run,
        ["unshare", "-Urm", "sh", "-c", script],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["settled"] > 5
    assert said["refused"] == Reason.STORAGE_FULL
    await check_after(tmp_path / "out", said)
