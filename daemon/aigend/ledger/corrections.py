"""Corrections by hand: calls made elsewhere are recorded, and attempts whose outcome is unknown are settled or released.

Each goes through the same guarded state changes as a call of our own, so that budgets, sums and the journal follow. Computing costs
anew is `reprice`.
"""

import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

from aigend.errors import DomainError, Reason, invalid
from aigend.ledger import store
from aigend.ledger.archives.rows import file_of_entry
from aigend.ledger.correcting import Book, Corrected, Costs, intent_of
from aigend.ledger.entries import (
    RECONCILED,
    RECORDED,
    AlreadyKnown,
    AttemptState,
    Intent,
    PrefixUse,
    Settlement,
    StateConflict,
    entry_id_of,
)
from aigend.ledger.entries_store import LedgerEntry, find_entry
from aigend.ledger.footprint import CALL_BYTES
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.pricing import PriceEntry, cost_of, processing_of
from aigend.ledger.savings import savings_of, write_premium
from aigend.ledger.store import Moment
from aigend.types import Accounting, CacheOutcome, Cost, CostBasis, Processing, Route, TokenUsage

PriceOf = Callable[[Route, float], PriceEntry | None]  # the price of a route at a wall-clock time
MOST_USD_NANOS = 10**15  # one million dollars: no call costs more, and no sum of them overflows
MOST_TOKENS = 10**9
_BUCKETS = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output", "reasoning", "searches")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedCall:
    """A call that was made without aigen, as its maker tells it."""

    scope: str
    request_id: str
    request_digest: bytes  # of all that is told: the same id with another story is refused
    accounting: Accounting
    route: Route
    usage: TokenUsage
    agent: str = ""
    service: str = ""
    phase: str = ""
    resolved_model: str = ""
    provider_usage_json: str = ""
    cost_nanos: int | None = None  # the provider's own figure, which wins; None: priced as others are
    batch: bool = False  # made through the provider's batch API, at its price
    create_time: float | None = None  # wall clock; None: now

    @property
    def processing(self) -> Processing:
        """At which of its model's prices it was run."""
        return Processing.BATCH if self.batch else Processing.STANDARD


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """An entry made for a call of elsewhere, or found under its id."""

    entry: LedgerEntry
    created: bool  # False: it was there already, and nothing was counted
    warnings: tuple[str, ...] = ()  # budget thresholds passed


