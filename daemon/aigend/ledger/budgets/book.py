"""Which budgets a call falls under, and in which calendar window; arithmetic on settings, no rows.

Windows are computed when they are asked for: nothing has to run at midnight.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Protocol
from zoneinfo import ZoneInfo

from aigend.config import BudgetSettings
from aigend.ledger.entries import Intent
from aigend.types import Accounting, Route

NEVER_US = 2**63 - 1  # end of a window that does not end
NO_VALUE = "(none)"  # how people are told of calls that carry nothing where a budget holds for each value
THRESHOLDS = (50, 75, 90, 100)  # percent of the limit
FIRST_DAYS = {"monday": 0, "saturday": 5, "sunday": 6}
LABEL_PREFIX = "label:"
Meaning = Callable[[Mapping[str, str]], Mapping[str, str]]


class Spender(Protocol):
    """What of a call decides which budgets it falls under; an `Intent` is one."""

    @property
    def accounting(self) -> Accounting:
        """Session, task and labels."""
        ...

    @property
    def agent(self) -> str:
        """Named role; empty for none."""
        ...

    @property
    def service(self) -> str:
        """Who asks by policy; empty for none."""
        ...

    @property
    def phase(self) -> str:
        """Place in the pipeline; empty for none."""
        ...

    @property
    def route(self) -> Route:
        """Where it goes."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A call whose route is not chosen yet, as it would be on one of them."""

    accounting: Accounting
    agent: str
    service: str
    phase: str
    route: Route


_VALUES: Mapping[str, Callable[[Spender], str]] = {
    "service": lambda spender: spender.service,
    "session": lambda spender: spender.accounting.session,
    "agent": lambda spender: spender.agent,
    "provider": lambda spender: spender.route.provider,
    "model": lambda spender: spender.route.model,
    "phase": lambda spender: spender.phase,
    "task": lambda spender: spender.accounting.task,
}
SELECTOR_KEYS = (*_VALUES, "label:<key>")


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A span of time in which a budget holds."""

    name: str
    start_us: int
    end_us: int  # exclusive

    @property
    def reset_time(self) -> float | None:
        """Wall clock at which it ends; None where it does not."""
        return None if self.end_us == NEVER_US else self.end_us / 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A budget that a call falls under, in the window that runs."""

    budget: str
    key: str  # the value that it holds for; empty: all, or calls that carry none
    period: str
    window: Window
    limit_nanos: int
    action: str
    require_known_prices: bool
    downgrade_to: str = ""  # model that calls are sent to; empty but with action downgrade
    downgrade_at_percent: int = 100
    per_value: bool = False  # whether it holds for each value by itself
    only_counts: bool = False  # for charges that were made already: nothing is refused

    @property
    def label(self) -> str:
        """Name for people."""
        return label_of(self.budget, self.key, per_value=self.per_value)

    @property
    def refuses(self) -> bool:
        """Whether a call that does not fit is refused."""
        return self.action != "warn" and not self.only_counts

    @property
    def window_id(self) -> tuple[str, str, str]:
        """Budget, key and period: of each such three, one window runs."""
        return self.budget, self.key, self.period


def label_of(budget: str, key: str, *, per_value: bool = False) -> str:
    """Return the name of a budget for people, with the value that it holds for.

    Example:
        >>> label_of("run", "one"), label_of("run", "", per_value=True), label_of("all", "")
        ('run[one]', 'run[(none)]', 'all')
    """
    return f"{budget}[{key or NO_VALUE}]" if key or per_value else budget


def usd_nanos(amount: str) -> int:
    """Return an amount of USD as nano-dollars.

    Example:
        >>> usd_nanos("1.000000001")
        1000000001
    """
    return int(Decimal(amount) * 1_000_000_000)


