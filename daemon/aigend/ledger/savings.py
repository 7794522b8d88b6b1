"""What the same call would have cost without aigen, less what it did cost, by cause.

Against the price the caller would have paid, never against a list of wishes: where a price is not known, nothing is claimed.
"""

from dataclasses import replace

from aigend.ledger.pricing import PriceEntry, cost_nanos
from aigend.types import CacheOutcome, Cost, SavingsCause, TokenUsage

_CAUSE_OF_OUTCOME = {
    CacheOutcome.HIT: SavingsCause.CACHE,
    CacheOutcome.COALESCED: SavingsCause.SINGLE_FLIGHT,
}


def savings_of(usage: TokenUsage, price: PriceEntry | None) -> dict[SavingsCause, int]:
    """Return what a paid call saved, in nano-dollars by cause; a cause that played no part is absent.

    The provider's prompt cache: all input at the uncached rate, less what it cost with reads and writes. A write that nobody read
    yet makes it negative.

    Example:
        >>> from decimal import Decimal
        >>> price = PriceEntry(input=Decimal(3), cache_read=Decimal("0.3"), cache_write_5m=Decimal("3.75"), output=Decimal(15))
        >>> savings_of(TokenUsage(input=10, cache_read=1_000), price)
        {<SavingsCause.PROMPT_CACHE: 'prompt_cache'>: 2700000}
        >>> savings_of(TokenUsage(cache_write_5m=1_000), price)
        {<SavingsCause.PROMPT_CACHE: 'prompt_cache'>: -750000}
        >>> savings_of(TokenUsage(input=10), price)
        {}
    """
    if price is None or usage.total_input == usage.input:
        return {}
    plain = replace(usage, input=usage.total_input, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    without, paid = cost_nanos(plain, price), cost_nanos(usage, price)
    return {} if without is None or paid is None else {SavingsCause.PROMPT_CACHE: without - paid}


def saved_by_answer(outcome: CacheOutcome, cost: Cost | None) -> tuple[SavingsCause, int | None] | None:
    """Return why an answer that was not paid again cost nothing, and how much that saved: what the answer cost when it was bought.

    Returns:
        Cause and nano-dollars, None where the answer's cost is not known; None altogether for outcomes that are paid or repeated.
    """
    cause = _CAUSE_OF_OUTCOME.get(outcome)
    return (cause, cost.nanos if cost is not None else None) if cause is not None else None
