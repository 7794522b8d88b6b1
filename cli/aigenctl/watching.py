"""`aigenctl stats watch`: what is happening, as it happens."""

from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict
from math import inf
from typing import Annotated

import aigen
import typer
from aigen.live import UsageView, WatchedCall
from rich.console import Console, RenderableType
from rich.live import Live

from aigenctl import connection, render
from aigenctl.budget_windows import more, of_status
from aigenctl.figures import NONE, UNKNOWN, count, duration, moment, share, usd
from aigenctl.machine import as_json_line
from aigenctl.options import JsonOption, SocketOption, real, whole

SHOWN_CALLS = 12
SHOWN_WINDOWS = 4  # of one budget: the view must fit on a screen
BAR = 24  # characters
IntervalOption = Annotated[
    float, typer.Option("--interval", parser=real("0.2 to 60 seconds", low=0.2, high=60), metavar="SECONDS", help="Between views.")
]
CountOption = Annotated[
    int, typer.Option("--count", parser=whole(0, 1_000_000), metavar="INTEGER", help="End after so many views; 0: never.")
]


def watch(
    ctx: typer.Context,
    *,
    interval: IntervalOption = 1.0,
    views: CountOption = 0,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Show spend a minute, hit rate, queue, budgets and the last calls until interrupted; with --json, one line a view."""
    with connection.daemon(ctx, socket, as_json=json_text) as client, suppress(KeyboardInterrupt):
        shown = _first(client.watch_usage(interval=interval, timeout=inf), views)
        if json_text:
            for view in shown:
                typer.echo(as_json_line(asdict(view)))
        else:
            _show(shown)


def _first(views: Iterator[UsageView], limit: int) -> Iterator[UsageView]:
    for number, view in enumerate(views, 1):
        yield view
        if number == limit:
            return


def _show(views: Iterator[UsageView]) -> None:
    calls: deque[WatchedCall] = deque(maxlen=SHOWN_CALLS)
    console = Console(highlight=False)
    with Live(console=console, auto_refresh=False, transient=console.is_terminal) as live:
        for view in views:
            keep(calls, view.calls)
            live.update(panel(view, list(calls)), refresh=True)


def keep(calls: deque[WatchedCall], ended: Iterable[WatchedCall]) -> None:
    """Add calls that have ended; a correction takes the place of the call that it corrects."""
    for call in ended:
        known = [index for index, old in enumerate(calls) if old.ledger_entry_id and old.ledger_entry_id == call.ledger_entry_id]
        if known:
            calls[known[0]] = call
        else:
            calls.append(call)


def panel(view: UsageView, calls: list[WatchedCall]) -> RenderableType:
    """Return one view: figures, budgets as bars, the last calls, newest first."""
    last = view.minutes[-2:]
    paid, free = (sum(getattr(minute, name) for minute in last) for name in ("paid_count", "free_count"))
    facts = [
        ("Time", moment(view.time)),
        ("Spend a minute", ", ".join(usd(minute.spent_usd_nanos) for minute in view.minutes[-5:])),
        ("Hit rate", f"{share(free, paid + free)} of the calls of this minute and the last"),
        ("Queue", f"{count(view.in_flight_count)} in flight, {count(view.queued_count)} queued"),
        *(
            (f"Budget {name}", more(hidden, name)) if budget is None else (f"Budget {budget.name}", bar(budget))
            for name, budget, hidden in of_status(view.budgets, most=SHOWN_WINDOWS)
        ),
    ]
    columns = [render.Column(title) for title in ("Time", "Outcome", "Provider", "Model", "Service", "Session")]
    columns += [render.Column(title, right=True) for title in ("Cost", "Took")]
    table = render.grid(columns, (_row(call) for call in reversed(calls)))
    return render.panel("Usage Now", render.fact_list(facts), table)


def bar(budget: aigen.BudgetStatus) -> str:
    """Return a budget as a bar: booked full, held for calls under way lighter."""
    limit = max(budget.limit_usd_nanos, 1)
    spent = min(BAR, budget.spent_usd_nanos * BAR // limit)
    held = min(BAR, -(-(budget.spent_usd_nanos + budget.reserved_usd_nanos) * BAR // limit)) - spent
    drawn = "█" * spent + "▒" * held + "░" * (BAR - spent - held)
    return (
        f"{drawn} {usd(budget.spent_usd_nanos, beside=budget.limit_usd_nanos)} of {usd(budget.limit_usd_nanos)} in {budget.window}"
    )


def _row(call: WatchedCall) -> list[str]:
    failed = call.state is not None and call.state is not aigen.AttemptState.SETTLED
    outcome = (call.state if failed else call.cache_outcome) or UNKNOWN
    took = NONE if call.total_us is None else duration(call.total_us)
    return [
        moment(call.time),
        f"{outcome.upper()}{' (corrected)' if call.corrected else ''}",
        call.provider,
        call.model,
        call.service,
        call.session,
        usd(call.cost_usd_nanos),
        took,
    ]
