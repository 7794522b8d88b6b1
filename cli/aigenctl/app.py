"""The command line: every noun under one roof, and the options that stand before them."""

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from aigenctl import (
    budget,
    cache,
    complete,
    config,
    daemon,
    explaining,
    job,
    ledger,
    models,
    presets,
    prices,
    report,
    savings,
    stats,
)
from aigenctl.options import SocketOption

app = typer.Typer(
    name="aigenctl",
    help="Talk to aigend: ask models, see what was paid and saved, look after the cache.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("complete")(complete.complete)
app.add_typer(stats.app, name="stats")
app.add_typer(cache.app, name="cache")
app.add_typer(budget.app, name="budget")
app.add_typer(job.app, name="job")
app.add_typer(models.app, name="models")
app.add_typer(prices.app, name="prices")
app.command("presets")(presets.presets)
app.add_typer(ledger.app, name="ledger")
app.add_typer(report.app, name="report")
app.command("savings")(savings.savings)
app.command("explain")(explaining.explain)
app.add_typer(config.app, name="config")
app.command("status")(daemon.status)
app.command("drain")(daemon.drain)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        metadata = import_module("importlib.metadata")  # takes a tenth of the start, and only this option needs it
        typer.echo(f"aigenctl {metadata.version('aigen')}")
        raise typer.Exit


VersionOption = Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")]


@app.callback()
def _before(ctx: typer.Context, *, socket: SocketOption = None, show_version: VersionOption = False) -> None:
    """Talk to aigend: ask models, see what was paid and saved, look after the cache."""
    del show_version
    ctx.obj = None if socket is None else Path(socket)
