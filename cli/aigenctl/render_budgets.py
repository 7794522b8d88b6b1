"""What is shown of budgets: tables, and windows as bars."""

from collections.abc import Sequence

import aigen
from rich.console import RenderableType

from aigenctl.budget_windows import more, of_windows
from aigenctl.figures import NONE, UNKNOWN, moment, usd
from aigenctl.render import Column, fact_list, grid, harmless, panel

BAR_CELLS = 20
NO_VALUE = "(none)"  # of calls that carry nothing where a budget holds for each value


def bar(spent: int, reserved: int, limit: int) -> str:
    """Return how much of a limit is spent, then held, as a bar of fixed length.

    Example:
        >>> bar(50, 25, 100)
        '██████████▒▒▒▒▒░░░░░'
    """
    if limit <= 0:
        return "█" * BAR_CELLS
    full = min(BAR_CELLS, max(spent, 0) * BAR_CELLS // limit)
    held = min(BAR_CELLS - full, max(reserved, 0) * BAR_CELLS // limit)
    return "█" * full + "▒" * held + "░" * (BAR_CELLS - full - held)


def budgets(found: Sequence[aigen.Budget], windows: Sequence[aigen.BudgetWindow]) -> RenderableType:
    """Return one row a budget and one a running window."""
    columns = [Column(title) for title in ("Budget", "Counts", "Period")]
    columns += [Column("Limit", right=True), Column("Action"), Column("Written in")]
    return panel("Budgets", grid(columns, (_budget_row(budget) for budget in found)), _windows(windows, found))


def budget(found: aigen.Budget, windows: Sequence[aigen.BudgetWindow]) -> RenderableType:
    """Return one budget with its running windows."""
    facts = [("Name", found.name), *definition(found), ("Written in", _written_in(found))]
    return panel("Budget", fact_list(facts), *([_windows(windows, [found])] if windows else []))


def definition(found: aigen.Budget) -> list[tuple[str, str]]:
    """Return what a budget counts and does, by the names that people see."""
    return [
        ("Counts", _counts(found)),
        ("Period", found.period or UNKNOWN),
        ("Limit", usd(found.limit_usd_nanos)),
        ("Action", _action(found)),
        ("Unknown prices", "refused" if found.require_known_prices else "allowed"),
    ]


def alerts(found: Sequence[aigen.Alert]) -> RenderableType:
    """Return one row an alert, newest first."""
    columns = [Column(title) for title in ("Id", "Time", "Kind", "What")]
    rows = ([str(alert.id), moment(alert.create_time), alert.kind or UNKNOWN, alert.text] for alert in found)
    return panel("Alerts", grid(columns, rows))


def alert_line(alert: aigen.Alert) -> str:
    """Return an alert in a line."""
    return harmless(f"{moment(alert.create_time)}  {alert.text}")


def _windows(windows: Sequence[aigen.BudgetWindow], found: Sequence[aigen.Budget]) -> RenderableType:
    columns = [Column("Window"), Column("Used"), *(Column(title, right=True) for title in ("Spent", "Held", "Limit"))]
    columns += [Column("State"), Column("Ends"), Column("At this rate")]
    per_value = {budget.name for budget in found if budget.each}
    rows = (
        [more(hidden, budget), *[""] * 7] if window is None else _window_row(window, per_value=budget in per_value)
        for budget, window, hidden in of_windows(windows)
    )
    return grid(columns, rows)


def _budget_row(found: aigen.Budget) -> list[str]:
    return [
        found.name,
        _counts(found),
        found.period or UNKNOWN,
        usd(found.limit_usd_nanos),
        _action(found),
        _written_in(found),
    ]


def _window_row(window: aigen.BudgetWindow, *, per_value: bool) -> list[str]:
    name = f"{window.budget}[{window.key or NO_VALUE}]" if window.key or per_value else window.budget
    amounts = (window.spent_usd_nanos, window.reserved_usd_nanos, window.limit_usd_nanos)
    used = bar(*amounts)
    spent, held, limit = usd(amounts[0], beside=amounts[2]), usd(amounts[1]), usd(amounts[2])
    return [f"{name} {window.window}", used, spent, held, limit, _state(window), moment(window.reset_time), _forecast(window)]


def _state(window: aigen.BudgetWindow) -> str:
    states = [word for word, holds in (("paused", window.paused), ("downgraded", window.downgraded)) if holds]
    return ", ".join(states) or "open"


def _forecast(window: aigen.BudgetWindow) -> str:
    if window.forecast_usd_nanos is None:
        return NONE
    end = f"ends at {usd(window.forecast_usd_nanos)}"
    return f"{end}, limit at {moment(window.forecast_limit_time)}" if window.forecast_limit_time else end


def _counts(found: aigen.Budget) -> str:
    chosen = ", ".join(f"{key}={value}" for key, value in sorted(found.selector.items())) or "all calls"
    return f"{chosen}, each {found.each}" if found.each else chosen


def _action(found: aigen.Budget) -> str:
    if found.action is aigen.BudgetAction.DOWNGRADE:
        return f"downgrade to {found.downgrade_to} at {found.downgrade_at_percent} %"
    return found.action or UNKNOWN


def _written_in(found: aigen.Budget) -> str:
    return "the settings" if found.origin is aigen.BudgetOrigin.SETTINGS else f"the ledger, {moment(found.update_time)}"
