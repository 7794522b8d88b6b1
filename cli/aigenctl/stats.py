"""`aigenctl stats`: what calls cost and what was saved."""

from dataclasses import fields
from enum import StrEnum
from itertools import islice
from typing import Annotated

import aigen
import typer

from aigenctl import connection, render, watching
from aigenctl.figures import exact_usd
from aigenctl.machine import as_csv, as_json
from aigenctl.options import (
    AgentOption,
    CsvOption,
    JsonOption,
    LabelsOption,
    ModelOption,
    PhaseOption,
    ProviderOption,
    ServiceOption,
    SessionOption,
    SinceOption,
    SocketOption,
    TaskOption,
    UntilOption,
    ZoneOption,
    filled,
    given,
    labels,
    one_form,
    time_range,
)


class Span(StrEnum):
    """What time is counted: a calendar period, or a session from its first call on."""

    TODAY = "today"
    WEEK = "week"
    MONTH = "month"
    SESSION = "session"
    ALL = "all"


PeriodOption = Annotated[
    Span | None,
    typer.Option(
        "--period",
        help="Calendar period; session: all of --session, or of the session that paid last; without it and --since: all time.",
        case_sensitive=False,
    ),
]
ByOption = Annotated[
    list[aigen.GroupBy] | None,
    typer.Option("--by", help="Group rows by this; repeatable, at most 3. [default: provider]", case_sensitive=False),
]
LabelKeyOption = Annotated[
    str | None, typer.Option("--label-key", callback=filled, help="Label to group by; goes with --by label.")
]

RECENT_ENTRIES = 1_000

app = typer.Typer(help="Show tokens, cost and savings by provider, or by what --by names, with a total.")
app.command("watch")(watching.watch)


@app.callback(invoke_without_command=True)
def stats(
    ctx: typer.Context,
    *,
    period: PeriodOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    time_zone: ZoneOption = None,
    by: ByOption = None,
    label_key: LabelKeyOption = None,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    service: ServiceOption = None,
    phase: PhaseOption = None,
    task: TaskOption = None,
    label: LabelsOption = None,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Show tokens, cost and savings by provider, or by what --by names, with a total."""
    if ctx.invoked_subcommand is not None:
        return
    _check(period=period, since=since, until=until, csv=csv, json_text=json_text)
    start_time, end_time = time_range(since, until)
    where = given(session=session, provider=provider, model=model, agent=agent, service=service, phase=phase, task=task)
    group_by = by or [aigen.GroupBy.PROVIDER]
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        if period is Span.SESSION:
            where["session"] = session or _last_session(client)
        result = client.stats(
            period=aigen.Period(period.value) if period and period is not Span.SESSION else None,
            start_time=start_time,
            end_time=end_time,
            time_zone=time_zone or "",
            group_by=group_by,
            label_key=label_key or "",
            **where,
            **given(labels=labels(label)),
        )
        if json_text:
            typer.echo(as_json({"group_by": group_by, **_named(result)}))
        elif csv:
            typer.echo(as_csv([*group_by, *_CSV_SUMS], (_line(row) for row in result.rows)), nl=False, color=True)
        else:
            shown = period.value if period else "range" if since or until else "all time"
            titles = [label_key or name.value if name == aigen.GroupBy.LABEL else name.value for name in group_by]
            filters = where | given(label=", ".join(label) if label else None)
            render.show(render.stats(result, period=shown, by=titles, filters=filters))


def _last_session(client: aigen.Client) -> str:
    """Return the session of the newest charge that has one."""
    newest = islice(client.ledger_entries(page_size=RECENT_ENTRIES), RECENT_ENTRIES)
    found = next((entry.session for entry in newest if entry.session), "")
    if not found:
        raise aigen.NotFound(
            f"none of the last {RECENT_ENTRIES} charges has a session; name one with --session", reason="NOT_FOUND"
        )
    return found


def _check(*, period: Span | None, since: str | None, until: str | None, csv: bool, json_text: bool) -> None:
    if period and (since or until):
        raise typer.BadParameter(f"--period is {period.value!r} together with --since or --until; allowed: one or the other")
    one_form(csv=csv, json_text=json_text)


def _named(result: aigen.Stats) -> dict[str, object]:
    rows = [{"group": row.group, "totals": _with_saved(row.totals)} for row in result.rows]
    window = {"start_time": result.start_time, "end_time": result.end_time, "time_zone": result.time_zone}
    return {**window, "rows": rows, "totals": _with_saved(result.totals)}


def _with_saved(totals: aigen.UsageTotals) -> dict[str, object]:
    plain = {field.name: getattr(totals, field.name) for field in fields(totals)}
    return plain | {name: getattr(totals, name) for name in ("saved_usd_nanos", *_SHARES)}


_COUNTS = ("call", "hit", "miss", "coalesced", "bypass", "refresh", "replay", "unknown", "released", "unpriced")
_TOKENS = tuple(field.name for field in fields(aigen.TokenUsage))
_AMOUNTS = ("cost_usd_nanos", "saved_usd_nanos", "estimated_cost_usd_nanos", "unknown_cost_usd_nanos")
_SHARES = ("estimated_share", "unknown_share")
_CSV_SUMS = (*(f"{name}_count" for name in _COUNTS), *_TOKENS, *_AMOUNTS, "cost_usd", "saved_usd", *_SHARES)


def _line(row: aigen.StatsRow) -> list[object]:
    totals = row.totals
    counts = [getattr(totals, f"{name}_count") for name in _COUNTS]
    tokens = [getattr(totals.usage, name) for name in _TOKENS]
    amounts = [getattr(totals, name) for name in _AMOUNTS]
    dollars = [None if nanos is None else exact_usd(nanos) for nanos in (totals.cost_usd_nanos, totals.saved_usd_nanos)]
    return [*row.group, *counts, *tokens, *amounts, *dollars, *(getattr(totals, name) for name in _SHARES)]
