"""What a correction is given and what it gives back: the words between the ledger's door and the rooms that correct.

Calls under way never come here. What is corrected, and what it costs then, is `corrections` and `reprice`.
"""

import sqlite3
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import AttemptState, Intent
from aigend.ledger.replies import Keep
from aigend.ledger.store import Change, Moment
from aigend.types import Accounting, CacheOutcome, Route

T = TypeVar("T")
Costs = Counter[Route]  # nano-dollars by route
_INTENT = (
    "SELECT o.request_digest, a.session, a.task, a.agent, a.service, a.phase, a.requested_model, a.provider, a.model, a.outcome,"
    " a.reserved_nanos, a.price_entry_id, a.create_us, a.request_id, a.scope"
    " FROM attempt a JOIN operation o ON o.id = a.operation_id WHERE a.id = ?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Book:
    """What holds at the moment of a correction."""

    moment: Moment
    budgets: BudgetBook
    keep: Keep


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrected(Generic[T]):
    """What a correction returns, and the changes that memory has to follow."""

    value: T
    changes: Sequence[tuple[Intent, AttemptState, Change]] = ()
    costs: Costs = field(default_factory=Costs)  # what was added to the cost of settled calls; below 0: taken away


def intent_of(connection: sqlite3.Connection, attempt_id: int) -> Intent:
    """Return the call that an attempt was made for, as far as memory has to know it."""
    row = connection.execute(_INTENT, (attempt_id,)).fetchone()
    return Intent(
        request_digest=row[0],
        accounting=Accounting(session=row[1], task=row[2]),
        agent=row[3],
        service=row[4],
        phase=row[5],
        requested_model=row[6],
        route=Route(row[7], row[8]),
        outcome=CacheOutcome(row[9]),
        upper_bound_nanos=row[10],
        price_entry_id=row[11],
        create_time=row[12] / 1e6,
        request_id=row[13],
        scope=row[14],
    )
