"""What tokens cost."""

from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from aigend.ledger.prices.pricing import BUCKETS, PriceEntry, Tier, cost_nanos, cost_of, dearest, is_explicit, rate_of, rates_for
from aigend.types import CostBasis, TokenUsage
from hypothesis import given
from hypothesis import strategies as st

SONNET = PriceEntry(
    id="sonnet-4.5",
    input=Decimal(3),
    cache_read=Decimal("0.3"),
    cache_write_5m=Decimal("3.75"),
    cache_write_1h=Decimal(6),
    output=Decimal(15),
    tiers=(Tier(above=200_000, input=Decimal(6), output=Decimal("22.5")),),
)

rates = st.decimals(min_value=0, max_value=1_000, places=6)
counts = st.integers(min_value=0, max_value=10_000_000)
usages = st.builds(
    TokenUsage, input=counts, cache_read=counts, cache_write_5m=counts, cache_write_1h=counts, output=counts, reasoning=st.just(0)
)
full_prices = st.builds(PriceEntry, input=rates, cache_read=rates, cache_write_5m=rates, cache_write_1h=rates, output=rates)
gappy_prices = st.builds(PriceEntry, **{bucket: st.none() | rates for bucket in BUCKETS})


def test_long_context_reprices_the_whole_request():
    """At the threshold the base rate holds; one token more puts the long rate on every token."""
    assert cost_nanos(TokenUsage(input=200_000), SONNET) == 600_000_000
    assert cost_nanos(TokenUsage(input=200_001), SONNET) == 1_200_006_000


def test_without_the_tier_the_long_request_is_cheaper():
    """Control: without its tier the same request costs the base rate, so the tier is what re-prices."""
    assert cost_nanos(TokenUsage(input=200_001), replace(SONNET, tiers=())) == 600_003_000


def test_cached_input_counts_towards_the_long_context():
    """The length of a request is all its input, cached or not."""
    usage = TokenUsage(input=1, cache_read=200_000)
    assert rates_for(SONNET, usage.total_input) is SONNET.tiers[0]


def test_gpt_4o_mini_costs_150_nanos_a_token():
    """0.15 USD per 1,000,000 tokens is exactly 150 nano-dollars a token."""
    assert cost_nanos(TokenUsage(input=1, output=1), PriceEntry(input=Decimal("0.15"), output=Decimal("0.60"))) == 750


def test_cost_is_rounded_once_and_half_to_even():
    """Fractions of a nano-dollar add up before they are rounded."""
    price = PriceEntry(input=Decimal("0.0005"), output=Decimal("0.0005"))  # half a nano-dollar a token
    assert [cost_nanos(TokenUsage(input=tokens), price) for tokens in (1, 2, 3)] == [0, 1, 2]
    assert cost_nanos(TokenUsage(input=1, output=1), price) == 1


def test_fees_are_added_to_tokens():
    """A request fee counts once, a search fee once a search."""
    price = PriceEntry(input=Decimal(1), output=Decimal(1), request_fee=Decimal("0.005"), search_fee=Decimal("0.01"))
    assert cost_nanos(TokenUsage(input=1_000, searches=3), price) == 1_000_000 + 5_000_000 + 30_000_000


def test_searches_without_a_known_fee_have_no_cost():
    """Searches that nobody prices make the cost unknown, unless a request fee includes them."""
    usage = TokenUsage(input=10, searches=1)
    assert cost_nanos(usage, PriceEntry(input=Decimal(1))) is None
    assert cost_nanos(usage, PriceEntry(input=Decimal(1), request_fee=Decimal("0.005"))) == 5_010_000


@pytest.mark.parametrize(
    ("known", "bucket", "expected"),
    [
        ({"input": 5, "cache_write_1h": 10, "output": 25}, "cache_write_5m", 10),
        ({"input": 5, "output": 25}, "cache_read", 5),
        ({"input": 3, "output": 15}, "cache_write_1h", 15),
        ({"input": 3, "output": 1}, "cache_write_5m", 3),
        ({"input": 3}, "output", None),
        ({}, "input", None),
    ],
)
def test_missing_rate_falls_back_upwards(known, bucket, expected):
    """A missing rate is stood in for by a dearer known one, never by 0; without one it stays unknown."""
    assert rate_of(PriceEntry(**{name: Decimal(rate) for name, rate in known.items()}), bucket) == expected


def test_unknown_model_is_unpriced():
    """Without a price the cost is unknown and says so."""
    assert cost_of(TokenUsage(input=10), None).nanos is None
    assert cost_of(TokenUsage(input=10), None).basis is CostBasis.UNPRICED


