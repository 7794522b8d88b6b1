"""BudgetService: budgets, how far they are used, pauses, and what budgets have told."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from enum import StrEnum
from typing import Any

from aigen.v1 import budget_pb2 as pb
from pydantic import ValidationError

from aigend.completion.snapshot import Snapshot
from aigend.config import BudgetSettings
from aigend.errors import DomainError, invalid
from aigend.ledger.alerts.rows import NEWEST, Alert, AlertKind
from aigend.ledger.budgets.book import usd_nanos
from aigend.ledger.budgets.desk import BudgetDesk, BudgetRecord, BudgetView
from aigend.ledger.budgets.windows import usd
from aigend.rpc.content import refuse_unknown
from aigend.rpc.enums import EnumPair
from aigend.rpc.paging import check_page_size, page
from aigend.rpc.serving import Context
from aigend.rpc.times import timestamp

MOST_NANOS = 999_999_999_999_999_999
MOST_SELECTORS = 16
LONGEST_VALUE = 256  # characters


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


PERIOD = EnumPair(BudgetPeriod, pb.BudgetPeriod.DESCRIPTOR, "BUDGET_PERIOD")
ACTION = EnumPair(BudgetAction, pb.BudgetAction.DESCRIPTOR, "BUDGET_ACTION")
KIND = EnumPair(AlertKind, pb.AlertKind.DESCRIPTOR, "ALERT_KIND")


class BudgetServicer:
    """Sets and shows budgets.

    Args:
        budgets: The budgets in force.
        snapshot: Returns what is in force, for the catalog.
    """

    def __init__(self, budgets: BudgetDesk, snapshot: Callable[[], Snapshot]) -> None:
        self._budgets = budgets
        self._snapshot = snapshot

    async def list_budgets(self, request: pb.ListBudgetsRequest) -> pb.ListBudgetsResponse:
        """List budgets by name."""
        shown, token = page(self._budgets.records(), page_size=request.page_size, page_token=request.page_token)
        return pb.ListBudgetsResponse(budgets=[_pack(record) for record in shown], next_page_token=token)

    async def get_budget(self, request: pb.GetBudgetRequest) -> pb.GetBudgetResponse:
        """Return one budget."""
        return pb.GetBudgetResponse(budget=_pack(self._budgets.get(request.name)))

    async def set_budget(self, request: pb.SetBudgetRequest) -> pb.SetBudgetResponse:
        """Keep a budget and return what was stored."""
        budget, snapshot = unpack_budget(request), self._snapshot()
        for fault in snapshot.selectors.faults(budget.selector):
            raise invalid(f"budget.selector[{fault.key!r}]", fault.value, fault.allowed)
        if budget.downgrade_to:
            snapshot.catalog.find(budget.downgrade_to, field="budget.downgrade_to")
        return pb.SetBudgetResponse(budget=_pack(await self._budgets.put(budget)))

    async def delete_budget(self, request: pb.DeleteBudgetRequest) -> pb.DeleteBudgetResponse:
        """Forget a budget."""
        await self._budgets.delete(request.name)
        return pb.DeleteBudgetResponse()

    async def get_budget_status(self, request: pb.GetBudgetStatusRequest) -> pb.GetBudgetStatusResponse:
        """Return the running windows."""
        return pb.GetBudgetStatusResponse(windows=[_pack_view(view) for view in await self._budgets.views(request.name)])

    async def pause_budget(self, request: pb.PauseBudgetRequest) -> pb.PauseBudgetResponse:
        """Refuse paid calls under a budget."""
        return pb.PauseBudgetResponse(changed=await self._budgets.pause(request.name, key=request.key))

    async def resume_budget(self, request: pb.ResumeBudgetRequest) -> pb.ResumeBudgetResponse:
        """End pauses of a budget."""
        return pb.ResumeBudgetResponse(resumed_count=await self._budgets.resume(request.name, key=request.key))

    async def list_alerts(self, request: pb.ListAlertsRequest) -> pb.ListAlertsResponse:
        """List alerts, newest first."""
        size = check_page_size(request.page_size)
        found = await self._budgets.alerts.page(before=_place(request.page_token), budget=request.budget, limit=size + 1)
        token = str(found[size - 1].id) if len(found) > size else ""
        return pb.ListAlertsResponse(alerts=[_pack_alert(alert) for alert in found[:size]], next_page_token=token)

    async def watch_alerts(self, data: bytes, _: Context) -> AsyncGenerator[bytes, None]:
        """Tell alerts as they happen."""
        request = pb.WatchAlertsRequest.FromString(data)
        after = request.after_alert_id if request.HasField("after_alert_id") else None
        if after is not None and after < 0:
            raise invalid("after_alert_id", after, "0, or the id of an alert")
        async with aclosing(self._budgets.alerts.watch(after=after, budget=request.budget)) as alerts:
            async for alert in alerts:
                yield pb.WatchAlertsResponse(alert=_pack_alert(alert)).SerializeToString()


def unpack_budget(request: pb.SetBudgetRequest) -> BudgetSettings:
    """Return the budget of a request as the settings would spell it.

    Raises:
        DomainError: INVALID_REQUEST naming the field; CAPABILITY_MISSING for a field that this version does not know.
    """
    refuse_unknown(request, "request")
    message = request.budget
    refuse_unknown(message, "budget")
    _check(message)
    values: dict[str, Any] = {
        "name": message.name,
        "selector": dict(message.selector),
        "each": message.each or None,
        "period": PERIOD.unpack(message.period, "budget.period"),
        "limit_usd": usd(message.limit_usd_nanos),
        "action": ACTION.unpack(message.action, "budget.action") or BudgetAction.REFUSE,
        "require_known_prices": message.require_known_prices,
        "downgrade_to": message.downgrade_to or None,
    }
    if message.downgrade_at_percent:
        values["downgrade_at_percent"] = message.downgrade_at_percent
    try:
        return BudgetSettings(**values)
    except ValidationError as error:
        raise _refused(error, values) from None


def _check(message: pb.Budget) -> None:
    if message.period == 0:
        raise invalid("budget.period", "unset", PERIOD.allowed)
    if not 0 <= message.limit_usd_nanos <= MOST_NANOS:
        raise invalid("budget.limit_usd_nanos", message.limit_usd_nanos, f"0 to {MOST_NANOS:,}")
    if not 0 <= message.downgrade_at_percent <= 100:
        raise invalid("budget.downgrade_at_percent", message.downgrade_at_percent, "1 to 100, or 0 for 90")
    if len(message.selector) > MOST_SELECTORS:
        raise invalid("budget.selector", f"{len(message.selector)} entries", f"at most {MOST_SELECTORS}")
    for key, value in message.selector.items():
        if len(key) > LONGEST_VALUE or len(value) > LONGEST_VALUE:
            raise invalid(f"budget.selector[{key[:40]!r}]", value, f"at most {LONGEST_VALUE} characters")
    downgrades = ACTION.unpack(message.action, "budget.action") is BudgetAction.DOWNGRADE
    if downgrades and not message.downgrade_to:
        raise invalid("budget.downgrade_to", "", "a model, which goes with action DOWNGRADE")
    if message.downgrade_to and not downgrades:
        raise invalid("budget.downgrade_to", message.downgrade_to, "no model without action DOWNGRADE")


def _refused(error: ValidationError, values: Mapping[str, object]) -> DomainError:
    """Name the field that the settings' own rules refuse."""
    detail = error.errors(include_url=False)[0]
    field = str(detail["loc"][0])
    return invalid(f"budget.{field}", values.get(field), detail["msg"])


