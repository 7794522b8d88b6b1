"""Which price applies."""

import asyncio
import json
import socket
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest
from aigend.ledger.prices.catalog import PriceCatalog, bundled_prices, read_prices
from aigend.ledger.prices.file import PriceFileError, parse_prices
from aigend.ledger.prices.pricing import cost_nanos, cost_of
from aigend.ledger.prices.published import PublishedPrices
from aigend.types import CostBasis, TokenUsage

NOW = datetime(2026, 11, 21, tzinfo=UTC).timestamp()
PAIRS = Path(__file__).parents[4] / "shared" / "data" / "price_pairs.json"
BEFORE_THE_CUT = datetime(2026, 8, 1, tzinfo=UTC).timestamp()  # when gpt-5.6-sol was recorded; its price fell on 2026-08-21
NOT_PUBLISHED = {("openai", "gpt-3.5-turbo"): "1.50 USD, the price of 2023; today's published one is 0.50"}


@pytest.fixture(scope="module")
def published():
    """The published prices, loaded once for all tests here."""
    prices = PublishedPrices()
    prices.load()
    return prices


@pytest.fixture
def catalog(published):
    """A catalog without a file of the user's."""
    return PriceCatalog(published=published)


def _user(text: str):
    return parse_prices(f"{{version: 7, currency: USD, {text}}}", name="prices.yaml")


def test_users_file_wins_over_published_prices(published):
    """A model in the user's file has the user's price."""
    catalog = PriceCatalog(user=_user("providers: {openai: {gpt-4o: {input: 1, output: 2}}}"), published=published)
    assert catalog.lookup("openai", "gpt-4o", NOW).input == 1
    assert catalog.lookup("openai", "gpt-4o-mini", NOW).id.startswith("genai-prices@")


def test_users_price_holds_from_its_date_on(published):
    """Before its date the user's price leaves the published one in force; the youngest one in force wins."""
    rates = "[{input: 1, valid_from: 2026-01-01}, {input: 9, valid_from: 2026-06-01}]"
    catalog = PriceCatalog(user=_user(f"providers: {{openai: {{gpt-4o: {rates}}}}}"), published=published)
    times = [datetime(2026, month, 15, tzinfo=UTC).timestamp() for month in (3, 7)]
    assert [catalog.lookup("openai", "gpt-4o", at).input for at in times] == [1, 9]
    early = catalog.lookup("openai", "gpt-4o", datetime(2025, 3, 1, tzinfo=UTC).timestamp())
    assert early.input == Decimal("2.5")


def test_published_prices_win_over_the_first_users(catalog):
    """A model that is published has its published price, with cache rates that the old table lacks."""
    assert catalog.lookup("openai", "gpt-4o-mini", NOW).cache_read == Decimal("0.075")


@pytest.mark.parametrize(
    ("provider", "model", "input_rate", "output_rate"),
    [
        ("openai", "gpt-4o-mini", "0.15", "0.60"),
        ("openai", "gpt-4o", "2.50", "10"),
        ("openai", "gpt-4-turbo", "10", "30"),
        ("openai", "o1-preview", "15", "60"),
        ("anthropic", "claude-opus-4-5", "5", "25"),
    ],
)
def test_first_users_models_have_their_seed_prices(provider, model, input_rate, output_rate):
    """The bundled table holds the first users' models at their prices."""
    entry = bundled_prices().models[provider, model][0]
    assert (entry.input, entry.output, str(entry.checked_on)) == (Decimal(input_rate), Decimal(output_rate), "2026-02-16")


def test_opus_seed_has_cache_rates():
    """Claude Opus 4.5: a read costs 0.50, a write for an hour 10."""
    entry = bundled_prices().models["anthropic", "claude-opus-4-5"][0]
    assert (entry.cache_read, entry.cache_write_1h) == (Decimal("0.50"), Decimal(10))


def test_agents_rates_apply_to_their_models_alone(published):
    """A rate by agent prices exactly the model the agent maps to, and never its provider."""
    catalog = PriceCatalog(published=published, agent_models={"claude": ("house", "writer"), "chatgpt": ("openai", "gpt-4o")})
    assert catalog.lookup("house", "writer", NOW).input == 3
    assert catalog.lookup("house", "reader", NOW) is None
    assert catalog.lookup("openai", "gpt-4o", NOW).input == Decimal("2.5")


