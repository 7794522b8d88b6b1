"""What is shown to a person: panels and tables for the results of the daemon.

Names that come from elsewhere are shown as they are, never read as markup, with control characters made visible.
"""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import aigen
from rich import box
from rich.console import Console, Group, RenderableType
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from aigenctl.budget_windows import status_rows
from aigenctl.figures import NO_CALLS, NONE, UNKNOWN, count, counted, counts_any, duration, moment, percent, share, size, usd

_PAPER_WIDTH = 160  # columns where the output is no terminal, so that no table is cut
_KEY_SHOWN = 16  # hexadecimal digits: enough to be told apart and to be given back as a prefix


def harmless(text: str) -> str:
    """Return text whose control characters, line ends and tabs aside, can't steer a terminal."""
    return "".join(char if char in "\n\t" or unicodedata.category(char) != "Cc" else f"\\x{ord(char):02x}" for char in text)


def show(renderable: RenderableType) -> None:
    """Print a panel or table on standard output, as wide as the terminal, or wide enough for all where there is none."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console.width = max(console.width, _PAPER_WIDTH)
    console.print(renderable)


def _cell(value: object) -> Text:
    return Text(harmless(str(value)) or NONE)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    title: str
    right: bool = False


def grid(columns: Sequence[Column], rows: Iterable[Sequence[object]], *, total: Sequence[object] | None = None) -> Table:
    """Return a table of cells."""
    table = Table(box=box.ROUNDED, show_edge=False, show_footer=total is not None, pad_edge=False)
    for index, column in enumerate(columns):
        footer = _cell(total[index]) if total is not None and total[index] != "" else ""
        table.add_column(column.title, footer=footer, justify="right" if column.right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def fact_list(pairs: Iterable[tuple[str, object]]) -> Table:
    """Return names and what is said of them, one a line."""
    table = Table.grid(padding=(0, 1))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(Text(f"{name}:"), _cell(value))
    return table


def panel(title: str, *parts: RenderableType) -> Panel:
    """Return parts under a title, with rules between them."""
    spaced: list[RenderableType] = []
    for part in parts:
        spaced += [Rule(style="dim"), part] if spaced else [part]
    return Panel(Group(*spaced), title=title, box=box.ROUNDED, expand=False)


_STATS_COLUMNS = tuple(Column(title, right=True) for title in ("Calls", "Hits", "Input", "Output", "Cost", "Saved"))


def stats(result: aigen.Stats, *, period: str, by: Sequence[str], filters: Mapping[str, str]) -> Panel:
    """Return the usage summary: session and period on top, one row a group, the total below, then what else is to be known."""
    totals = result.totals
    shown = dict(filters)
    facts = [("Session", shown.pop("session", "all")), ("Period", _period(result, period))]
    facts += [(name.capitalize(), value) for name, value in shown.items()]
    if not counts_any(totals):
        return panel("Token Usage Summary", fact_list(facts), Text(NO_CALLS))
    columns = [Column(name.capitalize()) for name in by] or [Column("")]
    table = grid(
        [*columns, *_STATS_COLUMNS],
        ([*row.group, *_sums(row.totals)] for row in result.rows),
        total=["Total", *[""] * (len(columns) - 1), *_sums(totals)],
    )
    return panel("Token Usage Summary", fact_list(facts), table, fact_list(_remarks(totals)))


def _period(result: aigen.Stats, period: str) -> str:
    if result.start_time is None:
        return f"{period} ({result.time_zone})"
    return f"{period}, {moment(result.start_time)} to {moment(result.end_time)} ({result.time_zone})"


def _sums(totals: aigen.UsageTotals) -> list[str]:
    return [
        count(totals.call_count),
        count(totals.hit_count),
        count(totals.usage.total_input_tokens),
        count(totals.usage.output_tokens),
        usd(totals.cost_usd_nanos),
        usd(totals.saved_usd_nanos),
    ]


def _remarks(totals: aigen.UsageTotals) -> list[tuple[str, object]]:
    outcomes = ("hit", "miss", "coalesced", "bypass", "refresh", "replay")
    counts = [(name.upper(), getattr(totals, f"{name}_count")) for name in outcomes]
    remarks: list[tuple[str, object]] = [("Outcomes", ", ".join(f"{name} {count(number)}" for name, number in counts if number))]
    remarks += [(f"Saved by {_words(item.cause)}", _saved(item)) for item in totals.savings]
    if totals.latency is not None:
        times = ", ".join(f"{name} {duration(getattr(totals.latency, f'{name}_us'))}" for name in ("p50", "p90", "p99"))
        remarks.append(("Latency", times))
    if totals.estimated_cost_usd_nanos:
        remarks.append(("Estimated", f"{usd(totals.estimated_cost_usd_nanos)} of the cost ({percent(totals.estimated_share)})"))
    if totals.unknown_count:
        held = f"{usd(totals.unknown_cost_usd_nanos)} on top ({percent(totals.unknown_share)} of both)"
        remarks.append(("Outcome unknown", f"{counted(totals.unknown_count, 'attempt')}, at most {held}"))
    if totals.unpriced_count:
        remarks.append(("Without a price", f"{counted(totals.unpriced_count, 'call')}, in no sum"))
    return remarks


def _saved(item: aigen.Savings) -> str:
    return f"{usd(item.saved_usd_nanos)} in {counted(item.call_count, 'call')}"


def _words(value: str | None) -> str:
    return value.replace("_", " ") if value else UNKNOWN


def cache_stats(result: aigen.CacheStats) -> Panel:
    """Return the state of the cache."""
    lookups = result.hit_count + result.miss_count
    facts = [
        ("Total Entries", count(result.entry_count)),
        ("Cache Size", f"{size(result.size_bytes)} of {size(result.max_size_bytes)}"),
        ("Hit Rate", share(result.hit_count, lookups)),
        ("Miss Rate", share(result.miss_count, lookups)),
        ("Evictions", count(result.eviction_count)),
        ("Expirations", count(result.expiration_count)),
        ("Avg Hit Latency", duration(result.mean_hit_latency_us)),
        ("In Memory", f"{counted(result.memory_entry_count, 'entry', 'entries')}, {size(result.memory_size_bytes)}"),
        ("Storing", "yes" if result.storing else "no: calls pass through and answers are not kept"),
    ]
    return panel("Cache Statistics", fact_list(facts))


def cache_entries(entries: Sequence[aigen.CacheEntry], *, more: bool) -> RenderableType:
    """Return one row an entry, newest first."""
    columns = [Column(title) for title in ("Key", "Provider", "Model", "Agent", "Phase", "Created", "Expires")]
    columns += [Column(title, right=True) for title in ("Size", "Hits", "Saves")]
    table = panel("Cache Entries", grid(columns, (_entry_row(entry) for entry in entries)))
    return Group(table, Text("There are more; --limit 0 lists all.")) if more else table


def _entry_row(entry: aigen.CacheEntry) -> list[str]:
    names = [entry.key[:_KEY_SHOWN], entry.provider, entry.model, entry.agent, entry.phase]
    times = [moment(entry.create_time), moment(entry.expire_time)]
    return [*names, *times, size(entry.size_bytes), count(entry.hit_count), usd(entry.saved_per_hit_usd_nanos)]


def cache_entry(entry: aigen.CacheEntry) -> Panel:
    """Return one entry with its answer."""
    facts = [
        ("Key", entry.key),
        ("Route", f"{entry.provider}/{entry.model}"),
        ("Agent", entry.agent),
        ("Service", entry.service),
        ("Phase", entry.phase),
        ("Namespace", entry.namespace),
        ("Created", moment(entry.create_time)),
        ("Expires", moment(entry.expire_time)),
        ("Last used", moment(entry.last_use_time)),
        ("Hits", count(entry.hit_count)),
        ("Size", size(entry.size_bytes)),
        ("A hit saves", usd(entry.saved_per_hit_usd_nanos)),
    ]
    if entry.answer is None:
        return panel("Cache Entry", fact_list(facts))
    usage = entry.answer.usage
    facts.append(("Tokens", f"{count(usage.total_input_tokens)} in, {count(usage.output_tokens)} out"))
    return panel("Cache Entry", fact_list(facts), Text(harmless(entry.answer.text)))


def cleared(result: aigen.ClearedCache) -> str:
    """Return what was or would be removed, in words."""
    return f"{counted(result.entry_count, 'entry', 'entries')} ({size(result.size_bytes)})"


def ledger_entries(entries: Sequence[aigen.LedgerEntry], *, more: bool) -> RenderableType:
    """Return one row a charge, newest first."""
    columns = [Column(title) for title in ("Time", "State", "Provider", "Model", "Agent", "Session", "Phase", "Outcome")]
    columns += [Column(title, right=True) for title in ("Input", "Output", "Cost")]
    columns += [Column("Flags"), Column("Id")]
    table = panel("Ledger", grid(columns, (_ledger_row(entry) for entry in entries)))
    return Group(table, Text("There are more; --limit 0 lists all.")) if more else table


def _ledger_row(entry: aigen.LedgerEntry) -> list[str]:
    used = entry.usage
    free = entry.state is aigen.AttemptState.RELEASED
    missing = NONE if free else UNKNOWN
    tokens = [count(used.total_input_tokens), count(used.output_tokens)] if used else [missing, missing]
    names = [entry.provider, entry.model, entry.agent, entry.session, entry.phase, _upper(entry.cache_outcome)]
    cost = f"≤ {usd(entry.reserved_usd_nanos)}" if entry.state in _OPEN else usd(0 if free else entry.cost_usd_nanos)
    return [moment(entry.create_time), _upper(entry.state), *names, *tokens, cost, ", ".join(entry.flags), entry.id]


_OPEN = (aigen.AttemptState.RESERVED, aigen.AttemptState.SENT, aigen.AttemptState.SUBMITTED, aigen.AttemptState.UNKNOWN)


def _upper(value: str | None) -> str:
    return value.upper() if value else UNKNOWN


def models(found: Sequence[aigen.Model]) -> Panel:
    """Return one row a model; prices in dollars for a million tokens."""
    return panel("Models", _models(found))


def _models(found: Sequence[aigen.Model]) -> Table:
    columns = [Column(title) for title in ("Provider", "Model", "Aliases", "Agents", "Tier")]
    columns += [Column(title, right=True) for title in ("Context", "Input $/M", "Output $/M")]
    columns += [Column("Available")]
    return grid(columns, (_model_row(model) for model in found))


def _model_row(model: aigen.Model) -> list[str]:
    names = [model.provider, model.id, ", ".join(model.aliases), ", ".join(model.agents), model.tier or NONE]
    rates = [per_million(model.price, "input"), per_million(model.price, "output")]
    return [*names, _limit(model.context_tokens), *rates, "yes" if model.available else "no"]


def _limit(tokens: int) -> str:
    return count(tokens) if tokens else NONE


def per_million(price: aigen.Price | None, bucket: str) -> str:
    """Return a rate in dollars for a million tokens."""
    rate = price.usd_per_million[bucket] if price is not None else None
    return UNKNOWN if rate is None else f"{rate:,.4f}".rstrip("0").rstrip(".")


def model(found: aigen.Model) -> Panel:
    """Return all that is known of one model."""
    facts: list[tuple[str, object]] = [
        ("Model", found.id),
        ("Provider", f"{found.provider} ({'configured' if found.available else 'not configured'})"),
        ("Aliases", ", ".join(found.aliases)),
        ("Agents", ", ".join(found.agents)),
        ("Tier", found.tier or NONE),
        ("Capabilities", ", ".join(_words(item) for item in found.capabilities)),
        ("Context", f"{_limit(found.context_tokens)} tokens"),
        ("Output", f"{_limit(found.max_output_tokens)} tokens, {count(found.default_max_output_tokens)} where none is asked for"),
        ("Shortest cached prefix", f"{_limit(found.min_cacheable_tokens)} tokens"),
        ("Description", found.description),
    ]
    return panel("Model", fact_list(facts), fact_list(_price_facts(found.price)))


def service_policies(found: Sequence[aigen.ServicePolicy]) -> Panel:
    """Return one row a service."""
    columns = [Column(title) for title in ("Service", "Allowed", "Default", "Requires", "Strategy", "TTL", "Normalization")]
    rows = ([policy.service, _allowed(policy), *(value for _, value in _policy_facts(policy))] for policy in found)
    return panel("Service Policies", grid(columns, rows))


def service_policy(found: aigen.ServicePolicy) -> Panel:
    """Return one service's policy with the models that it allows."""
    facts: list[tuple[str, object]] = [("Service", found.service), ("Allowed", _allowed(found)), *_policy_facts(found)]
    return panel("Service Policy", fact_list(facts), _models(found.models))


