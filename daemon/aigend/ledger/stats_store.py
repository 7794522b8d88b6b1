"""The SELECTs behind sums over calls: attempts that were charged, and answers that cost nothing.

Each gives partial sums by the query's dimensions; adding them up is `stats`. Days and hours depend on the time zone, which SQLite
does not know, so rows come by quarter of an hour: every zone's hours begin on one. The connection only reads.
"""

import sqlite3
from collections.abc import Iterator
from typing import Any, NamedTuple

from aigend.ledger.latency import bucket_of
from aigend.ledger.stats_query import Dimension, StatsQuery, UsageFilter

QUARTER_S = 900
_COLUMNS = (
    Dimension.PROVIDER,
    Dimension.MODEL,
    Dimension.AGENT,
    Dimension.SERVICE,
    Dimension.SESSION,
    Dimension.PHASE,
    Dimension.TASK,
    Dimension.OUTCOME,
)
_FILTERED = ("provider", "model", "agent", "service", "session", "phase", "task")
_ATTEMPT_QUARTER = "a.create_us / 900000000"
_HIT_QUARTER = "m.minute / 15"
_LABELS = "json_each(CASE WHEN {table}.labels = '' THEN '{{}}' ELSE {table}.labels END)"
_LABEL_VALUE = "coalesce((SELECT value FROM {each} WHERE key = :label_key), '')"
_CARRIES = " AND EXISTS (SELECT 1 FROM {each} WHERE key = :label_{index} AND value = :value_{index})"
Group = tuple[Any, ...]  # one value a dimension; quarters of an hour since 1970 for DAY and HOUR


class AttemptSums(NamedTuple):
    """Attempts of one group in one state."""

    group: Group
    state: str
    outcome: str
    calls: int
    last_calls: int  # those with which their operation ended
    cost_nanos: int
    estimated_nanos: int
    unpriced_count: int
    unknown_nanos: int
    input: int
    cache_read: int
    cache_write_5m: int
    cache_write_1h: int
    output: int
    reasoning: int
    searches: int


class HitSums(NamedTuple):
    """Answers of one group that cost nothing."""

    group: Group
    outcome: str
    cause: str
    calls: int
    saved_nanos: int
    latency_us: int


class Bucketed(NamedTuple):
    """Calls of one group by bucket of latency."""

    group: Group
    bucket: int
    calls: int


class Saved(NamedTuple):
    """What paid calls of one group saved by one cause."""

    group: Group
    cause: str
    calls: int
    nanos: int


_ATTEMPT_SUMS = """
    SELECT {dimensions} a.state, a.outcome, count(*),
        sum(a.state != 'unknown' OR (SELECT o.attempt_id = a.id FROM operation o WHERE o.id = a.operation_id)),
        coalesce(sum(a.cost_nanos), 0), coalesce(sum(CASE WHEN a.cost_basis = 'estimated' THEN a.cost_nanos END), 0),
        sum(a.cost_nanos IS NULL), coalesce(sum(a.unknown_high_nanos), 0),
        coalesce(sum(a.input_tokens), 0), coalesce(sum(a.cache_read_tokens), 0), coalesce(sum(a.cache_write_5m_tokens), 0),
        coalesce(sum(a.cache_write_1h_tokens), 0), coalesce(sum(a.output_tokens), 0), coalesce(sum(a.reasoning_tokens), 0),
        coalesce(sum(a.searches), 0)
    FROM attempt a WHERE a.state IN ('settled', 'released', 'unknown') AND {where} GROUP BY {dimensions} a.state, a.outcome
"""
_ATTEMPT_LATENCIES = """
    SELECT {dimensions} latency_bucket(a.total_us) AS bucket, count(*)
    FROM attempt a WHERE a.state = 'settled' AND a.total_us IS NOT NULL AND {where} GROUP BY {dimensions} bucket
"""
_ATTEMPT_SAVINGS = """
    SELECT {dimensions} s.key, count(*), sum(s.value)
    FROM attempt a, json_each(a.savings) s WHERE a.state = 'settled' AND a.savings != '{{}}' AND {where} GROUP BY {dimensions} s.key
"""
_HIT_SUMS = """
    SELECT {dimensions} a.outcome, a.cause, sum(m.count), sum(m.saved_nanos), sum(m.latency_us)
    FROM hit_minute m JOIN hit_key a ON a.id = m.key_id WHERE {where} GROUP BY {dimensions} a.outcome, a.cause
"""
_HIT_LATENCIES = """
    SELECT {dimensions} CAST(h.key AS INTEGER) AS bucket, sum(h.value)
    FROM hit_minute m JOIN hit_key a ON a.id = m.key_id, json_each(m.histogram) h WHERE {where} GROUP BY {dimensions} bucket
"""


