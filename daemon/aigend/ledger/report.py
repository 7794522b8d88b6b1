"""A report of a day, a month or a session: sums, the dearest charges and what is not known, all as of one moment."""

import sqlite3
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from aigend.errors import invalid
from aigend.ledger.entries_store import LedgerEntry, select_entries
from aigend.ledger.reading import one_moment
from aigend.ledger.statistics.query import Dimension, StatsQuery, UsageFilter, stats_query, zone_of
from aigend.ledger.statistics.stats import Stats, StatsRow, compute

DEFAULT_ENTRIES = 10
MOST_ENTRIES = 1_000
SECTIONS = (Dimension.PROVIDER, Dimension.MODEL, Dimension.SERVICE, Dimension.PHASE)
_DEAREST = " AND a.state = 'settled' AND a.cost_nanos > 0"
_UNKNOWN = " AND (a.state = 'unknown' OR (a.state = 'settled' AND a.cost_nanos IS NULL))"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportQuery:
    """A checked question for a report."""

    stats: StatsQuery  # without groups
    sections: tuple[Dimension, ...]
    entry_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a report says."""

    summary: Stats
    sections: tuple[tuple[Dimension, tuple[StatsRow, ...]], ...]
    dearest: tuple[LedgerEntry, ...]
    unknown: tuple[LedgerEntry, ...]


def report_query(
    *, scope: str, now: float, date: str = "", month: str = "", session: str = "", time_zone: str = "UTC", entry_count: int = 0
) -> ReportQuery:
    """Return a checked question; exactly one of date, month and session is given.

    Raises:
        DomainError: INVALID_REQUEST that names the field.
    """
    given = [name for name, value in (("date", date), ("month", month), ("session", session)) if value]
    if len(given) != 1:
        raise invalid("date", ", ".join(given) or "unset, as are month and session", "exactly one of date, month and session")
    if not 0 <= entry_count <= MOST_ENTRIES:
        raise invalid("entry_count", entry_count, f"0 to {MOST_ENTRIES}")
    start, end = _span(date, month, time_zone)
    if start is not None and start > now:
        raise invalid(given[0], date or month, f"a {'day' if date else 'month'} that has begun")
    query = stats_query(scope=scope, now=now, start=start, end=end, time_zone=time_zone, usage_filter=UsageFilter(session=session))
    sections = (*SECTIONS, Dimension.DAY) if month else SECTIONS
    return ReportQuery(stats=query, sections=sections, entry_count=entry_count or DEFAULT_ENTRIES)


def compute_report(connection: sqlite3.Connection, query: ReportQuery) -> Report:
    """Return a report, all of it from one moment of the ledger."""
    with one_moment(connection):
        summary = compute(connection, query.stats)
        sections = tuple((by, compute(connection, replace(query.stats, group_by=(by,))).rows) for by in query.sections)
        dearest = _entries(connection, query, _DEAREST, order="a.cost_nanos DESC, a.id")
        unknown = _entries(connection, query, _UNKNOWN, order="a.create_us DESC, a.id DESC")
    return Report(summary=summary, sections=sections, dearest=dearest, unknown=unknown)


def _entries(connection: sqlite3.Connection, query: ReportQuery, conditions: str, *, order: str) -> tuple[LedgerEntry, ...]:
    wanted = query.stats
    parameters: dict[str, object] = {"scope": wanted.scope, "limit": query.entry_count}
    if wanted.start is not None and wanted.end is not None:
        conditions += " AND a.create_us >= :start AND a.create_us < :end"
        parameters |= {"start": round(wanted.start * 1e6), "end": round(wanted.end * 1e6)}
    if wanted.filter.session:
        conditions += " AND a.session = :session"
        parameters["session"] = wanted.filter.session
    return select_entries(connection, conditions, parameters, order=order)


def _span(date: str, month: str, time_zone: str) -> tuple[float | None, float | None]:
    """First moment of a day or month and of the next one, seconds since 1970; nothing for a session."""
    zone = zone_of(time_zone)
    if date:
        first = _parsed("date", date, "%Y-%m-%d", "a day, as YYYY-MM-DD")
        after = first + timedelta(days=1)
    elif month:
        first = _parsed("month", month, "%Y-%m", "a month, as YYYY-MM")
        after = (first + timedelta(days=32)).replace(day=1)
    else:
        return None, None
    return first.replace(tzinfo=zone).timestamp(), after.replace(tzinfo=zone).timestamp()


def _parsed(field: str, text: str, form: str, allowed: str) -> datetime:
    try:
        found = datetime.strptime(text, form)  # noqa: DTZ007 - a day on the calendar; its zone is put on afterwards
    except ValueError:
        raise invalid(field, text, allowed) from None
    if not 1970 <= found.year < 9999 or found.strftime(form) != text:
        raise invalid(field, text, f"{allowed}, from 1970 to 9998")
    return found
