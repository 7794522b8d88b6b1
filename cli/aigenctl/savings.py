"""`aigenctl savings`: what was saved over time, by cause, and the prompt-cache doctor."""

from collections.abc import Mapping
from typing import Annotated, Any

import aigen
import typer

from aigenctl import connection, render, render_books, render_explanations
from aigenctl.columns import print_csv
from aigenctl.figures import NO_CALLS, counts_any
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
    ZoneOption,
    given,
    one_form,
    time_range,
    whole,
)

PeriodOption = Annotated[
    aigen.Period | None, typer.Option("--period", help="Calendar period; without it and --since: all time.", case_sensitive=False)
]
HourOption = Annotated[bool, typer.Option("--hourly", help="One row an hour instead of a day.")]
DoctorOption = Annotated[bool, typer.Option("--doctor", help="Only the prompt-cache doctor: prefix by prefix.")]
PrefixesOption = Annotated[
    int,
    typer.Option("--prefixes", parser=whole(1, 1_000), metavar="INTEGER", help="Most prefixes that the doctor lists, 1 to 1,000."),
]


def savings(
    ctx: typer.Context,
    *,
    period: PeriodOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    time_zone: ZoneOption = None,
    hourly: HourOption = False,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    service: ServiceOption = None,
    doctor: DoctorOption = False,
    prefixes: PrefixesOption = 10,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Show what was saved, day by day and by cause, below zero where it cost more, and what the prompt-cache doctor finds."""
    one_form(csv=csv, json_text=json_text)
    if doctor and hourly:
        raise typer.BadParameter("--hourly together with --doctor, which lists prefixes; allowed: one of them")
    start_time, end_time = time_range(since, until)
    where = given(session=session, provider=provider, model=model, service=service)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        span: dict[str, Any] = {"period": period, "start_time": start_time, "end_time": end_time, "time_zone": time_zone or ""}
        if doctor:
            _show_doctor(client.diagnose_prompt_cache(**span, prefix_count=prefixes, **where), csv=csv, json_text=json_text)
            return
        result = client.stats(**span, group_by=[aigen.GroupBy.HOUR if hourly else aigen.GroupBy.DAY], **where)
        rows = sorted(result.rows, key=lambda row: row.group)
        if json_text:
            diagnosis = client.diagnose_prompt_cache(**span, prefix_count=prefixes, **where)
            named = [_named(row.group[0], row.totals) for row in rows]
            typer.echo(as_json({"rows": named, "totals": _named("", result.totals), "prompt_cache": diagnosis}))
        elif csv:
            header = ["time", *(f"{name}_usd_nanos" for name in _COLUMNS)]
            typer.echo(as_csv(header, ([row.group[0], *_amounts(row.totals).values()] for row in rows)), nl=False)
        else:
            table = [(row.group[0], list(_amounts(row.totals).values())) for row in rows]
            if counts_any(result.totals):
                render.show(render_books.savings(table, list(_amounts(result.totals).values()), titles=_COLUMNS))
            else:
                typer.echo(NO_CALLS)
            found = client.diagnose_prompt_cache(**span, prefix_count=prefixes, **where)
            if found.prefixes:
                render.show(render_explanations.doctor(found))


def _show_doctor(found: aigen.PromptCacheDiagnosis, *, csv: bool, json_text: bool) -> None:
    if json_text:
        typer.echo(as_json(found))
    elif csv:
        print_csv(aigen.PromptCachePrefix, found.prefixes)
    else:
        render.show(render_explanations.doctor(found))


_CAUSES = tuple(cause.value for cause in aigen.SavingsCause)
_COLUMNS = ("cost", "saved", *_CAUSES)


def _amounts(totals: aigen.UsageTotals) -> Mapping[str, int | None]:
    """Cost, all that was saved, and each cause, in nano-dollars; a cause that played no part is 0, an unknown cost None."""
    by_cause = {item.cause: item.saved_usd_nanos for item in totals.savings}
    causes = {cause.value: by_cause.get(cause, 0) for cause in aigen.SavingsCause}
    return {"cost": totals.cost_usd_nanos, "saved": totals.saved_usd_nanos, **causes}


def _named(time: str, totals: aigen.UsageTotals) -> dict[str, object]:
    return {"time": time, **{f"{name}_usd_nanos": nanos for name, nanos in _amounts(totals).items()}}
