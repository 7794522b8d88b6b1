"""SQL of operations: what is known of a request id, and the place of its next attempt.

Runs in the writer's thread, inside the transaction of the reservation that it belongs to.
"""

import sqlite3

from aigend.errors import DomainError, Reason
from aigend.ledger.entries import AlreadyKnown, AttemptState, Intent, KnownOperation, entry_id_of
from aigend.ledger.statistics import rollups

_FIND = (
    "SELECT o.id, coalesce(a.state, 'settled'), o.request_digest, o.attempt_id, o.attempt_count"  # archived: settled
    " FROM operation o LEFT JOIN attempt a ON a.id = o.attempt_id WHERE o.scope = ? AND o.request_id = ?"
)
_NEXT_ATTEMPT = "(SELECT coalesce(max(id), 0) + 1 FROM attempt)"
_NEW_OPERATION = (
    "INSERT INTO operation (scope, request_id, request_digest, create_us, attempt_count, attempt_id)"  # noqa: S608 - constants only
    f" VALUES (?, ?, ?, ?, 1, {_NEXT_ATTEMPT}) ON CONFLICT DO NOTHING RETURNING id, attempt_count, attempt_id"
)
_NEXT_TRY = (
    f"UPDATE operation SET attempt_count = attempt_count + 1, attempt_id = {_NEXT_ATTEMPT} WHERE id = ?"  # noqa: S608 - constants only
    " RETURNING id, attempt_count, attempt_id"
)


def known_operation(connection: sqlite3.Connection, scope: str, request_id: str) -> KnownOperation | None:
    """Return what is known of a request id."""
    row = connection.execute(_FIND, (scope, request_id)).fetchone()
    if row is None:
        return None
    return KnownOperation(
        operation_id=row[0],
        state=AttemptState(row[1]),
        request_digest=row[2],
        entry_id=entry_id_of(row[3]),
        attempt_number=row[4],
    )


def repeatable(connection: sqlite3.Connection, intent: Intent, *, allow_repeat: bool) -> KnownOperation | None:
    """Return what is known of a call's id; raise where it must not be sent again."""
    known = known_operation(connection, intent.scope, intent.request_id)
    if known is None:
        return None
    if known.request_digest != intent.request_digest:
        text = f"request id {intent.request_id} was used for another request; allowed: a new id for each request"
        raise DomainError(Reason.REQUEST_ID_REUSED, text, request_id=intent.request_id)
    may = known.state is AttemptState.RELEASED or (known.state is AttemptState.UNKNOWN and allow_repeat)
    if not may:
        raise AlreadyKnown(known)
    return known


def place(
    connection: sqlite3.Connection, intent: Intent, known: KnownOperation | None, *, now_us: int, allow_repeat: bool
) -> tuple[int, int, int]:
    """Return operation, number and id of the attempt that comes next; ids are new as a rule, which takes no look-up."""
    found: list[tuple[int, int, int]] = []
    if known is None:
        values = (intent.scope, intent.request_id, intent.request_digest, now_us)
        found = connection.execute(_NEW_OPERATION, values).fetchall()
    if not found:
        again = known or repeatable(connection, intent, allow_repeat=allow_repeat)
        found = _next_try(connection, again) if again is not None else []
    return found[0]


def _next_try(connection: sqlite3.Connection, known: KnownOperation) -> list[tuple[int, int, int]]:
    """The attempt before is no longer the one that its operation ended with, which roll-ups count where it is unknown."""
    before = int(known.entry_id)
    rollups.take(connection, before)
    found = connection.execute(_NEXT_TRY, (known.operation_id,)).fetchall()
    rollups.add(connection, before)
    return found
