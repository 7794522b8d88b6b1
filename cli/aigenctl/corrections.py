"""`aigenctl ledger unknown|settle|release|record|reprice|export`: the ledger put right by a person, and all of it told."""

import sys
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import aigen
import typer

from aigenctl import archive_reading, connection, render, render_books
from aigenctl.columns import print_csv
from aigenctl.figures import count, counted, exact_usd, usd
from aigenctl.machine import as_json, as_json_line
from aigenctl.options import (
    AccountAgentOption,
    AccountLabelsOption,
    AccountPhaseOption,
    AccountServiceOption,
    AccountSessionOption,
    AccountTaskOption,
    AgentOption,
    CsvOption,
    DryRunOption,
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
    YesOption,
    dollars,
    filled,
    first,
    given,
    labels,
    moment,
    one_form,
    real,
    time_range,
    whole,
)

MOST_USD = Decimal(1_000_000)
_INSTANT = timedelta(microseconds=1)
_COUNT = whole(0, 10**9)
EntryArgument = Annotated[str, typer.Argument(metavar="ENTRY", help="Id of the entry, as `ledger unknown` shows it.")]
NoteOption = Annotated[str, typer.Option("--note", help="Why it is known now.")]
CostOption = Annotated[
    Decimal | None,
    typer.Option("--cost", parser=dollars(MOST_USD), metavar="USD", help="What the provider billed, such as 0.0123."),
]
InputOption = Annotated[int | None, typer.Option("--input", parser=_COUNT, metavar="TOKENS", help="Uncached input tokens.")]
OutputOption = Annotated[int | None, typer.Option("--output", parser=_COUNT, metavar="TOKENS", help="Output tokens.")]
CacheReadOption = Annotated[int, typer.Option("--cache-read", parser=_COUNT, metavar="TOKENS", help="Tokens read from its cache.")]
_SECONDS = real("above 0 to 86400 seconds", low=0, high=86_400, above=True)
TimeoutOption = Annotated[float, typer.Option("--timeout", parser=_SECONDS, metavar="SECONDS", help="Longest time it may take.")]


