"""A live view of usage as an operator sees it; frozen values without protobuf."""

from dataclasses import dataclass
from datetime import datetime

from aigen.reports import AttemptState, BudgetStatus
from aigen.results import CacheOutcome


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageMinute:
    """One minute of the clock."""

    start_time: datetime
    paid_count: int  # calls paid that ended in it
    free_count: int  # calls answered without paying
    spent_usd_nanos: int  # nano-dollars booked in it; negative where more was given back


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedCall:
    """One call that has ended, or the correction of one told before whose outcome was unknown."""

    time: datetime
    provider: str
    model: str
    service: str
    session: str
    cache_outcome: CacheOutcome | None
    state: AttemptState | None  # None: it was answered without paying
    cost_usd_nanos: int | None  # nano-dollars; None: not known
    total_us: int | None  # microseconds in the daemon; None: not known
    ledger_entry_id: str = ""  # of its charge, the same in a correction; empty: it was answered without paying
    corrected: bool = False  # it replaces what was told under this entry before, and is no further call


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageView:
    """How it stands at one moment."""

    time: datetime
    minutes: tuple[UsageMinute, ...]  # the last ten, oldest first; the last one runs
    in_flight_count: int  # provider calls under way
    queued_count: int  # calls waiting for a slot
    budgets: tuple[BudgetStatus, ...]
    calls: tuple[WatchedCall, ...]  # ended since the view before, oldest first, at most 20