class BudgetBook:
    """Budgets with their calendar.

    Args:
        budgets: As the settings or somebody who set them name them; names must differ.
        time_zone: IANA name; windows begin at its midnight.
        week_start: First day of the week: monday, saturday or sunday.
        meaning: Returns a selector in the words that calls are booked in; asked when the book is made, not for each call.

    Raises:
        ValueError: A selector key or zone is unknown, or a name is there twice; the message names it and what is allowed.
    """

    def __init__(
        self,
        budgets: Sequence[BudgetSettings],
        *,
        time_zone: str = "UTC",
        week_start: str = "monday",
        meaning: Meaning = dict,
    ) -> None:
        self.budgets = tuple(budgets)
        self.time_zone, self.week_start = time_zone, week_start
        self.downgrades = any(budget.action == "downgrade" for budget in self.budgets)
        self._meaning = meaning
        self._rules = [(budget, tuple(meaning(budget.selector).items())) for budget in self.budgets]
        self._by_name = {budget.name: budget for budget in self.budgets}
        self._limits = {budget.name: usd_nanos(budget.limit_usd) for budget in self.budgets}
        self._calendar = Calendar(time_zone, week_start=week_start)
        if len(self._limits) != len(self.budgets):
            raise ValueError("budgets: a name is there twice; allowed: each name once")
        for budget in self.budgets:
            for key in (*budget.selector, *([budget.each] if budget.each is not None else [])):
                _check_key(budget.name, key)

    def with_more(self, budgets: Iterable[BudgetSettings]) -> "BudgetBook":
        """Return a book of the same calendar that holds these as well, but for those whose name it has already."""
        more = [budget for budget in budgets if budget.name not in self._by_name]
        every = (*self.budgets, *more)
        return BudgetBook(every, time_zone=self.time_zone, week_start=self.week_start, meaning=self._meaning)

    def get(self, name: str) -> BudgetSettings | None:
        """Return the budget of a name; None where there is none."""
        return self._by_name.get(name)

    def matching(self, intent: Intent, *, now: float | None = None) -> list[Claim]:
        """Return every budget that a call falls under, with the window that runs now; None: when the intent was made."""
        return self.claims_of(intent, now=intent.create_time if now is None else now)

    def claims_of(self, spender: Spender, *, now: float) -> list[Claim]:
        """Return every budget that somebody falls under, with the window that runs now.

        Calls without a session have no window in a budget whose period is a session: they share no life that could end.
        """
        session = spender.accounting.session
        return [
            self._claim(budget, key=value_of(spender, budget.each) if budget.each else "", spender=spender, now=now)
            for budget, selected in self._rules
            if (session or budget.period != "session") and all(value_of(spender, key) == value for key, value in selected)
        ]

    def current(self, now: float) -> list[Claim]:
        """Return the running windows of the budgets that hold for all and follow the calendar, used or not."""
        plain = [budget for budget in self.budgets if budget.each is None and budget.period != "session"]
        return [self._made(budget, "", self._calendar.window(budget.period, now)) for budget in plain]

    def unused(self, name: str, key: str, now: float) -> Claim | None:
        """Return the running window of a budget for a value under which nothing was spent; None where no budget has the name."""
        budget = self._by_name.get(name)
        if budget is None:
            return None
        if budget.period == "session":
            return self._made(budget, key, Window(name=key if budget.each == "session" else "", start_us=0, end_us=NEVER_US))
        return self._made(budget, key, self._calendar.window(budget.period, now))

    @property
    def limits(self) -> Mapping[str, int]:
        """Limit of each budget, in nano-dollars."""
        return self._limits

    def action_of(self, name: str) -> str:
        """Return what a budget does at its limit; empty where the settings no longer name it."""
        budget = self._by_name.get(name)
        return budget.action if budget else ""

    def per_value(self, name: str) -> bool:
        """Return whether a budget holds for each value by itself; False where there is none of the name."""
        budget = self._by_name.get(name)
        return budget is not None and budget.each is not None

    def _claim(self, budget: BudgetSettings, *, key: str, spender: Spender, now: float) -> Claim:
        if budget.period == "session":
            return self._made(budget, key, Window(name=spender.accounting.session, start_us=0, end_us=NEVER_US))
        return self._made(budget, key, self._calendar.window(budget.period, now))

    def _made(self, budget: BudgetSettings, key: str, window: Window) -> Claim:
        return Claim(
            budget=budget.name,
            key=key,
            period=budget.period,
            window=window,
            limit_nanos=self._limits[budget.name],
            action=budget.action,
            require_known_prices=budget.require_known_prices,
            downgrade_to=budget.downgrade_to or "",
            downgrade_at_percent=budget.downgrade_at_percent,
            per_value=budget.each is not None,
        )


