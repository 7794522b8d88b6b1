"""The cache's file: what survives in it, what happens to a bad one, and when there is no room."""

import asyncio
import contextlib
import json
import logging
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aigend.cache.entry import ALL, CacheEntry, CacheFilter
from aigend.cache.stores import rows, schema
from aigend.cache.stores.port import Touch
from aigend.cache.stores.sqlite import RENEWAL_S, SqliteStore
from aigend.config import CacheSettings
from aigend.storage.failure import StorageFailure
from aigend.storage.files import StorageRefused

from tests.daemon.cache.entries import NOW, entry, key
from tests.fakes import FakeClock

NAMES = [f"entry {number}" for number in range(12)]
FLIPS = 300


def make(path: Path, *, max_bytes: int = 50_000_000, clock: FakeClock | None = None) -> SqliteStore:
    """Return a closed store on a file."""
    settings = CacheSettings.model_construct(max_size_bytes=max_bytes, compression=True)
    return SqliteStore(path=path, clock=clock or FakeClock(NOW), settings=settings)


@asynccontextmanager
async def opened(path: Path, **options: object) -> AsyncIterator[SqliteStore]:
    """Hold a store on a file open."""
    store = make(path, **options)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def stored(name: str) -> CacheEntry:
    """Return the entry of a name, with a text that differs from all others and is long enough to be compressed."""
    return entry(name, text=" ".join(f"{name} {number}" for number in range(80)))


async def fill(path: Path) -> None:
    """Make a file with twelve entries."""
    async with opened(path) as store:
        for name in NAMES:
            await store.put(stored(name))


def snapshot(source: Path, target: Path) -> Path:
    """Copy a file that is in use, as a kill would leave it, and return the copy."""
    target.mkdir(mode=0o700)
    for companion in schema.COMPANIONS:
        shutil.copy(source.with_name(source.name + companion), target / (source.name + companion))
    return target / source.name


@contextlib.contextmanager
def asked(path: Path) -> "contextlib.closing[sqlite3.Connection]":  # type: ignore[misc]
    """Look into a file by ourselves."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        yield connection


async def test_entries_outlive_a_restart(tmp_path: Path) -> None:
    """What was stored and counted is there again."""
    await fill(tmp_path / "cache.db")
    async with opened(tmp_path / "cache.db") as store:
        for name in NAMES:
            assert await store.fetch([key(name)], now=NOW) == stored(name)
        assert (await store.usage("local")).entry_count == len(NAMES)


async def test_a_key_that_is_not_there_needs_no_disk(tmp_path: Path) -> None:
    """Once the keys of an earlier run are learnt, strange ones are denied without the disk, and known ones are found."""
    await fill(tmp_path / "cache.db")
    async with opened(tmp_path / "cache.db") as store:
        async with asyncio.timeout(5):
            while not store.spared_count:
                assert await store.fetch([key("strange")], now=NOW) is None
        spared = store.spared_count
        await store.put(stored("new"))
        found = [await store.fetch([key(name)], now=NOW) for name in (*NAMES, "new")]
        assert found == [stored(name) for name in (*NAMES, "new")]
        assert store.spared_count == spared


async def test_the_file_is_marked_and_private(tmp_path: Path) -> None:
    """Application id, schema version, WAL and mode are set, and each migration is on record."""
    path = tmp_path / "cache.db"
    async with opened(path):
        for companion in schema.COMPANIONS:
            assert stat.S_IMODE(path.with_name(path.name + companion).stat().st_mode) == 0o600
        with contextlib.closing(schema.connect_reader(path)) as reader:
            marks = [reader.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version", "journal_mode")]
            applied = reader.execute("SELECT name FROM _sqlite_migrations").fetchall()
        assert marks == [schema.APPLICATION_ID, schema.NEWEST_VERSION, "wal"]
        assert applied == [("0001_entries",)]


def test_a_migration_that_fails_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables, version and record come together or not at all."""
    path = tmp_path / "cache.db"
    monkeypatch.setattr(schema, "_VERSION_1", (*schema._VERSION_1[:-1], "CREATE nonsense"))
    with pytest.raises(sqlite3.OperationalError):
        schema.connect_writer(path)
    with asked(path) as connection:
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        assert "entry" not in tables
        assert connection.execute("SELECT count(*) FROM _sqlite_migrations").fetchone()[0] == 0
        assert connection.execute("PRAGMA application_id").fetchone()[0] == 0


