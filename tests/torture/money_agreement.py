"""Whether all that tells of money tells the same: rows, statistics, reports, exports, metrics, and what the provider charged.

Every function yields a sentence for each disagreement. The sums are made here once more, plainly, from the rows of attempts and
from what callers were told of free answers; nothing of the daemon's own arithmetic is used.
"""

import contextlib
import csv
import io
import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import aigen

Row = Mapping[str, Any]
Sums = Counter[str]
RunCli = Callable[..., str]
TOKENS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning")
OUTCOMES = ("hit", "miss", "coalesced", "bypass", "refresh", "replay")
CAUSES = tuple(cause.value for cause in aigen.SavingsCause)
OF_ATTEMPTS = (
    "cost",
    "estimated",
    "unknown",
    "unknown_count",
    "released_count",
    "unpriced_count",
    *TOKENS,
    "miss",
    "bypass",
    "refresh",
)
GROUPINGS = (
    *((name,) for name in ("provider", "model", "service", "session", "phase", "task", "label", "outcome")),
    ("provider", "model"),
    ("service", "phase", "outcome"),
    ("session", "label"),
    ("model", "session", "task"),
)
TIMES = (("day", "UTC"), ("hour", "UTC"), ("day", "Asia/Seoul"), ("hour", "America/New_York"), ("day", "Asia/Kathmandu"))
BY_HAND = ("recorded", "reconciled")
_ATTEMPTS = """
    SELECT a.*, a.attempt_number = o.attempt_count AS is_last FROM attempt a JOIN operation o ON o.id = a.operation_id
"""


@dataclass(frozen=True, kw_only=True)
class Books:
    """What all is measured against."""

    rows: tuple[Row, ...]  # attempts
    free: tuple[tuple[str, Mapping[str, str], str, int], ...]  # outcome, account, cause, saved
    charges: Mapping[tuple[str, int], Row]  # truth by request id and attempt
    rates: Mapping[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)  # USD by provider and model
    tiers: Mapping[tuple[str, str, str], Mapping[str, str]] = field(default_factory=dict)  # and by cheaper processing

    @property
    def own(self) -> tuple[Row, ...]:
        """Attempts that the daemon made and settled by itself, repriced since or not."""
        return tuple(row for row in self.rows if not set(row["flags"]) & set(BY_HAND))


def read_rows(ledger: Path) -> tuple[Row, ...]:
    """Return the attempts of a ledger that may be in use."""
    with contextlib.closing(sqlite3.connect(f"file:{ledger}?mode=ro", uri=True)) as connection:
        connection.row_factory = sqlite3.Row
        rows = [dict(row) for row in connection.execute(_ATTEMPTS)]
    for row in rows:
        for name in ("flags", "labels", "savings"):
            row[name] = json.loads(row[name])
    return tuple(rows)


def sums_of(rows: Iterable[Row], free: Iterable[tuple[str, Mapping[str, str], str, int]] = ()) -> Sums:
    """Return what attempts and free answers add up to."""
    total: Sums = Counter()
    for row in rows:
        state = row["state"]
        if state == "settled":
            total.update(
                {row["outcome"]: 1, "calls": 1, "cost": row["cost_nanos"] or 0, "unpriced_count": row["cost_nanos"] is None}
            )
            total["estimated"] += (row["cost_nanos"] or 0) if row["cost_basis"] == "estimated" else 0
            total.update({name: row[f"{name}_tokens"] or 0 for name in TOKENS})
            for cause, nanos in row["savings"].items():
                total.update({f"saved {cause}": nanos, f"saved {cause} count": 1})
        elif state == "unknown":
            total.update({"unknown": row["unknown_high_nanos"] or 0, "unknown_count": 1, "calls": row["is_last"]})
        elif state == "released":
            total["released_count"] += 1
    for outcome, _, cause, saved in free:
        total.update({outcome: 1, "calls": 1})
        if cause:
            total.update({f"saved {cause}": saved, f"saved {cause} count": 1})
    return total


def sums_told(totals: aigen.UsageTotals) -> Sums:
    """Return statistics in the words of `sums_of`."""
    told: Sums = Counter({"calls": totals.call_count, "cost": totals.cost_usd_nanos or 0, "unknown": totals.unknown_cost_usd_nanos})
    told.update({name: getattr(totals, f"{name}_count") for name in OUTCOMES})
    told.update({f"{name}_count": getattr(totals, f"{name}_count") for name in ("unknown", "released", "unpriced")})
    told.update({name: getattr(totals.usage, f"{name}_tokens") for name in TOKENS})
    told["estimated"] = totals.estimated_cost_usd_nanos
    for saving in totals.savings:
        told.update({f"saved {saving.cause}": saving.saved_usd_nanos, f"saved {saving.cause} count": saving.call_count})
    return told


