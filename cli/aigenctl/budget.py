"""`aigenctl budget`: limits on what calls may cost, how far they are used, and what they have told."""

from decimal import Decimal
from itertools import islice
from typing import Annotated

import aigen
import typer

from aigenctl import budget_notes, connection, render, render_budgets
from aigenctl.columns import print_csv
from aigenctl.machine import as_json, as_json_line
from aigenctl.options import (
    CsvOption,
    JsonOption,
    LimitOption,
    SocketOption,
    YesOption,
    all_filled,
    dollars,
    filled,
    one_form,
    pairs,
    whole,
)

app = typer.Typer(help="Set budgets, see how far they are used, pause and resume them.", no_args_is_help=True)
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="Name of the budget.")]
KeyOption = Annotated[
    str | None, typer.Option("--key", callback=filled, metavar="VALUE", help="Only this value, of a budget that holds per value.")
]
PeriodOption = Annotated[aigen.BudgetPeriod, typer.Option("--period", help="Window of the limit.", case_sensitive=False)]
MOST_USD = Decimal("999999999.999999999")
UsdOption = Annotated[
    Decimal, typer.Option("--limit-usd", parser=dollars(MOST_USD), metavar="AMOUNT", help="Limit in dollars, such as 2.50.")
]
ActionOption = Annotated[aigen.BudgetAction, typer.Option("--action", help="What happens at the limit.", case_sensitive=False)]
SelectOption = Annotated[
    list[str] | None,
    typer.Option(
        "--select",
        metavar="KEY=VALUE",
        callback=all_filled,
        help="Only calls with this service, session, agent, provider, model (id, alias or provider/model), phase, task or "
        "label:<key>; repeatable.",
    ),
]
EachOption = Annotated[
    str | None, typer.Option("--each", metavar="KEY", callback=filled, help="Hold the limit for each value of this by itself.")
]
KnownPricesOption = Annotated[bool, typer.Option("--require-known-prices", help="Refuse calls whose price is unknown.")]
ToOption = Annotated[
    str | None, typer.Option("--downgrade-to", metavar="MODEL", callback=filled, help="Model of calls in a downgrade.")
]
AtOption = Annotated[
    int,
    typer.Option(
        "--downgrade-at", parser=whole(0, 100), metavar="PERCENT", help="Share spent from which calls go there; 0 for 90."
    ),
]
BudgetOption = Annotated[str | None, typer.Option("--budget", callback=filled, help="Only of this budget.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes, until interrupted.")]


@app.command("set")
def set_budget(
    ctx: typer.Context,
    name: NameArgument,
    *,
    period: PeriodOption,
    limit_usd: UsdOption,
    action: ActionOption = aigen.BudgetAction.REFUSE,
    select: SelectOption = None,
    each: EachOption = None,
    require_known_prices: KnownPricesOption = False,
    downgrade_to: ToOption = None,
    downgrade_at: AtOption = 0,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Make a budget, or replace the one of that name and say what it was; those of the settings file are changed there."""
    selector = pairs(select, "--select")
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        before = None if json_text else budget_notes.existing(client, name)
        budget = client.set_budget(
            name,
            period=period,
            limit_usd=limit_usd,
            action=action,
            selector=selector,
            each=each or "",
            require_known_prices=require_known_prices,
            downgrade_to=downgrade_to or "",
            downgrade_at_percent=downgrade_at,
        )
        if json_text:
            typer.echo(as_json(budget))
            return
        render.show(render_budgets.budget(budget, ()))
        for note in budget_notes.notes(client, budget, before=before):
            typer.echo(render.harmless(note))


@app.command("list")
def list_budgets(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """List budgets with the windows that run."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        budgets, windows = list(client.budgets()), client.budget_status()
        if json_text:
            typer.echo(as_json({"budgets": budgets, "windows": windows}))
        elif csv:
            print_csv(aigen.BudgetWindow, windows)
        else:
            render.show(render_budgets.budgets(budgets, windows))


@app.command("show")
def show(
    ctx: typer.Context, name: NameArgument, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None
) -> None:
    """Show one budget, its windows as bars, and what they will come to at the present rate."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        budget, windows = client.budget(name), client.budget_status(name)
        if json_text:
            typer.echo(as_json({"budget": budget, "windows": windows}))
        elif csv:
            print_csv(aigen.BudgetWindow, windows)
        else:
            render.show(render_budgets.budget(budget, windows))


@app.command("pause")
def pause(
    ctx: typer.Context, name: NameArgument, *, key: KeyOption = None, json_text: JsonOption = False, socket: SocketOption = None
) -> None:
    """Refuse paid calls under a budget until it is resumed; cached answers go on."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        changed = client.pause_budget(name, key=key or "")
        if json_text:
            typer.echo(as_json({"changed": changed}))
        else:
            typer.echo(f"{name} is paused." if changed else f"{name} was paused already.")


@app.command("resume")
def resume(
    ctx: typer.Context, name: NameArgument, *, key: KeyOption = None, json_text: JsonOption = False, socket: SocketOption = None
) -> None:
    """End pauses of a budget."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        count = client.resume_budget(name, key=key or "")
        if json_text:
            typer.echo(as_json({"resumed_count": count}))
        else:
            typer.echo(f"{name} is resumed." if count else f"{name} was not paused.")


@app.command("delete")
def delete(
    ctx: typer.Context, name: NameArgument, *, yes: YesOption = False, json_text: JsonOption = False, socket: SocketOption = None
) -> None:
    """Remove a budget that was set, and its pauses; asks first."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        budget = client.budget(name)
        connection.confirm(f"Remove budget {render.harmless(budget.name)}?", yes=yes)
        client.delete_budget(name)
        typer.echo(as_json({"deleted": name}) if json_text else f"{name} is removed.")


@app.command("alerts")
def alerts(
    ctx: typer.Context,
    *,
    budget: BudgetOption = None,
    follow: FollowOption = False,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List what budgets have told, newest first; with --follow, tell what they tell from now on."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        if follow:
            for alert in client.watch_alerts(budget=budget or "", timeout=float("inf")):
                typer.echo(as_json_line(alert) if json_text else render_budgets.alert_line(alert))
            return
        found = list(islice(client.alerts(budget=budget or ""), limit or None))
        if json_text:
            typer.echo(as_json({"alerts": found}))
        elif csv:
            print_csv(aigen.Alert, found)
        else:
            render.show(render_budgets.alerts(found))