def test_agents_that_share_a_model_pay_the_dearest_rate(published):
    """Where several agents map to one unpriced model, the dearest of their rates applies."""
    shared = dict.fromkeys(("claude", "chatgpt", "gemini", "perplexity"), ("house", "one"))
    assert PriceCatalog(published=published, agent_models=shared).lookup("house", "one", NOW).output == 30


def test_unknown_model_has_no_price(catalog):
    """An unknown model or provider has no price, however often it is asked."""
    assert [catalog.lookup("openai", "no-such-model-x", NOW) for _ in range(2)] == [None, None]
    assert catalog.lookup("no-such-provider-x", "gpt-4o", NOW) is None


def test_model_that_is_free_or_not_sold_by_tokens_is_unpriced(catalog):
    """A published model without a token rate is unknown, never 0."""
    assert catalog.lookup("google", "gemma-3", NOW) is None
    assert catalog.lookup("openai", "tts-1", NOW) is None


def test_price_changes_at_its_date(catalog):
    """The price in force is that of the call's time."""
    assert catalog.lookup("openai", "gpt-5.6-sol", BEFORE_THE_CUT).input == 5
    assert catalog.lookup("openai", "gpt-5.6-sol", NOW).input == 4
    assert catalog.lookup("openai", "gpt-5.6-sol", BEFORE_THE_CUT).id != catalog.lookup("openai", "gpt-5.6-sol", NOW).id


def test_price_follows_the_hour_of_the_day(catalog):
    """A provider's night rate holds at night."""
    entries = {
        catalog.lookup("deepseek", "deepseek-chat", datetime(2025, 5, 1, hour, tzinfo=UTC).timestamp()).input for hour in range(24)
    }
    assert len(entries) == 2


def test_long_context_of_published_prices(catalog):
    """Published tiers re-price the whole request."""
    price = catalog.lookup("anthropic", "claude-sonnet-4-5", NOW)
    assert cost_nanos(TokenUsage(input=200_000), price) == 600_000_000
    assert cost_nanos(TokenUsage(input=200_001), price) == 1_200_006_000


def test_batch_and_fees_of_published_prices(catalog):
    """Batch rates and fees a request and a search come along."""
    assert catalog.lookup("openai", "gpt-4o-mini", NOW).batch.input == Decimal("0.075")
    assert catalog.lookup("anthropic", "claude-sonnet-5-5", NOW).search_fee == Decimal("0.01")
    assert catalog.lookup("perplexity", "sonar", NOW).request_fee == Decimal("0.012")


def test_cheaper_processing_has_published_prices(catalog):
    """The flex tier has rates of its own, and what it does not replace is the ordinary rate."""
    price = catalog.lookup("openai", "gpt-5", NOW)
    assert (price.flex.input, price.flex.output) == (Decimal("0.625"), Decimal(5))
    assert price.flex.id == f"{price.id}#flex"
    assert catalog.lookup("openai", "gpt-4o", NOW).flex is None


def test_cheaper_processing_has_its_own_days(catalog):
    """A batch or flex price that is announced for later does not hold before its day, nor before the first of them."""
    days = {day: datetime(*day, tzinfo=UTC).timestamp() for day in ((2026, 10, 1), (2026, 11, 21), (2027, 1, 2))}
    prices = {day: catalog.lookup("google", "gemini-3.8-flash-tts", at) for day, at in days.items()}
    assert [price.input for price in prices.values()] == [Decimal("0.5"), Decimal("0.5"), Decimal(1)]
    batches = [price.batch.input if price.batch else None for price in prices.values()]
    assert batches == [None, Decimal("0.25"), Decimal("0.5")]
    assert [price.flex.input if price.flex else None for price in prices.values()] == batches


def test_old_price_warns(catalog):
    """A price that was checked more than 30 days ago warns; a younger one and none do not."""
    old = bundled_prices().models["openai", "gpt-4o"][0]
    (warning,) = catalog.stale(old, NOW)
    assert "openai/gpt-4o" in warning
    assert "2026-02-16" in warning
    assert "278 days" in warning
    assert catalog.stale(old, datetime(2026, 3, 18, tzinfo=UTC).timestamp()) == ()
    assert catalog.stale(None, NOW) == ()


