"""`aigenctl report`: a day, a month or a session, as Markdown to be read and kept, or as CSV."""

from datetime import UTC, datetime
from typing import Annotated

import aigen
import typer

from aigenctl import connection, markdown
from aigenctl.currency import chosen
from aigenctl.figures import counts_any
from aigenctl.machine import as_json
from aigenctl.options import CsvOption, JsonOption, SocketOption, ZoneOption, filled, one_form, whole

app = typer.Typer(help="Report on a day, a month or a session.", no_args_is_help=True)
EntriesOption = Annotated[
    int,
    typer.Option("--entries", parser=whole(1, 1_000), metavar="INTEGER", help="How many of the dearest and unknown charges."),
]


@app.command("daily")
def daily(
    ctx: typer.Context,
    day: Annotated[str, typer.Argument(metavar="[DAY]", help="YYYY-MM-DD; without it, today.")] = "",
    *,
    time_zone: ZoneOption = None,
    entries: EntriesOption = 10,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Report on a day: totals, by provider, model, service and phase, budgets, savings, dearest and unknown charges."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        day = day or _today(client, time_zone or "", "%Y-%m-%d")
        found = client.report(date=day, time_zone=time_zone or "", entry_count=entries)
        _show(client, found, f"Report of {day}", csv=csv, json_text=json_text)


@app.command("monthly")
def monthly(
    ctx: typer.Context,
    month: Annotated[str, typer.Argument(metavar="[MONTH]", help="YYYY-MM; without it, this month.")] = "",
    *,
    time_zone: ZoneOption = None,
    entries: EntriesOption = 10,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Report on a month, day by day as well."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        month = month or _today(client, time_zone or "", "%Y-%m")
        found = client.report(month=month, time_zone=time_zone or "", entry_count=entries)
        _show(client, found, f"Report of {month}", csv=csv, json_text=json_text)


@app.command("run")
def run(
    ctx: typer.Context,
    session: Annotated[str, typer.Argument(metavar="SESSION", callback=filled, help="The session.")],
    *,
    time_zone: ZoneOption = None,
    entries: EntriesOption = 10,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Report on a session, over all time."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        found = client.report(session=session, time_zone=time_zone or "", entry_count=entries)
        _check_known(client, session, found)
        _show(client, found, f"Report of session {session}", csv=csv, json_text=json_text)


def _today(client: aigen.Client, time_zone: str, form: str) -> str:
    """Return the day or month that runs in a zone; the daemon knows its own zone and where midnight was."""
    today = client.stats(period=aigen.Period.TODAY, time_zone=time_zone)
    start, end = today.start_time or datetime.now(UTC), today.end_time or datetime.now(UTC)
    name = client.stats(start_time=start, end_time=end, time_zone=time_zone, group_by=[aigen.GroupBy.DAY]).rows
    if name:
        return datetime.fromisoformat(name[0].group[0]).strftime(form)
    return start.astimezone(markdown.zone(today.time_zone)).strftime(form)


def _check_known(client: aigen.Client, session: str, found: aigen.Report) -> None:
    """Refuse a session that no call has, neither ended nor under way, which is misspelt more likely than free."""
    if counts_any(found.totals) or any(client.ledger_entries(session=session, page_size=1)):
        return
    raise aigen.NotFound(f"no call has session {session!r}", reason="NOT_FOUND")


def _show(client: aigen.Client, found: aigen.Report, title: str, *, csv: bool, json_text: bool) -> None:
    if json_text:
        typer.echo(as_json(found))
    elif csv:
        typer.echo(markdown.as_report_csv(found), nl=False)
    else:
        typer.echo(markdown.as_markdown(found, title=title, currency=chosen(client.settings(), found.end_time)), nl=False)
