"""A cost bucket by bucket, so that whoever doubts it can add it up. The cost itself is `pricing.cost_nanos`; the two agree."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal

from aigend.ledger.prices.pricing import BUCKETS, PriceEntry, rate_of, rates_for
from aigend.types import TokenUsage

_EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
_UNIT = Decimal(1)
_NANOS_PER_USD = Decimal(1_000_000_000)
_NANOS_PER_RATE = Decimal(1_000)  # USD per 1,000,000 tokens, as nano-dollars a token


@dataclass(frozen=True, slots=True, kw_only=True)
class CostLine:
    """One part of a cost."""

    name: str  # a bucket, "request" or "search"
    count: int
    rate: Decimal | None  # USD per 1,000,000 tokens, or a request or search; None: not known
    stand_in: bool = False  # a dearer bucket's rate, because its own is not known
    nanos: Decimal | None = None  # count times rate, in nano-dollars; None: no rate


@dataclass(frozen=True, slots=True, kw_only=True)
class CostSum:
    """How a cost comes about."""

    price: PriceEntry
    above_tokens: int  # input above which these rates hold; 0: the ordinary ones
    lines: tuple[CostLine, ...]

    @property
    def exact_nanos(self) -> Decimal | None:
        """The sum of the lines in nano-dollars; None where one of them has no rate."""
        total = Decimal(0)
        for line in self.lines:
            if line.nanos is None:
                return None
            total = _EXACT.add(total, line.nanos)
        return total

    @property
    def cost_nanos(self) -> int | None:
        """The sum rounded half-even, once."""
        exact = self.exact_nanos
        return None if exact is None else int(exact.quantize(_UNIT, context=_EXACT))


def cost_sum(usage: TokenUsage, price: PriceEntry) -> CostSum:
    """Return how a cost comes about.

    Args:
        usage: Disjoint token buckets of one completion.
        price: The price entry that it was priced with.

    Example:
        >>> price = PriceEntry(input=Decimal(3), output=Decimal(15))
        >>> [(line.name, line.count, str(line.nanos)) for line in cost_sum(TokenUsage(input=1_000, output=200), price).lines]
        [('input', 1000, '3000000'), ('output', 200, '3000000')]
    """
    tier = max((tier.above for tier in price.tiers if usage.total_input > tier.above), default=0)
    return CostSum(price=price, above_tokens=tier, lines=(*_tokens(usage, price), *_fees(usage, price)))


def _tokens(usage: TokenUsage, price: PriceEntry) -> Iterator[CostLine]:
    rates = rates_for(price, usage.total_input)
    for bucket in BUCKETS:
        if count := getattr(usage, bucket):
            rate = rate_of(rates, bucket)
            nanos = None if rate is None else _EXACT.multiply(_EXACT.multiply(rate, _NANOS_PER_RATE), Decimal(count))
            yield CostLine(name=bucket, count=count, rate=rate, stand_in=getattr(rates, bucket) is None, nanos=nanos)


def _fees(usage: TokenUsage, price: PriceEntry) -> Iterator[CostLine]:
    """A fee a request without one a search includes its searches."""
    if price.request_fee is not None:
        yield _fee("request", 1, price.request_fee)
    if usage.searches and (price.search_fee is not None or price.request_fee is None):
        yield _fee("search", usage.searches, price.search_fee)


def _fee(name: str, count: int, fee: Decimal | None) -> CostLine:
    nanos = None if fee is None else _EXACT.multiply(_EXACT.multiply(fee, _NANOS_PER_USD), Decimal(count))
    return CostLine(name=name, count=count, rate=fee, nanos=nanos)