class Calendar:
    """Days, weeks and months of one time zone."""

    def __init__(self, time_zone: str, *, week_start: str) -> None:
        try:
            self._zone = ZoneInfo(time_zone)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError(f"time_zone is {time_zone!r}; allowed: an IANA name such as 'Asia/Seoul'") from error
        self._first_day = FIRST_DAYS[week_start]
        self._running: dict[str, Window] = {}

    def window(self, period: str, now: float) -> Window:
        """Return the day, week or month that a moment lies in."""
        now_us = int(now * 1e6)
        known = self._running.get(period)
        if known is None or not known.start_us <= now_us < known.end_us:
            known = self._running[period] = self._compute(period, datetime.fromtimestamp(now, self._zone).date())
        return known

    def _compute(self, period: str, day: date) -> Window:
        first, last = self._span(period, day)
        name = first.strftime("%Y-%m") if period == "monthly" else first.isoformat()
        return Window(name=name, start_us=self._midnight_us(first), end_us=self._midnight_us(last))

    def _span(self, period: str, day: date) -> tuple[date, date]:
        if period == "daily":
            return day, day + timedelta(days=1)
        if period == "weekly":
            first = day - timedelta(days=(day.weekday() - self._first_day) % 7)
            return first, first + timedelta(days=7)
        first = day.replace(day=1)
        return first, (first + timedelta(days=32)).replace(day=1)

    def _midnight_us(self, day: date) -> int:
        """The first moment of a local day: a zone that skips midnight begins it later, by way of UTC."""
        local = datetime.combine(day, time(), tzinfo=self._zone)
        return int(local.astimezone(UTC).timestamp()) * 1_000_000


def value_of(spender: Spender, key: str) -> str:
    """Return what a call carries for a selector key; empty where it carries nothing."""
    if key.startswith(LABEL_PREFIX):
        return spender.accounting.labels.get(key[len(LABEL_PREFIX) :], "")
    return _VALUES[key](spender)


def threshold_passed(spent_nanos: int, limit_nanos: int) -> int:
    """Return the highest threshold, in percent, that spending has reached; 0 below the first.

    Example:
        >>> threshold_passed(91, 100), threshold_passed(49, 100), threshold_passed(0, 0)
        (90, 0, 0)
    """
    if spent_nanos <= 0:
        return 0
    return max((percent for percent in THRESHOLDS if spent_nanos * 100 >= limit_nanos * percent), default=0)


def thresholds_between(announced: int, passed: int) -> tuple[int, ...]:
    """Return the thresholds above the one that was told last, up to the one that was passed now, in percent.

    Example:
        >>> thresholds_between(50, 90)
        (75, 90)
    """
    return tuple(percent for percent in THRESHOLDS if announced < percent <= passed)


def selects(key: str) -> bool:
    """Return whether calls can be selected by this key.

    Example:
        >>> selects("session"), selects("label:team"), selects("label:"), selects("sesion")
        (True, True, False, False)
    """
    return key in _VALUES or (key.startswith(LABEL_PREFIX) and len(key) > len(LABEL_PREFIX))


def _check_key(budget: str, key: str) -> None:
    if not selects(key):
        raise ValueError(f"budgets.{budget}: selector key {key!r} is unknown; allowed: {', '.join(SELECTOR_KEYS)}")
