"""`aigenctl config`: the settings that the daemon runs with. Files are the daemon's own business."""

import difflib

import aigen
import typer

from aigenctl import connection, render
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import CsvOption, JsonOption, SocketOption, alone, one_form

app = typer.Typer(help="Show the settings in force.", invoke_without_command=True)


@app.callback()
def config(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show the settings in force; without a command, all of them."""
    if alone(ctx, csv=csv, json_text=json_text, socket=socket):
        show(ctx, csv=csv, json_text=json_text, socket=socket)


@app.command("show")
def show(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show all settings in force, secrets hidden, and where each comes from."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.settings()
        if json_text:
            typer.echo(as_json({"settings": found}))
        elif csv:
            print_csv(aigen.Setting, found)
        else:
            render.show(render.settings(found))


@app.command("get")
def get(ctx: typer.Context, key: str, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Print the value of one setting as JSON."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = {setting.key: setting for setting in client.settings()}
        if key not in found:
            nearest = difflib.get_close_matches(key, found, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else "; aigenctl config show lists all"
            raise aigen.NotFound(f"no setting is called {key!r}{hint}", reason="NOT_FOUND")
        typer.echo(as_json(found[key]) if json_text else found[key].value_json)
