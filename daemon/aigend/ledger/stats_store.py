"""The SELECTs behind sums over calls: out of roll-ups, and out of rows where a range cuts a quarter of an hour.

Each gives partial sums by the query's dimensions and by cache outcome; adding them up is `stats`. The connection only reads.
"""

import sqlite3
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from aigend.ledger import rollups
from aigend.ledger.rollups import MEASURES, QUARTER_S, Level
from aigend.ledger.stats_query import Dimension, StatsQuery, UsageFilter, zone_of
from aigend.ledger.stats_ranges import Stretch, stretches

_FILTERED = ("provider", "model", "agent", "service", "session", "phase", "task")
_LABELS = "json_each(CASE WHEN {table}.labels = '' THEN '{{}}' ELSE {table}.labels END)"
_LABEL_VALUE = "coalesce((SELECT value FROM {each} WHERE key = :label_key), '')"
_CARRIES = " AND EXISTS (SELECT 1 FROM {each} WHERE key = :label_{index} AND value = :value_{index})"
_TIMES = (Dimension.DAY, Dimension.HOUR)


class Part(NamedTuple):
    """Sums of one group with one cache outcome, out of one stretch of time."""

    group: tuple[str, ...]  # one value a dimension
    outcome: str
    sums: tuple[int, ...]  # as rollups.MEASURES
    histogram: bytes


def parts(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[Part]:
    """Yield partial sums; a group may come more than once."""
    _register(connection, query)
    split = len(query.group_by)
    for stretch in stretches(query, folded_until=rollups.folded_until(connection)):
        for text, bounds in _statements(query, stretch):
            for row in connection.execute(text, _parameters(query) | bounds):
                yield Part(row[:split], row[split], row[split + 1 : -1], row[-1])


def matching(usage_filter: UsageFilter, table: str = "a") -> tuple[str, dict[str, Any]]:
    """Return an SQL condition on a table's account columns, beginning with AND, and its parameters."""
    wanted = {name: value for name in _FILTERED if (value := getattr(usage_filter, name))}
    terms = [f" AND {table}.{name} = :{name}" for name in wanted]
    parameters: dict[str, Any] = dict(wanted)
    for index, (key, value) in enumerate(sorted(usage_filter.labels.items())):
        each = _LABELS.format(table=table)
        terms.append(_CARRIES.format(each=each, index=index))
        parameters |= {f"label_{index}": key, f"value_{index}": value}
    return "".join(terms), parameters


def _register(connection: sqlite3.Connection, query: StatsQuery) -> None:
    """Give SQLite the calendar of the query's zone, of which it knows nothing."""
    zone = zone_of(query.time_zone)

    def begin(quarter: int) -> datetime:
        return datetime.fromtimestamp(quarter * QUARTER_S, zone)

    days = _remembered(lambda quarter: begin(quarter).date().isoformat())
    hours = _remembered(lambda quarter: begin(quarter).replace(minute=0).isoformat(timespec="minutes"))
    connection.create_function("local_day", 1, days, deterministic=True)
    connection.create_function("local_hour", 1, hours, deterministic=True)


def _remembered(name: Callable[[int], str]) -> Callable[[int], str]:
    known: dict[int, str] = {}

    def remembered(quarter: int) -> str:
        found = known.get(quarter)
        if found is None:
            found = known[quarter] = name(quarter)
        return found

    return remembered


def _statements(query: StatsQuery, stretch: Stretch) -> Iterator[tuple[str, dict[str, int]]]:
    """Yield what is to be asked of one stretch, and its bounds."""
    bounds = {"start": stretch.start, "end": stretch.end}
    if stretch.level is None:
        yield _of_attempts(query), bounds
        yield _of_hits(query), {"start": stretch.start // 60_000_000, "end": -(-stretch.end // 60_000_000)}
    else:
        yield _of_level(query, stretch.level), bounds


def _of_level(query: StatsQuery, level: Level) -> str:
    condition = f"a.scope = :scope{matching(query.filter)[0]}"
    owners = level.owners
    if not level.folded:
        source = f"{level.table} r CROSS JOIN {owners} a ON a.id = r.{level.owner}"
        where = f"r.slot >= :start AND r.slot < :end AND {condition}"
    else:
        source = f"{owners} a CROSS JOIN {level.table} r ON r.{level.owner} = a.id AND r.slot >= :start AND r.slot < :end"
        where = condition
    quarter = f"(r.slot * {level.quarters})"
    if level.owners == "rollup_key" and level.folded and not set(_TIMES) & set(query.group_by):
        # Summed up by owner first, in the order of the rows: only one row an owner is sorted.
        sums = ", ".join(f"sum(r.{name}) AS {name}" for name in MEASURES)
        inner = f"SELECT a.id AS owner, {sums}, histogram_total(r.histogram) AS histogram FROM {source} WHERE {where} GROUP BY a.id"  # noqa: S608
        source, where = f"({inner}) r CROSS JOIN {owners} a ON a.id = r.owner", "1"
    sums = ", ".join(f"sum(r.{name})" for name in MEASURES)
    return _grouped(query, f"{sums}, histogram_total(r.histogram)", source, where=where, quarter=quarter)


def _of_attempts(query: StatsQuery) -> str:
    sums = ", ".join(f"sum({text})" for text in rollups.OF_ATTEMPT.values())
    where = f"a.scope = :scope AND a.create_us >= :start AND a.create_us < :end AND {rollups.ENDED}{matching(query.filter)[0]}"
    histogram = f"histogram_total({rollups.ATTEMPT_HISTOGRAM})"
    return _grouped(query, f"{sums}, {histogram}", "attempt a", where=where, quarter=f"(a.create_us / {rollups.QUARTER_US})")


def _of_hits(query: StatsQuery) -> str:
    """Hits are kept by the minute: a range is widened to whole minutes."""
    sums = ", ".join(f"sum({text})" for text in rollups.OF_HITS.values())
    where = f"a.scope = :scope AND m.minute >= :start AND m.minute < :end{matching(query.filter)[0]}"
    source = "hit_minute m CROSS JOIN account a ON a.id = m.key_id"
    return _grouped(query, f"{sums}, histogram_total({rollups.HITS_HISTOGRAM})", source, where=where, quarter="(m.minute / 15)")


def _grouped(query: StatsQuery, sums: str, source: str, *, where: str, quarter: str) -> str:
    names = [f"{_expression(dimension, quarter)} AS d{index}, " for index, dimension in enumerate(query.group_by)]
    groups = "".join(f"d{index}, " for index in range(len(names)))
    return f"SELECT {''.join(names)}a.outcome AS o, {sums} FROM {source} WHERE {where} GROUP BY {groups}o"  # noqa: S608 - parameters


def _expression(dimension: Dimension, quarter: str) -> str:
    if dimension in _TIMES:
        return f"local_{dimension}({quarter})"
    if dimension is Dimension.LABEL:
        return _LABEL_VALUE.format(each=_LABELS.format(table="a"))
    return f"a.{dimension}"


def _parameters(query: StatsQuery) -> dict[str, Any]:
    parameters = matching(query.filter)[1] | {"scope": query.scope}
    return parameters | ({"label_key": query.label_key} if Dimension.LABEL in query.group_by else {})
