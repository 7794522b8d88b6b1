"""What people and the spine do with budgets: set, pause, look at them, and ask which call is to go to a cheaper model.

Rows are `budget_rows` and `windows`, alerts `alert_desk`; here is the book in force: the settings' budgets and those that were set.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from aigend.clock import Clock
from aigend.config import BudgetSettings
from aigend.config.rules import selector_keys
from aigend.errors import DomainError, Reason, capability_missing, invalid
from aigend.ledger.alerts import rows as alert_rows
from aigend.ledger.alerts.desk import AlertDesk, Doors
from aigend.ledger.alerts.rows import Alert, AlertKind
from aigend.ledger.budgets import rows as budget_rows
from aigend.ledger.budgets import windows
from aigend.ledger.budgets.book import BudgetBook, Claim, Spender, label_of, selects, usd_nanos
from aigend.ledger.budgets.forecast import DAY_S, HOUR_S, Forecast, forecast, stretch_s
from aigend.ledger.budgets.rows import StoredBudget
from aigend.ledger.budgets.totals import RunningTotals, untouched
from aigend.ledger.budgets.windows import WindowRow
from aigend.ledger.entries import BudgetState, Intent

MOST_SET = 1_000  # budgets; each is looked at for every paid call
MOST_REMEMBERED = 10_000  # downgraded windows
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetRecord:
    """A budget and where it was written."""

    budget: BudgetSettings
    stored: StoredBudget | None = None  # None: in the settings


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetView:
    """A running window as it is shown."""

    state: BudgetState
    paused: bool
    downgraded: bool
    forecast: Forecast | None


class BudgetDesk:
    """The budgets in force; its methods run on the event loop.

    Args:
        book: Budgets and calendar of the settings.
        doors: Reads and writes the ledger.
        clock: Tells the time.

    Attributes:
        alerts: What budgets have told.
        totals: Running windows, in memory.
        on_change: Called when something changed that decides how calls are answered.
    """

    def __init__(self, book: BudgetBook, *, doors: Doors, clock: Clock) -> None:
        self.alerts = AlertDesk(doors)
        self.totals = RunningTotals()
        self.on_change: list[Callable[[], None]] = []
        self._doors = doors
        self._clock = clock
        self._settings = book
        self._origin = "the settings"
        self._enabled = True
        self._stored: dict[str, StoredBudget] = {}
        self._downgraded: set[int] = set()  # ids of windows
        self.book = book

    def use(self, book: BudgetBook, *, enabled: bool = True, origin: str = "") -> None:
        """Put other settings in force.

        Args:
            book: Budgets and calendar of the settings.
            enabled: Whether budgets hold at all, those that were set included.
            origin: Where the settings are written, for people.
        """
        self._settings, self._enabled, self._origin = book, enabled, origin or self._origin
        self._rebuild()

    def load(self, connection: sqlite3.Connection, *, now_us: int) -> None:
        """Take over what stands in the ledger; called once, before anybody asks."""
        self._stored = {stored.budget.name: stored for stored in budget_rows.load(connection)}
        self.alerts.load(connection)
        self.totals.update(reversed(windows.running(connection, now_us=now_us, limit=self.totals.limit)))
        self._rebuild()
        for name in self._stored.keys() & self._settings.limits.keys():
            _log.warning("budget_hidden", budget=name, text=f"{self._origin} names it too and wins")

    def noticed(self, rows: Iterable[WindowRow], *, told: bool) -> None:
        """Bring memory up to windows as they are durable now, and have told what they have to tell."""
        rows = tuple(rows)
        self.totals.update(rows)
        if len(self._downgraded) > MOST_REMEMBERED:
            self._downgraded.clear()  # windows that still are downgraded are noticed anew
        before = len(self._downgraded)
        for row in rows if self.book.downgrades else ():
            budget = self.book.get(row.budget)
            if budget is not None and _reached(budget, row.spent_nanos, self.book.limits[row.budget]):
                self._downgraded.add(row.id)
        if told:
            self.alerts.look()
        if told or len(self._downgraded) > before:
            self._changed()

    async def refused(self, refusal: DomainError, claims: Sequence[Claim], intent: Intent) -> DomainError:
        """Return what a refused reservation is answered with: a budget with action pause is paused where its limit is used up."""
        named = (refusal.metadata.get("budget"), refusal.metadata.get("key"))
        claim = next((claim for claim in claims if claim.action == "pause" and (claim.budget, claim.key) == named), None)
        if refusal.reason is not Reason.BUDGET_EXCEEDED or claim is None:
            return refusal
        now_us, needed = self._now_us(), intent.upper_bound_nanos or 0
        with contextlib.suppress(DomainError):  # it can't be written: refused it is all the same
            if await self._doors.write(partial(windows.pause_for_want, claim=claim, needed_nanos=needed, now_us=now_us)):
                self.alerts.look()
                return windows.paused(claim, since_us=now_us)
        return refusal

    def downgrade(self, spender: Spender, *, refused_by: str = "") -> Claim | None:
        """Return the budget that sends a call to a cheaper model; None where there is none.

        Args:
            spender: The call.
            refused_by: Budget in which the call found no room: it sends it there although its time has not come.
        """
        if not self.book.downgrades:
            return None
        now = self._clock.time()
        claims = (claim for claim in self.book.claims_of(spender, now=now) if claim.downgrade_to)
        return next((claim for claim in claims if claim.budget == refused_by or self._cheaper_now(claim, now)), None)

    def records(self) -> list[BudgetRecord]:
        """Return all budgets, by name."""
        own = [BudgetRecord(budget=budget) for budget in self._settings.budgets]
        names = self._settings.limits
        more = [BudgetRecord(budget=s.budget, stored=s) for name, s in self._stored.items() if name not in names]
        return sorted((*own, *more), key=lambda record: record.budget.name)

    def get(self, name: str) -> BudgetRecord:
        """Return one budget.

        Raises:
            DomainError: NOT_FOUND.
        """
        record = next((record for record in self.records() if record.budget.name == name), None)
        if record is None:
            raise DomainError(Reason.NOT_FOUND, f"no budget is named {name[:64]!r}", field="name", name=name[:64])
        return record

    async def put(self, budget: BudgetSettings) -> BudgetRecord:
        """Keep a budget, in the place of the one of its name, and return what is kept once it is durable.

        Raises:
            DomainError: INVALID_REQUEST for a budget of the settings or a selector that can't be used; CAPABILITY_MISSING where
                budgets are switched off; STORAGE_FULL or STORAGE_DAMAGED.
        """
        self._check_ours(budget.name, "another name")
        if not self._enabled:
            raise capability_missing("SetBudget", "budgets", "features.budgets is off")
        if len(self._stored) >= MOST_SET and budget.name not in self._stored:
            raise invalid("budget", f"the {MOST_SET + 1:,}th", f"at most {MOST_SET:,} budgets")
        for key, value in budget.selector.items():
            if not selects(key):
                raise invalid(f"budget.selector[{key!r}]", value, f"the keys {selector_keys(key)}")
        if budget.each is not None and not selects(budget.each):
            raise invalid("budget.each", budget.each, selector_keys(budget.each))
        stored = await self._doors.write(partial(_put, budget=budget, now_us=self._now_us()))
        self._stored[budget.name] = stored
        self._rebuild()
        return BudgetRecord(budget=stored.budget, stored=stored)

    async def delete(self, name: str) -> None:
        """Forget a budget that was set.

        Raises:
            DomainError: NOT_FOUND; INVALID_REQUEST for a budget of the settings; STORAGE_FULL or STORAGE_DAMAGED.
        """
        self.get(name)
        self._check_ours(name, "a budget that was set")
        await self._doors.write(partial(budget_rows.delete, name=name))
        self._stored.pop(name, None)
        self._rebuild()

    async def pause(self, name: str, *, key: str = "") -> bool:
        """Refuse paid calls under a budget until it is resumed; return whether that is new.

        Raises:
            DomainError: NOT_FOUND; INVALID_REQUEST for a key where the budget does not hold per value; STORAGE_FULL or
                STORAGE_DAMAGED.
        """
        budget = self.get(name).budget
        if key and budget.each is None:
            raise invalid("key", key, "empty: this budget does not hold per value")
        text = f"budget {label_of(name, key)} is paused until it is resumed: by hand"
        alert = self._by_hand(AlertKind.PAUSED, name, key, text=text)
        changed = await self._doors.write(partial(_pause, alert=alert))
        self.alerts.look()
        return changed

    async def resume(self, name: str, *, key: str = "") -> int:
        """End pauses of a budget, all of them without a key; return how many ended.

        Raises:
            DomainError: NOT_FOUND; STORAGE_FULL or STORAGE_DAMAGED.
        """
        self.get(name)
        alert = self._by_hand(AlertKind.RESUMED, name, key, text=f"budget {label_of(name, key)} is resumed")
        ended = await self._doors.write(partial(_resume, alert=alert))
        self.alerts.look()
        return ended

    async def views(self, name: str = "") -> list[BudgetView]:
        """Return the running windows of one budget or of all, and whatever is paused, with what they will come to.

        Raises:
            DomainError: NOT_FOUND; STORAGE_DAMAGED.
        """
        if name:
            self.get(name)
        now = self._clock.time()
        pauses, recent = await self._doors.read(partial(_present, now=now), fresh=False)
        states = [state for state in self._states(pauses, now) if name in ("", state.budget)]
        return [self._view(state, pauses, recent.get((state.budget, state.key, state.window), (0, 0)), now) for state in states]

    def _states(self, pauses: "budget_rows.Pauses", now: float) -> list[BudgetState]:
        """Return what windows hold; what is paused is there too where nothing was spent in its window: a pause has no end."""
        states = self.totals.states(self.book, now)
        shown, running = {(state.budget, state.key) for state in states}, {state.budget for state in states}
        hidden = [(name, key) for name, key, whole in pauses if (name not in running if whole else (name, key) not in shown)]
        unused = (self.book.unused(name, key, now) for name, key in hidden)
        states += sorted((untouched(claim) for claim in unused if claim is not None), key=lambda state: state.key)
        return sorted(states, key=lambda state: state.budget)

    def _view(self, state: BudgetState, pauses: "budget_rows.Pauses", recent: tuple[int, int], now: float) -> BudgetView:
        """Return a window as it is shown; `recent` is what its last hour and its last day have booked."""
        budget = self.book.get(state.budget)
        ahead = None
        if state.start_time is not None and state.reset_time is not None:
            ahead = forecast(
                spent_nanos=state.spent_nanos,
                recent_nanos=recent[stretch_s(state.start_time, state.reset_time) > HOUR_S],
                limit_nanos=state.limit_nanos,
                start=state.start_time,
                end=state.reset_time,
                now=now,
            )
        downgraded = budget is not None and _reached(budget, state.spent_nanos, state.limit_nanos)
        return BudgetView(state=state, paused=pauses.holds(state.budget, state.key), downgraded=downgraded, forecast=ahead)

    def _cheaper_now(self, claim: Claim, now: float) -> bool:
        budget = self.book.get(claim.budget)
        return budget is not None and _reached(budget, self.totals.spent_nanos(claim, now), claim.limit_nanos)

    def _check_ours(self, name: str, allowed: str) -> None:
        if name in self._settings.limits:
            raise invalid("name", name, f"{allowed}; this budget is written in {self._origin} and is changed there")

    def _by_hand(self, kind: AlertKind, name: str, key: str, *, text: str) -> Alert:
        limit = usd_nanos(self.get(name).budget.limit_usd)
        return Alert(
            kind=kind,
            budget=name,
            key=key,
            window="",
            percent=0,
            limit_nanos=limit,
            spent_nanos=0,
            text=text,
            create_us=self._now_us(),
        )

    def _rebuild(self) -> None:
        stored = [stored.budget for stored in self._stored.values()] if self._enabled else []
        self.book = self._settings.with_more(stored)
        self._changed()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()

    def _now_us(self) -> int:
        return int(self._clock.time() * 1e6)


def _reached(budget: BudgetSettings, spent_nanos: int, limit_nanos: int) -> bool:
    """Whether spending is where the budget's downgrade begins."""
    return budget.action == "downgrade" and spent_nanos * 100 >= limit_nanos * budget.downgrade_at_percent


def _present(
    connection: sqlite3.Connection, *, now: float
) -> "tuple[budget_rows.Pauses, dict[tuple[str, str, str], tuple[int, int]]]":
    """Return what is paused, and what windows have booked lately."""
    hour_us, day_us = (int((now - back) * 1e6) for back in (HOUR_S, DAY_S))
    return budget_rows.pauses(connection), windows.recent(connection, hour_us=hour_us, day_us=day_us)


def _put(connection: sqlite3.Connection, *, budget: BudgetSettings, now_us: int) -> StoredBudget:
    budget_rows.tell_again(connection, budget.name, limit_nanos=usd_nanos(budget.limit_usd), now_us=now_us)
    return budget_rows.put(connection, budget, now_us=now_us)


def _pause(connection: sqlite3.Connection, *, alert: Alert) -> bool:
    changed = budget_rows.pause(connection, alert.budget, alert.key, whole=not alert.key, now_us=alert.create_us)
    if changed:
        alert_rows.insert(connection, alert)
    return changed


def _resume(connection: sqlite3.Connection, *, alert: Alert) -> int:
    ended = budget_rows.resume(connection, alert.budget, alert.key)
    if ended:
        alert_rows.insert(connection, alert)
    return ended
