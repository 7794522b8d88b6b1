"""The ledger's tables, how they are made and brought up to date, and how connections to them are opened.

Money is an integer of nano-dollars, time an integer of microseconds since 1970. NULL means unknown, never 0.
"""

import os
import sqlite3
from pathlib import Path

from aigend.ledger.statistics import histogram, sums
from aigend.ledger.statistics.rollup_schema import PACKED_ROLLUPS, ROLLUPS
from aigend.storage.deferring import DeferringConnection
from aigend.storage.files import sync_directory

APPLICATION_ID = 0x41474C31  # "AGL1" in the file's header
BUSY_TIMEOUT_MS = 5_000

VERSION_1 = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
INSERT INTO meta VALUES ('epoch', 0), ('sealed_seq', 0), ('reply_bytes', 0);

-- One question under one request id, whatever became of it. Its state is that of its last attempt and stands there only.
CREATE TABLE operation (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_digest BLOB NOT NULL,
    attempt_count INTEGER NOT NULL,
    attempt_id INTEGER NOT NULL,           -- the last one
    create_us INTEGER NOT NULL,
    UNIQUE (scope, request_id)
) STRICT;

-- One try at one route. State: reserved, sent, submitted, settled, released, unknown.
CREATE TABLE attempt (
    id INTEGER PRIMARY KEY,
    operation_id INTEGER NOT NULL,
    scope TEXT NOT NULL,
    request_id TEXT NOT NULL,
    attempt_number INTEGER NOT NULL,       -- from 1, within its operation
    epoch INTEGER NOT NULL,
    state TEXT NOT NULL,
    create_us INTEGER NOT NULL,            -- when the cost was reserved
    update_us INTEGER NOT NULL,            -- when the state last changed
    service TEXT NOT NULL,
    session TEXT NOT NULL,
    phase TEXT NOT NULL,
    task TEXT NOT NULL,
    labels TEXT NOT NULL,                  -- JSON object, keys sorted
    agent TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,                   -- of the route
    requested_model TEXT NOT NULL,
    resolved_model TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL,                 -- cache outcome: miss, bypass, refresh
    reserved_nanos INTEGER NOT NULL,       -- upper bound held while open; 0 where no price is known
    cost_nanos INTEGER,                    -- exactly in state settled, and NULL there where no price is known
    cost_basis TEXT NOT NULL DEFAULT 'unpriced',
    unknown_low_nanos INTEGER,             -- exactly in state unknown: what was charged at least
    unknown_high_nanos INTEGER,            -- exactly in state unknown: what was charged at most, and is booked
    price_entry_id TEXT NOT NULL DEFAULT '',
    input_tokens INTEGER,
    cache_read_tokens INTEGER,
    cache_write_5m_tokens INTEGER,
    cache_write_1h_tokens INTEGER,
    output_tokens INTEGER,                 -- reasoning inside
    reasoning_tokens INTEGER,
    searches INTEGER,
    provider_usage_json TEXT NOT NULL DEFAULT '',
    flags TEXT NOT NULL DEFAULT '[]',      -- JSON array of strings
    provider_us INTEGER,
    total_us INTEGER,
    savings TEXT NOT NULL DEFAULT '{}',    -- JSON object: cause -> nano-dollars
    reason TEXT NOT NULL DEFAULT ''        -- why released or unknown
) STRICT;
CREATE INDEX attempt_by_time ON attempt (scope, create_us);
CREATE INDEX attempt_by_operation ON attempt (operation_id);
CREATE INDEX attempt_open ON attempt (state) WHERE state IN ('reserved', 'sent', 'submitted');

-- What happened, in order: gap-free, never changed; each checksum covers its row and the checksum before it.
CREATE TABLE journal (
    seq INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL,
    attempt_id INTEGER,                    -- NULL: an event of the ledger itself
    event TEXT NOT NULL,                   -- reserved, submitted, sent, settled, released, unknown, opened, alarm
    reserved_delta INTEGER NOT NULL,       -- what the event added to `reserved` of each of the attempt's windows
    spent_delta INTEGER NOT NULL,          -- what the event added to `spent` of each of the attempt's windows
    detail TEXT NOT NULL,                  -- JSON object
    create_us INTEGER NOT NULL,
    checksum BLOB NOT NULL
) STRICT;