def _differ(where: str, told: Sums, true: Sums, *, only: Sequence[str] = ()) -> Iterator[str]:
    names = only or sorted({*told, *true})
    yield from (f"{where}: {name} is {told[name]}, should be {true[name]}" for name in names if told[name] != true[name])


def in_stats(client: aigen.Client, books: Books) -> Iterator[str]:
    """Yield where statistics differ from rows: in all, by each grouping, by day and hour of several zones, by ranges."""
    true = sums_of(books.rows, books.free)
    yield from _differ("stats", sums_told(client.stats().totals), true)
    for group_by in GROUPINGS:
        yield from _in_grouping(client, books, group_by, true)
    for name, zone in TIMES:
        yield from _in_times(client, books, name, zone, true)
    yield from _in_ranges(client, books)
    yield from _in_filters(client, books)


def _in_grouping(client: aigen.Client, books: Books, group_by: Sequence[str], true: Sums) -> Iterator[str]:
    found = client.stats(group_by=group_by, label_key="team" if "label" in group_by else "")
    told = {row.group: sums_told(row.totals) for row in found.rows}
    where = f"stats by {', '.join(group_by)}"
    yield from _differ(f"{where}, in all", sums_told(found.totals), true)
    rows: dict[tuple[str, ...], list[Row]] = {}
    free: dict[tuple[str, ...], list[Any]] = {}
    for row in books.rows:
        account = row | {"label": row["labels"].get("team", "")}
        rows.setdefault(tuple(account[name] for name in group_by), []).append(row)
    for answer in books.free:
        account = answer[1] | {"label": answer[1]["team"], "outcome": answer[0]}
        free.setdefault(tuple(account[name] for name in group_by), []).append(answer)
    for group in {*told, *rows, *free}:
        yield from _differ(f"{where} {group}", told.get(group, Counter()), sums_of(rows.get(group, ()), free.get(group, ())))


def _in_times(client: aigen.Client, books: Books, name: str, zone: str, true: Sums) -> Iterator[str]:
    """When free answers were given, callers did not note; of them only the sum over all groups is compared."""
    found = client.stats(group_by=[name], time_zone=zone)
    told = {row.group[0]: sums_told(row.totals) for row in found.rows}
    where = f"stats by {name} in {zone}"
    added: Sums = Counter()
    for group_sums in told.values():
        added.update(group_sums)  # which, other than +, keeps what is negative: marks may have cost more than they saved
    yield from _differ(f"{where}, groups added", added, true)
    groups: dict[str, list[Row]] = {}
    for row in books.rows:
        groups.setdefault(_local(row, name, zone), []).append(row)
    for group in {*told, *groups}:
        yield from _differ(f"{where} {group}", told.get(group, Counter()), sums_of(groups.get(group, ())), only=OF_ATTEMPTS)


def _local(row: Row, name: str, zone: str) -> str:
    """Day or hour of an attempt on a wall in a zone."""
    then = datetime.fromtimestamp(row["create_us"] / 1e6, ZoneInfo(zone))
    return then.date().isoformat() if name == "day" else then.replace(minute=0).isoformat(timespec="minutes")


