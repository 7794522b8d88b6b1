"""Which windows of budgets people see: of each budget the few that matter, and how many there are besides.

A budget that holds for each session has a window for every session that there ever was. Programs get all of them.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Protocol, TypeVar

import aigen

from aigenctl.figures import count, moment, usd

SHOWN = 10  # windows of one budget


class _Window(Protocol):
    @property
    def limit_usd_nanos(self) -> int: ...

    @property
    def spent_usd_nanos(self) -> int: ...

    @property
    def reserved_usd_nanos(self) -> int: ...

    @property
    def reset_time(self) -> datetime | None: ...


W = TypeVar("W", bound=_Window)
Shown = Iterator[tuple[str, W | None, int]]  # budget; one of its windows, or None and how many more it has


def of_windows(windows: Iterable[aigen.BudgetWindow], *, most: int = SHOWN) -> Shown[aigen.BudgetWindow]:
    """Yield the windows to show; where a budget has too many, paused ones first, then those that matter most."""
    return _few(windows, lambda window: window.budget, lambda window: not window.paused, most)


def of_status(windows: Iterable[aigen.BudgetStatus], *, most: int = SHOWN) -> Shown[aigen.BudgetStatus]:
    """Yield the windows to show; where a budget has too many, those that matter most first."""
    return _few(windows, budget_of, lambda _: False, most)


def budget_of(window: aigen.BudgetStatus) -> str:
    """Return the budget's own name, without the value that a window holds for."""
    return window.name.partition("[")[0]


def more(hidden: int, budget: str) -> str:
    """Return what is said of windows that are not shown.

    Example:
        >>> more(1_490, "run")
        '… and 1,490 more of run'
    """
    return f"… and {count(hidden)} more of {budget}"


def status_rows(windows: Iterable[aigen.BudgetStatus]) -> Iterator[list[str]]:
    """Yield a row of the status for each window to show: name, window, action, limit, spent, held, reset."""
    for budget, window, hidden in of_status(windows):
        if window is None:
            yield [more(hidden, budget), *[""] * 6]
            continue
        limit = window.limit_usd_nanos
        amounts = [usd(limit), usd(window.spent_usd_nanos, beside=limit), usd(window.reserved_usd_nanos)]
        yield [window.name, window.window, window.action, *amounts, moment(window.reset_time)]


def _few(windows: Iterable[W], budget_of: Callable[[W], str], last: Callable[[W], bool], most: int) -> Shown[W]:
    by_budget: dict[str, list[W]] = {}
    for window in windows:
        by_budget.setdefault(budget_of(window), []).append(window)
    for budget, found in by_budget.items():
        shown = found if len(found) <= most else _chosen(found, last, most)
        yield from ((budget, window, 0) for window in shown)
        if len(found) > len(shown):
            yield budget, None, len(found) - len(shown)


def _chosen(found: Sequence[W], last: Callable[[W], bool], most: int) -> list[W]:
    """The windows nearest their limit; of those that never end the first ones, which the daemon says were used last."""
    ranked = sorted(range(len(found)), key=lambda place: (last(found[place]), _room(found[place]), place))
    return [found[place] for place in ranked[:most]]


def _room(window: _Window) -> float:
    """Share of the limit that is left; the same for all windows that never end."""
    if window.reset_time is None:
        return 1.0
    return 1 - (window.spent_usd_nanos + window.reserved_usd_nanos) / max(window.limit_usd_nanos, 1)