async def test_hits_and_their_order_outlive_a_restart(tmp_path: Path) -> None:
    """After a restart the least recently used still goes first."""
    path, size = tmp_path / "cache.db", 0
    async with opened(path) as store:
        for name in ("a", "b", "c"):
            await store.put(entry(name))
        await store.touch([Touch(key("a"), 1, NOW + 1)])
        size = (await store.usage("local")).size_bytes
    async with opened(path, max_bytes=size) as store:
        await store.put(entry("d"))
        assert [name for name in "abcd" if await store.fetch([key(name)], now=NOW)] == ["a", "c", "d"]


async def test_the_counted_size_is_what_the_rows_hold(tmp_path: Path) -> None:
    """The sum equals the bytes of all texts, blobs and numbers that lie in the file, after changes of every kind."""
    path = tmp_path / "cache.db"
    await fill(path)
    async with opened(path, max_bytes=8_000) as store:
        await store.put(stored("another"))
        await store.put(entry(NAMES[-1], text="short"))
        await store.clear("local", CacheFilter(key_prefix=key(NAMES[-2]).hex()), now=NOW, validate_only=False)
        while await store.tidy(now=NOW):
            pass
        usage = await store.usage("local")
    texts = ("scope", "namespace", "provider", "model", "agent", "phase", "service")
    lengths = " + ".join(f"length(CAST({name} AS BLOB))" for name in texts)
    with asked(path) as connection:
        question = f"SELECT count(*), sum({lengths} + length(key) + length(body) + 64) FROM entry JOIN record USING (id)"  # noqa: S608
        assert connection.execute(question).fetchone() == (usage.entry_count, usage.size_bytes)
        assert connection.execute("SELECT sum(entry_count), sum(size_bytes) FROM usage").fetchone() == (
            usage.entry_count,
            usage.size_bytes,
        )
        assert connection.execute("SELECT count(*) FROM record").fetchone()[0] == usage.entry_count
        assert usage.size_bytes <= 8_000


async def test_a_smaller_limit_takes_effect_by_tidying(tmp_path: Path) -> None:
    """After a restart with a smaller limit the file is brought below it."""
    await fill(tmp_path / "cache.db")
    async with opened(tmp_path / "cache.db", max_bytes=3_000) as store:
        while await store.tidy(now=NOW):
            pass
        assert (await store.usage("local")).size_bytes <= 3_000
        assert store.eviction_count > 0


async def test_what_was_cleared_stays_cleared_after_a_kill(tmp_path: Path) -> None:
    """Killed after the clear and before anything was deleted, the daemon serves, lists and counts none of it again."""
    path = tmp_path / "cache.db"
    await fill(path)
    async with opened(path) as store:
        await store.clear("local", CacheFilter(older_than_s=-0.0), now=NOW + 1, validate_only=False)
        await store.put(stored("later"))
        killed = snapshot(path, tmp_path / "killed")
    with asked(killed) as connection:
        assert connection.execute("SELECT count(*) FROM entry").fetchone()[0] == len(NAMES) + 1
    async with opened(killed) as store:
        for _ in range(2):
            assert [name for name in (*NAMES, "later") if await store.fetch([key(name)], now=NOW)] == ["later"]
            assert [info.key for info in (await store.page("local", ALL, now=NOW, size=50, after=None)).entries] == [key("later")]
            assert (await store.usage("local")).entry_count == 1
            while await store.tidy(now=NOW):
                pass
    with asked(killed) as connection:
        assert [connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0] for table in ("entry", "record", "clearing")] == [  # noqa: S608
            1,
            1,
            0,
        ]