def _place(token: str) -> int:
    if not token:
        return NEWEST
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise invalid("page_token", token, "next_page_token of the page before")
    return int(token)


def _pack(record: BudgetRecord) -> pb.Budget:
    budget, stored = record.budget, record.stored
    downgrades = budget.action == "downgrade"
    return pb.Budget(
        name=budget.name,
        selector=budget.selector,
        each=budget.each or "",
        period=PERIOD.pack(BudgetPeriod(budget.period)),
        limit_usd_nanos=usd_nanos(budget.limit_usd),
        action=ACTION.pack(BudgetAction(budget.action)),
        require_known_prices=budget.require_known_prices,
        downgrade_to=budget.downgrade_to or "",
        downgrade_at_percent=budget.downgrade_at_percent if downgrades else 0,
        origin=pb.BUDGET_ORIGIN_SETTINGS if stored is None else pb.BUDGET_ORIGIN_SET,
        create_time=None if stored is None else timestamp(stored.create_time),
        update_time=None if stored is None else timestamp(stored.update_time),
    )


def _pack_view(view: BudgetView) -> pb.BudgetWindow:
    state, ahead = view.state, view.forecast
    limit_time = None if ahead is None else ahead.limit_time
    return pb.BudgetWindow(
        budget=state.budget,
        key=state.key,
        window=state.window,
        action=ACTION.pack(BudgetAction(state.action)),
        limit_usd_nanos=state.limit_nanos,
        spent_usd_nanos=state.spent_nanos,
        reserved_usd_nanos=state.reserved_nanos,
        start_time=None if state.start_time is None else timestamp(state.start_time),
        reset_time=None if state.reset_time is None else timestamp(state.reset_time),
        paused=view.paused,
        downgraded=view.downgraded,
        forecast_usd_nanos=None if ahead is None else ahead.spent_nanos,
        forecast_limit_time=None if limit_time is None else timestamp(limit_time),
    )


def _pack_alert(alert: Alert) -> pb.Alert:
    return pb.Alert(
        id=alert.id,
        kind=KIND.pack(alert.kind),
        budget=alert.budget,
        key=alert.key,
        window=alert.window,
        percent=alert.percent,
        limit_usd_nanos=alert.limit_nanos,
        spent_usd_nanos=alert.spent_nanos,
        text=alert.text,
        create_time=timestamp(alert.create_time),
    )
