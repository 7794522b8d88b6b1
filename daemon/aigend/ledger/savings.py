"""What the same call would have cost without aigen, less what it did cost, by cause.

Against the price the caller would have paid, never against a list of wishes: where a price is not known, nothing is claimed.
"""

from dataclasses import replace

from aigend.ledger.prices.pricing import PriceEntry, cost_nanos, price_of
from aigend.types import CacheOutcome, Cost, Processing, SavingsCause, TokenUsage

_CAUSE_OF_OUTCOME = {
    CacheOutcome.HIT: SavingsCause.CACHE,
    CacheOutcome.COALESCED: SavingsCause.SINGLE_FLIGHT,
}


def savings_of(
    usage: TokenUsage, price: PriceEntry | None, processing: Processing = Processing.STANDARD
) -> dict[SavingsCause, int]:
    """Return what a paid call saved, in nano-dollars by cause; a cause that played no part is absent.

    The provider's prompt cache: all input at the uncached rate, less what it cost with reads and writes. A write that nobody read
    yet makes it negative. The batch price, of a batch job or of the flex tier: the same usage at the ordinary price, less what it
    cost; the prompt cache's part is then reckoned at the ordinary price, so that the two add up.

    Args:
        usage: Disjoint token buckets of one completion.
        price: The ordinary price, with its cheaper ones; None where no price is known.
        processing: At which of them the call was run.

    Example:
        >>> from decimal import Decimal
        >>> price = PriceEntry(input=Decimal(3), cache_read=Decimal("0.3"), cache_write_5m=Decimal("3.75"), output=Decimal(15))
        >>> savings_of(TokenUsage(input=10, cache_read=1_000), price)
        {<SavingsCause.PROMPT_CACHE: 'prompt_cache'>: 2700000}
        >>> savings_of(TokenUsage(cache_write_5m=1_000), price)
        {<SavingsCause.PROMPT_CACHE: 'prompt_cache'>: -750000}
        >>> savings_of(TokenUsage(input=10), price)
        {}
        >>> cheaper = replace(price, flex=replace(price, input=Decimal("1.5")))
        >>> savings_of(TokenUsage(input=10), cheaper, Processing.FLEX)
        {<SavingsCause.BATCH: 'batch'>: 15000}
    """
    if price is None:
        return {}
    savings: dict[SavingsCause, int] = {}
    ordinary = cost_nanos(usage, price)
    if usage.total_input != usage.input:
        plain = replace(usage, input=usage.total_input, cache_read=0, cache_write_5m=0, cache_write_1h=0)
        _save(savings, SavingsCause.PROMPT_CACHE, cost_nanos(plain, price), ordinary)
    applied = price_of(price, processing)
    if applied is not None and applied is not price:
        _save(savings, SavingsCause.BATCH, ordinary, cost_nanos(usage, applied))
    return savings


def routing_saving(usage: TokenUsage, price: PriceEntry | None, asked: PriceEntry | None) -> int | None:
    """Return what a cheaper model saved: the same tokens, none of them cached, at the price of the model that was asked for.

    Both at their ordinary prices, so that it adds up with what the prompt cache and the batch price saved.

    Returns:
        Nano-dollars, negative where the other model was dearer after all; None where one of the prices is not known.

    Example:
        >>> from decimal import Decimal
        >>> dear, cheap = (PriceEntry(input=Decimal(rate), output=Decimal(5 * rate)) for rate in (5, 1))
        >>> routing_saving(TokenUsage(input=100, output=10), cheap, dear)
        600000
    """
    if price is None or asked is None:
        return None
    plain = replace(usage, input=usage.total_input, cache_read=0, cache_write_5m=0, cache_write_1h=0)
    without, paid = cost_nanos(plain, asked), cost_nanos(plain, price)
    return None if without is None or paid is None else without - paid


def write_premium(usage: TokenUsage, price: PriceEntry | None) -> int | None:
    """Return what writing to a prompt cache cost above ordinary input, in nano-dollars; None where that has no price.

    Added to what the prompt cache saved it is what its reads saved.

    Example:
        >>> from decimal import Decimal
        >>> price = PriceEntry(input=Decimal(3), cache_read=Decimal("0.3"), cache_write_5m=Decimal("3.75"), output=Decimal(15))
        >>> write_premium(TokenUsage(cache_read=500, cache_write_5m=1_000), price)
        750000
    """
    written = usage.cache_write_5m + usage.cache_write_1h
    if price is None or not written:
        return None if price is None else 0
    plain = replace(usage, input=usage.input + written, cache_write_5m=0, cache_write_1h=0)
    without, paid = cost_nanos(plain, price), cost_nanos(usage, price)
    return None if without is None or paid is None else paid - without


def _save(savings: dict[SavingsCause, int], cause: SavingsCause, without: int | None, paid: int | None) -> None:
    if without is not None and paid is not None:
        savings[cause] = without - paid


def saved_by_answer(outcome: CacheOutcome, cost: Cost | None) -> tuple[SavingsCause, int | None] | None:
    """Return why an answer that was not paid again cost nothing, and how much that saved: what the answer cost when it was bought.

    Returns:
        Cause and nano-dollars, None where the answer's cost is not known; None altogether for outcomes that are paid or repeated.
    """
    cause = _CAUSE_OF_OUTCOME.get(outcome)
    return (cause, cost.nanos if cost is not None else None) if cause is not None else None
