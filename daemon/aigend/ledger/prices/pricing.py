"""What tokens cost: rates, long-context tiers, fees, and the one place where they become nano-dollars.

Arithmetic only. Where rates come from is `price_catalog`; how many tokens there were is the adapter's word, which `usage_check`
checks.
"""

from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_HALF_EVEN, Context, Decimal

from aigend.types import Cost, CostBasis, Processing, TokenUsage

_NANOS_PER_USD = Decimal(1_000_000_000)
_NANOS_PER_RATE = Decimal(1_000)  # USD per 1,000,000 tokens, as nano-dollars a token
_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)  # no product of a rate and a count is longer
_UNIT = Decimal(1)
_PROCESSED = {"batch": Processing.BATCH, "flex": Processing.FLEX}  # how names of price entries of cheaper processing end
BUCKETS = ("cache_read", "input", "cache_write_5m", "cache_write_1h", "output")  # from the cheapest to the dearest


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """USD per 1,000,000 tokens, by bucket; None where the source names no rate."""

    input: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write_5m: Decimal | None = None
    cache_write_1h: Decimal | None = None
    output: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier(Rates):
    """Rates of the whole request once its input is longer than `above` tokens."""

    above: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceEntry(Rates):
    """Dated rates of one model, with where they were read."""

    id: str = ""
    provider: str = ""
    model: str = ""
    tiers: tuple[Tier, ...] = ()  # by rising `above`
    request_fee: Decimal | None = None  # USD a request
    search_fee: Decimal | None = None  # USD a search
    batch: "PriceEntry | None" = None  # the same model through the provider's batch API
    flex: "PriceEntry | None" = None  # the same model at the provider's cheaper tier of calls that wait for room
    valid_from: float | None = None  # wall clock, seconds since 1970
    source: str = ""
    checked_on: date | None = None

    def cost_of_output(self, tokens: int) -> int | None:
        """Return what that many output tokens cost by themselves, in nano-dollars; None where output has no rate."""
        return cost_nanos(TokenUsage(output=tokens), replace(self, request_fee=None))


def price_of(price: PriceEntry | None, processing: Processing) -> PriceEntry | None:
    """Return the price of a call that was run in that way: the ordinary one where no other is known.

    Example:
        >>> price_of(PriceEntry(id="p", batch=PriceEntry(id="p#batch")), Processing.BATCH).id
        'p#batch'
        >>> price_of(PriceEntry(id="p"), Processing.FLEX).id
        'p'
    """
    if price is None or processing is Processing.STANDARD:
        return price
    return (price.batch if processing is Processing.BATCH else price.flex) or price


def entry_id_of(price: PriceEntry | None, processing: Processing) -> str:
    """Return the name under which the price of a call is booked; it tells how the call was run even where no such price is known.

    Example:
        >>> entry_id_of(PriceEntry(id="p"), Processing.STANDARD), entry_id_of(PriceEntry(id="p"), Processing.BATCH)
        ('p', 'p#batch')
        >>> entry_id_of(None, Processing.BATCH)
        '#batch'
    """
    applied = price_of(price, processing)
    entry_id = applied.id if applied is not None else ""
    return entry_id if processing_of(entry_id) is processing else f"{entry_id}#{processing}"


def processing_of(entry_id: str) -> Processing:
    """Return how a call was run, which the name of the price entry that was applied, or held, tells.

    Example:
        >>> processing_of("p#batch"), processing_of("p")
        (<Processing.BATCH: 'batch'>, <Processing.STANDARD: 'standard'>)
    """
    return _PROCESSED.get(entry_id.rpartition("#")[2], Processing.STANDARD)


def rates_for(price: PriceEntry, total_input: int) -> Rates:
    """Return the rates in force for a request of that many input tokens, cached ones included.

    Source:
        A long-context tier re-prices the whole request: provider price pages, read 2026-11.

    Example:
        >>> long = Tier(above=200_000, input=Decimal(6))
        >>> rates_for(PriceEntry(input=Decimal(3), tiers=(long,)), 200_001).input
        Decimal('6')
    """
    chosen: Rates = price
    for tier in price.tiers:
        if total_input > tier.above:
            chosen = tier
    return chosen


def rate_of(rates: Rates, bucket: str) -> Decimal | None:
    """Return the rate of a bucket, or a dearer known one where its own is missing; None where nothing dearer is known.

    The stand-in is the next dearer bucket's rate, and never below the rate of a bucket that ought to be cheaper.

    Example:
        >>> rate_of(Rates(input=Decimal(5), cache_write_1h=Decimal(10)), "cache_write_5m")
        Decimal('10')
        >>> rate_of(Rates(input=Decimal(5)), "output") is None
        True
    """
    own: Decimal | None = getattr(rates, bucket)
    if own is not None:
        return own
    place = BUCKETS.index(bucket)
    dearer: Decimal | None = next((rate for name in BUCKETS[place + 1 :] if (rate := getattr(rates, name)) is not None), None)
    if dearer is None:
        return None
    cheaper: list[Decimal] = [rate for name in BUCKETS[:place] if (rate := getattr(rates, name)) is not None]
    return max([dearer, *cheaper])


