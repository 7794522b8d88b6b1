"""SQL of operations, attempts and replies: every state change is guarded, counted and journalled in one transaction.

Each function runs in the writer's thread inside a SAVEPOINT and only touches the connection it is given. No clock, no settings.
"""

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aigend.ledger import journal, operations, replies
from aigend.ledger.budgets import windows
from aigend.ledger.budgets.book import BudgetBook, Claim
from aigend.ledger.budgets.windows import WindowRow
from aigend.ledger.entries import (
    OVER_RESERVATION,
    TRANSITIONS,
    UNPRICED,
    AttemptState,
    Intent,
    Reservation,
    Settlement,
    StateConflict,
    canonical_labels,
    entry_id_of,
)
from aigend.ledger.journal import Event, Tail
from aigend.ledger.statistics import rollups

NO_BUDGETS = BudgetBook(())
_NEW_ATTEMPT = (
    "INSERT INTO attempt (id, operation_id, scope, request_id, attempt_number, epoch, state, create_us, update_us,"
    " service, session, phase, task, labels, agent, provider, model, requested_model, outcome,"
    " reserved_nanos, price_entry_id, flags, decided)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_GUARD = " WHERE id = ? AND state = ?"  # the whole protection against counting twice
_SETTLE = (
    "UPDATE attempt SET state = ?, update_us = ?, cost_nanos = ?, cost_basis = ?, price_entry_id = ?, input_tokens = ?,"
    " cache_read_tokens = ?, cache_write_5m_tokens = ?, cache_write_1h_tokens = ?, output_tokens = ?, reasoning_tokens = ?,"
    " searches = ?, provider_usage_json = ?, resolved_model = ?, flags = ?, provider_us = ?, total_us = ?, savings = ?,"
    " prefix = ?, read_prefix = ?, write_premium_nanos = ?, unknown_low_nanos = NULL, unknown_high_nanos = NULL"
)
_RELEASE = "UPDATE attempt SET state = ?, update_us = ?, reason = ?, unknown_low_nanos = NULL, unknown_high_nanos = NULL"
_UNKNOWN = "UPDATE attempt SET state = ?, update_us = ?, reason = ?, unknown_low_nanos = ?, unknown_high_nanos = ?"
_UNPRICED_FLAGS = json.dumps([UNPRICED])
_HELD = "SELECT state, reserved_nanos, unknown_high_nanos, operation_id, attempt_number, flags FROM attempt WHERE id = ?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """When, and in which life of the ledger, something happens."""

    epoch: int
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What a state change left behind."""

    attempt_id: int
    operation_id: int
    attempt_number: int
    tail: Tail
    windows: tuple[WindowRow, ...] = ()
    warnings: tuple[str, ...] = ()
    over_reservation: bool = False

    def reservation(self, intent: Intent) -> Reservation:
        """Return what was reserved for a call."""
        return Reservation(
            attempt_id=self.attempt_id,
            entry_id=entry_id_of(self.attempt_id),
            operation_id=self.operation_id,
            attempt_number=self.attempt_number,
            intent=intent,
            warnings=self.warnings,
        )


@dataclass(frozen=True, slots=True)
class _Held:
    """What an attempt holds or has booked."""

    state: AttemptState
    reserved_nanos: int
    unknown_high_nanos: int
    operation_id: int
    attempt_number: int
    flags: tuple[str, ...]


def reserve(
    connection: sqlite3.Connection,
    intent: Intent,
    *,
    claims: Sequence[Claim],
    budgets: BudgetBook = NO_BUDGETS,
    allow_repeat: bool,
    moment: Moment,
    state: AttemptState = AttemptState.SENT,
) -> Change:
    """Write RESERVED and SENT of a new attempt, or RESERVED alone, and hold its upper bound in every budget.

    Args:
        connection: The writer's.
        intent: The call.
        claims: Where it is held.
        budgets: All budgets, for thresholds only.
        allow_repeat: Whether an id whose outcome is unknown may be tried again.
        moment: Now.
        state: SENT; RESERVED for a batch line, which leaves later.

    Raises:
        AlreadyKnown: The id is under way, settled, or unknown without `allow_repeat`.
        DomainError: REQUEST_ID_REUSED, BUDGET_EXCEEDED, BUDGET_PAUSED or PRICE_UNKNOWN.
    """
    known = (
        operations.repeatable(connection, intent, allow_repeat=allow_repeat) if claims else None
    )  # a known id is never refused for money
    rows = windows.claim_all(connection, claims, bound_nanos=intent.upper_bound_nanos, now_us=moment.now_us)
    place = operation_id, number, attempt_id = operations.place(
        connection, intent, known, now_us=moment.now_us, allow_repeat=allow_repeat
    )
    _insert_attempt(connection, intent, place, moment=moment, state=state)
    if rows:
        connection.executemany("INSERT INTO attempt_window VALUES (?, ?)", [(attempt_id, row.id) for row in rows])
    held = intent.upper_bound_nanos or 0
    detail = {"request_id": intent.request_id, "attempt": number, "provider": intent.route.provider, "model": intent.route.model}
    tail = _record(connection, state, attempt_id, moment=moment, reserved_delta=held, detail=detail)
    said = windows.announce(connection, budgets, rows, now_us=moment.now_us)
    return Change(attempt_id=attempt_id, operation_id=operation_id, attempt_number=number, tail=tail, windows=rows, warnings=said)


def settle(
    connection: sqlite3.Connection,
    attempt_id: int,
    settlement: Settlement,
    *,
    budgets: BudgetBook,
    keep: replies.Keep,
    moment: Moment,
    source: AttemptState = AttemptState.SENT,
) -> Change:
    """Book what an attempt cost in the place of what was held, and keep its reply.

    Args:
        connection: The writer's.
        attempt_id: Which attempt.
        settlement: What it cost and answered.
        budgets: All budgets, for thresholds only: what is above a limit is booked too.
        keep: How long and how much is kept for replays.
        moment: Now.
        source: State that it leaves.

    Raises:
        StateConflict: The attempt is not in the state that it should leave.
    """
    held = _held(connection, attempt_id, source=source, target=AttemptState.SETTLED)
    over = held.reserved_nanos > 0 and (settlement.cost.nanos or 0) > held.reserved_nanos
    flags = dict.fromkeys((*held.flags, *settlement.flags, *((OVER_RESERVATION,) if over else ())))
    values = _settled_values(settlement, flags=list(flags), moment=moment)
    _guarded(connection, _SETTLE, values, attempt_id=attempt_id, source=source, target=AttemptState.SETTLED)
    replies.keep(connection, held.operation_id, settlement.reply, keep=keep, now_us=moment.now_us)
    detail = {"cost_nanos": settlement.cost.nanos, "basis": settlement.cost.basis, "usage": values[5:12]}
    return _finish(
        connection,
        attempt_id,
        AttemptState.SETTLED,
        held=held,
        spent=settlement.cost.nanos or 0,
        detail=detail,
        budgets=budgets,
        over=over,
        moment=moment,
    )


def release(
    connection: sqlite3.Connection, attempt_id: int, *, reason: str, moment: Moment, source: AttemptState = AttemptState.SENT
) -> Change:
    """Give back what an attempt held: it was not charged.

    Raises:
        StateConflict: The attempt is not in the state that it should leave.
    """
    held = _held(connection, attempt_id, source=source, target=AttemptState.RELEASED)
    values = (AttemptState.RELEASED, moment.now_us, reason)
    _guarded(connection, _RELEASE, values, attempt_id=attempt_id, source=source, target=AttemptState.RELEASED)
    return _finish(connection, attempt_id, AttemptState.RELEASED, held=held, spent=0, detail={"reason": reason}, moment=moment)


def mark_unknown(
    connection: sqlite3.Connection,
    attempt_id: int,
    *,
    low_nanos: int | None,
    high_nanos: int | None,
    reason: str,
    moment: Moment,
    budgets: BudgetBook = NO_BUDGETS,
    source: AttemptState = AttemptState.SENT,
) -> Change:
    """Book an upper bound for an attempt of which nobody knows whether it was charged.

    Args:
        connection: The writer's.
        attempt_id: Which attempt.
        low_nanos: What was charged at least; None: nothing is certain.
        high_nanos: What was charged at most; None: all that was held.
        reason: Why it is not known.
        moment: Now.
        budgets: All budgets, for thresholds only.
        source: State that it leaves.

    Raises:
        StateConflict: The attempt is not in the state that it should leave.
    """
    held = _held(connection, attempt_id, source=source, target=AttemptState.UNKNOWN)
    high = held.reserved_nanos if high_nanos is None else high_nanos
    values = (AttemptState.UNKNOWN, moment.now_us, reason, low_nanos or 0, high)
    _guarded(connection, _UNKNOWN, values, attempt_id=attempt_id, source=source, target=AttemptState.UNKNOWN)
    detail = {"reason": reason, "low_nanos": low_nanos or 0, "high_nanos": high}
    ended = AttemptState.UNKNOWN
    return _finish(connection, attempt_id, ended, held=held, spent=high, detail=detail, moment=moment, budgets=budgets)


def probe(connection: sqlite3.Connection) -> None:
    """Write something that changes nothing, so that its commit says whether writing works again."""
    connection.execute("UPDATE meta SET value = value WHERE name = 'epoch'")


def _insert_attempt(
    connection: sqlite3.Connection, intent: Intent, place: tuple[int, int, int], *, moment: Moment, state: AttemptState
) -> None:
    account = intent.accounting
    operation_id, number, attempt_id = place
    flags = "[]" if intent.upper_bound_nanos is not None else _UNPRICED_FLAGS
    values = (
        *(attempt_id, operation_id, intent.scope, intent.request_id, number, moment.epoch),
        *(state, moment.now_us, moment.now_us),
        *(intent.service, account.session, intent.phase, account.task, canonical_labels(account.labels), intent.agent),
        *(intent.route.provider, intent.route.model, intent.requested_model, intent.outcome),
        *(intent.upper_bound_nanos or 0, intent.price_entry_id, flags, "; ".join(intent.decided)),
    )
    connection.execute(_NEW_ATTEMPT, values)


def _settled_values(settlement: Settlement, *, flags: list[str], moment: Moment) -> tuple[object, ...]:
    usage, cost = settlement.usage, settlement.cost
    return (
        *(AttemptState.SETTLED, moment.now_us, cost.nanos, cost.basis, cost.price_entry_id),
        *(usage.input, usage.cache_read, usage.cache_write_5m, usage.cache_write_1h, usage.output, usage.reasoning, usage.searches),
        *(settlement.provider_usage_json, settlement.resolved_model, json.dumps(flags) if flags else "[]"),
        *(
            settlement.provider_us,
            settlement.total_us,
            json.dumps(settlement.savings, sort_keys=True) if settlement.savings else "{}",
        ),
        *settlement.prefix_use,
    )


def _held(connection: sqlite3.Connection, attempt_id: int, *, source: AttemptState, target: AttemptState) -> _Held:
    """What the attempt holds; the guard, not this reading, decides whether it may change."""
    row = connection.execute(_HELD, (attempt_id,)).fetchone()
    if row is None or target not in TRANSITIONS[source]:
        raise StateConflict(attempt_id, source=source, target=target)
    if not AttemptState(row[0]).open:
        rollups.take(connection, attempt_id)
    return _Held(AttemptState(row[0]), row[1], row[2] or 0, row[3], row[4], tuple(json.loads(row[5])) if row[5] != "[]" else ())


def _guarded(
    connection: sqlite3.Connection,
    update: str,
    values: tuple[object, ...],
    *,
    attempt_id: int,
    source: AttemptState,
    target: AttemptState,
) -> None:
    if connection.execute(update + _GUARD, (*values, attempt_id, source)).rowcount != 1:
        raise StateConflict(attempt_id, source=source, target=target)


def _finish(
    connection: sqlite3.Connection,
    attempt_id: int,
    state: AttemptState,
    *,
    held: _Held,
    spent: int,
    detail: Mapping[str, object],
    moment: Moment,
    budgets: BudgetBook = NO_BUDGETS,
    over: bool = False,
) -> Change:
    """Move the counters from what was held or booked before to what is booked now, and journal it."""
    reserved_delta = -held.reserved_nanos if held.state.open else 0
    spent_delta = spent - held.unknown_high_nanos
    rows = windows.move(connection, attempt_id, reserved_delta=reserved_delta, spent_delta=spent_delta)
    rollups.add(connection, attempt_id)
    tail = _record(
        connection,
        state,
        attempt_id,
        moment=moment,
        reserved_delta=reserved_delta,
        spent_delta=spent_delta,
        detail=detail,
    )
    return Change(
        attempt_id=attempt_id,
        operation_id=held.operation_id,
        attempt_number=held.attempt_number,
        tail=tail,
        windows=rows,
        warnings=windows.announce(connection, budgets, rows, now_us=moment.now_us),
        over_reservation=over,
    )


def _record(
    connection: sqlite3.Connection,
    state: AttemptState,
    attempt_id: int,
    *,
    moment: Moment,
    detail: Mapping[str, object],
    reserved_delta: int = 0,
    spent_delta: int = 0,
) -> Tail:
    event = Event(
        name=state,
        epoch=moment.epoch,
        create_us=moment.now_us,
        attempt_id=attempt_id,
        reserved_delta=reserved_delta,
        spent_delta=spent_delta,
        detail=detail,
    )
    return journal.append(connection, event)
