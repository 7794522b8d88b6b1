"""Costs of past calls computed anew from the prices that are known today for their day, each change a row of the journal.

What a provider billed itself stays as it is, and so does what was estimated because its usage could not be believed. An entry keeps
the price entry that it was priced with; the journal's row says which one corrected it.
"""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from aigend.ledger import journal
from aigend.ledger.budgets import windows
from aigend.ledger.correcting import Book, Corrected, Costs, intent_of
from aigend.ledger.corrections import PriceOf
from aigend.ledger.entries import REPRICED, AttemptState
from aigend.ledger.entries_store import EntriesQuery, LedgerEntry, list_entries
from aigend.ledger.footprint import PAGE_BYTES
from aigend.ledger.journal import Event
from aigend.ledger.ledger import Ledger
from aigend.ledger.prices.pricing import cost_of, processing_of
from aigend.ledger.prices.usage_check import USAGE_ABSURD, USAGE_MISSING, USAGE_NEGATIVE
from aigend.ledger.savings import savings_of, write_premium
from aigend.ledger.statistics import rollups
from aigend.ledger.store import Change
from aigend.types import Cost, CostBasis, Route, SavingsCause, TokenUsage

EVENT = "repriced"  # its rows in the journal
PAGE_ENTRIES = 500  # read at once
COMMIT_ENTRIES = 50  # corrected in one commit, so that no call waits long for it
_COMMIT_BYTES = COMMIT_ENTRIES * 12 * PAGE_BYTES
_OF_THE_PRICE = frozenset({SavingsCause.PROMPT_CACHE, SavingsCause.BATCH})  # savings that another price makes others
_DOUBTED = frozenset({USAGE_ABSURD, USAGE_MISSING, USAGE_NEGATIVE})
_UNCHANGED = "SELECT 1 FROM attempt WHERE id = ? AND state = 'settled' AND cost_nanos IS ?"
_CORRECT = (
    "UPDATE attempt SET cost_nanos = ?, cost_basis = ?, savings = ?, write_premium_nanos = ?, flags = ?,"
    " corrected_with = ?, update_us = ?"
    " WHERE id = ? AND state = 'settled' AND cost_nanos IS ?"
    " AND NOT EXISTS (SELECT 1 FROM operation o WHERE o.id = operation_id AND o.archive_id IS NOT NULL)"  # in a file, or soon
    " RETURNING operation_id, attempt_number"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Correction:
    """One entry whose cost is another one at the prices of today."""

    entry: LedgerEntry
    cost: Cost
    savings: Mapping[SavingsCause, int]
    write_premium_nanos: int | None = None  # what writes to the prompt cache cost above ordinary input

    @property
    def delta_nanos(self) -> int:
        """What is added to what was spent."""
        return (self.cost.nanos or 0) - (self.entry.cost.nanos or 0)


@dataclass(slots=True, kw_only=True)
class RepricedModel:
    """What became, or would become, of the entries of one model; nano-dollars."""

    route: Route
    changed_count: int = 0
    before_nanos: int = 0
    after_nanos: int = 0
    price_entry_id: str = ""  # of the last one corrected


@dataclass(slots=True, kw_only=True)
class Repricing:
    """What repricing did, or would do; nano-dollars, over the entries whose cost changes."""

    examined_count: int = 0
    changed_count: int = 0
    kept_count: int = 0  # billed by the provider, or of a usage that could not be believed
    unpriced_count: int = 0  # still without a price
    before_nanos: int = 0
    after_nanos: int = 0
    models: dict[Route, RepricedModel] = field(default_factory=dict)

    def count(self, correction: Correction) -> None:
        """Add one correction."""
        entry, route = correction.entry, Route(correction.entry.provider, correction.entry.model)
        model = self.models.setdefault(route, RepricedModel(route=route))
        for sums in (self, model):
            sums.changed_count += 1
            sums.before_nanos += entry.cost.nanos or 0
            sums.after_nanos += correction.cost.nanos or 0
        model.price_entry_id = correction.cost.price_entry_id


class Repricer:
    """Computes costs of one ledger anew.

    Args:
        ledger: The ledger.
        price_of: Returns the price of a route at a time; must not block.
    """

    def __init__(self, ledger: Ledger, *, price_of: PriceOf) -> None:
        self._ledger = ledger
        self._price_of = price_of
        self._running = asyncio.Lock()

    async def run(self, query: EntriesQuery, *, validate_only: bool) -> Repricing:
        """Correct settled entries, newest first, and return what was done; one run goes after the other.

        A run that is cut short has corrected some entries wholly and the others not at all; another run does the rest.

        Args:
            query: Which entries; states and page are not looked at.
            validate_only: Counts what would change and changes nothing.

        Raises:
            DomainError: INVALID_REQUEST for a range without length; STORAGE_FULL or STORAGE_DAMAGED.
        """
        found = Repricing()
        async with self._running:
            async for entries in self._pages(query):
                corrections = self._corrections(entries, found)
                for start in range(0, len(corrections), COMMIT_ENTRIES):
                    await self._write(corrections[start : start + COMMIT_ENTRIES], found, validate_only=validate_only)
        return found

    async def _pages(self, query: EntriesQuery) -> AsyncIterator[tuple[LedgerEntry, ...]]:
        token = ""
        while True:
            wanted = EntriesQuery(
                scope=query.scope,
                filter=query.filter,
                start=query.start,
                end=query.end,
                states=(AttemptState.SETTLED,),
                request_id=query.request_id,
                page_size=PAGE_ENTRIES,
                page_token=token,
            )
            page = await self._ledger.read(partial(list_entries, query=wanted), fresh=False)
            yield page.entries
            token = page.next_page_token
            if not token:
                return

    def _corrections(self, entries: Sequence[LedgerEntry], found: Repricing) -> list[Correction]:
        corrections = []
        for entry in entries:
            found.examined_count += 1
            if entry.cost.basis is CostBasis.PROVIDER_REPORTED or _DOUBTED.intersection(entry.flags) or entry.usage is None:
                found.kept_count += 1
            elif (correction := self._correction(entry, entry.usage)) is None:
                found.unpriced_count += 1
            elif correction.cost.nanos != entry.cost.nanos:
                corrections.append(correction)
        return corrections

    def _correction(self, entry: LedgerEntry, usage: TokenUsage) -> Correction | None:
        """Return what an entry costs today; None where no price is known."""
        price = self._price_of(Route(entry.provider, entry.model), entry.create_time)
        processing = processing_of(entry.cost.price_entry_id)
        cost = cost_of(usage, price, processing=processing)
        if cost.nanos is None:
            return None
        kept = {cause: nanos for cause, nanos in entry.savings.items() if cause not in _OF_THE_PRICE}
        savings = kept | savings_of(usage, price, processing)
        return Correction(entry=entry, cost=cost, savings=savings, write_premium_nanos=write_premium(usage, price))

    async def _write(self, corrections: Sequence[Correction], found: Repricing, *, validate_only: bool) -> None:
        done: Sequence[Correction] = corrections
        if not validate_only:
            done = await self._ledger.correct(partial(correct, corrections=corrections), size=_COMMIT_BYTES)
        for correction in done:
            found.count(correction)


def correct(connection: sqlite3.Connection, book: Book, *, corrections: Sequence[Correction]) -> Corrected[Sequence[Correction]]:
    """Book corrections in the writer's thread; an entry that changed since it was read is left alone."""
    done, changes = [], []
    for correction in corrections:
        change = _book(connection, book, correction)
        if change is not None:
            done.append(correction)
            intent = intent_of(connection, change.attempt_id)
            changes.append((intent, AttemptState.SETTLED, change))
    costs = Costs()
    for correction in done:
        costs[Route(correction.entry.provider, correction.entry.model)] += correction.delta_nanos
    return Corrected(value=done, changes=changes, costs=costs)


def _book(connection: sqlite3.Connection, book: Book, correction: Correction) -> Change | None:
    entry, cost, attempt_id = correction.entry, correction.cost, int(correction.entry.id)
    flags = json.dumps(list(dict.fromkeys((*entry.flags, REPRICED))))
    savings = json.dumps(dict(correction.savings), sort_keys=True)
    values = (
        *(cost.nanos, cost.basis, savings, correction.write_premium_nanos, flags, cost.price_entry_id),
        *(book.moment.now_us, attempt_id, entry.cost.nanos),
    )
    rollups.take(connection, attempt_id)
    found = connection.execute(_CORRECT, values).fetchall()
    rollups.add(connection, attempt_id)
    if not found:
        return None
    rows = windows.move(connection, attempt_id, reserved_delta=0, spent_delta=correction.delta_nanos)
    tail = journal.append(connection, _event(book, correction))
    return Change(
        attempt_id=attempt_id,
        operation_id=found[0][0],
        attempt_number=found[0][1],
        tail=tail,
        windows=rows,
        warnings=windows.announce(connection, book.budgets, rows, now_us=book.moment.now_us),
    )


def _event(book: Book, correction: Correction) -> Event:
    entry, cost = correction.entry, correction.cost
    detail: dict[str, object] = {
        "before_nanos": entry.cost.nanos,
        "after_nanos": cost.nanos,
        "basis": cost.basis,
        "priced_with": entry.cost.price_entry_id,
        "corrected_with": cost.price_entry_id,
    }
    return Event(
        name=EVENT,
        epoch=book.moment.epoch,
        create_us=book.moment.now_us,
        attempt_id=int(entry.id),
        spent_delta=correction.delta_nanos,
        detail=detail,
    )
