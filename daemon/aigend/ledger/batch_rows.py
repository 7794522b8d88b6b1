"""Rows of batch lines and of the uploads that they leave in: collected, submitted, ended, each guarded, in one transaction.

Runs in the writer's thread. A line's attempt goes through the same state changes as any other; what is kept beside it here is its
request, which goes with the attempt's end.
"""

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from aigend.ledger import journal, store
from aigend.ledger.budgets.book import BudgetBook, Claim
from aigend.ledger.correcting import Book, intent_of
from aigend.ledger.entries import AttemptState, Intent, Reservation, Settlement, StateConflict, entry_id_of
from aigend.ledger.journal import Event
from aigend.ledger.store import Change, Moment

AGE_BOUND_S = 86_400  # a line that has not left for so long, whatever kept it, gives back what it holds
OPEN = ""  # outcome of an upload that is under way
_SUBMIT = "UPDATE attempt SET state = ?, update_us = ? WHERE id = ? AND state = ?"
_JOIN = "UPDATE batch_line SET upload_id = ? WHERE attempt_id = ? AND upload_id IS NULL"
_NEW_LINE = "INSERT INTO batch_line VALUES (?, NULL, ?, ?, ?, ?, ?, ?, ?)"
_NEW_UPLOAD = (
    "INSERT INTO batch_upload (mark, provider, model, account, line_count, create_us) VALUES (?, ?, ?, ?, ?, ?) RETURNING id"
)
_FETCHED = (
    "UPDATE reply SET expire_us = ? WHERE operation_id = (SELECT id FROM operation WHERE scope = ? AND request_id = ?)"
    " AND expire_us > ?"
)
_LINES = (
    "SELECT l.attempt_id, l.upload_id, l.custom_id, l.account, l.request, l.cache_key, l.input_tokens, l.max_output_tokens,"
    " l.start_by_us, a.operation_id, a.attempt_number, a.create_us"
    " FROM batch_line l JOIN attempt a ON a.id = l.attempt_id ORDER BY l.attempt_id"
)
_UPLOADS = (
    "SELECT id, mark, provider, model, account, provider_job_id, line_count, cancelled, create_us FROM batch_upload"
    " WHERE outcome = '' ORDER BY id"
)


