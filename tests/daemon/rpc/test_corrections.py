"""Corrections over a real server: calls of elsewhere, unknown outcomes, other prices, exports and reports."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aigen.v1 import message_pb2, model_pb2, usage_pb2
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.published import PublishedPrices
from aigend.ledger.verify import verify
from google.protobuf.timestamp_pb2 import Timestamp

from tests.daemon.ledger.ledger_calls import intent, settlement
from tests.daemon.rpc.served import Served, asked, failure, served


@pytest.fixture
async def front(tmp_path: Path) -> AsyncIterator[Served]:
    """A running front."""
    async with served(tmp_path) as running:
        yield running


def told(request_id: str = "elsewhere-1", **fields) -> usage_pb2.RecordUsageRequest:
    """Return a call that was made without aigen: a million tokens in and out of a model with published prices."""
    usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
    values = {"provider": "openai", "model": "gpt-4o-mini", "usage": usage}
    return usage_pb2.RecordUsageRequest(request_id=request_id, **values | fields)


async def unknown_entry(front: Served, request_id: str = "lost", **fields) -> str:
    """Return the id of an attempt whose outcome is unknown and whose bound is booked."""
    now = front.house.clock.time()
    reservation = await front.house.ledger.reserve(intent(request_id, scope="local", create_time=now, **fields))
    await front.house.ledger.mark_unknown(reservation, reason="reset")
    return reservation.entry_id


class TestRecord:
    """RecordUsage."""

    async def test_call_of_elsewhere_is_priced_like_others(self, front: Served) -> None:
        """It costs what the price of its model says, and stands in the sums with its account."""
        response = await front.usage.RecordUsage(told(session="run-1", labels={"team": "a"}, phase="2"))
        entry = response.entry
        assert (response.created, entry.cost_usd_nanos, list(entry.flags)) == (True, 750_000_000, ["recorded"])
        assert (entry.session, dict(entry.labels), entry.phase) == ("run-1", {"team": "a"}, "2")
        assert entry.price_entry_id == "first-users@2026-02:openai/gpt-4o-mini"
        stats = await front.usage.GetStats(usage_pb2.GetStatsRequest(filter={"session": "run-1"}))
        assert (stats.totals.cost_usd_nanos, stats.totals.call_count) == (750_000_000, 1)
        assert verify(front.house.ledger.path) == ()

    async def test_told_twice_is_booked_once(self, front: Served) -> None:
        """The same id with the same story changes nothing; with another story it is refused."""
        first = await front.usage.RecordUsage(told())
        again = await front.usage.RecordUsage(told())
        assert (again.created, again.entry) == (False, first.entry)
        reused = await failure(front.usage.RecordUsage(told(session="other")))
        assert reused.reason == "REQUEST_ID_REUSED"
        stats = await front.usage.GetStats(usage_pb2.GetStatsRequest())
        assert stats.totals.cost_usd_nanos == 750_000_000

    async def test_providers_own_figure_wins(self, front: Served) -> None:
        """What the provider said it cost is what is booked."""
        entry = (await front.usage.RecordUsage(told(cost_usd_nanos=5))).entry
        assert entry.cost_usd_nanos == 5

    async def test_time_of_the_call_is_kept(self, front: Served) -> None:
        """A call of yesterday stands under yesterday."""
        made = Timestamp(seconds=int(front.house.clock.time()) - 86_400)
        entry = (await front.usage.RecordUsage(told(create_time=made))).entry
        assert entry.create_time == made

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"provider": ""}, "provider"),
            ({"model": "x" * 129}, "model"),
            ({"usage": {"input_tokens": -1}}, "usage.input_tokens"),
            ({"usage": {"reasoning_tokens": 2, "output_tokens": 1}}, "usage.reasoning_tokens"),
            ({"usage": {"search_count": -1}}, "usage.search_count"),
            ({"usage": None}, "usage"),
            ({"cost_usd_nanos": -1}, "cost_usd_nanos"),
            ({"create_time": Timestamp(seconds=10**11)}, "create_time"),
            ({"provider_usage_json": "x" * 65_537}, "provider_usage_json"),
        ],
    )
    async def test_what_can_not_be_is_named(self, front: Served, fields, field: str) -> None:
        """A field that is missing or can't be is refused by its name."""
        assert (await failure(front.usage.RecordUsage(told(**fields)))).metadata["field"] == field

    async def test_id_must_be_told(self, front: Served) -> None:
        """Without an id, telling twice could not be harmless."""
        assert (await failure(front.usage.RecordUsage(told("")))).metadata["field"] == "request_id"


