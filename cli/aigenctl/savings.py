"""`aigenctl savings`: what was saved over time, by cause."""

from collections.abc import Mapping
from typing import Annotated

import aigen
import typer

from aigenctl import connection, render, render_books
from aigenctl.machine import as_csv, as_json
from aigenctl.options import (
    CsvOption,
    JsonOption,
    ModelOption,
    ProviderOption,
    ServiceOption,
    SessionOption,
    SinceOption,
    SocketOption,
    UntilOption,
    given,
    one_form,
    time_range,
)

PeriodOption = Annotated[
    aigen.Period | None, typer.Option("--period", help="Calendar period; without it and --since: all time.", case_sensitive=False)
]
HourOption = Annotated[bool, typer.Option("--hourly", help="One row an hour instead of a day.")]
ZoneOption = Annotated[str, typer.Option("--time-zone", metavar="ZONE", help="IANA zone; by default the daemon's.")]


def savings(
    ctx: typer.Context,
    *,
    period: PeriodOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    time_zone: ZoneOption = "",
    hourly: HourOption = False,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    service: ServiceOption = None,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Show what was saved, day by day and by cause; a cause that costs more than it saves is shown below zero."""
    one_form(csv=csv, json_text=json_text)
    start_time, end_time = time_range(since, until)
    where = given(session=session, provider=provider, model=model, service=service)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        result = client.stats(
            period=period,
            start_time=start_time,
            end_time=end_time,
            time_zone=time_zone,
            group_by=[aigen.GroupBy.HOUR if hourly else aigen.GroupBy.DAY],
            **where,
        )
        rows = sorted(result.rows, key=lambda row: row.group)
        if json_text:
            typer.echo(as_json({"rows": [_named(row.group[0], row.totals) for row in rows], "totals": _named("", result.totals)}))
        elif csv:
            header = ["time", *(f"{name}_usd_nanos" for name in _COLUMNS)]
            typer.echo(as_csv(header, ([row.group[0], *_amounts(row.totals).values()] for row in rows)), nl=False)
        else:
            table = [(row.group[0], list(_amounts(row.totals).values())) for row in rows]
            render.show(render_books.savings(table, list(_amounts(result.totals).values()), titles=_COLUMNS))


_CAUSES = tuple(cause.value for cause in aigen.SavingsCause)
_COLUMNS = ("cost", "saved", *_CAUSES)


def _amounts(totals: aigen.UsageTotals) -> Mapping[str, int]:
    """Cost, all that was saved, and each cause, in nano-dollars; a cause that played no part is 0."""
    by_cause = {item.cause: item.saved_usd_nanos for item in totals.savings}
    causes = {cause.value: by_cause.get(cause, 0) for cause in aigen.SavingsCause}
    return {"cost": totals.cost_usd_nanos, "saved": totals.saved_usd_nanos, **causes}


def _named(time: str, totals: aigen.UsageTotals) -> dict[str, object]:
    return {"time": time, **{f"{name}_usd_nanos": nanos for name, nanos in _amounts(totals).items()}}
