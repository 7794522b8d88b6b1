"""A disk that is full or broken: paid calls are refused, nothing acknowledged is lost, and what can pass passes."""

import asyncio
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys

import pytest
from aigend.config import LedgerSettings
from aigend.errors import DomainError, Reason
from aigend.ledger import footprint, replies, schema
from aigend.ledger.statistics.hits import HitKey
from aigend.ledger.verify import verify
from aigend.storage.deferring import DeferringConnection
from aigend.storage.files import StorageRefused
from aigend.types import CacheOutcome, SavingsCause

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock

FILE_SIZE_LIMIT = 600_000
KEY = HitKey("me", "", "", "", "", "{}", "", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)


def storage_error(code: int) -> sqlite3.OperationalError:
    """Return an error as SQLite raises it when its storage fails."""
    error = sqlite3.OperationalError("made up by a test")
    error.sqlite_errorcode = code
    return error


class FailingConnection(DeferringConnection):
    """A connection whose COMMIT fails as long, or as often, as the test says so."""

    failure: int | None = None
    times: int | None = None  # None: as long as there is a failure

    def execute(self, statement, *parameters):
        """Fail a COMMIT, do all else."""
        if statement == "COMMIT" and FailingConnection.failure is not None and FailingConnection.times != 0:
            if FailingConnection.times is not None:
                FailingConnection.times -= 1
            raise storage_error(FailingConnection.failure)
        return super().execute(statement, *parameters)


@pytest.fixture
def failing(monkeypatch):
    """Make the writer's connection one that can be told to fail."""
    connect = sqlite3.connect

    def open_failing(path):
        monkeypatch.setattr(sqlite3, "connect", lambda *args, **rest: connect(*args, **(rest | {"factory": FailingConnection})))
        made = schema.connect_writer(path)
        monkeypatch.setattr(sqlite3, "connect", connect)
        return made

    monkeypatch.setattr(schema, "open_writer", open_failing)
    monkeypatch.setattr(FailingConnection, "failure", None)
    monkeypatch.setattr(FailingConnection, "times", None)
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


async def test_settling_that_finds_no_room_is_done_without_its_reply(tmp_path, failing):
    """The cost is booked and nothing raised where the disk is full for the commit with the reply."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent("r1"))
        failing.failure, failing.times = sqlite3.SQLITE_FULL, 1
        await ledger.settle(reservation, settlement(600))
        assert ledger.failed
        assert await rows(ledger, "SELECT state, cost_nanos FROM attempt") == [("settled", 600)]
        assert await ledger.reply("me", "r1") is None
        assert ledger.budget_status(NOW)[0].spent_nanos == 600
        await ledger._upkeep(sweep=False)
        assert not ledger.failed
    assert verify(tmp_path / "ledger.db") == ()


@pytest.mark.parametrize("ending", ["release", "mark_unknown"])
async def test_every_end_of_a_call_has_room(tmp_path, failing, ending):
    """A call that ends otherwise than settled is booked by itself as well."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent("r1"))
        failing.failure, failing.times = sqlite3.SQLITE_FULL, 1
        await getattr(ledger, ending)(reservation, reason="connect")
        assert await rows(ledger, "SELECT count(*) FROM attempt WHERE state = 'sent'") == [(0,)]
    assert verify(tmp_path / "ledger.db") == ()


async def test_nothing_but_a_probe_is_written_while_the_disk_is_full(tmp_path, failing):
    """Upkeep takes no room from calls under way."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, clock=clock, settings=LedgerSettings(reply_ttl_s=60)) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1")), settlement())
        failing.failure = sqlite3.SQLITE_FULL
        with pytest.raises(DomainError):
            await ledger.reserve(intent("r2"))
        clock.advance(61)
        with pytest.raises(DomainError):
            await ledger._upkeep(sweep=True)
        assert await rows(ledger, "SELECT count(*) FROM reply") == [(1,)]
        failing.failure = None
        await ledger._upkeep(sweep=True)
        assert await rows(ledger, "SELECT count(*) FROM reply") == [(0,)]


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
        said = {"settled": settled, "refused": refused, "failed": ledger.failed}
    print(json.dumps(said))

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


async def on_small_disk(tmp_path, *scripts, mib=1):
    """Run programs one after another on a file system of their own, and return what each said; its files are in `out` then."""
    if not await asyncio.to_thread(can_mount):
        pytest.skip("needs unshare -Urm and a tmpfs in it")
    (tmp_path / "small").mkdir()
    (tmp_path / "out").mkdir()
    runs = " && ".join(f'{sys.executable} -c "$SCRIPT{number}" {tmp_path}/small' for number in range(len(scripts)))
    script = (
        f"mount -t tmpfs -o size={mib}m none {tmp_path}/small && {{ {runs}; status=$?; "
        f"cp {tmp_path}/small/ledger* {tmp_path}/out; exit $status; }}"
    )
    environment = dict(os.environ, **{f"SCRIPT{number}": text for number, text in enumerate(scripts)})
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
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


async def test_really_full_disk_loses_nothing_acknowledged(tmp_path):
    """On a file system of 1 MiB the calls that no longer fit are STORAGE_FULL; every settled call is there afterwards."""
    [said] = await on_small_disk(tmp_path, FILL)
    assert said["settled"] > 5
    assert said["refused"] == Reason.STORAGE_FULL
    await check_after(tmp_path / "out", said)
    async with opened(tmp_path / "out", budget(limit_nanos=10**9)) as ledger:
        assert await rows(ledger, "SELECT count(*) FROM attempt WHERE state != 'settled'") == [(0,)]


UNDER_WAY = """
import asyncio, json, os, sys
from pathlib import Path
from aigend.errors import DomainError
from aigend.storage.room import WalRoom
from tests.daemon.ledger.ledger_calls import budget, intent, opened, rows, settlement

