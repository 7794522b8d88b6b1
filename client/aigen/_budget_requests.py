"""Python arguments → the bytes of the requests about budgets."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from aigen._fields import NOT_TAKEN, number_of, refused, set_field, shown, words
from aigen._requests import serialize
from aigen.budgets import BudgetAction, BudgetPeriod
from aigen.errors import InvalidRequest, invalid
from aigen.v1 import budget_pb2

_PERIODS = words(budget_pb2.BudgetPeriod, "BUDGET_PERIOD_")
_ACTIONS = words(budget_pb2.BudgetAction, "BUDGET_ACTION_")
MOST_USD = Decimal("999999999.999999999")
_ALLOWED = f"0 to {MOST_USD:,} dollars as Decimal, text or whole number, with at most 9 decimals"


def set_bytes(
    name: str,
    *,
    period: BudgetPeriod | str,
    limit_usd: Decimal | str | int,
    action: BudgetAction | str,
    selector: Mapping[str, str],
    each: str,
    require_known_prices: bool,
    downgrade_to: str,
    downgrade_at_percent: int,
) -> bytes:
    """Return the serialized SetBudgetRequest."""
    message = budget_pb2.SetBudgetRequest()
    budget = message.budget
    _fill(budget, {"name": name, "each": each, "require_known_prices": require_known_prices, "downgrade_to": downgrade_to})
    _fill(budget, {"downgrade_at_percent": downgrade_at_percent, "limit_usd_nanos": nanos(limit_usd)})
    try:
        budget.period = number_of(period, _PERIODS)
    except NOT_TAKEN as error:
        raise refused("period", period, error) from None
    try:
        budget.action = number_of(action, _ACTIONS)
    except NOT_TAKEN as error:
        raise refused("action", action, error) from None
    try:
        budget.selector.update(selector)
    except NOT_TAKEN as error:
        raise refused("selector", selector, error) from None
    return serialize(message)


def nanos(amount: Decimal | str | int) -> int:
    """Return the limit's dollars as nano-dollars; a float is refused, because it is seldom the amount that was written.

    Example:
        >>> nanos("0.15")
        150000000
    """
    try:
        dollars = Decimal("NaN") if isinstance(amount, bool | float) else Decimal(amount)
    except (InvalidOperation, ValueError, TypeError):
        dollars = Decimal("NaN")
    # Compared before it is scaled: an exponent may be far beyond what arithmetic and `int` take.
    if not dollars.is_finite() or not 0 <= dollars <= MOST_USD or dollars != round(dollars, 9):
        raise invalid("limit_usd", shown(amount), _ALLOWED)
    return int(round(dollars, 9).scaleb(9))


def page(*, page_size: int) -> budget_pb2.ListBudgetsRequest:
    """Return the request for the first page of budgets."""
    message = budget_pb2.ListBudgetsRequest()
    _fill(message, {"page_size": page_size})
    return message


def alert_page(*, budget: str, page_size: int) -> budget_pb2.ListAlertsRequest:
    """Return the request for the first page of alerts."""
    message = budget_pb2.ListAlertsRequest()
    _fill(message, {"budget": budget, "page_size": page_size})
    return message


def get_bytes(name: str) -> bytes:
    """Return the serialized GetBudgetRequest."""
    return _named(budget_pb2.GetBudgetRequest(), name=name)


def delete_bytes(name: str) -> bytes:
    """Return the serialized DeleteBudgetRequest."""
    return _named(budget_pb2.DeleteBudgetRequest(), name=name)


def status_bytes(name: str) -> bytes:
    """Return the serialized GetBudgetStatusRequest."""
    return _named(budget_pb2.GetBudgetStatusRequest(), name=name)


def pause_bytes(name: str, key: str) -> bytes:
    """Return the serialized PauseBudgetRequest."""
    return _named(budget_pb2.PauseBudgetRequest(), name=name, key=key)


def resume_bytes(name: str, key: str) -> bytes:
    """Return the serialized ResumeBudgetRequest."""
    return _named(budget_pb2.ResumeBudgetRequest(), name=name, key=key)


def watch_bytes(*, budget: str, after: int | None) -> bytes:
    """Return the serialized WatchAlertsRequest."""
    message = budget_pb2.WatchAlertsRequest()
    _fill(message, {"budget": budget} | ({} if after is None else {"after_alert_id": after}))
    return serialize(message)


def _named(message: Any, **values: str) -> bytes:
    _fill(message, values)
    return serialize(message)


def _fill(message: Any, values: Mapping[str, Any]) -> None:
    for name, value in values.items():
        try:
            set_field(message, name, value)
        except InvalidRequest:
            raise
        except NOT_TAKEN as error:
            raise refused(name, value, error) from None