class TestReconcile:
    """SettleLedgerEntry and ReleaseLedgerEntry."""

    async def test_unknown_is_settled_by_its_bill(self, front: Served) -> None:
        """The bound gives way to what was billed; no second time."""
        entry_id = await unknown_entry(front)
        request = usage_pb2.SettleLedgerEntryRequest(entry_id=entry_id, cost_usd_nanos=7, note="invoice 3")
        entry = (await front.usage.SettleLedgerEntry(request)).entry
        assert (entry.state, entry.cost_usd_nanos) == (message_pb2.ATTEMPT_STATE_SETTLED, 7)
        assert "reconciled" in entry.flags
        assert (await failure(front.usage.SettleLedgerEntry(request))).metadata["field"] == "entry_id"
        totals = (await front.usage.GetStats(usage_pb2.GetStatsRequest())).totals
        assert (totals.cost_usd_nanos, totals.unknown_cost_usd_nanos) == (7, 0)
        assert verify(front.house.ledger.path) == ()

    async def test_unknown_is_settled_by_its_tokens(self, front: Served) -> None:
        """Tokens alone are priced with the price of the entry's day."""
        now = front.house.clock.time()
        recorded = (await front.usage.RecordUsage(told())).entry
        entry_id = await unknown_entry(front, route=type(intent().route)("openai", "gpt-4o-mini"))
        usage = {"input_tokens": 1_000_000, "output_tokens": 1_000_000}
        entry = (await front.usage.SettleLedgerEntry(usage_pb2.SettleLedgerEntryRequest(entry_id=entry_id, usage=usage))).entry
        assert (entry.cost_usd_nanos, entry.price_entry_id) == (recorded.cost_usd_nanos, recorded.price_entry_id)
        assert front.house.clock.time() >= now

    async def test_unknown_is_released(self, front: Served) -> None:
        """Nothing is booked any more, and the id may be tried again."""
        entry_id = await unknown_entry(front)
        entry = (await front.usage.ReleaseLedgerEntry(usage_pb2.ReleaseLedgerEntryRequest(entry_id=entry_id))).entry
        assert (entry.state, entry.cost_usd_nanos) == (message_pb2.ATTEMPT_STATE_RELEASED, 0)
        assert front.house.ledger.known("local", "lost").state == "released"
        assert verify(front.house.ledger.path) == ()

    async def test_settled_can_not_be_reconciled(self, front: Served) -> None:
        """Nothing leaves SETTLED, and an id of nobody is NOT_FOUND."""
        done = (await front.usage.RecordUsage(told())).entry.id
        release = front.usage.ReleaseLedgerEntry
        assert (await failure(release(usage_pb2.ReleaseLedgerEntryRequest(entry_id=done)))).metadata["field"] == "entry_id"
        for missing in ("999", "x", "9" * 40):
            assert (await failure(release(usage_pb2.ReleaseLedgerEntryRequest(entry_id=missing)))).reason == "NOT_FOUND"

    async def test_something_must_be_known(self, front: Served) -> None:
        """Neither cost nor usage says nothing."""
        request = usage_pb2.SettleLedgerEntryRequest(entry_id=await unknown_entry(front))
        assert (await failure(front.usage.SettleLedgerEntry(request))).metadata["field"] == "cost_usd_nanos"

    async def test_reconciled_attempt_beside_a_later_one_is_sound(self, front: Served) -> None:
        """An operation whose first attempt turns out to have been paid too has two settled attempts, and adds up."""
        entry_id = await unknown_entry(front)
        again = await front.house.ledger.reserve(intent("lost", scope="local"), allow_repeat=True)
        await front.house.ledger.settle(again, settlement(600))
        await front.usage.SettleLedgerEntry(usage_pb2.SettleLedgerEntryRequest(entry_id=entry_id, cost_usd_nanos=7))
        assert verify(front.house.ledger.path) == ()


class TestReprice:
    """RepriceLedger."""

    async def test_dry_run_changes_nothing_and_the_run_what_it_said(self, front: Served) -> None:
        """An entry without a price gets the one that is known now; its journal has a row more, its entry a flag."""
        ledger = front.house.ledger
        route = type(intent().route)("openai", "gpt-4o-mini")
        made = intent("old", scope="local", route=route, bound=None, price_entry_id="", create_time=front.house.clock.time())
        await ledger.settle(await ledger.reserve(made), settlement(None))
        await front.usage.RecordUsage(told(cost_usd_nanos=9))
        dry = await front.usage.RepriceLedger(usage_pb2.RepriceLedgerRequest(validate_only=True))
        assert (dry.examined_count, dry.changed_count, dry.kept_count) == (2, 1, 1)
        before = (await front.usage.ListLedgerEntries(usage_pb2.ListLedgerEntriesRequest(request_id="old"))).entries[0]
        assert not before.HasField("cost_usd_nanos")
        done = await front.usage.RepriceLedger(usage_pb2.RepriceLedgerRequest())
        assert done == dry
        after = (await front.usage.ListLedgerEntries(usage_pb2.ListLedgerEntriesRequest(request_id="old"))).entries[0]
        assert (after.cost_usd_nanos, after.price_entry_id) == (dry.after_usd_nanos, before.price_entry_id)
        assert "repriced" in after.flags
        assert (await front.usage.RepriceLedger(usage_pb2.RepriceLedgerRequest())).changed_count == 0
        totals = (await front.usage.GetStats(usage_pb2.GetStatsRequest())).totals
        assert totals.cost_usd_nanos == 9 + dry.after_usd_nanos
        assert verify(ledger.path) == ()

    async def test_a_call_of_a_batch_job_stays_one(self, front: Served) -> None:
        """What was priced at the batch price is priced so again, with nothing changed."""
        told_of = told(provider="one", model="model-1", batch=True)
        entry = (await front.usage.RecordUsage(told_of)).entry
        assert entry.price_entry_id.endswith("#batch")
        found = await front.usage.RepriceLedger(usage_pb2.RepriceLedgerRequest())
        assert (found.examined_count, found.changed_count) == (1, 0)

    async def test_model_without_a_price_is_counted(self, front: Served) -> None:
        """Where no price is known, the entry stays without."""
        await front.usage.RecordUsage(told(provider="nobody", model="nothing"))
        found = await front.usage.RepriceLedger(usage_pb2.RepriceLedgerRequest())
        assert (found.unpriced_count, found.changed_count) == (1, 0)


