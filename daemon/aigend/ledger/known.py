"""Request ids of the last while, in memory, so that a call asks no disk whether its id was seen before."""

import sqlite3
from collections import OrderedDict

from aigend.ledger.entries import AttemptState, Intent, KnownOperation, entry_id_of
from aigend.ledger.store import Change

MOST_OPERATIONS = 16_384  # about 8 MB
MOST_LOADED = 4_096  # at a start; older ids are found by the unique index when they are reserved

_RECENT = (
    "SELECT o.scope, o.request_id, o.id, a.state, o.request_digest, a.id, o.attempt_count, o.create_us"
    " FROM operation o JOIN attempt a ON a.id = o.attempt_id"
    " WHERE o.id > (SELECT coalesce(max(id), 0) FROM operation) - ? AND o.create_us > ? ORDER BY o.id"
)


class KnownOperations:
    """The youngest operations by scope and request id.

    Args:
        ttl_s: How long an operation is remembered after its last change.
        limit: How many are remembered; the longest unchanged go first.
    """

    def __init__(self, *, ttl_s: float, limit: int = MOST_OPERATIONS) -> None:
        self._ttl_s = ttl_s
        self._limit = limit
        self._operations: OrderedDict[tuple[str, str], tuple[float, KnownOperation]] = OrderedDict()

    def get(self, scope: str, request_id: str, now: float) -> KnownOperation | None:
        """Return what is remembered of an id; one under way is remembered however long it takes."""
        found = self._operations.get((scope, request_id))
        if found is None:
            return None
        changed, known = found
        if now - changed < self._ttl_s or known.state.open:
            return known
        del self._operations[scope, request_id]
        return None

    def update(self, intent: Intent, state: AttemptState, change: Change, *, now: float) -> None:
        """Remember a state change that is durable, unless a later attempt was made meanwhile."""
        key = (intent.scope, intent.request_id)
        before = self._operations.get(key)
        if before is not None and before[1].attempt_number > change.attempt_number:
            return
        known = KnownOperation(
            operation_id=change.operation_id,
            state=state,
            request_digest=intent.request_digest,
            entry_id=entry_id_of(change.attempt_id),
            attempt_number=change.attempt_number,
        )
        self._put(key, now, known)

    def load(self, connection: sqlite3.Connection, *, now: float) -> None:
        """Remember the operations that were made last."""
        since_us = int((now - self._ttl_s) * 1e6)
        for scope, request_id, operation_id, state, digest, attempt_id, count, create_us in connection.execute(
            _RECENT, (MOST_LOADED, since_us)
        ):
            known = KnownOperation(
                operation_id=operation_id,
                state=AttemptState(state),
                request_digest=digest,
                entry_id=entry_id_of(attempt_id),
                attempt_number=count,
            )
            self._put((scope, request_id), create_us / 1e6, known)

    def _put(self, key: tuple[str, str], changed: float, known: KnownOperation) -> None:
        self._operations[key] = (changed, known)
        self._operations.move_to_end(key)
        while len(self._operations) > self._limit:
            self._operations.popitem(last=False)