_CHECKS = {
    "a batch line belongs to no attempt that waits for it": """
        SELECT l.attempt_id FROM batch_line l LEFT JOIN attempt a ON a.id = l.attempt_id
        WHERE a.id IS NULL OR a.state != CASE WHEN l.upload_id IS NULL THEN 'reserved' ELSE 'submitted' END""",
    "an attempt of a batch job has no line": """
        SELECT a.id FROM attempt a LEFT JOIN batch_line l ON l.attempt_id = a.id
        WHERE a.state IN ('reserved', 'sent', 'submitted') AND a.state != 'sent' AND l.attempt_id IS NULL""",
    "a batch line lies in no open upload": """
        SELECT l.attempt_id FROM batch_line l LEFT JOIN batch_upload u ON u.id = l.upload_id
        WHERE l.upload_id IS NOT NULL AND (u.id IS NULL OR u.outcome != '')""",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineFacts:
    """What is kept of a batch line beside its attempt, so that it can leave and be settled after a restart."""

    custom_id: str
    account: int  # number of the provider's key
    request: bytes  # the whole message
    cache_key: bytes
    input_tokens: int  # estimated, with a margin upwards
    max_output_tokens: int
    start_by: float | None  # wall clock; latest start


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRow:
    """A batch line that has not ended."""

    reservation: Reservation
    upload_id: int | None  # None: it waits for company
    facts: LineFacts
    create_time: float  # wall clock; when it was collected


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadRow:
    """A job at a provider's batch API that has not ended; the provider's id is empty until it has told it."""

    id: int
    mark: str
    provider: str
    model: str
    account: int
    provider_job_id: str
    line_count: int
    cancelled: bool
    create_time: float  # wall clock; before its first byte left


@dataclass(frozen=True, slots=True, kw_only=True)
class LineEnd:
    """How a batch line ends: with a settlement, released, or unknown at its upper bound."""

    attempt_id: int
    settlement: Settlement | None = None
    state: AttemptState = AttemptState.SETTLED
    source: AttemptState = AttemptState.SUBMITTED
    reason: str = ""
    reply_ttl_s: float = 0.0


def collect(
    connection: sqlite3.Connection,
    *,
    intent: Intent,
    facts: LineFacts,
    claims: Sequence[Claim],
    budgets: BudgetBook,
    allow_repeat: bool,
    moment: Moment,
) -> Change:
    """Write RESERVED of a new line and keep its request; its custom id gets the attempt's number in front.

    Raises:
        AlreadyKnown: The id is under way, settled, or unknown without `allow_repeat`.
        DomainError: REQUEST_ID_REUSED, BUDGET_EXCEEDED, BUDGET_PAUSED or PRICE_UNKNOWN.
    """
    change = store.reserve(
        connection,
        intent,
        claims=claims,
        budgets=budgets,
        allow_repeat=allow_repeat,
        moment=moment,
        state=AttemptState.RESERVED,
    )
    start_by_us = None if facts.start_by is None else int(facts.start_by * 1e6)
    values = (
        *(change.attempt_id, custom_id_of(change.attempt_id, facts.custom_id), facts.account, facts.request, facts.cache_key),
        *(facts.input_tokens, facts.max_output_tokens, start_by_us),
    )
    connection.execute(_NEW_LINE, values)
    return change


def custom_id_of(attempt_id: int, token: str) -> str:
    """Return the name of a line in the provider's job: numbers may come again in a new ledger, tokens do not.

    Example:
        >>> custom_id_of(7, "9f2c")
        'a7-9f2c'
    """
    return f"a{attempt_id}-{token}"


def submit(
    connection: sqlite3.Connection, upload: UploadRow, attempt_ids: Sequence[int], *, moment: Moment
) -> tuple[UploadRow, list[tuple[Intent, AttemptState, Change]]]:
    """Write a new upload and SUBMITTED of all its lines: from here on they may be charged. What they hold stays held.

    Raises:
        StateConflict: A line is not RESERVED, or lies in another upload; nothing was written.
    """
    values = (upload.mark, upload.provider, upload.model, upload.account, len(attempt_ids), moment.now_us)
    upload_id = connection.execute(_NEW_UPLOAD, values).fetchall()[0][0]
    changes = [_submit_line(connection, upload_id, attempt_id, mark=upload.mark, moment=moment) for attempt_id in attempt_ids]
    row = replace(upload, id=upload_id, line_count=len(attempt_ids), create_time=moment.now_us / 1e6)
    return row, changes


def _submit_line(
    connection: sqlite3.Connection, upload_id: int, attempt_id: int, *, mark: str, moment: Moment
) -> tuple[Intent, AttemptState, Change]:
    source, target = AttemptState.RESERVED, AttemptState.SUBMITTED
    moved = connection.execute(_SUBMIT, (target, moment.now_us, attempt_id, source)).rowcount
    joined = connection.execute(_JOIN, (upload_id, attempt_id)).rowcount
    if (moved, joined) != (1, 1):
        raise StateConflict(attempt_id, source=source, target=target)
    event = Event(name=target, epoch=moment.epoch, create_us=moment.now_us, attempt_id=attempt_id, detail={"mark": mark})
    tail = journal.append(connection, event)
    found = connection.execute("SELECT operation_id, attempt_number FROM attempt WHERE id = ?", (attempt_id,)).fetchone()
    change = Change(attempt_id=attempt_id, operation_id=found[0], attempt_number=found[1], tail=tail)
    return intent_of(connection, attempt_id), target, change


def name_upload(connection: sqlite3.Connection, upload_id: int, provider_job_id: str) -> bool:
    """Store the provider's id of an upload; False where one is stored already."""
    named = "UPDATE batch_upload SET provider_job_id = ? WHERE id = ? AND provider_job_id = '' AND outcome = ''"
    return connection.execute(named, (provider_job_id, upload_id)).rowcount == 1


def cancel_upload(connection: sqlite3.Connection, upload_id: int) -> None:
    """Remember that the provider shall be asked to stop an upload."""
    connection.execute("UPDATE batch_upload SET cancelled = 1 WHERE id = ? AND outcome = ''", (upload_id,))


def end_upload(connection: sqlite3.Connection, upload_id: int, *, outcome: str, now_us: int) -> bool:
    """Close an upload none of whose lines is open; False where it was closed before."""
    closed = (
        "UPDATE batch_upload SET outcome = ?, end_us = ? WHERE id = ? AND outcome = ''"
        " AND NOT EXISTS (SELECT 1 FROM batch_line WHERE upload_id = ?)"
    )
    return connection.execute(closed, (outcome, now_us, upload_id, upload_id)).rowcount == 1


def end_line(connection: sqlite3.Connection, end: LineEnd, *, book: Book) -> tuple[Intent, AttemptState, Change]:
    """Settle, release or mark a line unknown, and drop its request.

    Raises:
        StateConflict: The line is not where it should be: it has ended already, and nothing was counted.
    """
    change = _ended(connection, end, book)
    if connection.execute("DELETE FROM batch_line WHERE attempt_id = ?", (end.attempt_id,)).rowcount != 1:
        raise StateConflict(end.attempt_id, source=end.source, target=end.state)
    return intent_of(connection, end.attempt_id), end.state, change


def _ended(connection: sqlite3.Connection, end: LineEnd, book: Book) -> Change:
    moment = book.moment
    if end.settlement is not None:
        keep = replace(book.keep, ttl_us=int(end.reply_ttl_s * 1e6))
        return store.settle(
            connection, end.attempt_id, end.settlement, budgets=book.budgets, keep=keep, moment=moment, source=end.source
        )
    if end.state is AttemptState.RELEASED:
        return store.release(connection, end.attempt_id, reason=end.reason, moment=moment, source=end.source)
    return store.mark_unknown(
        connection,
        end.attempt_id,
        low_nanos=None,
        high_nanos=None,
        reason=end.reason,
        moment=moment,
        budgets=book.budgets,
        source=end.source,
    )


def fetched(connection: sqlite3.Connection, scope: str, request_id: str, *, expire_us: int) -> None:
    """Keep a reply that its caller has got no longer than others are kept."""
    connection.execute(_FETCHED, (expire_us, scope, request_id, expire_us))


def differences(connection: sqlite3.Connection) -> list[str]:
    """Return what does not fit between lines, their attempts and their uploads."""
    return [f"{text}: {row[0]}" for text, question in _CHECKS.items() for row in connection.execute(question)]


def young(connection: sqlite3.Connection, *, now_us: int) -> set[int]:
    """Return the attempts that are reserved for a batch line and may wait on."""
    rows = connection.execute(
        "SELECT l.attempt_id FROM batch_line l CROSS JOIN attempt a ON a.id = l.attempt_id"  # few lines, many attempts
        " WHERE a.state = 'reserved' AND a.create_us > ?",
        (now_us - AGE_BOUND_S * 1_000_000,),
    )
    return {attempt_id for (attempt_id,) in rows}


def forget(connection: sqlite3.Connection, attempt_id: int) -> None:
    """Drop the request of a line whose attempt was released elsewhere."""
    connection.execute("DELETE FROM batch_line WHERE attempt_id = ?", (attempt_id,))


def open_lines(connection: sqlite3.Connection) -> list[LineRow]:
    """Return all lines that have not ended, oldest first."""
    return [_line(connection, row) for row in connection.execute(_LINES).fetchall()]


def _line(connection: sqlite3.Connection, row: tuple[Any, ...]) -> LineRow:
    attempt_id, upload_id, custom_id, account, request, cache_key, tokens, most, start_by_us, operation_id, number, create_us = row
    reservation = Reservation(
        attempt_id=attempt_id,
        entry_id=entry_id_of(attempt_id),
        operation_id=operation_id,
        attempt_number=number,
        intent=intent_of(connection, attempt_id),
    )
    facts = LineFacts(
        custom_id=custom_id,
        account=account,
        request=request,
        cache_key=cache_key,
        input_tokens=tokens,
        max_output_tokens=most,
        start_by=None if start_by_us is None else start_by_us / 1e6,
    )
    return LineRow(reservation=reservation, upload_id=upload_id, facts=facts, create_time=create_us / 1e6)


def open_uploads(connection: sqlite3.Connection) -> list[UploadRow]:
    """Return all uploads that have not ended, oldest first."""
    return [
        UploadRow(
            id=row[0],
            mark=row[1],
            provider=row[2],
            model=row[3],
            account=row[4],
            provider_job_id=row[5],
            line_count=row[6],
            cancelled=bool(row[7]),
            create_time=row[8] / 1e6,
        )
        for row in connection.execute(_UPLOADS)
    ]
