"""Partial sums behind an answer: out of roll-ups, and out of rows where a range cuts a quarter of an hour.

Whose sums a roll-up's row holds is read once; the rows come packed and are added up here, which takes a fraction of what SQL takes
for sum after sum. The connection only reads.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, NamedTuple

from aigend.ledger.statistics import histogram, rollups, sums
from aigend.ledger.statistics.query import Dimension, StatsQuery, UsageFilter, zone_of
from aigend.ledger.statistics.ranges import Stretch, by_account, stretches
from aigend.ledger.statistics.rollups import QUARTER_S, Level

_FILTERED = ("provider", "model", "agent", "service", "session", "phase", "task")
_LABELS = "json_each(CASE WHEN {table}.labels = '' THEN '{{}}' ELSE {table}.labels END)"
_CARRIES = " AND EXISTS (SELECT 1 FROM {each} WHERE key = :label_{index} AND value = :value_{index})"
_TIMES = (Dimension.DAY, Dimension.HOUR)
_MOST_OWNERS = 2**40  # a group's number is that of its time times this, and that of its owner


class Part(NamedTuple):
    """Sums of one group with one cache outcome."""

    group: tuple[str, ...]  # one value a dimension
    outcome: str
    sums: int  # as `sums` adds them up
    histogram: int  # as `histogram` adds them up


class _Numbers(dict[tuple[str, ...], int]):
    """Numbers its keys from 0 in the order in which they are asked for."""

    def __missing__(self, key: tuple[str, ...]) -> int:
        self[key] = number = len(self)
        return number


class _Totals(dict[int, list[int]]):
    """Sums and histograms by group."""

    def __missing__(self, key: int) -> list[int]:
        self[key] = total = [0, 0]
        return total


def parts(connection: sqlite3.Connection, query: StatsQuery) -> Iterator[Part]:
    """Yield partial sums, each group once for each cache outcome."""
    gathering = _Gathering(query)
    owners = None
    until = {"folded_until": rollups.folded_until(connection), "archived_until": rollups.archived_until(connection)}
    for stretch in stretches(query, **until):
        if stretch.level is None:
            gathering.add_rows(connection, stretch)
        else:
            owners = gathering.owners(connection) if owners is None else owners
            gathering.add_level(connection, stretch.level, stretch, owners)
    return gathering.parts()


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


class _Gathering:
    """Adds rows up by whose they are and by time; a group is known by one number, that of its owner and that of its time."""

    def __init__(self, query: StatsQuery) -> None:
        self._query = query
        self._whose = _Numbers()  # values of the dimensions that are no times, and outcome
        self._when = _Calendar(query)
        self._found = _Totals()
        self._condition, parameters = matching(query.filter)
        self._parameters = parameters | {"scope": query.scope}

    def owners(self, connection: sqlite3.Connection) -> dict[int, int]:
        """Read whose sums there are, those alone that the question is about."""
        names = "".join(f"{name}, " for name in _columns(self._query))
        table = "account" if by_account(self._query) else "rollup_key"
        text = f"SELECT a.id, {names}a.outcome FROM {table} a WHERE a.scope = :scope{self._condition}"  # noqa: S608 - parameters
        whose = self._whose
        return {found[0]: whose[found[1:]] for found in connection.execute(text, self._parameters)}

    def add_level(self, connection: sqlite3.Connection, level: Level, stretch: Stretch, owners: dict[int, int]) -> None:
        """Add the rows of a roll-up; those of other scopes, or not asked for, have no owner here."""
        quarters, when, found, number = level.quarters, self._when, self._found, int.from_bytes
        bounds = {"start": stretch.start, "end": stretch.end}
        for owner_id, slot, packed, latencies in connection.execute(self._of_level(level), self._parameters | bounds):
            owner = owners.get(owner_id)
            if owner is not None:
                total = found[owner + when[slot * quarters]]
                total[0] += number(packed, "little", signed=True)  # sums.unpacked, without the price of a call
                if latencies:
                    total[1] += histogram.unpacked(latencies)

    def add_rows(self, connection: sqlite3.Connection, stretch: Stretch) -> None:
        """Add what is not rolled up in the stretch's bounds: attempts, and the hits of its minutes, to which it is widened."""
        minutes = {"start": stretch.start // 60_000_000, "end": -(-stretch.end // 60_000_000)}
        for text, bounds in ((self._of_attempts(), {"start": stretch.start, "end": stretch.end}), (self._of_hits(), minutes)):
            for *whose, quarter, packed, latencies in connection.execute(text, self._parameters | bounds):
                total = self._found[self._whose[tuple(whose)] + self._when[quarter]]
                total[0] += sums.unpacked(packed)
                total[1] += histogram.unpacked(latencies)

    def parts(self) -> Iterator[Part]:
        """Yield what was added up."""
        whose, when = list(self._whose), self._when.names
        for number, (total, latencies) in self._found.items():
            time, owner = divmod(number, _MOST_OWNERS)
            values, moments = _named(self._query, whose[owner][:-1]), iter(when[time])
            group = tuple(next(moments if dimension in _TIMES else values) for dimension in self._query.group_by)
            yield Part(group, whose[owner][-1], total, latencies)

    def _of_level(self, level: Level) -> str:
        if level.folded:
            source = f"{level.owners} a CROSS JOIN {level.table} r ON r.{level.owner} = a.id AND r.slot >= :start AND r.slot < :end"
            return f"SELECT a.id, r.slot, r.sums, r.histogram FROM {source} WHERE a.scope = :scope{self._condition}"  # noqa: S608
        owner, source = "r.account_id", f"{level.table} r"
        if not by_account(self._query):
            owner, source = "a.key_id", f"{source} CROSS JOIN account a ON a.id = r.account_id"
        return f"SELECT {owner}, r.slot, r.sums, r.histogram FROM {source} WHERE r.slot >= :start AND r.slot < :end"  # noqa: S608

    def _of_attempts(self) -> str:
        where = f"a.scope = :scope AND a.create_us >= :start AND a.create_us < :end AND {rollups.ENDED}{self._condition}"
        totals = rollups.summed(rollups.OF_ATTEMPT, rollups.LATENCIES_OF_ATTEMPTS)
        return self._grouped(totals, "attempt a", where=where, quarter=f"a.create_us / {rollups.QUARTER_US}")

    def _of_hits(self) -> str:
        where = f"a.scope = :scope AND m.minute >= :start AND m.minute < :end{self._condition}"
        source = "hit_minute m CROSS JOIN account a ON a.id = m.key_id"
        return self._grouped(
            rollups.summed(rollups.OF_HITS, rollups.LATENCIES_OF_HITS), source, where=where, quarter="m.minute / 15"
        )

    def _grouped(self, totals: str, source: str, *, where: str, quarter: str) -> str:
        names = "".join(f"{name}, " for name in _columns(self._query))
        return f"SELECT {names}a.outcome, {quarter}, {totals} FROM {source} WHERE {where} GROUP BY {names}a.outcome, {quarter}"  # noqa: S608


def _columns(query: StatsQuery) -> list[str]:
    dimensions = [dimension for dimension in query.group_by if dimension not in _TIMES]
    return ["a.labels" if dimension is Dimension.LABEL else f"a.{dimension}" for dimension in dimensions]


def _named(query: StatsQuery, columns: Iterable[str]) -> Iterator[str]:
    """Yield the values of the dimensions that are no times: of labels the one that is asked for, empty where there is none."""
    dimensions = [dimension for dimension in query.group_by if dimension not in _TIMES]
    for dimension, text in zip(dimensions, columns, strict=True):
        yield json.loads(text or "{}").get(query.label_key, "") if dimension is Dimension.LABEL else text


class _Calendar(dict[int, int]):
    """Numbers the times that quarters lie in, those that a question groups by; 0 where it groups by none."""

    def __init__(self, query: StatsQuery) -> None:
        self._zone = zone_of(query.time_zone)
        self._times = [dimension for dimension in query.group_by if dimension in _TIMES]
        self._numbers = _Numbers()

    @property
    def names(self) -> list[tuple[str, ...]]:
        """The times by number."""
        return list(self._numbers)

    def __missing__(self, quarter: int) -> int:
        self[quarter] = number = self._numbers[self._name(quarter)] * _MOST_OWNERS
        return number

    def _name(self, quarter: int) -> tuple[str, ...]:
        if not self._times:
            return ()
        begin = datetime.fromtimestamp(quarter * QUARTER_S, self._zone)
        hour = begin.replace(minute=0).isoformat(timespec="minutes")
        return tuple(begin.date().isoformat() if time is Dimension.DAY else hour for time in self._times)
