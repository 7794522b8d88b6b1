"""Published prices fetched anew: from loopback, only when asked, and never half."""

import asyncio
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aigend.config import PriceSettings
from aigend.errors import DomainError, Reason
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.published import PublishedPrices
from aigend.ledger.prices.refresh import PriceRefresher

from tests.fakes import FakeClock

NOW = 1_767_225_600.0


class Address:
    """An address on loopback that serves prices and counts how often it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.body = self.priced(7)
        address = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                address.asked += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(address.body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/data.json"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def priced(self, rate: int) -> bytes:
        """Return data in which one model costs that much."""
        model = {"id": "gpt-4o-mini", "match": {"equals": "gpt-4o-mini"}, "prices": {"input_mtok": rate, "output_mtok": rate}}
        return json.dumps([{"id": "openai", "name": "OpenAI", "api_pattern": "openai", "models": [model]}]).encode()

    def stop(self) -> None:
        """Serve no more."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def address() -> Iterator[Address]:
    """A served address."""
    served = Address()
    yield served
    served.stop()


def made(url: str, clock: FakeClock, **settings: object) -> tuple[PriceRefresher, PriceCatalog]:
    """Return a refresher and the catalog that it refreshes."""
    published = PublishedPrices()
    catalog = PriceCatalog(published=published)
    chosen = PriceSettings(url=url, **settings)
    return PriceRefresher(published, prices=lambda: catalog, settings=lambda: chosen, clock=clock), catalog


async def test_fetched_prices_are_in_force(address: Address) -> None:
    """A price found before and one found after differ, and so do the names of their entries."""
    refresher, catalog = made(address.url, FakeClock(NOW))
    await catalog.load()
    before = catalog.lookup("openai", "gpt-4o-mini", NOW)
    refreshed = await refresher.refresh()
    after = catalog.lookup("openai", "gpt-4o-mini", NOW)
    assert (after.input, after.id.partition(":")[0]) == (7, f"genai-prices@{refreshed.now}")
    assert before.id != after.id
    assert catalog.listed("openai", "gpt-4o-mini", NOW)[0] == after
    again = await refresher.refresh()
    assert again.before == again.now == refreshed.now != refreshed.before


@pytest.mark.parametrize("body", [b"not JSON", b"[]", b"{}"])
async def test_what_can_not_be_read_changes_nothing(address: Address, body: bytes) -> None:
    """The prices in force stay."""
    refresher, catalog = made(address.url, FakeClock(NOW))
    await catalog.load()
    before = catalog.lookup("openai", "gpt-4o-mini", NOW)
    address.body = body
    with pytest.raises(DomainError) as raised:
        await refresher.refresh()
    assert raised.value.reason is Reason.PROVIDER_UNAVAILABLE
    assert catalog.lookup("openai", "gpt-4o-mini", NOW) == before


async def test_nothing_is_fetched_unless_switched_on(address: Address) -> None:
    """The schedule is off by default."""
    clock = FakeClock(NOW)
    refresher, _ = made(address.url, clock)
    task = asyncio.create_task(refresher.keep_fresh())
    for _ in range(5):
        await asyncio.sleep(0)
        clock.advance(86_400)
    task.cancel()
    assert address.asked == 0


async def test_schedule_fetches_again_and_survives_a_failure(address: Address) -> None:
    """Switched on, prices are fetched at once and every so often, whether or not the last time went well."""
    clock = FakeClock(NOW)
    refresher, catalog = made(address.url, clock, refresh_every_s=3_600)
    address.body = b"not JSON"
    task = asyncio.create_task(refresher.keep_fresh())
    while not clock.sleeper_count:  # noqa: ASYNC110 - the fetch runs in a thread; once it has failed, the next one is waited for
        await asyncio.sleep(0.001)
    assert address.asked == 1
    address.body = address.priced(9)
    while (price := catalog.lookup("openai", "gpt-4o-mini", NOW)) is None or price.input != 9:
        clock.advance(3_600)
        await asyncio.sleep(0.001)
    task.cancel()
    assert address.asked >= 2