def attempt_sums(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[AttemptSums]:
    """Yield sums over attempts that have ended, by group, state and outcome."""
    for group, rest in _rows(connection, _ATTEMPT_SUMS, query, hits=False):
        yield AttemptSums(group, *rest)


def hit_sums(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[HitSums]:
    """Yield sums over answers that cost nothing, by group, outcome and cause."""
    for group, rest in _rows(connection, _HIT_SUMS, query, hits=True):
        yield HitSums(group, *rest)


def latencies(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[Bucketed]:
    """Yield answered calls by group and bucket of latency; a group may come twice."""
    connection.create_function("latency_bucket", 1, bucket_of, deterministic=True)
    for statement, hits in ((_ATTEMPT_LATENCIES, False), (_HIT_LATENCIES, True)):
        for group, rest in _rows(connection, statement, query, hits=hits):
            yield Bucketed(group, *rest)


def attempt_savings(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[Saved]:
    """Yield what paid calls saved, by group and cause."""
    for group, rest in _rows(connection, _ATTEMPT_SAVINGS, query, hits=False):
        yield Saved(group, *rest)


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


def _rows(connection: sqlite3.Connection, statement: str, query: StatsQuery, *, hits: bool) -> Iterator[tuple[Group, Group]]:
    """Run one statement; yield the group and the rest of each row."""
    expressions = [_expression(dimension, hits=hits) for dimension in query.group_by]
    condition, parameters = matching(query.filter)
    times, bounds = _hit_times(query) if hits else _attempt_times(query)
    where = f"a.scope = :scope{times}{condition}"
    text = statement.format(dimensions="".join(f"{expression}, " for expression in expressions), where=where)
    parameters |= bounds | {"scope": query.scope}
    if Dimension.LABEL in query.group_by:
        parameters["label_key"] = query.label_key
    split = len(expressions)
    for row in connection.execute(text, parameters):
        yield row[:split], row[split:]


def _expression(dimension: Dimension, *, hits: bool) -> str:
    if dimension in _COLUMNS:
        return f"a.{dimension}"
    if dimension is Dimension.LABEL:
        return _LABEL_VALUE.format(each=_LABELS.format(table="a"))
    return _HIT_QUARTER if hits else _ATTEMPT_QUARTER


def _attempt_times(query: StatsQuery) -> tuple[str, dict[str, int]]:
    start = None if query.start is None else round(query.start * 1e6)
    end = None if query.end is None else round(query.end * 1e6)
    return _between("a.create_us", start, end)


def _hit_times(query: StatsQuery) -> tuple[str, dict[str, int]]:
    """Hits are kept by the minute: a range is widened to whole minutes."""
    start = None if query.start is None else int(query.start // 60)
    end = None if query.end is None else int(-(-query.end // 60))
    return _between("m.minute", start, end)


def _between(column: str, start: int | None, end: int | None) -> tuple[str, dict[str, int]]:
    bounds = {name: value for name, value in (("start", start), ("end", end)) if value is not None}
    terms = {"start": f" AND {column} >= :start", "end": f" AND {column} < :end"}
    return "".join(terms[name] for name in bounds), bounds
