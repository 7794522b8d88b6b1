"""A live view of a ledger for one watcher: the last minutes, and the calls that ended since the view before.

Only what is new is read: journal rows after the last one seen, and the last two minutes of answers that cost nothing.
"""

import sqlite3
from collections import defaultdict
from dataclasses import dataclass

from aigend.clock import Clock
from aigend.ledger.entries import RECONCILED, AttemptState, entry_id_of
from aigend.ledger.ledger import Ledger
from aigend.types import CacheOutcome

MINUTES = 10
MOST_CALLS = 20  # in one view
_LOOK_BACK = 20_000  # journal rows that the first view reads at most
_BEGIN = "SELECT coalesce(min(seq), 1) - 1 FROM (SELECT seq, create_us FROM journal ORDER BY seq DESC LIMIT ?) WHERE create_us >= ?"
_NEW = """
    SELECT j.seq, j.create_us / 60000000,
        j.event = 'unknown' OR (j.event = 'settled' AND a.reason NOT LIKE :corrected), j.spent_delta
    FROM journal j CROSS JOIN attempt a ON a.id = j.attempt_id WHERE j.seq > :after AND a.scope = :scope
"""
_ENDED = """
    SELECT j.create_us / 1e6, a.provider, a.model, a.service, a.session, a.outcome, a.state,
        CASE a.state WHEN 'settled' THEN a.cost_nanos WHEN 'released' THEN 0 END, a.total_us, a.id,
        j.event != 'unknown' AND a.reason LIKE :corrected
    FROM journal j CROSS JOIN attempt a ON a.id = j.attempt_id
    WHERE j.seq > :after AND a.scope = :scope AND j.event IN ('settled', 'unknown', 'released')
        AND (j.event != 'unknown' OR a.state = 'unknown')  -- its correction is told instead
    ORDER BY j.seq DESC LIMIT :limit
"""
_FREE = """
    SELECT m.minute, sum(m.count) FROM hit_minute m CROSS JOIN account a ON a.id = m.key_id
    WHERE m.minute >= :minute AND a.scope = :scope GROUP BY m.minute
"""


@dataclass(slots=True, kw_only=True)
class Minute:
    """One minute of the clock."""

    start: int  # minutes since 1970
    paid: int = 0
    free: int = 0
    spent_nanos: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedCall:
    """One call that has ended."""

    time: float  # wall clock
    provider: str
    model: str
    service: str
    session: str
    outcome: CacheOutcome
    state: AttemptState | None  # None: nothing was paid
    cost_nanos: int | None
    total_us: int | None
    entry_id: str = ""  # empty: nothing was paid
    corrected: bool = False  # it was told before, while its outcome was unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What one moment looks like."""

    time: float
    minutes: tuple[Minute, ...]  # oldest first, the last one runs
    calls: tuple[EndedCall, ...]  # oldest first


class UsageWatch:
    """Makes the views of one watcher.

    Args:
        ledger: The ledger.
        scope: Whose calls.
        clock: Tells the time.
    """

    def __init__(self, ledger: Ledger, *, scope: str, clock: Clock) -> None:
        self._ledger = ledger
        self._scope = scope
        self._clock = clock
        self._seen: int | None = None  # last sequence number of the journal
        self._seen_time = clock.time()
        self._minutes: defaultdict[int, Minute] = defaultdict(lambda: Minute(start=0))

    async def view(self) -> View:
        """Return how it stands, and the calls that ended since the view before.

        Raises:
            StorageFailure: The ledger can't be read.
        """
        now = self._clock.time()
        paid = await self._ledger.read(lambda connection: self._read(connection, int(now // 60)))
        free = [call for call in self._free_calls() if call.time > self._seen_time]
        self._seen_time = max([self._seen_time, *(call.time for call in free)])
        calls = sorted([*paid, *free], key=lambda call: call.time)[-MOST_CALLS:]
        minutes = tuple(self._minutes[minute] for minute in self._running(int(now // 60)))
        return View(time=now, minutes=minutes, calls=tuple(calls))

    def _running(self, minute: int) -> range:
        """Forget what is too old, make what is missing, and return the minutes shown."""
        shown = range(minute - MINUTES + 1, minute + 1)
        for old in [known for known in self._minutes if known < shown.start]:
            del self._minutes[old]
        for each in shown:
            self._minutes[each].start = each
        return shown

    def _read(self, connection: sqlite3.Connection, minute: int) -> list[EndedCall]:
        first = self._seen is None
        if self._seen is None:
            self._seen = int(connection.execute(_BEGIN, (_LOOK_BACK, (minute - MINUTES + 1) * 60_000_000)).fetchone()[0])
        wanted = {"after": self._seen, "scope": self._scope, "corrected": f"{RECONCILED}%"}
        ended = connection.execute(_ENDED, wanted | {"limit": MOST_CALLS}).fetchall()
        for seq, at, paid, spent in connection.execute(_NEW, wanted).fetchall():
            self._seen = max(self._seen, seq)
            self._minutes[at].paid += paid
            self._minutes[at].spent_nanos += spent
        since = minute - MINUTES + 1 if first else minute - 1
        for at, count in connection.execute(_FREE, {"minute": since, "scope": self._scope}):
            self._minutes[at].free = count
        return [_ended(row) for row in reversed(ended)]

    def _free_calls(self) -> list[EndedCall]:
        return [
            EndedCall(
                time=call.time,
                provider=call.key.provider,
                model=call.key.model,
                service=call.key.service,
                session=call.key.session,
                outcome=call.key.outcome,
                state=None,
                cost_nanos=0,
                total_us=call.latency_us,
            )
            for call in self._ledger.hits.last_calls()
            if call.key.scope == self._scope
        ]


def _ended(row: tuple[float, str, str, str, str, str, str, int | None, int | None, int, int]) -> EndedCall:
    time, provider, model, service, session, outcome, state, cost_nanos, total_us, attempt_id, corrected = row
    return EndedCall(
        time=time,
        provider=provider,
        model=model,
        service=service,
        session=session,
        outcome=CacheOutcome(outcome),
        state=AttemptState(state),
        cost_nanos=cost_nanos,
        total_us=total_us,
        entry_id=entry_id_of(attempt_id),
        corrected=bool(corrected),
    )
