"""What an operator does to the ledger and its prices, and what comes of it: corrections, reports, price lists.

Frozen values without protobuf, like `reports.py`, which holds what is read every day.
"""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from aigen.reports import BudgetStatus, GroupBy, LedgerEntry, Price, StatsRow, UsageTotals
from aigen.results import usd


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedUsage:
    """A call made without aigen, as it stands in the ledger now."""

    entry: LedgerEntry
    created: bool  # False: it was there already under its id
    warnings: tuple[str, ...]  # budget thresholds passed


@dataclass(frozen=True, slots=True, kw_only=True)
class RepricedModel:
    """What became, or would become, of the entries of one model."""

    provider: str
    model: str
    changed_count: int
    before_usd_nanos: int  # nano-dollars; entries without a price count 0
    after_usd_nanos: int  # nano-dollars
    price_entry_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Repricing:
    """What computing costs anew changed, or would change."""

    examined_count: int
    changed_count: int
    kept_count: int  # billed by the provider itself, or of a usage that can't be believed
    unpriced_count: int  # still without a price
    before_usd_nanos: int  # nano-dollars, of the entries that change
    after_usd_nanos: int  # nano-dollars
    models: tuple[RepricedModel, ...]
    archive_files: tuple[str, ...] = ()  # hold entries of the range, none of which was looked at

    @property
    def delta_usd(self) -> Decimal:
        """What is added to the cost, in dollars; negative where it was too much."""
        return usd(self.after_usd_nanos - self.before_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportSection:
    """The sums of a report by one thing."""

    group_by: GroupBy | None
    rows: tuple[StatsRow, ...]  # dearest first


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A day, a month or a session, all of it as of one moment."""

    start_time: datetime | None  # None: the beginning
    end_time: datetime | None  # exclusive
    time_zone: str
    totals: UsageTotals
    sections: tuple[ReportSection, ...]
    dearest_entries: tuple[LedgerEntry, ...]
    unknown_entries: tuple[LedgerEntry, ...]  # newest first; outcome or price is not known
    budgets: tuple[BudgetStatus, ...]  # in their running windows
    archive_files: tuple[str, ...] = ()  # hold charges of the range, none of which can be listed; the sums count them


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTier:
    """Rates of a whole request whose input is longer than a bound."""

    above_tokens: int
    rates: Price


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPrice:
    """One price of one model, with all that it depends on."""

    provider: str
    model: str
    price: Price
    tiers: tuple[PriceTier, ...]
    batch: Price | None  # of the provider's batch API
    request_fee_usd_nanos: Decimal | None  # nano-dollars a request
    search_fee_usd_nanos: Decimal | None  # nano-dollars a search
    valid_from_time: datetime | None  # None: since ever
    in_force: bool
    stale: bool  # checked too long ago
    flex: Price | None = None  # of the provider's cheaper tier, lane FLEX


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshedPrices:
    """What fetching the published prices changed."""

    previous_version: str
    version: str
    changed_prices: tuple[ListedPrice, ...]  # in force now
