"""What was saved, and why."""

from decimal import Decimal

from aigend.ledger.pricing import PriceEntry, cost_nanos
from aigend.ledger.savings import saved_by_answer, savings_of
from aigend.types import CacheOutcome, Cost, CostBasis, SavingsCause, TokenUsage
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


def test_free_answers_save_what_they_cost_once():
    """A hit and a follower save the answer's cost; what is paid or repeated saves nothing."""
    cost = Cost(nanos=7, basis=CostBasis.PRICED)
    assert saved_by_answer(CacheOutcome.HIT, cost) == (SavingsCause.CACHE, 7)
    assert saved_by_answer(CacheOutcome.COALESCED, cost) == (SavingsCause.SINGLE_FLIGHT, 7)
    assert saved_by_answer(CacheOutcome.HIT, None) == (SavingsCause.CACHE, None)
    assert saved_by_answer(CacheOutcome.MISS, cost) is None
    assert saved_by_answer(CacheOutcome.REPLAY, cost) is None