def _allowed(policy: aigen.ServicePolicy) -> str:
    named = [f"tier {tier}" for tier in policy.allowed_tiers] + list(policy.named_models)
    return ", ".join(named) or "any model"


def _policy_facts(policy: aigen.ServicePolicy) -> list[tuple[str, object]]:
    return [
        ("Default", policy.default_model or "the daemon's"),
        ("Requires", ", ".join(_words(item) for item in policy.required_capabilities)),
        ("Strategy", _words(policy.strategy) if policy.strategy else NONE),
        ("TTL", duration(policy.ttl_s * 1e6) if policy.ttl_s is not None else "the cache's"),
        ("Normalization", policy.normalization or "the cache's"),
    ]


def presets(found: Sequence[aigen.Preset]) -> Panel:
    """Return one row a preset."""
    columns = [Column(title) for title in ("Preset", "For", "Tier", "Models", "Options")]
    rows = (
        [
            *(preset.name, preset.description, preset.tier or NONE, ", ".join(preset.models)),
            ", ".join(f"{name}={value}" for name, value in preset.options.items()),
        ]
        for preset in found
    )
    return panel("Presets", grid(columns, rows))


def _price_facts(price: aigen.Price | None) -> list[tuple[str, object]]:
    if price is None:
        return [("Price", UNKNOWN)]
    buckets = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
    rates = [(_words(bucket).capitalize(), f"{per_million(price, bucket)} $/M tokens") for bucket in buckets]
    return [*rates, ("Price from", f"{price.source}, checked {price.checked_on or NONE}"), ("Price entry", price.price_entry_id)]


