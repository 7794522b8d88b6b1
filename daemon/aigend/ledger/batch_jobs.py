"""Rows of batch jobs: a caller's handle over requests that can wait, with each request until it has its result.

Nothing here is charged: each request goes its own way through the ledger under its own id, and a job only remembers what came of
it.
"""

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from aigend.errors import DomainError, Reason
from aigend.ledger.entries import canonical_labels
from aigend.types import Accounting

_NEW_JOB = (
    "INSERT INTO batch_job (scope, name, request_digest, session, task, labels, allow_repeat, item_count, complete_by_us,"
    " create_us, attempt_mark) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, (SELECT coalesce(max(id), 0) FROM attempt)) RETURNING id"
)
_NEW_ITEM = "INSERT INTO batch_item (job_id, position, request_id, state, body, digest) VALUES (?, ?, ?, 'open', ?, ?)"
_JOB = (
    "SELECT id, scope, name, session, task, labels, allow_repeat, item_count, complete_by_us, create_us, cancel_us, end_us,"
    " request_digest FROM batch_job"
)
_COUNTS = "SELECT state, count(*) FROM batch_item WHERE job_id = ? GROUP BY state"
# An attempt is a job's own if it was made between the job's beginning and its item's end, and for no job before it that waits too.
_MONEY = """
    SELECT coalesce(sum(CASE WHEN a.state = 'settled' THEN a.cost_nanos END), 0),
        coalesce(sum(CASE WHEN a.state = 'settled' AND a.savings != '{}' THEN json_extract(a.savings, '$.batch') END), 0)
    FROM batch_job j JOIN batch_item i ON i.job_id = j.id
        JOIN operation o ON o.scope = j.scope AND o.request_id = i.request_id JOIN attempt a ON a.operation_id = o.id
    WHERE j.id = ? AND a.id > j.attempt_mark AND a.id <= coalesce(i.attempt_mark, a.id) AND NOT EXISTS (
        SELECT 1 FROM batch_item f JOIN batch_job b ON b.id = f.job_id
        WHERE f.request_id = i.request_id AND f.job_id < j.id AND b.scope = j.scope
            AND a.id > b.attempt_mark AND a.id <= coalesce(f.attempt_mark, a.id)
    )
"""
_SUBMITTED = """
    SELECT count(*)
    FROM batch_item i JOIN operation o ON o.scope = ? AND o.request_id = i.request_id JOIN attempt a ON a.operation_id = o.id
    WHERE i.job_id = ? AND i.state = 'open' AND a.state = 'submitted'
"""
_LAST_STATE = """
    SELECT a.state FROM operation o JOIN attempt a ON a.operation_id = o.id
    WHERE o.scope = ? AND o.request_id = ? ORDER BY a.attempt_number DESC LIMIT 1
"""
_DROP_UPLOADS = "DELETE FROM batch_upload WHERE id IN (SELECT id FROM batch_upload WHERE outcome != '' AND end_us < ? LIMIT 1000)"
_END_ITEM = (
    "UPDATE batch_item SET state = ?, body = ?,"
    " attempt_mark = CASE WHEN ? THEN (SELECT coalesce(max(id), 0) FROM attempt) ELSE 0 END"
    " WHERE job_id = ? AND position = ? AND state = 'open'"
)
_END_JOB = (
    "UPDATE batch_job SET end_us = ? WHERE id = ? AND end_us IS NULL"
    " AND NOT EXISTS (SELECT 1 FROM batch_item WHERE job_id = ? AND state = 'open')"
)


