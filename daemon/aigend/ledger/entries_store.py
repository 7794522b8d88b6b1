"""The SELECT behind the list of ledger entries, newest first, page by page."""

import base64
import binascii
import hashlib
import json
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aigend.errors import invalid
from aigend.ledger.entries import AttemptState, entry_id_of
from aigend.ledger.statistics.query import UsageFilter
from aigend.ledger.statistics.store import matching
from aigend.types import CacheOutcome, Cost, CostBasis, SavingsCause, TokenUsage

DEFAULT_PAGE_SIZE = 50
MOST_PAGE_SIZE = 1_000
_NEWEST_FIRST = "a.create_us DESC, a.id DESC"
_LONGEST_ID = 18  # digits; more would not fit a row's number
_SELECT = """
    SELECT a.id, a.request_id, a.attempt_number, a.state, a.provider, a.model, a.resolved_model, a.agent, a.service, a.session,
        a.phase, a.task, a.labels, a.outcome, a.provider_usage_json, a.reserved_nanos, a.unknown_high_nanos, a.cost_nanos,
        a.cost_basis, a.price_entry_id, a.flags, a.create_us, a.update_us, a.provider_us, a.savings, a.input_tokens,
        a.cache_read_tokens, a.cache_write_5m_tokens, a.cache_write_1h_tokens, a.output_tokens, a.reasoning_tokens, a.searches
    FROM attempt a WHERE a.scope = :scope{conditions} ORDER BY {order} LIMIT :limit
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesQuery:
    """Which entries, and which page of them."""

    scope: str
    filter: UsageFilter = field(default_factory=UsageFilter)
    start: float | None = None  # wall clock, seconds since 1970, inclusive
    end: float | None = None  # exclusive
    states: tuple[AttemptState, ...] = ()  # empty: any
    request_id: str = ""  # empty: any
    page_size: int = 0  # 0: the default
    page_token: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerEntry:
    """One charge, or an attempt that may become one; money in nano-dollars, times in seconds since 1970."""

    id: str
    request_id: str
    attempt_number: int
    state: AttemptState
    provider: str
    model: str
    resolved_model: str
    agent: str
    service: str
    session: str
    phase: str
    task: str
    labels: Mapping[str, str]
    outcome: CacheOutcome
    usage: TokenUsage | None  # None: not known
    provider_usage_json: str
    reserved_nanos: int  # held while the outcome is open or unknown
    cost: Cost
    flags: tuple[str, ...]
    create_time: float
    update_time: float
    provider_us: int | None
    savings: Mapping[SavingsCause, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryPage:
    """A page of entries, and where the next one begins; an empty token says that this was the last."""

    entries: tuple[LedgerEntry, ...]
    next_page_token: str = ""


def list_entries(connection: sqlite3.Connection, query: EntriesQuery) -> EntryPage:
    """Return a page of entries, newest first.

    Raises:
        DomainError: INVALID_REQUEST for a negative page size, a range without length or a token that belongs to no such list.
    """
    size = _page_size(query.page_size)
    if query.start is not None and query.end is not None and query.start >= query.end:
        raise invalid("end_time", query.end, f"after start_time, {query.start}")
    conditions, parameters = _conditions(query)
    statement = _SELECT.format(conditions=conditions, order=_NEWEST_FIRST)
    rows = connection.execute(statement, parameters | {"scope": query.scope, "limit": size + 1}).fetchall()
    entries = tuple(_entry(row) for row in rows[:size])
    token = _token(query, rows[size - 1][21], rows[size - 1][0]) if len(rows) > size else ""
    return EntryPage(entries=entries, next_page_token=token)


def find_entry(connection: sqlite3.Connection, *, scope: str, entry_id: str) -> LedgerEntry | None:
    """Return one entry by its id; None where the scope has none under it."""
    if not (entry_id.isascii() and entry_id.isdigit() and len(entry_id) <= _LONGEST_ID):
        return None
    found = select_entries(connection, " AND a.id = :id", {"scope": scope, "id": int(entry_id), "limit": 1})
    return found[0] if found else None


def select_entries(
    connection: sqlite3.Connection, conditions: str, parameters: Mapping[str, object], *, order: str = _NEWEST_FIRST
) -> tuple[LedgerEntry, ...]:
    """Return entries by conditions and an order in SQL, both of them constants of the caller.

    Args:
        connection: Reading is enough.
        conditions: What follows the scope, from ` AND` on; its values are parameters.
        parameters: `scope`, `limit`, and what the conditions name.
        order: What the entries are sorted by.
    """
    statement = _SELECT.format(conditions=conditions, order=order)
    return tuple(_entry(row) for row in connection.execute(statement, dict(parameters)))


def _page_size(wanted: int) -> int:
    if wanted < 0:
        raise invalid("page_size", wanted, f"0 to {MOST_PAGE_SIZE}")
    return min(wanted or DEFAULT_PAGE_SIZE, MOST_PAGE_SIZE)


def _conditions(query: EntriesQuery) -> tuple[str, dict[str, Any]]:
    text, parameters = matching(query.filter)
    if query.start is not None:
        text, parameters["start"] = text + " AND a.create_us >= :start", round(query.start * 1e6)
    if query.end is not None:
        text, parameters["end"] = text + " AND a.create_us < :end", round(query.end * 1e6)
    if query.request_id:
        text, parameters["request_id"] = text + " AND a.request_id = :request_id", query.request_id
    if query.states:
        text += f" AND a.state IN ({', '.join(f':state_{index}' for index in range(len(query.states)))})"
        parameters |= {f"state_{index}": str(state) for index, state in enumerate(query.states)}
    if query.page_token:
        text += " AND (a.create_us, a.id) < (:after_us, :after_id)"
        parameters["after_us"], parameters["after_id"] = _place(query)
    return text, parameters


def _token(query: EntriesQuery, create_us: int, attempt_id: int) -> str:
    text = json.dumps([create_us, attempt_id, _list_digest(query)])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _place(query: EntriesQuery) -> tuple[int, int]:
    """Read where a page begins out of its token; a token of another list is refused."""
    try:
        create_us, attempt_id, digest = json.loads(base64.urlsafe_b64decode(query.page_token.encode()))
        if type(create_us) is int and type(attempt_id) is int and digest == _list_digest(query):
            return create_us, attempt_id
    except (binascii.Error, ValueError, TypeError):
        pass  # refused below, like a token of another list
    raise invalid("page_token", query.page_token, "next_page_token of a page of the same list")


def _list_digest(query: EntriesQuery) -> str:
    wanted = [query.scope, query.start, query.end, list(query.states), query.request_id]
    account = [getattr(query.filter, name) for name in ("provider", "model", "agent", "service", "session", "phase", "task")]
    labels = sorted(query.filter.labels.items())
    return hashlib.sha256(json.dumps([wanted, account, labels]).encode()).hexdigest()[:16]


def _entry(row: tuple[Any, ...]) -> LedgerEntry:
    state = AttemptState(row[3])
    held = row[15] if state.open else (row[16] or 0) if state is AttemptState.UNKNOWN else 0
    usage = None if row[25] is None else TokenUsage(**dict(zip(_USAGE, row[25:32], strict=True)))
    return LedgerEntry(
        id=entry_id_of(row[0]),
        request_id=row[1],
        attempt_number=row[2],
        state=state,
        **dict(zip(_TEXTS, row[4:12], strict=True)),
        labels=json.loads(row[12] or "{}"),
        outcome=CacheOutcome(row[13]),
        usage=usage,
        provider_usage_json=row[14],
        reserved_nanos=held,
        cost=Cost(nanos=0 if state is AttemptState.RELEASED else row[17], basis=CostBasis(row[18]), price_entry_id=row[19]),
        flags=tuple(json.loads(row[20])),
        create_time=row[21] / 1e6,
        update_time=row[22] / 1e6,
        provider_us=row[23],
        savings={SavingsCause(cause): nanos for cause, nanos in json.loads(row[24]).items()},
    )


_TEXTS = ("provider", "model", "resolved_model", "agent", "service", "session", "phase", "task")
_USAGE = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "searches")