def test_memory_of_lookups_is_bounded(published, monkeypatch):
    """Invented names do not fill the memory, and known ones survive a clean-up."""
    monkeypatch.setattr("aigend.ledger.prices.catalog._MOST_REMEMBERED", 8)
    catalog = PriceCatalog(published=published)
    for index in range(50):
        catalog.lookup("openai", f"invented-{index}", NOW)
        assert len(catalog._remembered) <= 8
    assert catalog.lookup("openai", "gpt-4o", NOW).input == Decimal("2.5")


async def test_load_makes_lookups_pure_memory():
    """Loading happens in a thread, once, and leaves the loop free; afterwards nothing is read."""
    catalog = PriceCatalog()
    assert not catalog.loaded
    await asyncio.gather(catalog.load(), catalog.load())
    await catalog.load()
    assert catalog.loaded


def test_no_lookup_goes_to_the_network(monkeypatch):
    """Prices are found with no socket at all."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a socket was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert PriceCatalog().lookup("openai", "gpt-4o", NOW) is not None


def test_users_file_is_read_from_disk(tmp_path):
    """The user's file is found by its path; what can't be read is named."""
    path = tmp_path / "prices.yaml"
    path.write_text("{version: 1, currency: USD, providers: {p: {m: {input: 1}}}}", encoding="utf-8")
    assert ("p", "m") in read_prices(path).models
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(PriceFileError, match="not UTF-8"):
        read_prices(path)
    with pytest.raises(PriceFileError, match="No such file"):
        read_prices(tmp_path / "absent.yaml")


@pytest.mark.skipif(not PAIRS.exists(), reason="no recorded price pairs beside the project")
def test_recorded_price_pairs_come_out(catalog):
    """Every recorded pair of usage and cost comes out to the nano-dollar, but for those named above with their reason."""
    wrong = {}
    for pair in json.loads(PAIRS.read_text(encoding="utf-8")):
        key = (pair["provider"], pair["model"])
        at = BEFORE_THE_CUT if pair["model"] == "gpt-5.6-sol" else NOW
        reported = pair["usage"].get("cost", {}).get("total_cost")
        cost = cost_of(_usage(pair["usage"]), catalog.lookup(*key, at), None if reported is None else _nanos(str(reported)))
        if cost.nanos != _nanos(pair["usd"]):
            wrong[key] = cost.nanos
        assert cost.basis in (CostBasis.PRICED, CostBasis.PROVIDER_REPORTED)
    assert wrong.keys() == NOT_PUBLISHED.keys()


def test_price_that_is_not_published_comes_from_the_users_file(published):
    """The one recorded pair at a price of the past comes out where the user's file names that price."""
    catalog = PriceCatalog(user=_user("providers: {openai: {gpt-3.5-turbo: {input: 1.5, output: 2}}}"), published=published)
    assert cost_nanos(TokenUsage(input=10), catalog.lookup("openai", "gpt-3.5-turbo", NOW)) == 15_000


def _usage(spelt: dict[str, int]) -> TokenUsage:
    """Recorded usage, however its source spells it; input counts include what was cached and written there."""
    read = spelt.get("cache_read", spelt.get("cache_read_tokens", 0))
    written = spelt.get("cache_write", spelt.get("cache_write_tokens", 0))
    total = next(spelt[name] for name in ("input_tokens_total", "input_tokens", "prompt_tokens") if name in spelt)
    output = spelt.get("output_tokens", spelt.get("completion_tokens", 0))
    return TokenUsage(input=total - read - written, cache_read=read, cache_write_5m=written, output=output)


def _nanos(usd: str) -> int:
    return int(Decimal(usd) * 1_000_000_000)


def test_published_prices_are_as_old_as_their_youngest_change(published):
    """Published data counts as checked on its youngest change up to now, not on one announced for later."""
    entry = PriceCatalog(published=published).lookup("openai", "gpt-4o", NOW)
    checked = datetime.combine(entry.checked_on, datetime.min.time(), tzinfo=UTC).timestamp()
    assert NOW - 60 * 86_400 < checked <= NOW
    assert PriceCatalog(published=published).stale(entry, checked + 31 * 86_400) != ()
    assert PriceCatalog(published=published).lookup("openai", "gpt-4o", 0.0).checked_on is None