class ItemState(StrEnum):
    """What became of one request of a job."""

    OPEN = "open"
    ANSWERED = "answered"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewItem:
    """One request of a job to be taken."""

    request_id: str
    body: bytes
    digest: bytes  # of the request, when it is wanted left out


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """A job to be taken."""

    scope: str
    name: str
    request_digest: bytes  # as `digest_of` its requests
    accounting: Accounting
    items: Sequence[NewItem]
    complete_by: float | None  # wall clock


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job as it stands; money in nano-dollars, times in seconds since 1970."""

    id: int
    scope: str
    name: str
    accounting: Accounting
    item_count: int
    complete_by: float | None
    create_time: float
    cancel_time: float | None
    end_time: float | None
    open_count: int
    answered_count: int
    failed_count: int
    submitted_count: int
    cost_nanos: int
    saved_nanos: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemRow:
    """One request of a job, or its result."""

    position: int
    request_id: str
    state: ItemState
    body: bytes
    digest: bytes | None  # of its request; None for one that was taken before digests were kept


def digest_of(requests: Iterable[NewItem]) -> bytes:
    """Return what tells a job from others: its requests and their ids in order, and nothing of when they are wanted."""
    told = hashlib.sha256()
    for item in requests:
        told.update(hashlib.sha256(item.request_id.encode()).digest() + item.digest)
    return told.digest()


def create(connection: sqlite3.Connection, job: NewJob, *, now_us: int) -> tuple[int, bool]:
    """Write a job and its requests; return its number, and whether it is new.

    Raises:
        DomainError: REQUEST_ID_REUSED where the name stands for another job.
    """
    found = connection.execute(
        "SELECT id, request_digest FROM batch_job WHERE scope = ? AND name = ?", (job.scope, job.name)
    ).fetchone()
    if found is not None:
        if found[1] != job.request_digest:
            raise _other_job(connection, int(found[0]), job)
        return int(found[0]), False
    account = job.accounting
    values = (
        *(job.scope, job.name, job.request_digest, account.session, account.task, canonical_labels(account.labels)),
        *(int(account.allow_repeat), len(job.items), None if job.complete_by is None else int(job.complete_by * 1e6), now_us),
    )
    job_id = int(connection.execute(_NEW_JOB, values).fetchall()[0][0])
    lines = [(job_id, place, item.request_id, item.body, item.digest) for place, item in enumerate(job.items)]
    connection.executemany(_NEW_ITEM, lines)
    return job_id, True


def _other_job(connection: sqlite3.Connection, job_id: int, job: NewJob) -> DomainError:
    """Return the refusal of an id that stands for another job, which names what differs first."""
    stored = connection.execute(
        "SELECT request_id, digest FROM batch_item WHERE job_id = ? ORDER BY position", (job_id,)
    ).fetchall()
    field, how = "items", "differs"
    if len(stored) != len(job.items):
        how = f"are {len(job.items)}, and {len(stored)} there"
    else:
        for place, ((request_id, digest), item) in enumerate(zip(stored, job.items, strict=True)):
            if request_id != item.request_id:
                field, how = f"items[{place}].request_id", f"is {item.request_id!r}, and {request_id!r} there"
                break
            if digest != item.digest:
                field = f"items[{place}].completion"
                break
    text = f"job id {job.name} stands for another batch job: {field} {how}; allowed: the same requests, or a new job id"
    return DomainError(Reason.REQUEST_ID_REUSED, text, field="aigen-request-id", request_id=job.name, differs=field)


def find(connection: sqlite3.Connection, scope: str, name: str) -> JobRow | None:
    """Return a job of that name."""
    row = connection.execute(f"{_JOB} WHERE scope = ? AND name = ?", (scope, name)).fetchone()
    return None if row is None else _job(connection, row)


def newest(connection: sqlite3.Connection, scope: str, *, before: int | None, limit: int) -> list[JobRow]:
    """Return jobs, newest first, those before a number."""
    highest = 2**62 if before is None else before
    rows = connection.execute(f"{_JOB} WHERE scope = ? AND id < ? ORDER BY id DESC LIMIT ?", (scope, highest, limit)).fetchall()
    return [_job(connection, row) for row in rows]


def running(connection: sqlite3.Connection) -> list[tuple[JobRow, list[ItemRow]]]:
    """Return the jobs that have not ended, oldest first, each with its open requests."""
    rows = connection.execute(f"{_JOB} WHERE end_us IS NULL ORDER BY id").fetchall()
    return [(_job(connection, row), items(connection, row[0], state=ItemState.OPEN)) for row in rows]


def items(
    connection: sqlite3.Connection, job_id: int, *, state: ItemState | None = None, after: int = -1, limit: int = -1
) -> list[ItemRow]:
    """Return requests of a job in order, those after a position and in a state."""
    question = "SELECT position, request_id, state, body, digest FROM batch_item WHERE job_id = ? AND position > ?"
    values: tuple[object, ...] = (job_id, after)
    if state is not None:
        question, values = f"{question} AND state = ?", (*values, state)
    rows = connection.execute(f"{question} ORDER BY position LIMIT ?", (*values, limit))
    return [ItemRow(position=row[0], request_id=row[1], state=ItemState(row[2]), body=row[3], digest=row[4]) for row in rows]


def open_names(connection: sqlite3.Connection, job_id: int) -> list[str]:
    """Return the request ids of a job's open requests, in order."""
    question = "SELECT request_id FROM batch_item WHERE job_id = ? AND state = 'open' ORDER BY position"
    return [row[0] for row in connection.execute(question, (job_id,))]


