"""`aigenctl ledger`: the charges one by one. Checks and repairs of the file are the daemon's own business."""

from typing import Annotated

import aigen
import typer

from aigenctl import connection, render
from aigenctl.machine import as_json
from aigenctl.options import (
    AgentOption,
    JsonOption,
    LabelsOption,
    LimitOption,
    ModelOption,
    PhaseOption,
    ProviderOption,
    ServiceOption,
    SessionOption,
    SinceOption,
    SocketOption,
    TaskOption,
    UntilOption,
    first,
    given,
    labels,
    time_range,
)

app = typer.Typer(help="Look at the charges one by one.", no_args_is_help=True)
StatesOption = Annotated[
    list[aigen.AttemptState] | None, typer.Option("--state", help="Only in this state; repeatable.", case_sensitive=False)
]
RequestIdOption = Annotated[str, typer.Option("--request-id", help="Only of this request id.")]


@app.command("list")
def list_entries(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StatesOption = None,
    request_id: RequestIdOption = "",
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    service: ServiceOption = None,
    phase: PhaseOption = None,
    task: TaskOption = None,
    label: LabelsOption = None,
    limit: LimitOption = 50,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List charges, and attempts that may become one, newest first."""
    where = given(session=session, provider=provider, model=model, agent=agent, service=service, phase=phase, task=task)
    where |= given(labels=labels(label))
    start_time, end_time = time_range(since, until)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.ledger_entries(start_time=start_time, end_time=end_time, states=state or (), request_id=request_id, **where)
        entries, more = first(found, limit)
        if json_text:
            typer.echo(as_json({"entries": entries, "more": more}))
        else:
            render.show(render.ledger_entries(entries, more=more))