def unknown(
    ctx: typer.Context,
    *,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List attempts of which nobody knows whether they were charged, newest first; their upper bound is booked."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        entries, more = first(client.ledger_entries(states=[aigen.AttemptState.UNKNOWN]), limit)
        if json_text:
            typer.echo(as_json({"entries": entries, "more": more}))
        elif csv:
            print_csv(aigen.LedgerEntry, entries)
        else:
            render.show(render.ledger_entries(entries, more=more))


def settle(
    ctx: typer.Context,
    entry: EntryArgument,
    *,
    cost: CostOption = None,
    input_tokens: InputOption = None,
    output_tokens: OutputOption = None,
    cache_read_tokens: CacheReadOption = 0,
    note: NoteOption = "",
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Book what an attempt of unknown outcome cost after all: by --cost, or by --input and --output."""
    usage = None
    if input_tokens is not None or output_tokens is not None or cache_read_tokens:
        usage = _usage(input_tokens or 0, output_tokens or 0, cache_read_tokens)
    nanos = _nanos(cost)
    if usage is None and nanos is None:
        raise typer.BadParameter("neither --cost nor --input and --output are given; allowed: what was billed, the tokens, or both")
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        _say(client.settle_entry(entry, cost_usd_nanos=nanos, usage=usage, note=note), json_text=json_text)


def release(
    ctx: typer.Context,
    entry: EntryArgument,
    *,
    note: NoteOption = "",
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Give back what an attempt of unknown outcome holds: the provider did not charge it."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        _say(client.release_entry(entry, note=note), json_text=json_text)


def record(
    ctx: typer.Context,
    provider: Annotated[str, typer.Argument(metavar="PROVIDER", help="Who ran it.")],
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The provider's name of the model.")],
    *,
    request_id: Annotated[
        str, typer.Option("--request-id", callback=filled, help="Id of the call; told twice, it is booked once.")
    ],
    input_tokens: InputOption = None,
    output_tokens: OutputOption = None,
    cache_read_tokens: CacheReadOption = 0,
    cost: CostOption = None,
    when: Annotated[str | None, typer.Option("--time", metavar="TIME", help="When it was made: ISO 8601, or an age.")] = None,
    batch: Annotated[bool, typer.Option("--batch", help="It was made through the provider's batch API.")] = False,
    session: AccountSessionOption = None,
    agent: AccountAgentOption = None,
    service: AccountServiceOption = None,
    phase: AccountPhaseOption = None,
    task: AccountTaskOption = None,
    label: AccountLabelsOption = None,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Book a call that was made without aigen, once for its id; no budget refuses it."""
    account = given(session=session, agent=agent, service=service, phase=phase, task=task, labels=labels(label))
    made: datetime | None = moment(when, "--time")
    usage = _usage(input_tokens or 0, output_tokens or 0, cache_read_tokens)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        recorded = client.record_usage(
            provider,
            model,
            request_id=request_id,
            usage=usage,
            cost_usd_nanos=_nanos(cost),
            create_time=made,
            batch=batch,
            **account,
        )
        if json_text:
            typer.echo(as_json(recorded))
            return
        entry = recorded.entry
        done = "is booked" if recorded.created else "was booked already"
        typer.echo(f"Entry {entry.id} {done}: {usd(entry.cost_usd_nanos)} for {provider}/{model}.")
        for warning in recorded.warnings:
            sys.stderr.write(f"aigenctl: warning: {render.harmless(warning)}\n")


def reprice(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    service: ServiceOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    timeout: TimeoutOption = 3_600.0,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Compute past costs anew from the prices known now; shows first what would change, and asks."""
    one_form(csv=csv, json_text=json_text)
    start_time, end_time = time_range(since, until)
    where = given(session=session, provider=provider, model=model, service=service)
    with connection.daemon(ctx, socket, as_json=json_text) as client:

        def run(*, validate_only: bool) -> aigen.Repricing:
            return client.reprice_ledger(
                start_time=start_time, end_time=end_time, validate_only=validate_only, timeout=timeout, **where
            )

        found = run(validate_only=True)
        if not json_text and not csv:
            render.show(render_books.repricing(found))
        if not dry_run and found.changed_count:
            connection.confirm(f"Correct {counted(found.changed_count, 'entry', 'entries')}?", yes=yes)
            found = run(validate_only=False)
            if not json_text and not csv:
                typer.echo(
                    f"Corrected {count(found.changed_count)}: {exact_usd(found.after_usd_nanos - found.before_usd_nanos)} USD."
                )
        if csv:
            print_csv(aigen.RepricedModel, found.models)
        elif json_text:
            typer.echo(as_json({"dry_run": dry_run, **{name: getattr(found, name) for name in _REPRICED}}))


_REPRICED = (
    *("examined_count", "changed_count", "kept_count", "unpriced_count"),
    *("before_usd_nanos", "after_usd_nanos", "models"),
)


ArchiveOption = Annotated[
    Path | None, typer.Option("--archive", metavar="FILE", help="Print the charges of an archived month's file; needs no daemon.")
]


def export(
    ctx: typer.Context,
    *,
    since: SinceOption = None,
    until: UntilOption = None,
    session: SessionOption = None,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    service: ServiceOption = None,
    phase: PhaseOption = None,
    task: TaskOption = None,
    label: LabelsOption = None,
    csv: CsvOption = False,
    jsonl: Annotated[bool, typer.Option("--jsonl", help="Print one JSON object a line; the default.")] = False,
    json_text: Annotated[bool, typer.Option("--json", help="As --jsonl, and errors are JSON too.")] = False,
    archive: ArchiveOption = None,
    timeout: TimeoutOption = 3_600.0,
    socket: SocketOption = None,
) -> None:
    """Print every charge, newest first, as CSV or JSON lines; however many they are, few are in memory."""
    if csv and (jsonl or json_text):
        raise typer.BadParameter(f"--csv together with {'--jsonl' if jsonl else '--json'}; allowed: one of them")
    where = given(session=session, provider=provider, model=model, agent=agent, service=service, phase=phase, task=task)
    where |= given(labels=labels(label))
    start_time, end_time = time_range(since, until)
    if archive is not None:
        _print(archive_reading.entries(archive, start_time=start_time, end_time=end_time, **where), csv=csv)
        return
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        entries = client.export_ledger(start_time=start_time, end_time=end_time, timeout=timeout, **where)
        _print(entries, csv=csv)
        for file in archived(client, start_time, end_time):
            sys.stderr.write(f"aigenctl: charges of this time are archived in {render.harmless(file)}; --archive prints them\n")


def _print(entries: Iterable[aigen.LedgerEntry], *, csv: bool) -> None:
    if csv:
        print_csv(aigen.LedgerEntry, entries)
        return
    for entry in entries:
        sys.stdout.write(as_json_line(entry) + "\n")


def archived(client: aigen.Client, start_time: datetime | None, end_time: datetime | None) -> list[str]:
    """Return the files of archived months that a range of time touches; its end is exclusive."""
    first = "" if start_time is None else start_time.astimezone(UTC).strftime("%Y-%m")
    last = "9999-12" if end_time is None else (end_time - _INSTANT).astimezone(UTC).strftime("%Y-%m")
    return [archive.file for archive in client.ledger_archives() if first <= archive.month <= last]


def _usage(input_tokens: int, output_tokens: int, cache_read_tokens: int) -> aigen.TokenUsage:
    return aigen.TokenUsage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cache_read_tokens)


def _nanos(cost: Decimal | None) -> int | None:
    return None if cost is None else int(round(cost, 9).scaleb(9))


def _say(entry: aigen.LedgerEntry, *, json_text: bool) -> None:
    if json_text:
        typer.echo(as_json(entry))
    else:
        cost = "nothing" if entry.state is aigen.AttemptState.RELEASED else usd(entry.cost_usd_nanos)
        typer.echo(f"Entry {entry.id} is {entry.state}: {cost}.")