CALLS = 20
KEPT = CALLS * [20_000] + [5_000_000]

async def outcome(awaitable):
    try:
        return await awaitable
    except DomainError as error:
        return str(error.reason)

def fill(path):
    with open(path, "ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4_096))
        except OSError:
            pass

async def main(directory):
    async with opened(directory, budget(limit_nanos=10**9)) as ledger:
        reserved = [await ledger.reserve(intent(f"r{number}")) for number in range(len(KEPT))]
        fill(directory / "filler")
        ends = [outcome(ledger.settle(each, settlement(10, reply=bytes(size)))) for each, size in zip(reserved, KEPT)]
        lost = sum(isinstance(end, str) for end in await asyncio.gather(*ends))
        fill(directory / "filler")
        next_ones = [await outcome(ledger.reserve(intent(f"next{number}"))) for number in range(60)]
        sent = [each for each in next_ones if not isinstance(each, str)]
        replies = await rows(ledger, "SELECT count(*), max(size_bytes) FROM reply")
        said = {"lost": lost, "sent": len(sent), "refused": next_ones[-1], "replies": replies[0], "failed": ledger.failed}
        print("\\n" + json.dumps(said), flush=True)
        os._exit(0)  # as a kill does it

asyncio.run(main(Path(sys.argv[1])))
"""
NO_ROOM = "WalRoom.keep = lambda self, size: None\n"
AGAIN = """
import asyncio, json, sys
from pathlib import Path
from tests.daemon.ledger.ledger_calls import budget, intent, opened, rows, settlement

async def main(directory):
    async with opened(directory, budget(limit_nanos=10**9)) as ledger:
        states = await rows(ledger, "SELECT state, count(*) FROM attempt GROUP BY state")
        (directory / "filler").unlink()
        await ledger.settle(await ledger.reserve(intent("room again")), settlement())
    print("\\n" + json.dumps(dict(states)))

asyncio.run(main(Path(sys.argv[1])))
"""


async def test_calls_under_way_when_the_disk_fills_are_settled(tmp_path):
    """Each is booked with its reply, one too large without; the next are refused, and a kill and a start lose nothing either."""
    said, again = await on_small_disk(tmp_path, UNDER_WAY, AGAIN, mib=6)
    assert (said["lost"], said["replies"]) == (0, [20, 20_000])
    assert (said["refused"], said["failed"]) == (Reason.STORAGE_FULL, True)
    assert said["sent"] < 40
    assert again == {"settled": 21} | ({"unknown": said["sent"]} if said["sent"] else {})
    assert verify(tmp_path / "out" / "ledger.db") == ()


async def test_control_without_room_loses_calls_under_way(tmp_path):
    """With nothing kept in the log calls that were reserved can't be settled: the room is the protection."""
    [said] = await on_small_disk(tmp_path, UNDER_WAY.replace("CALLS = 20\n", "CALLS = 20\n" + NO_ROOM), mib=6)
    assert said["lost"] > 10


async def test_writes_stay_within_their_footprint(tmp_path):
    """A call takes no more of the log than it was promised, nor do a sweep and a flush; else the room would not be enough."""
    clock = FakeClock(NOW)
    budgets = [budget(name, 10**12, each=each) for name, each in (("a", None), ("b", "session"), ("c", "label:x"), ("d", "phase"))]
    async with opened(tmp_path, *budgets, clock=clock, settings=LedgerSettings(reply_ttl_s=60)) as ledger:
        log = ledger._writer._room._room

        async def taken(coroutine) -> tuple[int, object]:
            await ledger._writer.submit(lambda connection: connection.execute("SELECT 1"))
            before = log._written()
            result = await coroutine
            return (log._written() - before) * footprint.PAGE_BYTES, result

        for number in range(300):
            fields = {"session": f"s{number % 97}", "labels": {"x": f"v{number % 89}"}, "phase": f"p{number % 31}"}
            size, reservation = await taken(ledger.reserve(intent(hashlib.md5(b"%d" % number).hexdigest(), **fields)))  # noqa: S324
            assert size <= footprint.OPERATION_BYTES
            end = settlement(10, reply=bytes(number % 7 * 10_000), provider_usage_json="x" * 1_000)
            size, _ = await taken(ledger.settle(reservation, end))
            assert size <= footprint.settling(end)
        for number in range(200):
            ledger.hits.cell(KEY._replace(session=str(number))).add(NOW, 1, 1)
        size, _ = await taken(ledger.flush())
        assert size <= footprint.counting(200)
        clock.advance(61)
        few = await ledger.read(lambda connection: replies.expired(connection, now_us=int(clock.time() * 1e6)))
        assert 1 < len(few.operation_ids) <= replies.SWEEP_ROWS
        size, _ = await taken(ledger._writer.submit(lambda connection: replies.sweep(connection, few)))
        assert size <= footprint.dropping(few.sizes)
