"""Ledgers of any number of entries, made in the rows that paid calls leave, a few hundred thousand a minute.

Every row, checksum, sum and mark is what a daemon would have written, so that verification passes and a daemon serves on it.
"""

import contextlib
import hashlib
import itertools
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from aigend.ledger import mark, replies, schema
from aigend.ledger.budgets import windows
from aigend.ledger.journal import Tail
from aigend.ledger.statistics import rollups
from aigend.ledger.statistics.hits import HitKey
from aigend.storage.deferring import DeferringConnection
from aigend.types import CacheOutcome

CHUNK = 20_000  # entries in one transaction
REPLIES = 20_000  # answers that are still kept
SESSION_ENTRIES = 1_000
RESERVED = 9_000_000  # nano-dollars
_LABELS = '{"environment":"production","team":"research"}'
_CALLS = tuple(itertools.product(range(4), range(8)))  # phase and provider, task and model
_OPERATION = (
    "INSERT INTO operation (id, scope, request_id, request_digest, attempt_count, attempt_id, create_us)"
    " VALUES (?, 'local', ?, ?, 1, ?, ?)"
)
_ATTEMPT = (
    "INSERT INTO attempt (id, operation_id, scope, request_id, attempt_number, epoch, state, create_us, update_us,"  # noqa: S608
    " service, session, phase, task, labels, agent, provider, model, requested_model, resolved_model, outcome, reserved_nanos,"
    " cost_nanos, cost_basis, price_entry_id, input_tokens, cache_read_tokens, cache_write_5m_tokens, cache_write_1h_tokens,"
    " output_tokens, reasoning_tokens, searches, provider_usage_json, provider_us, total_us)"
    f" VALUES (?1, ?1, 'local', ?2, 1, 1, 'settled', ?3, ?4, 'pipeline', ?5, ?6, ?7, '{_LABELS}', '', ?8, ?9, ?9, ?9, 'miss',"
    f" {RESERVED}, ?10, 'priced', 'bundled', ?11, 0, 0, 0, ?12, 0, 0, ?13, ?14, ?15)"
)
_JOURNAL = "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Call(NamedTuple):
    """What one paid call leaves."""

    id: int
    request_id: str
    create_us: int
    update_us: int
    session: str
    phase: str
    task: str
    provider: str
    model: str
    cost_nanos: int
    input: int
    output: int
    usage: str
    provider_us: int
    total_us: int


def build(path: Path, *, entries: int, end: float, days: float) -> None:
    """Make a ledger whose entries are spread evenly over the days before `end`, seconds since 1970."""
    schema.create(path)
    with contextlib.closing(_bulk_connection(path)) as connection:
        tail = Tail()
        dropped = _drop_indexes(connection)
        for chunk in _chunks(entries, end_us=int(end * 1e6), span_us=int(days * 86_400e6)):
            tail = _write(connection, chunk, tail, kept_after=entries - REPLIES)
        for text in dropped:
            connection.execute(text)
        connection.execute("BEGIN")
        rollups.fold(connection, int(end - 2 * rollups.QUARTER_S) // rollups.QUARTER_S)
        connection.execute("UPDATE meta SET value = 1 WHERE name = 'epoch'")
        windows.seal(connection)
        connection.execute("COMMIT")
        connection.execute("PRAGMA journal_mode=WAL")
    mark.write_mark(mark.mark_path(path), tail)


def _bulk_connection(path: Path) -> DeferringConnection:
    """Open a ledger for as long as nobody else does, without care for a power cut."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256, factory=DeferringConnection)
    for pragma in ("journal_mode=DELETE", "journal_mode=OFF", "synchronous=OFF", "cache_size=-400000", "temp_store=FILE"):
        connection.execute(f"PRAGMA {pragma}")
    schema.register(connection)
    return connection


def _drop_indexes(connection: sqlite3.Connection) -> list[str]:
    """Drop what is quicker made at once afterwards, and return how."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'attempt'").fetchall()
    for name, _ in found:
        connection.execute(f"DROP INDEX {name}")
    return [text for _, text in found]


def _chunks(entries: int, *, end_us: int, span_us: int) -> Iterator[list[Call]]:
    start_us = end_us - span_us
    for first in range(1, entries + 1, CHUNK):
        numbers = range(first, min(first + CHUNK, entries + 1))
        yield [call(number, start_us + span_us * number // (entries + 1)) for number in numbers]


def call(number: int, create_us: int) -> Call:
    """Return the call of a number; it is the same in every run."""
    side, kind = _CALLS[number % len(_CALLS)]
    mixed = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    bits, stamp, took = f"{mixed:016x}", f"{create_us // 1_000:012x}", 200_000 + mixed % 2_800_000
    request_id = f"{stamp[:8]}-{stamp[8:]}-7{bits[:3]}-a{bits[3:6]}-{bits[4:]}"  # of the shape that the client makes
    read, written = 100 + mixed % 3_900, 10 + mixed % 890
    ends = (
        10_000 + mixed % 5_000_000,
        read,
        written,
        f'{{"prompt_tokens":{read},"completion_tokens":{written}}}',
        took,
        took + 900,
    )
    names = (f"run-{number // SESSION_ENTRIES}", f"phase-{side}", f"task-{kind}", f"provider-{side}", f"model-{kind}")
    return Call(number, request_id, create_us, create_us + took, *names, *ends)


def account(call: Call) -> HitKey:
    """Return what roll-ups count a call by."""
    names = ("local", "pipeline", call.session, call.phase, call.task, _LABELS, "", call.provider, call.model)
    return HitKey(*names, CacheOutcome.MISS, "")


def _write(connection: DeferringConnection, chunk: list[Call], tail: Tail, *, kept_after: int) -> Tail:
    """Write some calls and return where the journal ends."""
    connection.execute("BEGIN")
    connection.begin_group()
    for key in {account(call) for call in chunk}:
        rollups.account_of(connection, key)
    connection.executemany(
        _OPERATION, [(call.id, call.request_id, call.id.to_bytes(32, "big"), call.id, call.create_us) for call in chunk]
    )
    connection.executemany(_ATTEMPT, chunk)
    rows = journal_rows(tail, chunk)
    connection.executemany(_JOURNAL, rows)
    keep = replies.Keep(ttl_us=86_400 * 10**6, max_bytes=2**40)
    for call in chunk:
        rollups.add(connection, call.id)
        if call.id > kept_after:
            replies.keep(connection, call.id, b"x" * 1_024, keep=keep, now_us=call.update_us)
    connection.end_group()
    connection.execute("COMMIT")
    return Tail(rows[-1][0], rows[-1][-1])


def journal_rows(tail: Tail, calls: Iterable[Call]) -> list[tuple[Any, ...]]:
    """Return what the journal says of calls after a tail: what `journal.row_after` would say, without its price."""
    rows: list[tuple[Any, ...]] = []
    seq, before, digest = tail.seq, tail.checksum, hashlib.sha256
    for call in calls:
        sent = f'{{"request_id":"{call.request_id}","attempt":1,"provider":"{call.provider}","model":"{call.model}"}}'
        settled = f'{{"cost_nanos":{call.cost_nanos},"basis":"priced","usage":[{call.input},0,0,0,{call.output},0,0]}}'
        for row in (
            (seq + 1, 1, call.id, "sent", RESERVED, 0, sent, call.create_us),
            (seq + 2, 1, call.id, "settled", -RESERVED, call.cost_nanos, settled, call.update_us),
        ):
            before = digest(before + "\x1f".join(map(str, row)).encode()).digest()[:16]
            rows.append((*row, before))
        seq += 2
    return rows