async def test_many_cleared_entries_are_deleted_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No step of the tidying deletes more than a chunk, and the file gives its room back."""
    monkeypatch.setattr(rows, "CHUNK", 5)
    path = tmp_path / "cache.db"
    async with opened(path) as store:
        for number in range(40):
            await store.put(entry(str(number), text="".join(random.Random(number).choices("abcdefghij", k=6_000))))  # noqa: S311
        await store.clear("local", ALL, now=NOW, validate_only=False)
        steps = 0
        while await store.tidy(now=NOW):
            steps += 1
        assert steps >= 8
    with asked(path) as connection:
        assert connection.execute("PRAGMA page_count").fetchone()[0] < 30


async def test_an_index_that_leads_to_another_row_gives_no_wrong_answer(tmp_path: Path) -> None:
    """Records that were exchanged are misses, are counted, and go."""
    path = tmp_path / "cache.db"
    await fill(path)
    with asked(path) as connection, connection:
        connection.execute("UPDATE record SET id = -id")
        connection.execute("UPDATE record SET id = (SELECT max(id) FROM entry) + 1 + id")
    async with opened(path) as store:
        assert [await store.fetch([key(name)], now=NOW) for name in NAMES] == [None] * len(NAMES)
        assert store.damaged_count == len(NAMES)
        assert (await store.usage("local")).entry_count == 0


def damaged_copy(path: Path, target: Path, *, position: int) -> Path:
    """Return a copy of the file in which one bit is another."""
    target.mkdir(mode=0o700)
    data = bytearray(path.read_bytes())
    data[position // 8] ^= 1 << position % 8
    (target / path.name).write_bytes(data)
    (target / path.name).chmod(0o600)
    return target / path.name


@pytest.mark.timeout(60)
async def test_a_flipped_bit_gives_the_right_answer_or_none(tmp_path: Path) -> None:
    """One bit flipped in any of 300 places of the file: each answer is the one that was stored, or a miss, and the daemon opens."""
    await fill(tmp_path / "cache.db")
    places = random.Random(7).sample(range((tmp_path / "cache.db").stat().st_size * 8), FLIPS - 100)  # noqa: S311
    places += random.Random(8).sample(range(100 * 8), 100)  # noqa: S311 - the header
    misses = 0
    for position in places:
        copy = damaged_copy(tmp_path / "cache.db", tmp_path / "copy", position=position)
        async with opened(copy) as store:
            for name in NAMES:
                found = None
                with contextlib.suppress(StorageFailure):
                    found = await store.fetch([key(name)], now=NOW)
                assert found in (None, stored(name)), position
                misses += found is None
        shutil.rmtree(tmp_path / "copy")
    assert misses > 0


async def test_a_log_that_was_cut_loses_its_tail_only(tmp_path: Path) -> None:
    """With the write-ahead log cut at any of twenty places or deleted, the store opens and no answer is wrong."""
    path = tmp_path / "cache.db"
    async with opened(path) as store:
        for name in NAMES:
            await store.put(stored(name))
        for cut in range(20):
            copy = snapshot(path, tmp_path / f"cut {cut}")
            log = copy.with_name(copy.name + "-wal")
            keep = log.stat().st_size * cut // 20
            with log.open("r+b") as file:
                file.truncate(keep)
            if not cut:
                log.unlink()
            async with opened(copy) as other:
                for name in NAMES:
                    assert await other.fetch([key(name)], now=NOW) in (None, stored(name))


def moved_files(folder: Path) -> list[Path]:
    """Return what was moved out of the way, without what SQLite kept beside it."""
    return [found for found in folder.glob("cache.db.*") if not found.name.endswith(("-wal", "-shm"))]


def foreign(path: Path) -> None:
    """Make somebody else's database."""
    with asked(path) as connection:
        connection.execute("CREATE TABLE precious (value)")


def newer(path: Path) -> None:
    """Make a cache of a newer version."""
    with asked(path) as connection:
        connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {schema.NEWEST_VERSION + 1}")


