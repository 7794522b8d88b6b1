"""Lane FLEX: reserved at the ordinary price, settled at the tier that really served, and never silently at another."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2 as pb
from aigend.errors import DomainError, Reason, capability_missing
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.file import parse_prices
from aigend.providers.port import FaultKind, ProviderFault
from aigend.types import CacheMode, CompletionRequest, Lane, Processing, TokenUsage

from tests.fakes import fake_reply
from tests.spine import NoPublishedPrices, Spine, eventually, read, spine

PRICES = """
version: 1
currency: USD
providers:
  one: {model-1: {input: 4, output: 10, cache_read: 1, flex: {input: 2, output: 5, cache_read: 0.5}}}
  two: {model-2: {input: 2, output: 20}}
"""
USAGE = TokenUsage(input=10, output=4)
RESERVED = "SELECT max(reserved_nanos) FROM attempt WHERE state = 'sent'"
FLEX = {"lane": Lane.FLEX}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A running spine whose first provider has a flex price."""
    async with spine(tmp_path) as running:
        prices = PriceCatalog(user=parse_prices(PRICES, name="test"), published=NoPublishedPrices())
        object.__setattr__(running.snapshot, "prices", prices)
        yield running


def without_flex(request: CompletionRequest) -> Exception | None:
    """Refuse what an adapter without a cheaper tier refuses."""
    return capability_missing("lane", "FLEX", "no cheaper tier") if request.lane is Lane.FLEX else None


async def asked(house: Spine, processing: Processing, **fields) -> pb.CompleteResponse:
    """Return the response to a FLEX call that was served at that tier."""
    house.one.will(fake_reply(usage=USAGE, processing=processing, **fields))
    return read(await house.ask(**FLEX))


async def test_flex_costs_the_flex_price(house: Spine) -> None:
    """What the tier served costs its price, and the rest of the ordinary price is saved under the batch price's name."""
    response = await asked(house, Processing.FLEX)
    assert response.cost_usd_nanos == 10 * 2_000 + 4 * 5_000
    assert response.price_entry_id.endswith("#flex")
    assert (response.saved_usd_nanos, response.saved_cause) == (40_000, pb.SAVINGS_CAUSE_BATCH)
    assert house.one.calls[0].request.lane is Lane.FLEX


async def test_what_the_ordinary_tier_served_costs_its_price(house: Spine) -> None:
    """A provider may serve at another tier than it was asked for: what counts is what it did."""
    response = await asked(house, Processing.STANDARD)
    assert response.cost_usd_nanos == 10 * 4_000 + 4 * 10_000
    assert not response.price_entry_id.endswith("#flex")
    assert not response.HasField("saved_usd_nanos")


async def test_the_two_causes_add_up(house: Spine) -> None:
    """The prompt cache's part is reckoned at the ordinary price, the tier's part on what is left."""
    usage = TokenUsage(input=10, cache_read=10, output=4)
    house.one.will(fake_reply(usage=usage, processing=Processing.FLEX))
    response = read(await house.ask(**FLEX))
    assert response.cost_usd_nanos == 10 * 2_000 + 10 * 500 + 4 * 5_000
    assert response.saved_usd_nanos == (20 * 4_000 + 4 * 10_000) - response.cost_usd_nanos


async def test_the_ordinary_price_is_reserved(house: Spine) -> None:
    """A budget holds what the call may cost at most, whichever tier serves: the same as for an ordinary call."""
    held = []
    for fields in ({}, FLEX):
        house.one.hold()
        call = house.start("how much", max_output_tokens=100, mode=CacheMode.BYPASS, **fields)
        await eventually(lambda: house.one.in_flight)
        held += await house.ledger.read(lambda connection: connection.execute(RESERVED).fetchone())
        house.one.release()
        await call
    assert held[0] == held[1] > 0


async def test_a_route_without_a_flex_tier_is_passed_by(house: Spine) -> None:
    """It never goes at the ordinary price unasked: the next route that has the tier answers."""
    house.one._refusal = without_flex
    response = read(await house.ask(fallback_models=("two/model-2",), **FLEX))
    assert response.provider == "two"
    assert house.one.calls == []


async def test_without_any_flex_tier_the_caller_learns_it(house: Spine) -> None:
    """CAPABILITY_MISSING names the lane; nothing is sent or reserved."""
    house.one._refusal = without_flex
    before = house.ledger.sequence
    with pytest.raises(DomainError) as refused:
        await house.ask(**FLEX)
    assert (refused.value.reason, refused.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, "lane")
    assert house.ledger.sequence == before


async def rate_limited(house: Spine, **fields) -> None:
    """Let a call be told that there is no room, for years, until it gives up."""
    house.one.will(*[ProviderFault(FaultKind.RATE_LIMITED, "no room", code="resource_unavailable", retry_after_s=1e9)] * 9)
    call = house.start(**fields)

    def tick() -> bool:
        house.clock.advance(10.0)
        return call.done()

    await eventually(tick)
    with pytest.raises(DomainError) as refused:
        await call
    assert refused.value.reason is Reason.RATE_LIMITED
    house.one._outcomes.clear()


def holds_back(house: Spine) -> bool:
    """Return whether calls are kept from the provider's key, or from some of its slots."""
    rests = any(circuit.rests_until > house.clock.monotonic() for circuit in house.health._circuits.values())
    return rests or house.dispatcher.line("one").concurrency.value < house.snapshot.settings.limits.per_provider


@pytest.mark.parametrize("fields", [FLEX, {}], ids=["flex", "control"])
async def test_a_full_flex_tier_leaves_other_calls_alone(house: Spine, fields: dict) -> None:
    """That the cheaper tier has no room holds back nobody; the control: what an ordinary call is told holds for all."""
    await rate_limited(house, **fields)
    assert holds_back(house) is (fields == {})
    assert read(await house.ask("another question")).text


async def test_an_answer_is_an_answer(house: Spine) -> None:
    """What one lane bought is a hit for the other, at no cost."""
    await asked(house, Processing.FLEX)
    hit = read(await house.ask())
    assert hit.cache_outcome == pb.CACHE_OUTCOME_HIT
    assert len(house.one.calls) == 1
