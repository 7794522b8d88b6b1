"""`aigenctl cache`: what the response cache holds, how well it does, and how a person clears it."""

from itertools import islice
from typing import Annotated

import aigen
import typer

from aigenctl import connection, render, render_prefixes
from aigenctl.columns import print_csv
from aigenctl.machine import as_json
from aigenctl.options import (
    AgentOption,
    CsvOption,
    DryRunOption,
    JsonOption,
    LimitOption,
    ModelOption,
    PhaseOption,
    ProviderOption,
    ServiceOption,
    SocketOption,
    YesOption,
    age,
    filled,
    first,
    given,
    one_form,
)

_KEY_DIGITS = 64

app = typer.Typer(help="Look after the response cache.", no_args_is_help=True)
NamespaceOption = Annotated[str | None, typer.Option("--namespace", callback=filled, help="Only this namespace.")]
OlderThanOption = Annotated[str | None, typer.Option("--older-than", metavar="AGE", help="Only older entries, such as 90m or 7d.")]
KeyPrefixOption = Annotated[
    str | None, typer.Option("--key-prefix", metavar="HEX", callback=filled, help="Only keys that begin so.")
]
KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Key, or as many of its first digits as tell it apart.")]


@app.command("stats")
def stats(ctx: typer.Context, *, csv: CsvOption = False, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show entries, size, hit and miss rate, evictions and the mean latency of a hit."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        result = client.cache_stats()
        if json_text:
            typer.echo(as_json(result))
        elif csv:
            print_csv(aigen.CacheStats, [result])
        else:
            render.show(render.cache_stats(result))


@app.command("list")
def list_entries(
    ctx: typer.Context,
    *,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    phase: PhaseOption = None,
    service: ServiceOption = None,
    namespace: NamespaceOption = None,
    older_than: OlderThanOption = None,
    key_prefix: KeyPrefixOption = None,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List entries, newest first."""
    where = given(provider=provider, model=model, agent=agent, phase=phase, service=service, namespace=namespace)
    where |= given(older_than=age(older_than, "--older-than"), key_prefix=key_prefix)
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        entries, more = first(client.cache_entries(**where), limit)
        if json_text:
            typer.echo(as_json({"entries": entries, "more": more}))
        elif csv:
            print_csv(aigen.CacheEntry, entries)
        else:
            render.show(render.cache_entries(entries, more=more))


@app.command("show")
def show(ctx: typer.Context, key: KeyArgument, *, json_text: JsonOption = False, socket: SocketOption = None) -> None:
    """Show one entry with its answer."""
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        entry = client.cache_entry(_whole_key(client, key))
        if json_text:
            typer.echo(as_json(entry))
        else:
            render.show(render.cache_entry(entry))


@app.command("prefixes")
def prefixes(
    ctx: typer.Context,
    *,
    provider: ProviderOption = None,
    model: ModelOption = None,
    service: ServiceOption = None,
    limit: LimitOption = 50,
    csv: CsvOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """List what was decided about the providers' prompt caches and why, latest first."""
    one_form(csv=csv, json_text=json_text)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        decisions, more = first(client.prefix_decisions(**given(provider=provider, model=model, service=service)), limit)
        if json_text:
            typer.echo(as_json({"decisions": decisions, "more": more}))
        elif csv:
            print_csv(aigen.PrefixDecision, decisions)
        else:
            render.show(render_prefixes.decisions(decisions, more=more))


def _whole_key(client: aigen.Client, key: str) -> str:
    if len(key) >= _KEY_DIGITS:
        return key
    found = [entry.key for entry in islice(client.cache_entries(key_prefix=key), 2)]
    if len(found) > 1:
        raise typer.BadParameter(f"KEY is {key!r}, with which more than one key begins; give more digits")
    if not found:
        raise aigen.NotFound(f"no entry has a key that begins with {key!r}", reason="NOT_FOUND")
    return found[0]


@app.command("clear")
def clear(
    ctx: typer.Context,
    *,
    provider: ProviderOption = None,
    model: ModelOption = None,
    agent: AgentOption = None,
    phase: PhaseOption = None,
    service: ServiceOption = None,
    namespace: NamespaceOption = None,
    older_than: OlderThanOption = None,
    key_prefix: KeyPrefixOption = None,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    json_text: JsonOption = False,
    socket: SocketOption = None,
) -> None:
    """Remove the entries that match all filters, or all entries where none is given; asks first."""
    where = given(provider=provider, model=model, agent=agent, phase=phase, service=service, namespace=namespace)
    where |= given(older_than=age(older_than, "--older-than"), key_prefix=key_prefix)
    with connection.daemon(ctx, socket, as_json=json_text) as client:
        if dry_run or not yes:
            result = client.clear_cache(validate_only=True, **where)
        if not dry_run:
            connection.confirm("" if yes else f"Remove {render.cleared(result)} from the cache?", yes=yes)
            result = client.clear_cache(**where)
        if json_text:
            typer.echo(as_json({"dry_run": dry_run, "entry_count": result.entry_count, "size_bytes": result.size_bytes}))
        else:
            typer.echo(f"{'Would remove' if dry_run else 'Removed'} {render.cleared(result)}.")
