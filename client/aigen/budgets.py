"""Budgets as an operator sees them: limits, running windows and alerts; frozen values without protobuf."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from aigen.results import usd


class BudgetPeriod(StrEnum):
    """The window in which a limit holds."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    SESSION = "session"


class BudgetAction(StrEnum):
    """What a budget does at its limit."""

    WARN = "warn"
    REFUSE = "refuse"
    PAUSE = "pause"
    DOWNGRADE = "downgrade"


class BudgetOrigin(StrEnum):
    """Where a budget was written: in the settings, where alone it is changed, or by `set_budget()`."""

    SETTINGS = "settings"
    SET = "set"


class AlertKind(StrEnum):
    """What an alert tells."""

    THRESHOLD = "threshold"
    PAUSED = "paused"
    RESUMED = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on cost in a window, for what its selector matches."""

    name: str
    selector: Mapping[str, str]  # empty: all calls
    each: str  # selector key for each of whose values the limit holds by itself; empty: one limit for all
    period: BudgetPeriod | None
    limit_usd_nanos: int
    action: BudgetAction | None
    require_known_prices: bool
    downgrade_to: str  # model; empty but with DOWNGRADE
    downgrade_at_percent: int  # of the limit spent; 0 but with DOWNGRADE
    origin: BudgetOrigin | None
    create_time: datetime | None  # None: in the settings
    update_time: datetime | None  # None: in the settings

    @property
    def limit_usd(self) -> Decimal:
        """Limit in dollars."""
        return usd(self.limit_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetWindow:
    """One budget in one running window."""

    budget: str
    key: str  # the value that it holds for; empty: all, or calls that carry none
    window: str
    action: BudgetAction | None
    limit_usd_nanos: int
    spent_usd_nanos: int  # booked, bounds of calls with unknown outcome included
    reserved_usd_nanos: int  # held for calls under way
    start_time: datetime | None  # None: the window is a session
    reset_time: datetime | None  # None: never
    paused: bool
    downgraded: bool  # calls go to the cheaper model now
    forecast_usd_nanos: int | None  # at the window's end, at its present rate; None: too early, or it does not end
    forecast_limit_time: datetime | None  # when the limit will be reached; None: not in this window

    @property
    def spent_usd(self) -> Decimal:
        """Booked dollars."""
        return usd(self.spent_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that a budget has told."""

    id: int  # later ones are larger
    kind: AlertKind | None
    budget: str
    key: str  # the value that the budget holds for; empty: all
    window: str  # empty: a pause or its end, by hand
    percent: int  # threshold; 0: none
    limit_usd_nanos: int
    spent_usd_nanos: int
    text: str
    create_time: datetime | None
