"""A report as Markdown, or as CSV with one line a sum or charge. Text only; no daemon and no terminal in here."""

from collections.abc import Iterable, Sequence
from datetime import UTC, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import aigen

from aigenctl.budget_windows import more, of_status
from aigenctl.currency import Currency
from aigenctl.figures import NONE, UNKNOWN, count, moment, percent, share, usd
from aigenctl.machine import as_csv
from aigenctl.render import harmless

_SUMS = ("Calls", "Hits", "Input", "Output", "Cost", "Saved")
_CSV = ("section", "name", "calls", "hits", "input_tokens", "output_tokens", "cost_usd_nanos", "saved_usd_nanos", "unpriced_calls")
_SPECIAL = str.maketrans({char: f"\\{char}" for char in "\\`*_[]<>|#~"} | {"\n": " ", "\r": " "})


def zone(name: str) -> tzinfo:
    """Return a time zone by its name; UTC where this machine does not know it."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC


def as_markdown(report: aigen.Report, *, title: str, currency: Currency) -> str:
    """Return a report as Markdown."""
    parts = [f"# {_safe(title)}", _head(report, currency), _summary(report.totals, currency)]
    for section in report.sections:
        rows = ([_safe(row.group[0]) or NONE, *_sums(row.totals, currency)] for row in section.rows)
        parts.append(_table(f"By {section.group_by}", (str(section.group_by).capitalize(), *_SUMS), rows))
    parts.append(_savings(report.totals, currency))
    parts.append(_budgets(report.budgets))
    parts.append(_entries("Dearest charges", report.dearest_entries, currency))
    parts.append(_entries("Unknown costs", report.unknown_entries, currency))
    parts += [f"Charges of this time are archived in {_safe(file)}; the sums above count them." for file in report.archive_files]
    return "\n\n".join(parts) + "\n"


def as_report_csv(report: aigen.Report) -> str:
    """Return a report as CSV: the total, each group, each cause of savings, each budget and each charge on a line of its own."""
    lines: list[list[object]] = [["total", "", *_plain(report.totals)]]
    for section in report.sections:
        lines += [[str(section.group_by), row.group[0], *_plain(row.totals)] for row in section.rows]
    lines += [
        ["savings", item.cause or UNKNOWN, item.call_count, "", "", "", "", item.saved_usd_nanos, ""]
        for item in report.totals.savings
    ]
    lines += [["budget", f"{b.name} {b.window}", "", "", "", "", b.spent_usd_nanos, "", ""] for b in report.budgets]
    for name, entries in (("dearest", report.dearest_entries), ("unknown", report.unknown_entries)):
        lines += [[name, entry.id, 1, "", *_tokens(entry), entry.cost_usd_nanos, "", ""] for entry in entries]
    return as_csv(_CSV, lines)


def _head(report: aigen.Report, currency: Currency) -> str:
    here = zone(report.time_zone)
    span = [
        time.astimezone(here).strftime("%Y-%m-%d %H:%M") if time else "the beginning"
        for time in (report.start_time, report.end_time)
    ]
    notes = [f"From {span[0]} to {span[1]} ({report.time_zone})."]
    return " ".join([*notes, *([f"{currency.note}."] if currency.note else [])])


def _summary(totals: aigen.UsageTotals, currency: Currency) -> str:
    unknown = usd(totals.unknown_cost_usd_nanos)
    facts = [
        ("Cost", currency.show(totals.cost_usd_nanos)),
        ("Saved", currency.show(totals.saved_usd_nanos)),
        ("Calls", count(totals.call_count)),
        ("Answered from the cache", f"{count(totals.hit_count)} ({share(totals.hit_count, totals.call_count)})"),
        ("Joined a call under way", count(totals.coalesced_count)),
        ("Input tokens", count(totals.usage.total_input_tokens)),
        ("Output tokens", count(totals.usage.output_tokens)),
        ("Estimated part of the cost", f"{usd(totals.estimated_cost_usd_nanos)} ({percent(totals.estimated_share)})"),
        ("Outcome unknown", f"{count(totals.unknown_count)}, at most {unknown} on top ({percent(totals.unknown_share)} of both)"),
        ("Without a price", f"{count(totals.unpriced_count)}, in no sum"),
    ]
    return _table("Totals", ("", ""), facts)


def _savings(totals: aigen.UsageTotals, currency: Currency) -> str:
    rows = [
        ((item.cause or UNKNOWN).replace("_", " "), count(item.call_count), currency.show(item.saved_usd_nanos))
        for item in totals.savings
    ]
    return _table("Savings", ("Cause", "Calls", "Saved"), rows)


def _budgets(budgets: Iterable[aigen.BudgetStatus]) -> str:
    rows = (
        (
            _safe(b.name),
            _safe(b.window),
            usd(b.limit_usd_nanos),
            usd(b.spent_usd_nanos, beside=b.limit_usd_nanos),
            share(b.spent_usd_nanos, b.limit_usd_nanos),
        )
        if b is not None
        else (_safe(more(hidden, budget)), "", "", "", "")
        for budget, b, hidden in of_status(budgets)
    )
    return _table("Budgets now", ("Budget", "Window", "Limit", "Spent", "Share"), rows)


def _entries(title: str, entries: Iterable[aigen.LedgerEntry], currency: Currency) -> str:
    rows = (
        (
            moment(entry.create_time),
            _safe(f"{entry.provider}/{entry.model}"),
            _safe(entry.session) or NONE,
            _safe(entry.service) or NONE,
            str(entry.state),
            f"at most {usd(entry.reserved_usd_nanos)}" if entry.reserved_usd_nanos else currency.show(entry.cost_usd_nanos),
            entry.id,
        )
        for entry in entries
    )
    return _table(title, ("Time", "Model", "Session", "Service", "State", "Cost", "Entry"), rows)


def _sums(totals: aigen.UsageTotals, currency: Currency) -> list[str]:
    counts = (totals.call_count, totals.hit_count, totals.usage.total_input_tokens, totals.usage.output_tokens)
    return [*(count(number) for number in counts), currency.show(totals.cost_usd_nanos), currency.show(totals.saved_usd_nanos)]


def _plain(totals: aigen.UsageTotals) -> list[object]:
    counts = [totals.call_count, totals.hit_count, totals.usage.total_input_tokens, totals.usage.output_tokens]
    return [*counts, totals.cost_usd_nanos, totals.saved_usd_nanos, totals.unpriced_count]


def _tokens(entry: aigen.LedgerEntry) -> list[object]:
    return [entry.usage.total_input_tokens, entry.usage.output_tokens] if entry.usage else ["", ""]


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    head = [f"## {title}", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    return "\n".join([*head, *lines]) if lines else f"## {title}\n\nNone."


def _safe(text: str) -> str:
    """Return text that Markdown shows as it is, inside a table too."""
    return harmless(text).translate(_SPECIAL)