def test_unusable_price_is_unpriced_but_named():
    """A price without a rate for a used bucket gives no cost, and the entry is still named."""
    cost = cost_of(TokenUsage(output=10), PriceEntry(id="half", input=Decimal(1)))
    assert (cost.nanos, cost.basis, cost.price_entry_id) == (None, CostBasis.UNPRICED, "half")


def test_providers_own_figure_wins():
    """What the provider says it billed beats any price table; a negative figure is not one."""
    assert cost_of(TokenUsage(input=9), SONNET, 5_020_000).nanos == 5_020_000
    assert cost_of(TokenUsage(input=9), SONNET, 5_020_000).basis is CostBasis.PROVIDER_REPORTED
    assert cost_of(TokenUsage(input=9), None, 0).basis is CostBasis.PROVIDER_REPORTED
    assert cost_of(TokenUsage(input=9), SONNET, -1).basis is CostBasis.PRICED


def test_fallback_and_guessed_usage_are_estimates():
    """A cost is PRICED only where usage and every used rate are known."""
    gap = replace(SONNET, cache_write_5m=None)
    assert cost_of(TokenUsage(input=9), SONNET).basis is CostBasis.PRICED
    assert cost_of(TokenUsage(cache_write_5m=9), gap).basis is CostBasis.ESTIMATED
    assert cost_of(TokenUsage(input=9), SONNET, estimated=True).basis is CostBasis.ESTIMATED
    assert is_explicit(TokenUsage(input=9), gap)


def test_output_of_a_cut_stream_is_priced_without_fees():
    """What is seen of a cut answer costs its output rate alone."""
    assert replace(SONNET, request_fee=Decimal(1)).cost_of_output(100) == 1_500_000
    assert PriceEntry(input=Decimal(1)).cost_of_output(100) is None


def test_dearest_sees_only_tiers_within_reach():
    """A tier that the request can't reach does not raise the bound."""
    assert dearest(SONNET, "output", 200_000) == 15
    assert dearest(SONNET, "output", 200_001) == Decimal("22.5")
    assert dearest(PriceEntry(), "output", 1) is None


@given(usage=usages, price=full_prices)
def test_cost_equals_exact_arithmetic(usage, price):
    """The cost is the exact sum of rate times tokens, rounded half-even to a nano-dollar."""
    exact = sum(Fraction(getattr(price, bucket)) * 1_000 * getattr(usage, bucket) for bucket in BUCKETS)
    assert cost_nanos(usage, price) == round(exact)


@given(usage=usages, price=gappy_prices)
def test_cost_is_never_negative(usage, price):
    """No usage at any price costs less than nothing."""
    cost = cost_nanos(usage, price)
    assert cost is None or cost >= 0


@given(usage=usages, price=gappy_prices, bucket=st.sampled_from(BUCKETS), more=st.integers(1, 1_000_000))
def test_cost_never_falls_with_more_tokens(usage, price, bucket, more):
    """More tokens in any bucket never cost less, at rates without tiers."""
    before = cost_nanos(usage, price)
    after = cost_nanos(replace(usage, **{bucket: getattr(usage, bucket) + more}), price)
    assert before is None or after is None or after >= before


@given(first=usages, second=usages, price=full_prices)
def test_costs_add_up_within_rounding(first, second, price):
    """Two calls cost what their sum costs, but for one nano-dollar of rounding."""
    both = TokenUsage(**{bucket: getattr(first, bucket) + getattr(second, bucket) for bucket in BUCKETS})
    assert abs(cost_nanos(first, price) + cost_nanos(second, price) - cost_nanos(both, price)) <= 1


@given(usage=usages, price=full_prices)
def test_buckets_are_priced_apart(usage, price):
    """Each bucket's tokens are charged at its own rate and at no other."""
    apart = sum(cost_nanos(TokenUsage(**{bucket: getattr(usage, bucket)}), price) for bucket in BUCKETS)
    assert abs(apart - cost_nanos(usage, price)) <= len(BUCKETS)


@given(price=gappy_prices, bucket=st.sampled_from(BUCKETS))
def test_stand_in_is_never_below_a_cheaper_bucket(price, bucket):
    """A stand-in rate is at least every known rate that ought to be below it."""
    rate = rate_of(price, bucket)
    if rate is not None and getattr(price, bucket) is None:
        assert all(rate >= getattr(price, name) for name in BUCKETS[: BUCKETS.index(bucket)] if getattr(price, name) is not None)
