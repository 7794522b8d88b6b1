"""Protobuf messages → the frozen values of `budgets.py`; the rest is `_convert.py`."""

from aigen import _convert, budgets
from aigen.v1 import budget_pb2

_PERIOD = _convert.table(budget_pb2.BudgetPeriod, "BUDGET_PERIOD_", budgets.BudgetPeriod)
_ACTION = _convert.table(budget_pb2.BudgetAction, "BUDGET_ACTION_", budgets.BudgetAction)
_ORIGIN = _convert.table(budget_pb2.BudgetOrigin, "BUDGET_ORIGIN_", budgets.BudgetOrigin)
_KIND = _convert.table(budget_pb2.AlertKind, "ALERT_KIND_", budgets.AlertKind)


def page_of(payload: bytes) -> tuple[list[budgets.Budget], str]:
    """Return a page of budgets and where the next begins."""
    message = budget_pb2.ListBudgetsResponse.FromString(payload)
    return [_budget(item) for item in message.budgets], message.next_page_token


def budget_of(payload: bytes) -> budgets.Budget:
    """Return one budget."""
    return _budget(budget_pb2.GetBudgetResponse.FromString(payload).budget)


def stored_of(payload: bytes) -> budgets.Budget:
    """Return the budget that was stored."""
    return _budget(budget_pb2.SetBudgetResponse.FromString(payload).budget)


def deleted_of(payload: bytes) -> None:
    """Return nothing: the budget is gone."""
    budget_pb2.DeleteBudgetResponse.FromString(payload)


def windows_of(payload: bytes) -> tuple[budgets.BudgetWindow, ...]:
    """Return running windows."""
    return tuple(_window(item) for item in budget_pb2.GetBudgetStatusResponse.FromString(payload).windows)


def paused_of(payload: bytes) -> bool:
    """Return whether a budget was paused just now."""
    return budget_pb2.PauseBudgetResponse.FromString(payload).changed


def resumed_of(payload: bytes) -> int:
    """Return how many pauses ended."""
    return budget_pb2.ResumeBudgetResponse.FromString(payload).resumed_count


def alert_page_of(payload: bytes) -> tuple[list[budgets.Alert], str]:
    """Return a page of alerts and where the next begins."""
    message = budget_pb2.ListAlertsResponse.FromString(payload)
    return [_alert(item) for item in message.alerts], message.next_page_token


def watched_of(payload: bytes) -> list[budgets.Alert]:
    """Return the alert of one message of a watch."""
    return [_alert(budget_pb2.WatchAlertsResponse.FromString(payload).alert)]


def _budget(message: budget_pb2.Budget) -> budgets.Budget:
    return budgets.Budget(
        **_convert.same(message, "name each limit_usd_nanos require_known_prices downgrade_to downgrade_at_percent"),
        selector=dict(message.selector),
        period=_PERIOD.get(message.period),
        action=_ACTION.get(message.action),
        origin=_ORIGIN.get(message.origin),
        create_time=_convert.moment(message, "create_time"),
        update_time=_convert.moment(message, "update_time"),
    )


def _window(message: budget_pb2.BudgetWindow) -> budgets.BudgetWindow:
    amounts = "limit_usd_nanos spent_usd_nanos reserved_usd_nanos"
    return budgets.BudgetWindow(
        **_convert.same(message, f"budget key window paused downgraded {amounts}"),
        action=_ACTION.get(message.action),
        start_time=_convert.moment(message, "start_time"),
        reset_time=_convert.moment(message, "reset_time"),
        forecast_usd_nanos=message.forecast_usd_nanos if message.HasField("forecast_usd_nanos") else None,
        forecast_limit_time=_convert.moment(message, "forecast_limit_time"),
    )


def _alert(message: budget_pb2.Alert) -> budgets.Alert:
    return budgets.Alert(
        **_convert.same(message, "id budget key window percent limit_usd_nanos spent_usd_nanos text"),
        kind=_KIND.get(message.kind),
        create_time=_convert.moment(message, "create_time"),
    )
