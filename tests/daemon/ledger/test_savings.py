"""What was saved, and why."""

from dataclasses import replace
from decimal import Decimal

from aigend.ledger.prices.pricing import PriceEntry, cost_nanos, price_of
from aigend.ledger.savings import saved_by_answer, savings_of
from aigend.types import CacheOutcome, Cost, CostBasis, Processing, SavingsCause, TokenUsage
from hypothesis import given
from hypothesis import strategies as st

PRICE = PriceEntry(
    input=Decimal(3), cache_read=Decimal("0.3"), cache_write_5m=Decimal("3.75"), cache_write_1h=Decimal(6), output=Decimal(15)
)
COUNTS = st.integers(0, 1_000_000)


def test_prompt_cache_saves_what_reads_are_cheaper():
    """A read of 1,000 tokens at a tenth of the rate saves the other nine tenths."""
    assert savings_of(TokenUsage(input=5, cache_read=1_000, output=7), PRICE) == {SavingsCause.PROMPT_CACHE: 2_700_000}


def test_write_that_is_not_read_costs():
    """The premium of a write counts against the cause: an hour's write of 1,000 tokens loses 3,000,000."""
    assert savings_of(TokenUsage(cache_write_1h=1_000), PRICE) == {SavingsCause.PROMPT_CACHE: -3_000_000}


def test_nothing_is_claimed_without_cache_or_price():
    """No cached tokens, no price, or a price that can't say: no saving."""
    assert savings_of(TokenUsage(input=5, output=7), PRICE) == {}
    assert savings_of(TokenUsage(cache_read=5), None) == {}
    assert savings_of(TokenUsage(cache_read=5, output=1), PriceEntry(input=Decimal(1))) == {}


@given(usage=st.builds(TokenUsage, input=COUNTS, cache_read=COUNTS, cache_write_5m=COUNTS, cache_write_1h=COUNTS, output=COUNTS))
def test_cost_and_saving_make_the_price_without_cache(usage):
    """What was paid plus what was saved is what the caller would have paid with all input uncached."""
    saved = savings_of(usage, PRICE).get(SavingsCause.PROMPT_CACHE, 0)
    plain = TokenUsage(input=usage.total_input, output=usage.output)
    assert cost_nanos(usage, PRICE) + saved == cost_nanos(plain, PRICE)


@given(
    usage=st.builds(TokenUsage, input=COUNTS, cache_read=COUNTS, cache_write_5m=COUNTS, output=COUNTS),
    processing=st.sampled_from(Processing),
)
def test_cost_and_savings_make_the_ordinary_price_without_cache(usage, processing):
    """Whichever of the provider's prices applied: paid plus saved is the ordinary price of uncached input, cause by cause."""
    half = {name: getattr(PRICE, name) / 2 for name in ("input", "cache_read", "cache_write_5m", "cache_write_1h", "output")}
    price = replace(PRICE, batch=PriceEntry(**half), flex=PriceEntry(**half))
    plain = TokenUsage(input=usage.total_input, output=usage.output)
    savings = savings_of(usage, price, processing)
    assert cost_nanos(usage, price_of(price, processing)) + sum(savings.values()) == cost_nanos(plain, price)
    assert (SavingsCause.BATCH in savings) is (processing is not Processing.STANDARD)


def test_without_a_cheaper_price_nothing_is_claimed():
    """A batch job or flex call whose price is not known is priced, and saves, as an ordinary call."""
    usage = TokenUsage(input=5, output=7)
    assert savings_of(usage, PRICE, Processing.BATCH) == savings_of(usage, PRICE, Processing.FLEX) == {}
    assert price_of(PRICE, Processing.BATCH) is PRICE


def test_free_answers_save_what_they_cost_once():
    """A hit and a follower save the answer's cost; what is paid or repeated saves nothing."""
    cost = Cost(nanos=7, basis=CostBasis.PRICED)
    assert saved_by_answer(CacheOutcome.HIT, cost) == (SavingsCause.CACHE, 7)
    assert saved_by_answer(CacheOutcome.COALESCED, cost) == (SavingsCause.SINGLE_FLIGHT, 7)
    assert saved_by_answer(CacheOutcome.HIT, None) == (SavingsCause.CACHE, None)
    assert saved_by_answer(CacheOutcome.MISS, cost) is None
    assert saved_by_answer(CacheOutcome.REPLAY, cost) is None
