"""`aigenctl explain`: what became of one request, as far as money goes."""

from typing import Annotated

import typer

from aigenctl import connection, render, render_explanations
from aigenctl.machine import as_json
from aigenctl.options import JsonOption, SocketOption

RequestArgument = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="Id of the request.")]


def explain(ctx: typer.Context, request_id: RequestArgument, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show what became of a request: attempts, how each cost comes about, budgets, refusals, savings."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.explain(request_id)
        if json_text:
            typer.echo(as_json(found))
        else:
            render.show(render_explanations.explanation(found))
