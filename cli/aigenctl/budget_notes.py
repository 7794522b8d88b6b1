"""What `aigenctl budget set` says besides the budget: what it replaced, and from when on it counts."""

from typing import Any

import aigen

from aigenctl import render_budgets
from aigenctl.figures import usd


def existing(client: aigen.Client, name: str) -> aigen.Budget | None:
    """Return the budget of a name; None where there is none."""
    try:
        return client.budget(name)
    except aigen.NotFound:
        return None


def notes(client: aigen.Client, budget: aigen.Budget, *, before: aigen.Budget | None) -> list[str]:
    """Return sentences about a budget that was just set.

    Args:
        client: Asks the daemon for the budget's window, and for what statistics know of its calls.
        budget: As it is now.
        before: What was there under its name; None: nothing.
    """
    said = [] if before is None else [_replaced(before, budget)]
    if before is None or _counted(before) != _counted(budget):
        said.append(_since(client, budget))
    return said


def _replaced(before: aigen.Budget, budget: aigen.Budget) -> str:
    old, new = (dict(render_budgets.definition(one)) for one in (before, budget))
    changed = [f"{name.lower()} {old[name]} → {new[name]}" for name in new if old[name] != new[name]]
    if not changed:
        return f"{budget.name} was set so already; nothing is different."
    return f"Replaced what {budget.name} was: {'; '.join(changed)}."


def _counted(budget: aigen.Budget) -> tuple[Any, ...]:
    return dict(budget.selector), budget.each, budget.period


def _since(client: aigen.Client, budget: aigen.Budget) -> str:
    """From when on calls count; for a budget with one window, what it holds and what statistics say of calls before."""
    text = "It counts calls from now on; what was spent before is not in it."
    windows = client.budget_status(budget.name)
    if budget.each or len(windows) != 1 or windows[0].start_time is None:
        return text
    (window,) = windows
    totals = client.stats(start_time=window.start_time, **_where(client, budget)).totals
    cost = (totals.cost_usd_nanos or 0) + totals.unknown_cost_usd_nanos
    if window.spent_usd_nanos:
        text = f"It counts calls from now on, on top of the {usd(window.spent_usd_nanos)} that its window holds already."
    if cost == window.spent_usd_nanos:
        return text
    return f"{text} By the statistics, the calls that it selects cost {usd(cost)} since its window began."


def _where(client: aigen.Client, budget: aigen.Budget) -> Any:
    """The budget's calls as statistics select them: a model by the id that calls are booked under."""
    where: dict[str, Any] = {key: value for key, value in budget.selector.items() if not key.startswith("label:")}
    labels = {key.partition(":")[2]: value for key, value in budget.selector.items() if key.startswith("label:")}
    if labels:
        where["labels"] = labels
    if "model" in where:
        provider, where["model"] = _booked(client, where["model"])
        where |= {"provider": provider} if provider else {}
    return where


def _booked(client: aigen.Client, name: str) -> tuple[str, str]:
    """The provider, empty for any, and the id of a model."""
    try:
        found = client.model(name)
    except (aigen.NotFound, aigen.UnknownModel):
        provider, _, rest = name.partition("/")
        return provider, rest
    return (found.provider if name == f"{found.provider}/{found.id}" else ""), found.id
