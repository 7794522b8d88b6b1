"""Published prices in a real daemon: fetched on schedule and on request, never otherwise, and past costs corrected with them."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.daemon.ledger.test_price_refresh import Address
from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import Aigend, eventually

pytestmark = pytest.mark.not_on_floor
MODEL = "gpt-4o-mini"
NANOS_A_TOKEN = 1_000  # of one dollar for a million


@pytest.fixture
def address() -> Iterator[Address]:
    """Serve prices that a test changes."""
    address = Address()
    try:
        yield address
    finally:
        address.stop()


def told(daemon: Aigend, *words: str) -> dict[str, object]:
    """Return what a command prints with --json."""
    command = [sys.executable, "-m", "aigenctl", "--socket", str(daemon.socket), *words, "--json"]
    return dict(json.loads(subprocess.run(command, capture_output=True, text=True, check=True, timeout=15).stdout))


def cost_of_a_token(daemon: Aigend, text: str) -> float:
    """Return what a token of a new call costs, in nano-dollars; all of them cost the same here."""
    answer = daemon.client().complete(text, model=MODEL)
    assert answer.cost_usd_nanos is not None
    return answer.cost_usd_nanos / (answer.usage.input_tokens + answer.usage.output_tokens)


def test_the_schedule_fetches_prices_and_a_correction_follows_a_request(make_daemon: MakeDaemon, address: Address):
    """A daemon whose schedule is on prices calls by what it fetched; after a refresh by hand, past costs are put right."""
    daemon = make_daemon({"prices": {"url": address.url, "refresh_every_s": 3_600}}).start()
    eventually(lambda: "prices_refreshed" in daemon.log())
    assert (address.asked, cost_of_a_token(daemon, "one")) == (1, 7 * NANOS_A_TOKEN)

    address.body = address.priced(11)
    refreshed = told(daemon, "prices", "refresh")
    assert (address.asked, refreshed["previous_version"] != refreshed["version"]) == (2, True)
    assert cost_of_a_token(daemon, "two") == 11 * NANOS_A_TOKEN

    assert told(daemon, "ledger", "reprice", "--dry-run")["changed_count"] == 1
    assert (
        sum(entry.cost_usd_nanos or 0 for entry in daemon.client().ledger_entries())
        == daemon.client().stats().totals.cost_usd_nanos
    )
    corrected = told(daemon, "ledger", "reprice", "--yes")
    assert (corrected["changed_count"], told(daemon, "ledger", "reprice", "--dry-run")["changed_count"]) == (1, 0)
    entries = list(daemon.client().ledger_entries())
    costs = {
        (entry.cost_usd_nanos or 0) / (entry.usage.input_tokens + entry.usage.output_tokens) for entry in entries if entry.usage
    }
    assert costs == {11 * NANOS_A_TOKEN}
    assert [entry.flags for entry in entries] == [(), ("repriced",)]
    assert sum(entry.cost_usd_nanos or 0 for entry in entries) == daemon.client().stats().totals.cost_usd_nanos
    assert daemon.stop() == 0


def test_without_a_schedule_nothing_is_fetched(make_daemon: MakeDaemon, address: Address):
    """The control: nobody asks for prices that nobody wished for, and those that came with the daemon hold."""
    daemon = make_daemon({"prices": {"url": address.url}}).start()
    assert cost_of_a_token(daemon, "one") < NANOS_A_TOKEN
    assert daemon.stop() == 0
    assert address.asked == 0