class Corrections:
    """Records and reconciles in one ledger.

    Args:
        ledger: The ledger.
        price_of: Returns the price of a route at a time; must not block.
    """

    def __init__(self, ledger: Ledger, *, price_of: PriceOf) -> None:
        self._ledger = ledger
        self._price_of = price_of

    async def record(self, call: RecordedCall, *, now: float) -> Recorded:
        """Book a call made elsewhere, once for its id. No budget refuses it: it has been paid.

        Raises:
            DomainError: INVALID_REQUEST for counts, a cost or a time that can't be; REQUEST_ID_REUSED for an id that stands for
                another call; STORAGE_FULL or STORAGE_DAMAGED.
        """
        _check_usage(call.usage)
        _check_cost(call.cost_nanos)
        at = now if call.create_time is None else call.create_time
        if not 0 <= at <= now:
            raise invalid("create_time", _told(at), "a time since 1970 that has passed")
        price = self._price_of(call.route, at)
        cost = cost_of(call.usage, price, call.cost_nanos, processing=call.processing)
        work = partial(_record, intent=_intent(call, cost, at), settlement=_settlement(call, cost, price))
        return await self._ledger.correct(work, size=CALL_BYTES)

    async def settle(
        self, scope: str, entry_id: str, *, usage: TokenUsage | None, cost_nanos: int | None, note: str = ""
    ) -> LedgerEntry:
        """Book what an attempt of unknown outcome cost after all, and return the entry as it stands then.

        Args:
            scope: Whose entry.
            entry_id: Which entry; it must be UNKNOWN.
            usage: Its tokens; None: not known.
            cost_nanos: What the provider billed; None: priced by its usage, with the price of its day.
            note: Why it is known now.

        Raises:
            DomainError: NOT_FOUND; INVALID_REQUEST where neither usage nor cost is given or the entry is not UNKNOWN.
        """
        if usage is None and cost_nanos is None:
            raise invalid("cost_usd_nanos", "unset", "a cost, the usage, or both")
        _check_usage(usage or TokenUsage())
        _check_cost(cost_nanos)
        entry = await self.unknown(scope, entry_id)
        price = self._price_of(Route(entry.provider, entry.model), entry.create_time)
        processing = processing_of(entry.cost.price_entry_id)  # a line of a batch job is paid at the batch price
        cost = cost_of(usage or TokenUsage(), price, cost_nanos, processing=processing)
        if usage is None:
            cost = replace(cost, basis=CostBasis.PROVIDER_REPORTED)
        settlement = Settlement(
            usage=usage or TokenUsage(),
            cost=cost,
            flags=(RECONCILED,),
            savings=savings_of(usage, price, processing) if usage is not None else {},
            prefix_use=PrefixUse(write_premium_nanos=write_premium(usage, price) if usage is not None else None),
            provider_us=None,
            total_us=None,
        )
        return await self._end(entry, partial(_settle, settlement=settlement, note=note))

    async def release(self, scope: str, entry_id: str, *, note: str = "") -> LedgerEntry:
        """Give back what an attempt of unknown outcome holds: it was not charged. Return the entry as it stands then.

        Raises:
            DomainError: NOT_FOUND, or INVALID_REQUEST where the entry is not UNKNOWN.
        """
        entry = await self.unknown(scope, entry_id)
        return await self._end(entry, partial(_release, note=note))

    async def unknown(self, scope: str, entry_id: str) -> LedgerEntry:
        """Return an entry whose outcome is unknown.

        Raises:
            DomainError: NOT_FOUND, or INVALID_REQUEST where the entry is not UNKNOWN.
        """
        entry = await self._ledger.read(partial(find_entry, scope=scope, entry_id=entry_id), fresh=False)
        if entry is None:
            file = await self._ledger.read(partial(file_of_entry, scope=scope, entry_id=entry_id), fresh=False)
            raise _not_found(entry_id[:40], file)
        if entry.state is not AttemptState.UNKNOWN:
            raise _not_unknown(entry_id, entry.state)
        return entry

    async def _end(self, entry: LedgerEntry, work: "partial[Corrected[LedgerEntry]]") -> LedgerEntry:
        try:
            return await self._ledger.correct(partial(work, attempt_id=int(entry.id)), size=CALL_BYTES)
        except StateConflict as error:
            raise _not_unknown(entry.id, "no longer unknown") from error


def _record(connection: sqlite3.Connection, book: Book, *, intent: Intent, settlement: Settlement) -> Corrected[Recorded]:
    """Reserve and settle in one transaction; budgets count and do not refuse."""
    then = Moment(epoch=book.moment.epoch, now_us=round(intent.create_time * 1e6))
    claims = [replace(claim, only_counts=True, require_known_prices=False) for claim in book.budgets.matching(intent)]
    try:
        sent = store.reserve(connection, intent, claims=claims, allow_repeat=False, moment=then)
    except AlreadyKnown as error:
        entry = find_entry(connection, scope=intent.scope, entry_id=error.known.entry_id)
        if entry is None:
            file = file_of_entry(connection, intent.scope, error.known.entry_id)
            text = f"request id {intent.request_id} was booked before, and its entry {error.known.entry_id} is archived in {file}"
            raise DomainError(Reason.REPLY_GONE, text, request_id=intent.request_id, archive_file=file) from error
        return Corrected(value=Recorded(entry=entry, created=False))
    budgets = book.budgets
    change = store.settle(connection, sent.attempt_id, settlement, budgets=budgets, keep=book.keep, moment=book.moment)
    entry = _entry(connection, intent.scope, entry_id_of(change.attempt_id))
    value = Recorded(entry=entry, created=True, warnings=(*sent.warnings, *change.warnings))
    return Corrected(value=value, changes=((intent, AttemptState.SETTLED, change),), costs=_added(intent, settlement))


