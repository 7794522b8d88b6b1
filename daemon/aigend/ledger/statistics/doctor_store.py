"""The SELECT behind the prompt-cache doctor: writes, reads and what was sent again in vain, by prefix.

Each settled row touches up to two prefixes: the one that it marked, and the one written before that it sent again. What is said of
them is `doctor`.
"""

import sqlite3
from dataclasses import dataclass
from typing import Any

from aigend.ledger.statistics.query import UsageFilter
from aigend.ledger.statistics.store import matching

SHORT_S, LONG_S = 300, 3_600  # how long providers keep what is written for five minutes and for an hour
_WRITTEN = "(coalesce(a.cache_write_5m_tokens, 0) + coalesce(a.cache_write_1h_tokens, 0))"
_SAVED = "coalesce(json_extract(a.savings, '$.prompt_cache'), 0)"
# Rows of older versions say only what was saved net: of a row without reads that is what its writes cost.
_PREMIUM = f"coalesce(a.write_premium_nanos, iif(coalesce(a.cache_read_tokens, 0) = 0, -{_SAVED}, 0))"
_TOUCHED = """a.scope = :scope AND (a.prefix != '' OR a.read_prefix != '' OR a.cache_read_tokens > 0
        OR a.cache_write_5m_tokens > 0 OR a.cache_write_1h_tokens > 0) AND a.state = 'settled'"""  # the index's own condition
_ABOUT = "a.id, a.create_us, a.provider, a.model, a.service, a.agent, a.phase, a.request_id"
_QUESTION = f"""
    WITH touch AS (
        SELECT {_ABOUT}, a.prefix AS name, 1 AS marked, {_WRITTEN} AS written, coalesce(a.cache_write_1h_tokens, 0) AS long,
            {_PREMIUM} AS premium, 0 AS read, 0 AS missed, 0 AS saved
        FROM attempt a WHERE {_TOUCHED} AND (a.prefix != '' OR {_WRITTEN} > 0){{where}}
        UNION ALL
        SELECT {_ABOUT}, a.read_prefix, 0, 0, 0, 0, coalesce(a.cache_read_tokens, 0), coalesce(a.cache_read_tokens, 0) = 0,
            {_SAVED} + {_PREMIUM}
        FROM attempt a WHERE {_TOUCHED} AND (a.read_prefix != '' OR a.cache_read_tokens > 0){{where}}
    ), timed AS (
        SELECT *, max(long > 0) OVER (PARTITION BY provider, model, name) AS kept_long,
            (create_us - lag(create_us) OVER (PARTITION BY provider, model, name ORDER BY create_us, id, marked)) / 1e6 AS gap_s
        FROM touch
    ), prefix AS (
        SELECT provider, model, name, kept_long, sum(marked) AS marks, sum(written > 0) AS writes, sum(written) AS written,
            sum(premium) AS premium, sum(read > 0) AS reads, sum(read) AS read, sum(saved) AS saved, sum(missed) AS missed,
            sum(missed AND gap_s > iif(kept_long, {LONG_S}, {SHORT_S})) AS expired,
            sum(missed AND NOT kept_long AND gap_s > {SHORT_S} AND gap_s <= {LONG_S}) AS sparable,
            max(create_us) AS last_us, service, agent, phase, request_id  -- SQLite takes these from the row of the maximum
        FROM timed GROUP BY provider, model, name
    )
    SELECT *, count(*) OVER () AS prefixes, sum(writes) OVER (), sum(written) OVER (), sum(premium) OVER (), sum(reads) OVER (),
        sum(read) OVER (), sum(saved) OVER (), sum(name != '' AND writes > 0 AND reads = 0) OVER ()
    FROM prefix ORDER BY saved - premium, provider, model, name LIMIT :limit
"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixRow:
    """What became of one prefix; money in nano-dollars, times in seconds since 1970."""

    provider: str
    model: str
    prefix: str  # short digest; empty: of these calls it is not known
    kept_long: bool  # it was written for an hour
    mark_count: int  # calls that marked it
    write_count: int
    written_tokens: int
    premium_nanos: int  # what its writes cost above ordinary input
    read_count: int
    read_tokens: int
    saved_nanos: int  # what its reads saved
    missed_count: int  # calls that sent it again and read nothing
    expired_count: int  # of them, those that came after the provider had let go of it
    sparable_count: int  # of them, those for which an hour would have been long enough
    last_time: float
    service: str  # of the last call, as what follows
    agent: str
    phase: str
    request_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PrefixTotals:
    """The sums over all prefixes, listed or not."""

    prefix_count: int = 0
    write_count: int = 0
    written_tokens: int = 0
    premium_nanos: int = 0
    read_count: int = 0
    read_tokens: int = 0
    saved_nanos: int = 0
    never_read_count: int = 0  # prefixes that were written and never read


def examine(
    connection: sqlite3.Connection,
    *,
    scope: str,
    start: float | None,
    end: float | None,
    usage_filter: UsageFilter,
    limit: int,
) -> tuple[list[PrefixRow], PrefixTotals]:
    """Return the prefixes with the greatest net loss first, and the sums over all of them.

    Args:
        connection: Reading is enough.
        scope: Whose calls.
        start: First moment of a call, wall clock; None: the beginning.
        end: Last moment, exclusive; None: now.
        usage_filter: Which calls.
        limit: Most prefixes.
    """
    conditions, parameters = matching(usage_filter)
    bounds: dict[str, Any] = {"scope": scope, "limit": limit}
    for name, sign, moment in (("start", ">=", start), ("end", "<", end)):
        if moment is not None:
            conditions += f" AND a.create_us {sign} :{name}"
            bounds[name] = round(moment * 1e6)
    found = connection.execute(_QUESTION.format(where=conditions), parameters | bounds).fetchall()
    totals = PrefixTotals(**dict(zip(PrefixTotals.__slots__, found[0][19:], strict=True))) if found else PrefixTotals()
    return [_row(row) for row in found], totals


def _row(row: tuple[Any, ...]) -> PrefixRow:
    values = dict(zip(("provider", "model", "prefix", "kept_long", *_COUNTS), row[:14], strict=True))
    about = dict(zip(("service", "agent", "phase", "request_id"), row[15:19], strict=True))
    return PrefixRow(**values | about | {"kept_long": bool(row[3]), "last_time": row[14] / 1e6})


_COUNTS = (
    *("mark_count", "write_count", "written_tokens", "premium_nanos", "read_count", "read_tokens", "saved_nanos"),
    *("missed_count", "expired_count", "sparable_count"),
)