def scrambled(path: Path) -> None:
    """Make a file that begins as a cache does and goes on with nonsense."""
    with contextlib.closing(schema.connect_writer(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = path.read_bytes()
    path.write_bytes(data[:100] + b"\xff" * (len(data) - 100))


@pytest.mark.parametrize(
    ("spoil", "condition"),
    [
        pytest.param(foreign, "foreign", id="foreign"),
        pytest.param(lambda path: path.write_text("Dear diary"), "foreign", id="no-database"),
        pytest.param(newer, "newer", id="newer"),
        pytest.param(lambda path: path.write_bytes(b"SQLite format 3\0"), "damaged", id="truncated"),
        pytest.param(scrambled, "damaged", id="scrambled"),
    ],
)
async def test_what_is_no_cache_of_ours_goes_into_quarantine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, spoil: object, condition: str
) -> None:
    """It is moved away unchanged, said so in the log, and a fresh cache serves within two seconds."""
    path = tmp_path / "cache.db"
    spoil(path)  # type: ignore[operator]
    path.chmod(0o600)
    before = path.read_bytes()
    begin = time.perf_counter()
    with caplog.at_level(logging.WARNING, "aigend.cache"):
        async with opened(path) as store:
            await store.put(entry())
            assert await store.fetch([key("one")], now=NOW) == entry()
            assert time.perf_counter() - begin < 2
    (moved,) = moved_files(tmp_path)
    assert moved.name.startswith(f"cache.db.{condition}-20260101T000000Z")
    assert moved.read_bytes() == before
    assert [record.message for record in caplog.records] == ["cache_quarantined"]


async def test_an_empty_file_is_a_fresh_cache(tmp_path: Path) -> None:
    """Nothing is quarantined; a log that an older file left behind is not taken over."""
    path = tmp_path / "cache.db"
    await fill(path)
    path.write_bytes(b"")
    path.with_name("cache.db-wal").write_bytes(b"of another file")
    async with opened(path) as store:
        assert (await store.usage("local")).entry_count == 0
        await store.put(entry())
        assert await store.fetch([key("one")], now=NOW) == entry()


def test_only_the_last_damaged_file_is_kept(tmp_path: Path) -> None:
    """Quarantine does not fill the disk, and what may be precious is never deleted or overwritten."""
    path = tmp_path / "cache.db"
    for condition in ("damaged", "foreign", "damaged", "foreign"):
        path.write_text(condition)
        schema.quarantine(path, schema.DatabaseCondition(condition), now=NOW)
    kept = sorted(found.name.split(".", 2)[2] for found in tmp_path.iterdir())
    assert kept == ["damaged-20260101T000000Z.2", "foreign-20260101T000000Z", "foreign-20260101T000000Z.2"]


async def test_a_file_open_to_others_is_refused(tmp_path: Path) -> None:
    """What others can write to is no cache of ours, and the error names the file."""
    path = tmp_path / "cache.db"
    await fill(path)
    path.chmod(0o666)
    with pytest.raises(StorageRefused, match=r"cache\.db is open to others"):
        await make(path).open()


async def test_a_file_that_breaks_while_it_is_used_gives_way_to_a_fresh_one(tmp_path: Path) -> None:
    """After damage was met, tidying replaces the file, at most once a minute, and storing goes on."""
    path, clock = tmp_path / "cache.db", FakeClock(NOW)
    await fill(path)
    with asked(path) as connection:
        drop_usage(connection)
    async with opened(path, clock=clock) as store:
        for wait_s in (0, RENEWAL_S):
            with pytest.raises(StorageFailure):
                await store.put(entry())
            clock.advance(wait_s)
            assert not await store.tidy(now=NOW)
            await store.put(entry())
            assert await store.fetch([key("one")], now=NOW) == entry()
            assert len(moved_files(tmp_path)) == 1
            await store._write(drop_usage)
        with pytest.raises(StorageFailure):
            await store.put(entry())
        await store.tidy(now=NOW)
        with pytest.raises(StorageFailure):
            await store.put(entry())


def drop_usage(connection: sqlite3.Connection) -> None:
    """Take away a table that no look-up needs and every change does."""
    connection.execute("DROP TABLE usage")


async def test_a_closed_store_says_so(tmp_path: Path) -> None:
    """Nothing hangs and nothing is written after the close."""
    store = make(tmp_path / "cache.db")
    await store.open()
    await store.close()
    for call in (store.put(entry()), store.fetch([key("one")], now=NOW), store.usage("local"), store.touch([])):
        with pytest.raises(StorageFailure, match="not open"):
            await call


FULL_DISK = """
import asyncio, json, random, resource, sys
from pathlib import Path
from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryTier
from aigend.cache.stores.sqlite import SqliteStore
from aigend.config import CacheSettings
from tests.daemon.cache.entries import NOW, TextEncoder, entry, key
from tests.fakes import FakeClock

def limit_files(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

async def main(folder: Path, early: int, late: int) -> None:
    clock, settings = FakeClock(NOW), CacheSettings()
    store = SqliteStore(path=folder / "cache.db", clock=clock, settings=settings)
    manager = CacheManager(store=store, memory=MemoryTier(max_bytes=10**8), clock=clock, encoder=TextEncoder(), settings=settings)
    if early:
        limit_files(early)
    await manager.open()
    if late:
        limit_files(late)
    storing, kept, wrong = [], 0, 0
    for number in range(300):
        made = entry(str(number), text=random.Random(number).randbytes(3000).hex())
        generation = manager.generation("local", "default")
        held = manager.keep(made, generation=generation)
        await manager.persist(held, generation=generation)
        kept += manager.peek(made.key) is held
        clock.advance(11)
        storing.append(manager.storing)
        loaded = await manager.load([key(str(number // 2))])
        wrong += loaded is not None and loaded.entry.answer.text != random.Random(number // 2).randbytes(3000).hex()
    again = None
    if early:
        limit_files(resource.RLIM_INFINITY)
        clock.advance(61)
        await manager._tidying
        await asyncio.sleep(0)
        await manager._tidying
        await manager.persist(held, generation=generation)
        again = manager.storing
    await manager.close()
    print(json.dumps({"first": storing[0], "last": storing[-1], "kept": kept, "wrong": wrong, "again": again}))

asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
"""
FILLED = {"first": True, "last": False, "kept": 300, "wrong": 0, "again": None}


def run_on_a_small_disk(command: list[str], tmp_path: Path) -> dict[str, object]:
    """Run the script above and return what it printed."""
    (tmp_path / "full.py").write_text(FULL_DISK)
    root = Path(__file__).parents[4]
    result = subprocess.run(
        command, cwd=root, capture_output=True, text=True, timeout=15, check=False, env={"PYTHONPATH": str(root)}
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("cache_passes_through") == 1
    return json.loads(result.stdout)  # type: ignore[no-any-return]


def test_a_full_disk_makes_the_cache_pass_through(tmp_path: Path) -> None:
    """On a file system of 1 MiB every answer is served from memory, none fails, and the daemon says that it does not store."""
    probe = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=1m none "$1"', "sh", str(tmp_path)]
    if shutil.which("unshare") is None or subprocess.run(probe, capture_output=True, check=False).returncode:
        pytest.skip("needs unshare -Urm for a small file system")
    disk = tmp_path / "disk"
    disk.mkdir()
    script = 'mount -t tmpfs -o size=1m,mode=700 none "$1" && exec "$2" "$3" "$1" 0 0'
    command = ["unshare", "-Urm", "sh", "-c", script, "sh", str(disk), sys.executable, str(tmp_path / "full.py")]
    assert run_on_a_small_disk(command, tmp_path) == FILLED


def test_a_file_size_limit_makes_the_cache_pass_through(tmp_path: Path) -> None:
    """The same where the system refuses to let the file grow, which SQLite reports as an I/O error."""
    command = [sys.executable, str(tmp_path / "full.py"), str(tmp_path), "0", "500000"]
    assert run_on_a_small_disk(command, tmp_path) == FILLED


def test_a_disk_that_is_full_from_the_start(tmp_path: Path) -> None:
    """The file can't even be made: answers pass through, and once there is room it is made and storing begins."""
    command = [sys.executable, str(tmp_path / "full.py"), str(tmp_path), "2000", "0"]
    assert run_on_a_small_disk(command, tmp_path) == FILLED | {"first": False, "again": True}


async def test_clearing_many_entries_is_quick(tmp_path: Path) -> None:
    """A clear of 20,000 entries answers before they are deleted: in under 50 ms, by any filter."""
    path = tmp_path / "cache.db"
    async with opened(path) as store:
        operations = [
            store._writer.submit(lambda connection, number=number: add_many(connection, number))  # type: ignore[union-attr]
            for number in range(0, 20_000, 2_000)
        ]
        await asyncio.gather(*operations)
        for chosen, count in ((CacheFilter(agent="a0"), 10_000), (ALL, 10_000)):
            begin = time.perf_counter()
            cleared = await store.clear("local", chosen, now=NOW + 1, validate_only=False)
            assert time.perf_counter() - begin < 0.05
            assert cleared.entry_count == count


def add_many(connection: sqlite3.Connection, first: int) -> None:
    """Put many small entries in one operation."""
    for number in range(first, first + 2_000):
        made = entry(str(number), agent=f"a{number % 2}")
        rows.put(connection, made, b"record", size=300, use_number=number + 1)
