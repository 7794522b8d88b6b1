"""`aigenctl ledger`: the charges one by one. Checks and repairs of the file are the daemon's own business."""

from typing import Annotated

import aigen
import typer

from aigenctl import connection, corrections, render, render_explanations
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import (
    AgentOption,
    CsvOption,
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
    filled,
    first,
    given,
    labels,
    one_form,
    time_range,
)

app = typer.Typer(help="Look at the charges one by one, and put them right.", no_args_is_help=True)
for _command in (
    corrections.unknown,
    corrections.settle,
    corrections.release,
    corrections.record,
    corrections.reprice,
    corrections.export,
):
    app.command(_command.__name__)(_command)
StatesOption = Annotated[
    list[aigen.AttemptState] | None, typer.Option("--state", help="Only in this state; repeatable.", case_sensitive=False)
]
RequestIdOption = Annotated[str | None, typer.Option("--request-id", callback=filled, help="Only of this request id.")]


@app.command("archives")
def archives(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """List the months that were taken out of the ledger into files; their sums stay in it."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = list(client.ledger_archives())
        if json_text:
            typer.echo(as_json({"archives": found}))
        elif csv:
            print_csv(aigen.LedgerArchive, found)
        else:
            render.show(render_explanations.archives(found))


@app.command("list")
def list_entries(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    state: StatesOption = None,
    request_id: RequestIdOption = None,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    service: ServiceOption = None,
    phase: PhaseOption = None,
    task: TaskOption = None,
    label: LabelsOption = None,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List charges, and attempts that may become one, newest first."""
    where = given(session=session, provider=provider, model=model, agent=agent, service=service, phase=phase, task=task)
    where |= given(labels=labels(label))
    start_time, end_time = time_range(since, until)
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        where |= given(request_id=request_id)
        found = client.ledger_entries(start_time=start_time, end_time=end_time, states=state or (), **where)
        entries, more = first(found, limit)
        if json_text:
            typer.echo(as_json({"entries": entries, "more": more}))
        elif csv:
            print_csv(aigen.LedgerEntry, entries)
        else:
            render.show(render.ledger_entries(entries, more=more))
