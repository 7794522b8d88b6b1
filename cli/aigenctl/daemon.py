"""`aigenctl status` and `aigenctl drain`: how the daemon is, and its orderly end."""

from typing import Annotated

import typer

from aigenctl import connection, render
from aigenctl.figures import counted
from aigenctl.machine import as_json
from aigenctl.options import DryRunOption, JsonOption, SocketOption, YesOption, real

DrainWaitOption = Annotated[
    float | None,
    typer.Option(
        "--wait",
        parser=real("0 to 3600 seconds", low=0, high=3_600),
        metavar="NUMBER",
        help="Longest wait for provider calls, in seconds, 0 to 3600.",
    ),
]


def status(ctx: typer.Context, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show how the daemon is: state, calls, providers, budgets."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        result = client.status()
        if json_text:
            typer.echo(as_json(result))
        else:
            render.show(render.status(result))


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
