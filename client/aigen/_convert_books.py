"""Protobuf messages → the frozen values of `books.py`; the rest is `_convert.py`."""

from decimal import Decimal

from aigen import _convert, books, reports
from aigen.v1 import model_pb2, usage_pb2

_GROUP = _convert.table(usage_pb2.GroupBy, "GROUP_BY_", reports.GroupBy)


def export_of(payload: bytes) -> list[reports.LedgerEntry]:
    """Return the entries of one message of an export."""
    return [_convert.ledger_entry(entry) for entry in usage_pb2.ExportLedgerResponse.FromString(payload).entries]


def recorded_of(payload: bytes) -> books.RecordedUsage:
    """Return what was booked for a call made elsewhere."""
    message = usage_pb2.RecordUsageResponse.FromString(payload)
    entry = _convert.ledger_entry(message.entry)
    return books.RecordedUsage(entry=entry, created=message.created, warnings=tuple(message.warnings))


def settled_of(payload: bytes) -> reports.LedgerEntry:
    """Return an entry whose cost became known."""
    return _convert.ledger_entry(usage_pb2.SettleLedgerEntryResponse.FromString(payload).entry)


def released_of(payload: bytes) -> reports.LedgerEntry:
    """Return an entry that was not charged after all."""
    return _convert.ledger_entry(usage_pb2.ReleaseLedgerEntryResponse.FromString(payload).entry)


def repricing_of(payload: bytes) -> books.Repricing:
    """Return what computing costs anew changed."""
    message = usage_pb2.RepriceLedgerResponse.FromString(payload)
    sums = "changed_count before_usd_nanos after_usd_nanos"
    models = (books.RepricedModel(**_convert.same(model, f"provider model price_entry_id {sums}")) for model in message.models)
    counts = _convert.same(message, f"examined_count kept_count unpriced_count {sums}")
    return books.Repricing(**counts, models=tuple(models), archive_files=tuple(message.archive_files))


def report_of(payload: bytes) -> books.Report:
    """Return a report."""
    message = usage_pb2.GenerateReportResponse.FromString(payload)
    sections = (
        books.ReportSection(
            group_by=_GROUP.get(section.group_by),
            rows=tuple(reports.StatsRow(group=tuple(row.group), totals=_convert.totals(row.totals)) for row in section.rows),
        )
        for section in message.sections
    )
    return books.Report(
        start_time=_convert.moment(message, "start_time"),
        end_time=_convert.moment(message, "end_time"),
        time_zone=message.time_zone,
        totals=_convert.totals(message.totals),
        sections=tuple(sections),
        dearest_entries=tuple(_convert.ledger_entry(entry) for entry in message.dearest_entries),
        unknown_entries=tuple(_convert.ledger_entry(entry) for entry in message.unknown_entries),
        budgets=tuple(_convert.budget(budget) for budget in message.budgets),
        archive_files=tuple(message.archive_files),
    )


def price_page_of(payload: bytes) -> tuple[list[books.ListedPrice], str]:
    """Return a page of prices and where the next one begins."""
    message = model_pb2.ListPricesResponse.FromString(payload)
    return [_listed(price) for price in message.prices], message.next_page_token


def refreshed_of(payload: bytes) -> books.RefreshedPrices:
    """Return what fetching the published prices changed."""
    message = model_pb2.RefreshPricesResponse.FromString(payload)
    changed = tuple(_listed(price) for price in message.changed_prices)
    return books.RefreshedPrices(**_convert.same(message, "previous_version version"), changed_prices=changed)


def _listed(message: model_pb2.ListedPrice) -> books.ListedPrice:
    tiers = (books.PriceTier(above_tokens=tier.above_tokens, rates=_convert.price(tier.rates)) for tier in message.tiers)
    return books.ListedPrice(
        **_convert.same(message, "provider model in_force stale"),
        price=_convert.price(message.price),
        tiers=tuple(tiers),
        batch=_convert.price(message.batch) if message.HasField("batch") else None,
        flex=_convert.price(message.flex) if message.HasField("flex") else None,
        request_fee_usd_nanos=_decimal(message.request_fee_usd_nanos),
        search_fee_usd_nanos=_decimal(message.search_fee_usd_nanos),
        valid_from_time=_convert.moment(message, "valid_from_time"),
    )


def _decimal(text: str) -> Decimal | None:
    return Decimal(text) if text else None