def status(result: aigen.DaemonStatus) -> Panel:
    """Return how the daemon is."""
    calls = [f"{count(getattr(result, f'{name}_count'))} {name.replace('_', ' ')}" for name in ("in_flight", "queued", "detached")]
    facts: list[tuple[str, object]] = [
        ("State", _upper(result.state)),
        ("Version", f"{result.version}, process {result.process_id}"),
        ("Ready since", moment(result.start_time)),
        ("Socket", result.socket_path),
        ("State directory", result.state_directory),
        ("Cache directory", result.cache_directory),
        ("Provider calls", ", ".join(calls)),
        ("Deferred calls", f"{count(result.deferred_waiting_count)} wait, {count(result.deferred_submitted_count)} at providers"),
        ("Ledger", f"epoch {result.ledger_epoch}, sequence {count(result.ledger_sequence)}"),
        ("Memory", size(result.resident_bytes)),
    ]
    facts += [("Inbox", f"{count(result.intake_waiting_count)} lines wait")] if result.intake_waiting_count else []
    facts += [("Warning", warning) for warning in result.warnings]
    parts = [fact_list(facts)]
    if result.providers:
        parts.append(grid(_PROVIDER_COLUMNS, (_provider_row(item) for item in result.providers)))
    if result.budgets:
        parts.append(grid(_BUDGET_COLUMNS, status_rows(result.budgets)))
    return panel("aigend", *parts)