def _in_ranges(client: aigen.Client, books: Books) -> Iterator[str]:
    """Ranges between some of the calls' own moments, which lie within quarters of an hour, and between whole hours."""
    times = sorted({row["create_us"] for row in books.rows})
    cuts = [times[len(times) * part // 7] for part in range(7)]
    cuts = sorted({*cuts, *(cut // 3_600_000_000 * 3_600_000_000 for cut in cuts), times[-1] + 1_000_000})
    for start, end in pairwise(cuts):
        within = [row for row in books.rows if start <= row["create_us"] < end]
        found = client.stats(start_time=_moment(start), end_time=_moment(end)).totals
        yield from _differ(f"stats from {start} to {end}", sums_told(found), sums_of(within), only=OF_ATTEMPTS)


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)


def _in_filters(client: aigen.Client, books: Books) -> Iterator[str]:
    for session in sorted({row["session"] for row in books.rows} - {""}):
        rows = [row for row in books.rows if row["session"] == session]
        free = [answer for answer in books.free if answer[1]["session"] == session]
        yield from _differ(f"stats of session {session}", sums_told(client.stats(session=session).totals), sums_of(rows, free))
    rows = [row for row in books.rows if row["labels"].get("team") == "a" and row["provider"] == "openai"]
    found = client.stats(labels={"team": "a"}, provider="openai").totals
    yield from _differ("stats of team a at openai", sums_told(found), sums_of(rows), only=OF_ATTEMPTS)


def in_reports(run: RunCli, books: Books) -> Iterator[str]:
    """Yield where reports as CSV differ from rows: each day, each month, each session, and all added up."""
    days = sorted({_local(row, "day", "UTC") for row in books.rows})
    asked: list[tuple[tuple[str, ...], Callable[[Row], bool]]] = [
        *((("daily", day), lambda row, day=day: _local(row, "day", "UTC") == day) for day in days),
        *(
            (("monthly", month), lambda row, month=month: _local(row, "day", "UTC")[:7] == month)
            for month in {day[:7] for day in days}
        ),
        *((("run", name), lambda row, name=name: row["session"] == name) for name in {row["session"] for row in books.rows} - {""}),
    ]
    added: Sums = Counter()
    for words, holds in asked:
        rows = [row for row in books.rows if holds(row)]
        lines = list(csv.DictReader(io.StringIO(run("report", *words, "--time-zone", "UTC", "--csv"))))
        true = sums_of(rows)
        for section in ("total", "provider", "model", "service", "phase"):
            told = Counter({"cost": sum(int(line["cost_usd_nanos"] or 0) for line in lines if line["section"] == section)})
            yield from _differ(f"report {' '.join(words)}, section {section}", told, true, only=("cost",))
        told = Counter(output=int(lines[0]["output_tokens"]))
        yield from _differ(f"report {' '.join(words)}", told, true, only=("output",))
        added[words[0]] += int(lines[0]["cost_usd_nanos"] or 0)
    whole = sums_of(books.rows)["cost"]
    for name in ("daily", "monthly"):
        if added[name] != whole:
            yield f"{name} reports add up to {added[name]}, should be {whole}"


def in_exports(run: RunCli, books: Books) -> Iterator[str]:
    """Yield where exports of the ledger, and the tables of statistics and savings as CSV, differ from rows."""
    true = sums_of(books.rows, books.free)
    listed = list(csv.DictReader(io.StringIO(run("ledger", "export", "--csv"))))
    lines = [json.loads(line) for line in run("ledger", "export", "--jsonl").splitlines()]
    for form, entries in (("CSV", listed), ("JSON lines", lines)):
        cost = sum(int(entry["cost_usd_nanos"] or 0) for entry in entries)
        held = sum(int(entry["reserved_usd_nanos"]) for entry in entries if entry["state"] == "unknown")
        told = Counter({"cost": cost, "unknown": held, "released_count": sum(entry["state"] == "released" for entry in entries)})
        yield from _differ(f"export as {form}", told, true, only=tuple(told))
        if len(entries) != len(books.rows):
            yield f"export as {form} has {len(entries)} entries, should have {len(books.rows)}"
    table = list(csv.DictReader(io.StringIO(run("stats", "--by", "model", "--by", "outcome", "--csv"))))
    told = Counter(
        {
            "cost": sum(int(line["cost_usd_nanos"] or 0) for line in table),
            "output": sum(int(line["output_tokens"]) for line in table),
        }
    )
    yield from _differ("aigenctl stats --csv", told, true, only=("cost", "output"))
    saved = list(csv.DictReader(io.StringIO(run("savings", "--csv"))))
    told = Counter({f"saved {cause}": sum(int(line[f"{cause}_usd_nanos"]) for line in saved) for cause in CAUSES})
    yield from _differ("aigenctl savings --csv", told, true, only=tuple(told))


def in_metrics(metrics: Mapping[tuple[str, frozenset[tuple[str, str]]], int], books: Books, *, corrected: bool) -> Iterator[str]:
    """Yield where exported counters differ from rows.

    Args:
        metrics: Last value by name and attributes.
        books: What they should add up to.
        corrected: Whether costs were corrected since; then only the cost, with its corrections, is compared by model.
    """
    told: dict[str, Counter[Any]] = {}
    for (name, attributes), value in metrics.items():
        told.setdefault(name, Counter())[attributes] += value
    costs: Counter[Any] = Counter()
    for row in books.rows:
        costs[_of_model(row)] += (row["cost_nanos"] or 0) if row["state"] == "settled" else 0
    cost = Counter(told.get("aigen.cost", {}))
    cost.update(told.get("aigen.cost.corrected", {}))
    yield from _counts("cost with corrections", cost, costs)
    if corrected:
        return
    own, free = sums_of(books.own), sums_of((), books.free)
    yield from _counts(
        "aigen.completions",
        told["aigen.completions"],
        Counter({frozenset({("aigen.cache.outcome", name)}): own[name] + free[name] for name in OUTCOMES}),
    )
    yield from _counts(
        "aigen.saved",
        told["aigen.saved"],
        Counter({frozenset({("aigen.savings_cause", cause)}): own[f"saved {cause}"] + free[f"saved {cause}"] for cause in CAUSES}),
    )
    tokens: Counter[Any] = Counter()
    for row in books.own:
        for name in TOKENS if row["state"] == "settled" else ():
            tokens[_of_model(row) | {("gen_ai.token.type", name)}] += row[f"{name}_tokens"] or 0
    yield from _counts("aigen.tokens", told["aigen.tokens"], tokens)


def _of_model(row: Row) -> frozenset[tuple[str, str]]:
    return frozenset({("gen_ai.provider.name", row["provider"]), ("gen_ai.request.model", row["model"])})


def _counts(name: str, told: Counter[Any], true: Counter[Any]) -> Iterator[str]:
    for key in {*told, *true}:
        if told[key] != true[key]:
            yield f"metric {name} of {dict(sorted(key))} is {told[key]}, should be {true[key]}"


def in_truth(books: Books) -> Iterator[str]:
    """Yield where rows differ from what the provider charged: exactly, or at least for what is unknown or was doubted."""
    seen: set[tuple[str, int]] = set()
    for row in books.rows:
        key = (row["request_id"], row["attempt_number"])
        charge = books.charges.get(key)
        seen.add(key)
        if row["state"] in ("settled", "unknown") and "recorded" not in row["flags"]:
            yield from _in_row(row, charge, books)
        elif charge is not None and row["state"] == "released":
            yield f"{key} was released and charged"
    yield from (f"{key} was charged and has no row" for key in books.charges.keys() - seen)


def _in_row(row: Row, charge: Row | None, books: Books) -> Iterator[str]:
    key = (row["request_id"], row["attempt_number"])
    flags = set(row["flags"]) - {"repriced", "reconciled"}
    if row["state"] == "settled" and not flags:
        if charge is None:
            yield f"{key} is settled and was not charged"
        elif (found := _bought(row)) != (true := usage_charged(charge)):
            yield f"{key} has the usage {found}, charged was {true}"
    paid = cost_charged(charge, books) if charge is not None else 0
    if paid is None:
        if row["cost_nanos"] is not None:
            yield f"{key} has no price and costs {row['cost_nanos']}"
    elif row["state"] == "unknown" or flags:
        booked = row["unknown_high_nanos"] if row["state"] == "unknown" else row["cost_nanos"]
        if booked < paid:
            yield f"{key}, {row['state']} with {sorted(flags)}, is booked as {booked}, charged was {paid}"
    elif row["cost_nanos"] != paid:
        yield f"{key} costs {row['cost_nanos']}, charged was {paid}"


def _bought(row: Row) -> tuple[int, ...]:
    return tuple(row[f"{name}_tokens"] for name in TOKENS[:5])


def usage_charged(charge: Row) -> tuple[int, ...]:
    """Return the tokens of a charge by bucket, those of the input disjoint, without reasoning."""
    read, short, long = (charge[name] for name in ("cached_tokens", "cache_write_5m_tokens", "cache_write_1h_tokens"))
    return (charge["input_tokens"] - read - short - long, read, short, long, charge["output_tokens"])


def cost_charged(charge: Row, books: Books) -> int | None:
    """Return what a charge comes to at the run's own prices, in nano-dollars; None where there is no price."""
    place = charge["provider"], charge["model"]
    rates = books.tiers.get((*place, charge.get("processing") or ""), books.rates.get(place))
    if rates is None:
        return None
    tokens = zip(TOKENS, usage_charged(charge), strict=False)
    total = sum((Fraction(rates[name]) * 1_000 * count for name, count in tokens), Fraction(rates.get("request_fee", "0")) * 10**9)
    return round(total)  # half to even