def is_begun(connection: sqlite3.Connection, scope: str, request_id: str) -> bool:
    """Return whether a request has left, so that it has a cost or may have: its last attempt was not given back."""
    found = connection.execute(_LAST_STATE, (scope, request_id)).fetchone()
    return found is not None and found[0] not in ("reserved", "released")


def end_item(
    connection: sqlite3.Connection, job_id: int, position: int, *, state: ItemState, body: bytes, owns: bool, now_us: int
) -> bool:
    """Write what became of a request, once, and with the last one the end of its job; return whether it was open.

    Args:
        connection: The writer's.
        job_id: Number of the job.
        position: Of the request in it.
        state: What became of it.
        body: Its response or error.
        owns: Whether what was paid under its id since the job began was paid for it; False where the id is another request's.
        now_us: Wall clock.
    """
    ended = connection.execute(_END_ITEM, (state, body, owns, job_id, position)).rowcount == 1
    connection.execute(_END_JOB, (now_us, job_id, job_id))
    return ended


def cancel(connection: sqlite3.Connection, job_id: int, *, now_us: int) -> None:
    """Remember that a job was cancelled; one that has ended stays as it is."""
    connection.execute("UPDATE batch_job SET cancel_us = ? WHERE id = ? AND end_us IS NULL AND cancel_us IS NULL", (now_us, job_id))


def drop_old(connection: sqlite3.Connection, *, before_us: int) -> int:
    """Drop some jobs that ended before a time, and what is remembered of uploads as old; return how many jobs."""
    connection.execute(_DROP_UPLOADS, (before_us,))
    old = [row[0] for row in connection.execute("SELECT id FROM batch_job WHERE end_us < ? LIMIT 20", (before_us,))]
    for job_id in old:
        connection.execute("DELETE FROM batch_item WHERE job_id = ?", (job_id,))
        connection.execute("DELETE FROM batch_job WHERE id = ?", (job_id,))
    return len(old)


def _job(connection: sqlite3.Connection, row: tuple[Any, ...]) -> JobRow:
    job_id, scope, name, session, task, labels, allow_repeat, item_count, by_us, create_us, cancel_us, end_us, _ = row
    counts = dict(connection.execute(_COUNTS, (job_id,)).fetchall())
    cost, saved = connection.execute(_MONEY, (job_id,)).fetchone()
    submitted = connection.execute(_SUBMITTED, (scope, job_id)).fetchone()[0]
    return JobRow(
        id=job_id,
        scope=scope,
        name=name,
        accounting=Accounting(session=session, task=task, labels=json.loads(labels), allow_repeat=bool(allow_repeat)),
        item_count=item_count,
        complete_by=_seconds(by_us),
        create_time=create_us / 1e6,
        cancel_time=_seconds(cancel_us),
        end_time=_seconds(end_us),
        open_count=counts.get(ItemState.OPEN, 0),
        answered_count=counts.get(ItemState.ANSWERED, 0),
        failed_count=counts.get(ItemState.FAILED, 0),
        submitted_count=submitted,
        cost_nanos=cost,
        saved_nanos=saved,
    )


def _seconds(micros: int | None) -> float | None:
    return None if micros is None else micros / 1e6