-- Settled answers, kept for a while for replays of their request id.
CREATE TABLE reply (
    operation_id INTEGER PRIMARY KEY,
    expire_us INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;
CREATE INDEX reply_by_expiry ON reply (expire_us);

-- What a budget has spent and holds in one window. The sealed columns are a snapshot as of `sealed_seq` in meta.
CREATE TABLE budget_window (
    id INTEGER PRIMARY KEY,
    budget TEXT NOT NULL,
    key TEXT NOT NULL,                     -- the value that it holds for; '' where it holds for all
    period TEXT NOT NULL,
    window TEXT NOT NULL,
    start_us INTEGER NOT NULL,
    end_us INTEGER NOT NULL,               -- exclusive; the largest integer where it never ends
    spent_nanos INTEGER NOT NULL DEFAULT 0,
    reserved_nanos INTEGER NOT NULL DEFAULT 0,
    announced_percent INTEGER NOT NULL DEFAULT 0,
    sealed_spent_nanos INTEGER NOT NULL DEFAULT 0,
    sealed_reserved_nanos INTEGER NOT NULL DEFAULT 0,
    UNIQUE (budget, key, period, window)
) STRICT;
CREATE INDEX budget_window_by_end ON budget_window (budget, key, period, end_us);
CREATE TABLE attempt_window (
    attempt_id INTEGER NOT NULL,
    window_id INTEGER NOT NULL,
    PRIMARY KEY (attempt_id, window_id)
) STRICT, WITHOUT ROWID;

-- Answers that cost nothing (hits, followers, replays), summed up by minute.
CREATE TABLE hit_key (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    service TEXT NOT NULL,
    session TEXT NOT NULL,
    phase TEXT NOT NULL,
    task TEXT NOT NULL,
    labels TEXT NOT NULL,                  -- JSON object, keys sorted
    agent TEXT NOT NULL,
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    outcome TEXT NOT NULL,                 -- hit, coalesced, replay
    cause TEXT NOT NULL,                   -- savings cause: cache, single_flight
    UNIQUE (scope, service, session, phase, task, labels, agent, provider, model, outcome, cause)
) STRICT;
CREATE TABLE hit_minute (
    minute INTEGER NOT NULL,               -- minutes since 1970
    key_id INTEGER NOT NULL,
    count INTEGER NOT NULL,
    saved_nanos INTEGER NOT NULL,          -- of those whose saving is known
    saved_unknown_count INTEGER NOT NULL,
    latency_us INTEGER NOT NULL,           -- summed
    histogram TEXT NOT NULL,               -- JSON object: index in latency.BOUNDS -> count
    PRIMARY KEY (minute, key_id)
) STRICT, WITHOUT ROWID;
"""

# Budgets that somebody set, pauses, and what budgets have told.
BUDGETS = """
CREATE TABLE budget (
    name TEXT PRIMARY KEY,
    definition TEXT NOT NULL,              -- JSON object, as in the settings
    create_us INTEGER NOT NULL,
    update_us INTEGER NOT NULL
) STRICT;
CREATE TABLE budget_pause (
    budget TEXT NOT NULL,
    key TEXT NOT NULL,                     -- the value that is paused
    whole INTEGER NOT NULL,                -- 1: all values are
    since_us INTEGER NOT NULL,
    PRIMARY KEY (budget, key, whole)
) STRICT, WITHOUT ROWID;
CREATE TABLE alert (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    kind TEXT NOT NULL,                    -- threshold, paused, resumed
    budget TEXT NOT NULL,
    key TEXT NOT NULL,
    window TEXT NOT NULL,                  -- '' for what was done by hand
    percent INTEGER NOT NULL,              -- threshold; 0: none
    limit_nanos INTEGER NOT NULL,
    spent_nanos INTEGER NOT NULL,
    text TEXT NOT NULL,
    create_us INTEGER NOT NULL
) STRICT;
"""

# Provider batch jobs. An upload is one job at one provider's batch API, a line one request in it; a batch job is a caller's handle
# over requests that may lie in several uploads. Requests are kept until they have ended.
BATCHES = """
CREATE TABLE batch_upload (
    id INTEGER PRIMARY KEY,
    mark TEXT NOT NULL UNIQUE,             -- our own name of it, durable before its first byte leaves
    provider TEXT NOT NULL,
    model TEXT NOT NULL,
    account INTEGER NOT NULL,              -- number of the key that it is made with
    provider_job_id TEXT NOT NULL DEFAULT '',  -- '' until the provider has told it
    outcome TEXT NOT NULL DEFAULT '',      -- '' while it is open; ended, failed, expired, cancelled, lost
    line_count INTEGER NOT NULL,
    cancelled INTEGER NOT NULL DEFAULT 0,  -- 1: the provider shall be asked to stop
    create_us INTEGER NOT NULL,
    end_us INTEGER
) STRICT;
CREATE INDEX batch_upload_open ON batch_upload (outcome) WHERE outcome = '';
-- Exactly the attempts that are reserved for, or submitted in, an upload.
CREATE TABLE batch_line (
    attempt_id INTEGER PRIMARY KEY,
    upload_id INTEGER,                     -- NULL: it waits for company
    custom_id TEXT NOT NULL UNIQUE,        -- our name of the line in the provider's job, unique for ever
    account INTEGER NOT NULL,
    request BLOB NOT NULL,                 -- the whole message, as it came
    cache_key BLOB NOT NULL,
    input_tokens INTEGER NOT NULL,         -- estimated, with a margin upwards
    max_output_tokens INTEGER NOT NULL,    -- what is sent as the limit
    start_by_us INTEGER                    -- latest start; NULL: it may wait as long as others do
) STRICT;
CREATE INDEX batch_line_by_upload ON batch_line (upload_id);
CREATE TABLE batch_job (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,                    -- the request id that it was created under
    request_digest BLOB NOT NULL,
    session TEXT NOT NULL,
    task TEXT NOT NULL,
    labels TEXT NOT NULL,                  -- JSON object, keys sorted
    allow_repeat INTEGER NOT NULL,
    item_count INTEGER NOT NULL,
    complete_by_us INTEGER,
    create_us INTEGER NOT NULL,
    cancel_us INTEGER,                     -- when somebody cancelled it
    end_us INTEGER,                        -- when its last item ended
    UNIQUE (scope, name)
) STRICT;
CREATE INDEX batch_job_by_end ON batch_job (end_us) WHERE end_us IS NOT NULL;
CREATE TABLE batch_item (
    job_id INTEGER NOT NULL,
    position INTEGER NOT NULL,             -- from 0, as they were given
    request_id TEXT NOT NULL,
    state TEXT NOT NULL,                   -- open, answered, failed
    body BLOB NOT NULL,                    -- open: the request; answered: the response; failed: the error as JSON
    PRIMARY KEY (job_id, position)
) STRICT;
CREATE INDEX batch_item_open ON batch_item (state, job_id) WHERE state = 'open';
"""

# What a call asked of its provider's prompt cache, by short digests, and what its writes cost above ordinary input.
PREFIXES = """
ALTER TABLE attempt ADD COLUMN prefix TEXT NOT NULL DEFAULT '';       -- longest marked prefix; '' where nothing was marked
ALTER TABLE attempt ADD COLUMN read_prefix TEXT NOT NULL DEFAULT '';  -- the prefix written before that was sent again; '' for none
ALTER TABLE attempt ADD COLUMN write_premium_nanos INTEGER;           -- NULL where it was not reckoned
ALTER TABLE attempt ADD COLUMN decided TEXT NOT NULL DEFAULT '';      -- that a budget sent it to a cheaper model, for people
ALTER TABLE attempt ADD COLUMN corrected_with TEXT NOT NULL DEFAULT '';  -- price entry that corrected its cost; '' for none
CREATE INDEX attempt_by_prefix ON attempt (scope, create_us) WHERE prefix != '' OR read_prefix != '' OR cache_read_tokens > 0
    OR cache_write_5m_tokens > 0 OR cache_write_1h_tokens > 0;
"""

# What was written to files and taken out of the tables. An operation that is named here keeps its row, so that its id stays known.
ARCHIVES = """
CREATE TABLE archive (
    id INTEGER PRIMARY KEY,
    month TEXT NOT NULL UNIQUE,            -- as YYYY-MM, in UTC
    state TEXT NOT NULL,                   -- claiming, claimed, written, done
    file TEXT NOT NULL,                    -- its whole path when it was written
    end_us INTEGER NOT NULL,               -- when the month ended
    first_seq INTEGER NOT NULL,            -- of the journal rows in it
    last_seq INTEGER NOT NULL,
    before_checksum BLOB NOT NULL,         -- of the journal row before the first
    last_checksum BLOB NOT NULL,
    last_operation_id INTEGER NOT NULL,    -- operations up to it are looked at
    last_attempt_id INTEGER NOT NULL,      -- attempts up to it are in the file
    operation_count INTEGER NOT NULL DEFAULT 0,
    attempt_count INTEGER NOT NULL DEFAULT 0,
    journal_count INTEGER NOT NULL DEFAULT 0,
    hit_count INTEGER NOT NULL DEFAULT 0,  -- rows of answers that cost nothing
    cost_nanos INTEGER NOT NULL DEFAULT 0, -- of its settled attempts
    size_bytes INTEGER NOT NULL DEFAULT 0, -- of the file
    sha256 BLOB NOT NULL DEFAULT x'',      -- of what is in it, uncompressed
    create_us INTEGER NOT NULL
) STRICT;
ALTER TABLE operation ADD COLUMN archive_id INTEGER;                  -- where its attempts are, or are about to be; NULL: here
CREATE INDEX operation_archived ON operation (archive_id) WHERE archive_id IS NOT NULL;
ALTER TABLE budget_window ADD COLUMN archived_nanos INTEGER NOT NULL DEFAULT 0;  -- part of `spent_nanos` whose rows are archived
"""

# Which attempts a batch job paid for itself, where others come or came under the same request ids, and what its requests were.
JOB_SHARES = """
ALTER TABLE batch_job ADD COLUMN attempt_mark INTEGER NOT NULL DEFAULT 0;  -- highest attempt when it was taken: its own come after
ALTER TABLE batch_item ADD COLUMN attempt_mark INTEGER;  -- highest attempt when it ended; 0: none is its own; NULL: it is open
ALTER TABLE batch_item ADD COLUMN digest BLOB;           -- SHA-256 of its request without complete_by; NULL: from before
CREATE INDEX batch_item_by_request ON batch_item (request_id, job_id);
UPDATE batch_item SET attempt_mark = CASE state WHEN 'failed' THEN 0 ELSE (SELECT max(id) FROM attempt) END WHERE state != 'open';
"""

# Each brings the schema from its index to index + 1.
MIGRATIONS = (VERSION_1, BUDGETS, ROLLUPS, BATCHES, PACKED_ROLLUPS, PREFIXES, ARCHIVES, JOB_SHARES)
NEWEST_VERSION = len(MIGRATIONS)


def create(path: Path) -> None:
    """Make an empty ledger; the file appears complete or not at all."""
    fresh = path.with_name(path.name + ".new")
    for leftover in (fresh, fresh.with_name(fresh.name + "-wal"), fresh.with_name(fresh.name + "-shm")):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA journal_mode=WAL")
        migrate(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    fresh.replace(path)
    sync_directory(path.parent)


def migrate(connection: sqlite3.Connection) -> int:
    """Bring the schema to the newest version, each step in one transaction with its number; return where it was."""
    register(connection)
    before = int(connection.execute("PRAGMA user_version").fetchone()[0])
    for version in range(before, NEWEST_VERSION):
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[version]}; PRAGMA user_version={version + 1}; COMMIT;")
    return before


def register(connection: sqlite3.Connection) -> None:
    """Give a connection the functions that statements on roll-ups use."""
    histogram.register(connection)
    sums.register(connection)


def connect_writer(path: Path) -> sqlite3.Connection:
    """Return the one connection that writes and checkpoints: every commit is on the disk before it returns."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, factory=DeferringConnection)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA mmap_size=0")
    connection.execute("PRAGMA temp_store=MEMORY")
    register(connection)
    return connection


def open_writer(path: Path) -> sqlite3.Connection:
    """Return the writer's connection to a ledger brought to the newest version."""
    connection = connect_writer(path)
    try:
        migrate(connection)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Return a connection that can't write and never checkpoints; it belongs to one thread and one short question."""
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
    connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    connection.execute("PRAGMA query_only=1")
    connection.execute("PRAGMA wal_autocheckpoint=0")
    connection.execute("PRAGMA mmap_size=0")
    register(connection)
    return connection