class TestTelling:
    """ExportLedger, GenerateReport and ListPrices."""

    async def test_export_holds_every_entry_once(self, front: Served, monkeypatch: pytest.MonkeyPatch) -> None:
        """Pages follow each other without a gap, newest first."""
        monkeypatch.setattr("aigend.rpc.report.EXPORTED_AT_ONCE", 2)
        for number in range(5):
            await front.usage.RecordUsage(told(f"call-{number}"))
        pages = [page async for page in front.usage.ExportLedger(usage_pb2.ExportLedgerRequest())]
        ids = [entry.request_id for page in pages for entry in page.entries]
        assert [len(page.entries) for page in pages] == [2, 2, 1]
        assert sorted(ids) == [f"call-{number}" for number in range(5)]
        settled = usage_pb2.ExportLedgerRequest(states=[message_pb2.ATTEMPT_STATE_UNKNOWN])
        assert [len(page.entries) async for page in front.usage.ExportLedger(settled)] == [0]

    async def test_report_adds_up(self, front: Served) -> None:
        """Every section sums up to the total; the dearest comes first, what is unknown is listed."""
        await front.completion.Complete(asked())
        await front.usage.RecordUsage(told(session="s"))
        await front.usage.RecordUsage(told("free", provider="nobody", model="nothing", session="s"))
        entry_id = await unknown_entry(front)
        day = (await front.usage.GetStats(usage_pb2.GetStatsRequest(group_by=[usage_pb2.GROUP_BY_DAY]))).rows[0].group[0]
        for request in (usage_pb2.GenerateReportRequest(date=day), usage_pb2.GenerateReportRequest(month=day[:7])):
            report = await front.usage.GenerateReport(request)
            assert len(report.sections) == (5 if request.month else 4)
            for section in report.sections:
                assert sum(row.totals.cost_usd_nanos for row in section.rows) == report.totals.cost_usd_nanos
            assert report.dearest_entries[0].request_id == "elsewhere-1"
            assert {entry.id for entry in report.unknown_entries} >= {entry_id}
        session = await front.usage.GenerateReport(usage_pb2.GenerateReportRequest(session="s", entry_count=1))
        assert (session.totals.call_count, len(session.dearest_entries)) == (2, 1)

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({}, "date"),
            ({"date": "2026-1-1"}, "date"),
            ({"date": "2026-01-01", "session": "s"}, "date"),
            ({"month": "2026-13"}, "month"),
            ({"month": "2026-02"}, "month"),  # has not begun: it is January
            ({"date": "2026-01-02"}, "date"),
            ({"session": "s", "entry_count": -1}, "entry_count"),
            ({"session": "s", "time_zone": "Nowhere"}, "time_zone"),
        ],
    )
    async def test_bad_report_is_named(self, front: Served, fields, field: str) -> None:
        """A report that can't be meant is refused by the field."""
        assert (await failure(front.usage.GenerateReport(usage_pb2.GenerateReportRequest(**fields)))).metadata["field"] == field

    async def test_prices_are_listed_with_the_one_in_force(self, front: Served) -> None:
        """Models of the catalog are listed with what is published of their prices, the cheaper ways to call them included."""
        snapshot = front.house.engine.snapshot
        front.house.engine.swap(replace(snapshot, prices=PriceCatalog(user=None, published=PublishedPrices())))
        listed = (await front.model.ListPrices(model_pb2.ListPricesRequest(page_size=1_000))).prices
        models = {(price.provider, price.model) for price in listed}
        assert len([price for price in listed if price.in_force]) <= len(models)
        assert all(price.price.price_entry_id for price in listed)
        assert any(price.HasField("batch") for price in listed)
        flex = [price for price in listed if price.HasField("flex")]
        assert all(price.flex.price_entry_id.endswith("#flex") for price in flex)
        assert flex
