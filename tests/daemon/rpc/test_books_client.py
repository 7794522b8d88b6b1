"""The books as both clients keep them, against a whole daemon: recorded, exported, reported, repriced."""

import asyncio
from pathlib import Path

import aigen
import pytest

from tests.daemon.ledger.test_price_refresh import Address
from tests.emulator_server import RunningEmulator
from tests.serving import House, serving

USAGE = aigen.TokenUsage(input_tokens=1_000, output_tokens=1_000)


async def test_asyncio_client_keeps_the_books(house: House) -> None:
    """What is recorded is exported once, stands in the report, and is repriced by nothing."""
    client = house.client
    for number in range(3):
        recorded = await client.record_usage("openai", "gpt-4o-mini", request_id=f"r-{number}", usage=USAGE, session="s", phase=2)
    assert (recorded.created, recorded.entry.cost_usd_nanos, recorded.entry.phase) == (True, 750_000, "2")
    exported = [entry async for entry in client.export_ledger(session="s", states=["settled"])]
    assert [entry.request_id for entry in exported] == ["r-2", "r-1", "r-0"]
    report = await client.report(session="s")
    assert report.totals.cost_usd_nanos == 3 * 750_000
    assert [section.group_by for section in report.sections] == ["provider", "model", "service", "phase"]
    assert len(report.dearest_entries) == 3
    repriced = await client.reprice_ledger(validate_only=True, session="s")
    assert (repriced.examined_count, repriced.changed_count, repriced.delta_usd) == (3, 0, 0)
    prices = [price async for price in client.prices(provider="openai", page_size=3)]
    assert any(price.in_force and price.price.input is not None for price in prices)


async def test_synchronous_client_keeps_the_books(house: House) -> None:
    """The same, and what can't be is refused by the same errors."""

    def keep() -> None:
        with aigen.Client(house.socket, timeout=10.0) as client:
            client.record_usage("openai", "gpt-4o-mini", request_id="r", usage=USAGE, cost_usd_nanos=5, labels={"team": "a"})
            assert [entry.cost_usd_nanos for entry in client.export_ledger(labels={"team": "a"})] == [5]
            with pytest.raises(aigen.InvalidRequest, match=r"usage\.input_tokens"):
                client.record_usage("openai", "m", request_id="x", usage=aigen.TokenUsage(input_tokens=-1))
            with pytest.raises(aigen.NotFound):
                client.settle_entry("999", cost_usd_nanos=1)
            with pytest.raises(aigen.NotFound):
                client.release_entry("999", note="never made")
            with pytest.raises(aigen.InvalidRequest, match="date"):
                client.report()
            assert client.prices(model="gpt-4o-mini") is not None

    await asyncio.to_thread(keep)


async def test_prices_that_can_not_be_fetched_stay(tmp_path: Path, emulator: RunningEmulator) -> None:
    """An address that answers with something else leaves the prices in force, and the client's error says so."""
    async with serving(tmp_path / "h", emulator.base_url, prices={"url": emulator.base_url}) as house:
        with pytest.raises(aigen.ProviderUnavailable, match="can't be fetched"):
            await house.client.refresh_prices()
        recorded = await house.client.record_usage("openai", "gpt-4o-mini", request_id="r", usage=USAGE)
        assert recorded.entry.cost_usd_nanos == 750_000


async def test_fetched_prices_are_told(tmp_path: Path, emulator: RunningEmulator) -> None:
    """A refresh tells the version and what changed, and the next call recorded is priced with it."""
    address = Address()
    try:
        async with serving(tmp_path / "h", emulator.base_url, prices={"url": address.url}) as house:
            refreshed = await house.client.refresh_prices()
            changed = {(price.provider, price.model): price for price in refreshed.changed_prices}
            assert changed["openai", "gpt-4o-mini"].price.input == 7_000
            assert refreshed.version != refreshed.previous_version
            recorded = await house.client.record_usage("openai", "gpt-4o-mini", request_id="r", usage=USAGE)
            assert recorded.entry.cost_usd_nanos == 14_000_000
            assert refreshed.version in recorded.entry.price_entry_id
    finally:
        address.stop()