def _settle(
    connection: sqlite3.Connection, book: Book, *, attempt_id: int, settlement: Settlement, note: str
) -> Corrected[LedgerEntry]:
    intent = intent_of(connection, attempt_id)
    change = store.settle(
        connection,
        attempt_id,
        settlement,
        budgets=book.budgets,
        keep=book.keep,
        moment=book.moment,
        source=AttemptState.UNKNOWN,
    )
    connection.execute("UPDATE attempt SET reason = ? WHERE id = ?", (_noted(note), attempt_id))
    entry = _entry(connection, intent.scope, entry_id_of(attempt_id))
    return Corrected(value=entry, changes=((intent, AttemptState.SETTLED, change),), costs=_added(intent, settlement))


def _release(connection: sqlite3.Connection, book: Book, *, attempt_id: int, note: str) -> Corrected[LedgerEntry]:
    intent = intent_of(connection, attempt_id)
    source = AttemptState.UNKNOWN
    change = store.release(connection, attempt_id, reason=_noted(note), moment=book.moment, source=source)
    entry = _entry(connection, intent.scope, entry_id_of(attempt_id))
    return Corrected(value=entry, changes=((intent, AttemptState.RELEASED, change),))


def _added(intent: Intent, settlement: Settlement) -> Costs:
    return Costs({intent.route: settlement.cost.nanos or 0})


def _noted(note: str) -> str:
    return f"{RECONCILED}: {note}" if note else RECONCILED


def _entry(connection: sqlite3.Connection, scope: str, entry_id: str) -> LedgerEntry:
    found = find_entry(connection, scope=scope, entry_id=entry_id)
    assert found is not None  # noqa: S101 - its row was written or read in this transaction; this tells the type checker
    return found


def _intent(call: RecordedCall, cost: Cost, at: float) -> Intent:
    return Intent(
        scope=call.scope,
        request_id=call.request_id,
        request_digest=call.request_digest,
        accounting=call.accounting,
        agent=call.agent,
        service=call.service,
        phase=call.phase,
        requested_model=call.route.model,
        route=call.route,
        outcome=CacheOutcome.BYPASS,
        upper_bound_nanos=cost.nanos,
        price_entry_id=cost.price_entry_id,
        create_time=at,
    )


def _settlement(call: RecordedCall, cost: Cost, price: PriceEntry | None) -> Settlement:
    return Settlement(
        usage=call.usage,
        cost=cost,
        provider_usage_json=call.provider_usage_json,
        resolved_model=call.resolved_model,
        flags=(RECORDED,),
        provider_us=None,
        total_us=None,
        savings=savings_of(call.usage, price, call.processing),
        prefix_use=PrefixUse(write_premium_nanos=write_premium(call.usage, price)),
    )


def _check_usage(usage: TokenUsage) -> None:
    counts: Mapping[str, int] = {name: getattr(usage, name) for name in _BUCKETS}
    for name, count in counts.items():
        if not 0 <= count <= MOST_TOKENS:
            field = "search_count" if name == "searches" else f"{name}_tokens"
            raise invalid(f"usage.{field}", count, f"0 to {MOST_TOKENS}")
    if usage.reasoning > usage.output:
        raise invalid("usage.reasoning_tokens", usage.reasoning, f"at most the output, {usage.output}")


def _check_cost(cost_nanos: int | None) -> None:
    if cost_nanos is not None and not 0 <= cost_nanos <= MOST_USD_NANOS:
        raise invalid("cost_usd_nanos", cost_nanos, f"0 to {MOST_USD_NANOS}")


def _told(moment: float) -> str:
    """Return a moment as people write it; the number itself where no calendar has it."""
    try:
        return datetime.fromtimestamp(moment, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return str(moment)


def _not_found(entry_id: str, file: str) -> DomainError:
    if file:
        text = f"ledger entry {entry_id} is archived in {file}, where nothing is changed any more"
        return DomainError(Reason.NOT_FOUND, text, entry_id=entry_id, archive_file=file)
    return DomainError(Reason.NOT_FOUND, f"there is no ledger entry {entry_id!r}", entry_id=entry_id)


def _not_unknown(entry_id: str, state: str) -> DomainError:
    return invalid("entry_id", f"{entry_id}, which is {state}", "the id of an entry whose outcome is unknown")
