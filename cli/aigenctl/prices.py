"""`aigenctl prices`: which prices are known, and the published ones fetched anew."""

from typing import Annotated

import aigen
import typer

from aigenctl import connection, render, render_books
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import CsvOption, JsonOption, LimitOption, ProviderOption, SocketOption, alone, filled, first, given, one_form

app = typer.Typer(help="Look after prices.", invoke_without_command=True)
ModelIdOption = Annotated[str | None, typer.Option("--model", callback=filled, help="Only this model, by its id.")]


@app.callback()
def prices(ctx: typer.Context, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show the prices known of the catalog's models; without a command, all of them."""
    if alone(ctx, json_text=json_text, socket=socket):
        list_prices(ctx, json_text=json_text, socket=socket)


@app.command("list")
def list_prices(
    ctx: typer.Context,
    *,
    provider: ProviderOption = None,
    model: ModelIdOption = None,
    limit: LimitOption = 0,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List every price known of the catalog's models, in dollars for a million tokens; one a model is in force."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found, more = first(client.prices(**given(provider=provider, model=model)), limit)
        if json_text:
            typer.echo(as_json({"prices": found, "more": more}))
        elif csv:
            print_csv(aigen.ListedPrice, found)
        else:
            render.show(render_books.prices(found, more=more))


@app.command("refresh")
def refresh(ctx: typer.Context, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Let the daemon fetch the published prices anew; charges keep what they were priced with."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.refresh_prices()
        if json_text:
            typer.echo(as_json(found))
            return
        typer.echo(f"Published prices: {found.previous_version} before, {found.version} now.")
        if found.changed_prices:
            render.show(render_books.prices(found.changed_prices, more=False))
