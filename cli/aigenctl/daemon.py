"""`aigenctl status` and `aigenctl drain`: how the daemon is, and its orderly end."""

from collections.abc import Iterator
from typing import Annotated

import aigen
import typer

from aigenctl import connection, render
from aigenctl.figures import counted
from aigenctl.machine import as_csv, as_json, plain
from aigenctl.options import CsvOption, DryRunOption, JsonOption, SocketOption, YesOption, one_form, real

DrainWaitOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=real("0 to 3600 seconds", low=0, high=3_600),
        metavar="NUMBER",
        help="Longest wait for provider calls, in seconds, 0 to 3600.",
    ),
]


def status(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show how the daemon is: state, calls, providers, budgets; as CSV one line a provider, then one a budget."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        result = client.status()
        if json_text:
            typer.echo(as_json(result))
        elif csv:
            typer.echo(as_csv(("section", "name", *_PROVIDER_CSV, *_BUDGET_CSV), _lines(result)), nl=False)
        else:
            render.show(render.status(result))


_PROVIDER_CSV = ("adapter", "loaded", "in_flight_count", "queued_count", "slot_count")
_BUDGET_CSV = ("window", "action", "limit_usd_nanos", "spent_usd_nanos", "reserved_usd_nanos", "reset_time")


def _lines(result: aigen.DaemonStatus) -> Iterator[list[object]]:
    for provider in result.providers:
        counts = (provider.in_flight_count, provider.queued_count, provider.slot_count)
        yield ["provider", provider.name, provider.adapter, str(provider.loaded).lower(), *counts, *("" for _ in _BUDGET_CSV)]
    for budget in result.budgets:
        yield ["budget", budget.name, *("" for _ in _PROVIDER_CSV), *(plain(getattr(budget, name)) for name in _BUDGET_CSV)]


def drain(
    ctx: typer.Context,
    *,
    wait: DrainWaitOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Stop the daemon: it admits no more calls, lets those inside end, and exits."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        if dry_run:
            waiting, verb = client.status().in_flight_count, "would wait"
        else:
            connection.confirm("Stop the daemon?", yes=yes)
            waiting, verb = client.drain(wait=wait), "waits"
        if json_text:
            typer.echo(as_json({"dry_run": dry_run, "in_flight_count": waiting}))
        else:
            typer.echo(f"The daemon {verb} for {counted(waiting, 'provider call')} and stops.")