_PROVIDER_COLUMNS = (
    *(Column(title) for title in ("Provider", "Adapter", "Loaded")),
    *(Column(title, right=True) for title in ("In flight", "Queued")),
    Column("Passed by"),
)
_BUDGET_COLUMNS = (
    *(Column(title) for title in ("Budget", "Window", "Action")),
    *(Column(title, right=True) for title in ("Limit", "Spent", "Reserved")),
    Column("Resets"),
)


def _provider_row(provider: aigen.ProviderStatus) -> list[str]:
    passed_by = ", ".join(_circuit(key) for key in provider.keys if key.circuit != "closed") or "-"
    in_flight = f"{count(provider.in_flight_count)} of {count(provider.slot_count)}"
    return [provider.name, provider.adapter, "yes" if provider.loaded else "no", in_flight, count(provider.queued_count), passed_by]


def _circuit(key: aigen.ProviderKeyStatus) -> str:
    """Return why a key is not asked, and for how long."""
    why = "refused" if key.refused else f"failed {count(key.failure_count)} times"
    return f"key {key.number} ({why}; tried again in {key.retry_delay_s or 0:.0f} s)"


def settings(found: Sequence[aigen.Setting]) -> Panel:
    """Return one row a setting."""
    rows = ((setting.key, setting.value_json, setting.origin) for setting in found)
    return panel("Settings", grid([Column("Key"), Column("Value"), Column("Origin")], rows))


def estimate(result: aigen.Estimate) -> Panel:
    """Return one row a route with its upper bound."""
    columns = [Column("Provider"), Column("Model"), *(Column(title, right=True) for title in ("Input", "Output", "At most"))]
    rows = (
        (route.provider, route.model, count(route.input_tokens), count(route.max_output_tokens), usd(route.max_cost_usd_nanos))
        for route in result.routes
    )
    note = "The answer is in the cache: it would cost nothing." if result.cached else "The answer is not in the cache."
    return panel("Cost Estimate", grid(columns, rows), Text(note))


def completion_summary(completion: aigen.Completion) -> str:
    """Return one line: where an answer came from, what it cost and saved, how long it took."""
    route = f"{completion.provider}/{completion.resolved_model}"
    used = f"{count(completion.usage.total_input_tokens)} in, {count(completion.usage.output_tokens)} out"
    facts = [_upper(completion.cache_outcome), route, used, f"cost {usd(completion.cost_usd_nanos)}"]
    if completion.saved_usd_nanos:
        facts.append(f"saved {usd(completion.saved_usd_nanos)} ({_words(completion.saved_cause)})")
    facts.append(duration(completion.timings.total_us))
    if completion.finish_reason not in (aigen.FinishReason.STOP, aigen.FinishReason.TOOL_CALLS):
        facts.append(f"ended by {_words(completion.finish_reason)}")
    return harmless(" · ".join(facts))
