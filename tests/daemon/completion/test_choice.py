"""Policies and strategies through the whole spine: which provider is asked, and what is refused before anything is reserved."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2
from aigend.errors import DomainError, Reason
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.file import parse_prices
from aigend.types import Image, Message, Part, Role, Strategy

from tests.spine import NoPublishedPrices, Spine, caller, question, read, spine

READABLE = """
version: 1
currency: USD
providers:
  one:
    model-1: {input: 1, output: 10, valid_from: 2020-01-01, source: test, checked_on: 2025-12-20}
  two:
    model-2: {input: 2, output: 20, cache_read: 0.2, valid_from: 2020-01-01, source: test, checked_on: 2025-12-20}
"""

MODELS = tuple(
    {"id": f"model-{number}", "provider": provider, "tier": "standard", "capabilities": ("chat",)}
    for number, provider in ((1, "one"), (2, "two"))
)
SERVICES = {
    "cheap": {"allowed_tiers": ["standard"], "default_model": "two/model-2", "strategy": "cost_optimized"},
    "narrow": {"allowed_models": ["one/model-1"]},
    "brief": {"ttl_s": 10},
}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A spine whose two models are of one tier, the second at twice the price."""
    async with spine(tmp_path, models=MODELS, services=SERVICES) as running:
        yield running


async def _refusal(house: Spine, **fields) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await house.ask(**fields)
    return refused.value


async def test_the_cheaper_model_answers(house: Spine) -> None:
    """COST_OPTIMIZED asks the cheaper one although the dearer was named, and the policy's strategy does so by itself."""
    assert read(await house.ask("q1", model="two/model-2", strategy=Strategy.COST_OPTIMIZED)).provider == "one"
    assert read(await house.ask("q2", model="", service="cheap")).provider == "one"
    assert read(await house.ask("q3", model="two/model-2", service="cheap", strategy=Strategy.PRIMARY)).provider == "two"


async def test_expected_reads_turn_the_choice(house: Spine) -> None:
    """A prompt that the dearer model is expected to read from its provider's cache is cheaper there."""
    prices = PriceCatalog(user=parse_prices(READABLE, name="test"), published=NoPublishedPrices())
    house.engine.swap(replace(house.snapshot, prices=prices))
    asked = {"model": "one/model-1", "strategy": Strategy.COST_OPTIMIZED, "max_output_tokens": 1}
    assert read(await house.ask("word " * 4_000, **asked)).provider == "one"
    house.engine._reads_of = lambda scope: lambda request, route: 1_000_000 if route.provider == "two" else 0
    assert read(await house.ask("word " * 4_001, **asked)).provider == "two"


async def test_the_quicker_model_answers(house: Spine) -> None:
    """PERFORMANCE asks the route that was quicker lately."""
    for quick in ("one", "two"):
        house.engine._latency_of = lambda route, quick=quick: 0.1 if route.provider == quick else 2.0
        assert read(await house.ask(f"for {quick}", strategy=Strategy.PERFORMANCE)).provider == quick


async def test_the_choice_does_not_change_what_is_found(house: Spine) -> None:
    """An answer that one of the candidates gave is found whichever route would be tried first now."""
    await house.ask(model="two/model-2")
    found = read(await house.ask(model="one/model-1", strategy=Strategy.COST_OPTIMIZED))
    assert (found.provider, len(house.one.calls)) == ("two", 0)


async def test_a_refused_model_reserves_nothing(house: Spine) -> None:
    """MODEL_NOT_ALLOWED comes before the ledger, and names the allowed model."""
    before = house.ledger.sequence
    error = await _refusal(house, model="two/model-2", service="narrow")
    assert (error.reason, error.metadata["allowed"]) == (Reason.MODEL_NOT_ALLOWED, "one/model-1")
    assert house.ledger.sequence == before


async def test_a_missing_capability_reserves_nothing(house: Spine) -> None:
    """A picture for a model without VISION is refused before anything is sent."""
    before = house.ledger.sequence
    picture = Message(Role.USER, (Part(Image(url="https://e/i.png")),))
    with pytest.raises(DomainError) as refused:
        await house.engine.complete(replace(question(), messages=(picture,)), caller())
    error = refused.value
    assert (error.reason, error.metadata["capability"]) == (Reason.CAPABILITY_MISSING, "VISION")
    assert house.ledger.sequence == before
    assert not house.one.calls


async def test_a_services_answers_stay_fresh_as_long_as_it_says(house: Spine) -> None:
    """Its TTL holds where the request names none; the request's own wins, and other services have the cache's."""
    for fields, fresh in (({"service": "brief"}, 10.0), ({"service": "brief", "ttl_s": 99.0}, 99.0), ({}, 86_400.0)):
        text = f"question {fields}"
        await house.ask(text, **fields)
        house.clock.advance(fresh - 1)
        assert read(await house.ask(text, **fields)).cache_outcome == completion_pb2.CACHE_OUTCOME_HIT
        house.clock.advance(2)
        assert read(await house.ask(text, **fields)).cache_outcome == completion_pb2.CACHE_OUTCOME_MISS
