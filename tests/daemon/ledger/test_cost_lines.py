"""A cost bucket by bucket adds up to the cost."""

from decimal import Decimal

from aigend.ledger.prices.cost_lines import cost_sum
from aigend.ledger.prices.pricing import PriceEntry, Tier, cost_nanos
from aigend.types import TokenUsage
from hypothesis import given
from hypothesis import strategies as st

RATES = st.none() | st.decimals(min_value=0, max_value=1_000, places=6)
COUNTS = st.integers(0, 10**7)


@st.composite
def _prices(draw):
    buckets = ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")
    tier = Tier(above=draw(st.integers(1, 10**6)), **{name: draw(RATES) for name in buckets})
    fees = {"request_fee": draw(RATES), "search_fee": draw(RATES)}
    return PriceEntry(**{name: draw(RATES) for name in buckets}, tiers=draw(st.sampled_from([(), (tier,)])), **fees)


@given(
    usage=st.builds(
        TokenUsage,
        input=COUNTS,
        cache_read=COUNTS,
        cache_write_5m=COUNTS,
        cache_write_1h=COUNTS,
        output=COUNTS,
        searches=st.integers(0, 9),
    ),
    price=_prices(),
)
def test_the_lines_are_the_cost_to_the_nano_dollar(usage, price):
    """Whatever the rates, tiers and fees: the sum of the lines is what the call is billed; unknown where that is."""
    assert cost_sum(usage, price).cost_nanos == cost_nanos(usage, price)


def test_a_tier_and_a_stand_in_are_told():
    """Which rates hold, and which of them is another bucket's."""
    price = PriceEntry(input=Decimal(3), output=Decimal(15), tiers=(Tier(above=100, input=Decimal(6), output=Decimal(22)),))
    found = cost_sum(TokenUsage(input=90, cache_read=20, output=1), price)
    assert found.above_tokens == 100
    assert [(line.name, line.rate, line.stand_in) for line in found.lines] == [
        ("cache_read", Decimal(6), True),
        ("input", Decimal(6), False),
        ("output", Decimal(22), False),
    ]


def test_searches_within_a_request_fee_have_no_line():
    """A fee a request includes its searches where no fee a search is known."""
    found = cost_sum(TokenUsage(searches=3), PriceEntry(request_fee=Decimal("0.005")))
    assert [(line.name, line.nanos) for line in found.lines] == [("request", Decimal(5_000_000))]
    assert cost_sum(TokenUsage(searches=3), PriceEntry()).exact_nanos is None
