"""The cache's tables, how they are brought up to date, how connections are opened, and where unusable files go."""

import sqlite3
import time
from pathlib import Path

from sqlite_utils import Database, Migrations

from aigend.storage.files import DatabaseCondition, examine_database, private_file

APPLICATION_ID = 0x41474331  # "AGC1" in the file's header
NEWEST_VERSION = 1
MMAP_BYTES = 268_435_456
BUSY_TIMEOUT_MS = 5_000
COMPANIONS = ("", "-wal", "-shm")

migrations = Migrations("aigend.cache")

_VERSION_1 = (  # never changed once released: a change is another migration
    # Numbers are never used twice, so that a clearing covers what was stored before it and nothing after.
    """CREATE TABLE entry (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        scope TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        create_time REAL NOT NULL,
        key BLOB NOT NULL,
        namespace TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        agent TEXT NOT NULL,
        phase TEXT NOT NULL,
        service TEXT NOT NULL,
        expire_time REAL NOT NULL,
        last_use_time REAL NOT NULL,
        use_number INTEGER NOT NULL,
        hit_count INTEGER NOT NULL DEFAULT 0,
        saved_nanos INTEGER
    )""",
    "CREATE UNIQUE INDEX entry_by_key ON entry (key)",
    "CREATE INDEX entry_by_use ON entry (use_number)",  # the clock may jump, this number does not
    "CREATE INDEX entry_by_expiry ON entry (expire_time)",
    # Apart from the entries, so that counting and listing read narrow rows.
    "CREATE TABLE record (id INTEGER PRIMARY KEY, body BLOB NOT NULL)",
    # What was cleared and is not yet deleted: entries up to a number that match a filter.
    """CREATE TABLE clearing (
        id INTEGER PRIMARY KEY,
        scope TEXT NOT NULL,
        filter TEXT NOT NULL,
        time REAL NOT NULL,
        last_id INTEGER NOT NULL
    )""",
    # Sums that are always true, so that nobody has to count a hundred thousand rows.
    "CREATE TABLE total (size_bytes INTEGER NOT NULL)",
    "INSERT INTO total VALUES (0)",
    """CREATE TABLE usage (
        scope TEXT NOT NULL,
        namespace TEXT NOT NULL,
        provider TEXT NOT NULL,
        model TEXT NOT NULL,
        agent TEXT NOT NULL,
        phase TEXT NOT NULL,
        service TEXT NOT NULL,
        entry_count INTEGER NOT NULL,
        size_bytes INTEGER NOT NULL,
        PRIMARY KEY (scope, namespace, provider, model, agent, phase, service)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER entry_comes AFTER INSERT ON entry BEGIN
        UPDATE total SET size_bytes = size_bytes + NEW.size_bytes;
        INSERT INTO usage
        VALUES (NEW.scope, NEW.namespace, NEW.provider, NEW.model, NEW.agent, NEW.phase, NEW.service, 1, NEW.size_bytes)
        ON CONFLICT (scope, namespace, provider, model, agent, phase, service)
        DO UPDATE SET entry_count = entry_count + 1, size_bytes = size_bytes + excluded.size_bytes;
    END""",
    """CREATE TRIGGER entry_goes AFTER DELETE ON entry BEGIN
        DELETE FROM record WHERE id = OLD.id;
        UPDATE total SET size_bytes = size_bytes - OLD.size_bytes;
        UPDATE usage SET entry_count = entry_count - 1, size_bytes = size_bytes - OLD.size_bytes
        WHERE (scope, namespace, provider, model, agent, phase, service)
            = (OLD.scope, OLD.namespace, OLD.provider, OLD.model, OLD.agent, OLD.phase, OLD.service);
        DELETE FROM usage
        WHERE (scope, namespace, provider, model, agent, phase, service)
            = (OLD.scope, OLD.namespace, OLD.provider, OLD.model, OLD.agent, OLD.phase, OLD.service)
            AND entry_count = 0;
    END""",
    f"PRAGMA application_id = {APPLICATION_ID}",
    "PRAGMA user_version = 1",
)


@migrations(name="0001_entries")
def _make_entries(database: Database) -> None:
    for statement in _VERSION_1:
        database.execute(statement)


def connect_writer(path: Path) -> sqlite3.Connection:
    """Return the one connection that writes and checkpoints, to a file brought to the newest version."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=64)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")  # only a fresh file takes it
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
        if connection.execute("PRAGMA user_version").fetchone()[0] < NEWEST_VERSION:
            migrations.apply(Database(connection, execute_plugins=False))
    except BaseException:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that can't write."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None, cached_statements=64)
    try:
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA mmap_size = {MMAP_BYTES}")
    except BaseException:
        connection.close()
        raise
    return connection


def make_usable(path: Path, *, now: float) -> Path | None:
    """Make sure that a file lies at a path which can be opened as a cache; return where an unusable one went.

    Raises:
        StorageRefused: The file is not ours or open to others.
    """
    try:
        condition = examine_database(path, application_id=APPLICATION_ID, newest_version=NEWEST_VERSION)
    except UnicodeDecodeError:  # SQLite quotes a damaged schema in its error
        condition = DatabaseCondition.DAMAGED
    moved = None if condition is DatabaseCondition.OURS else quarantine(path, condition, now=now)
    private_file(path)
    return moved


def quarantine(path: Path, condition: DatabaseCondition, *, now: float) -> Path | None:
    """Move a file and what SQLite keeps beside it out of the way; return the new name of the file.

    An empty file stays. Of damaged caches only the last is kept; what is foreign or newer is never deleted.
    """
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
    target = _free_name(path.with_name(f"{path.name}.{condition}-{stamp}"))
    if condition is DatabaseCondition.DAMAGED:
        for old in path.parent.glob(f"{path.name}.{condition}-*"):
            old.unlink(missing_ok=True)
    kept_back = condition in (DatabaseCondition.MISSING, DatabaseCondition.EMPTY)
    for companion in COMPANIONS[1:] if kept_back else COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(target.with_name(target.name + companion))
    return target if target.exists() else None


def _free_name(wanted: Path) -> Path:
    number, name = 1, wanted
    while name.exists():
        number += 1
        name = wanted.with_name(f"{wanted.name}.{number}")
    return name