def cost_nanos(usage: TokenUsage, price: PriceEntry) -> int | None:
    """Return what one completion cost, in nano-dollars.

    Args:
        usage: Disjoint token buckets of one completion; every count >= 0.
        price: Rates in force when the completion was made, USD per 1,000,000 tokens.

    Returns:
        Cost rounded half-even, once, to one nano-dollar; None where a used bucket has no rate and no dearer one either, never 0.

    Example:
        >>> cost_nanos(TokenUsage(input=1_000, output=200), PriceEntry(input=Decimal("3"), output=Decimal("15")))
        6000000
        >>> cost_nanos(TokenUsage(output=1), PriceEntry(input=Decimal("3"))) is None
        True
    """
    rates = rates_for(price, usage.total_input)
    total = _fees(usage, price)
    if total is None:
        return None
    for bucket in BUCKETS:
        if tokens := getattr(usage, bucket):
            if (rate := rate_of(rates, bucket)) is None:
                return None
            total = _EXACT.add(total, _EXACT.multiply(_EXACT.multiply(rate, _NANOS_PER_RATE), Decimal(tokens)))
    return _whole(total)


def _fees(usage: TokenUsage, price: PriceEntry) -> Decimal | None:
    """Nano-dollars beside the tokens; None where searches were made and nothing says what they cost."""
    total = _EXACT.multiply(price.request_fee or Decimal(0), _NANOS_PER_USD)
    if not usage.searches:
        return total
    if price.search_fee is None:
        return total if price.request_fee is not None else None  # a fee a request without one a search includes its searches
    return _EXACT.add(total, _EXACT.multiply(_EXACT.multiply(price.search_fee, _NANOS_PER_USD), Decimal(usage.searches)))


def _whole(nanos: Decimal) -> int:
    return int(nanos.quantize(_UNIT, context=_EXACT))


def is_explicit(usage: TokenUsage, price: PriceEntry) -> bool:
    """Tell whether every used bucket has a rate of its own, so that nothing was estimated upwards.

    Example:
        >>> is_explicit(TokenUsage(cache_read=5), PriceEntry(input=Decimal(3)))
        False
    """
    rates = rates_for(price, usage.total_input)
    return all(getattr(rates, bucket) is not None for bucket in BUCKETS if getattr(usage, bucket))


def cost_of(
    usage: TokenUsage,
    price: PriceEntry | None,
    reported_nanos: int | None = None,
    *,
    processing: Processing = Processing.STANDARD,
    estimated: bool = False,
) -> Cost:
    """Return the cost of one completion with how sure it is.

    Args:
        usage: Disjoint token buckets of one completion.
        price: Rates in force; None where no price is known.
        reported_nanos: The provider's own figure, which wins; None where it gave none.
        processing: How the completion was run.
        estimated: Whether the usage itself was estimated.

    Example:
        >>> cost_of(TokenUsage(input=9), None)
        Cost(nanos=None, basis=<CostBasis.UNPRICED: 'unpriced'>, price_entry_id='')
    """
    entry_id, applied = entry_id_of(price, processing), price_of(price, processing)
    if reported_nanos is not None and reported_nanos >= 0:
        return Cost(nanos=reported_nanos, basis=CostBasis.PROVIDER_REPORTED, price_entry_id=entry_id)
    nanos = cost_nanos(usage, applied) if applied is not None else None
    if applied is None or nanos is None:
        return Cost(nanos=None, basis=CostBasis.UNPRICED, price_entry_id=entry_id)
    sure = not estimated and is_explicit(usage, applied)
    return Cost(nanos=nanos, basis=CostBasis.PRICED if sure else CostBasis.ESTIMATED, price_entry_id=entry_id)


def dearest(price: PriceEntry, bucket: str, total_input: int) -> Decimal | None:
    """Return the highest rate a bucket may be billed at for a request of at most that many input tokens, USD per 1,000,000.

    Example:
        >>> dearest(PriceEntry(output=Decimal(15), tiers=(Tier(above=200_000, output=Decimal(22)),)), "output", 300_000)
        Decimal('22')
    """
    reachable = [price, *(tier for tier in price.tiers if total_input > tier.above)]
    known = [rate for rates in reachable if (rate := rate_of(rates, bucket)) is not None]
    return max(known, default=None)
