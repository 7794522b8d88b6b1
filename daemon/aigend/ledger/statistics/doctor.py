"""The prompt-cache doctor: what each prefix's writes cost and its reads saved, whether that pays, and what would.

What was counted comes from `doctor_store`; here are break-even and the sentences that say what to do.
"""

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from aigend.errors import invalid
from aigend.ledger.budgets.windows import usd
from aigend.ledger.prices.pricing import PriceEntry, rate_of
from aigend.ledger.statistics.doctor_store import SHORT_S, PrefixRow, PrefixTotals, examine
from aigend.ledger.statistics.query import StatsQuery
from aigend.types import Route

DEFAULT_PREFIXES = 20
MOST_PREFIXES = 1_000
_HUNDREDTH = Decimal("0.01")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """One prefix, and what is to be said of it."""

    row: PrefixRow
    reads_needed: Decimal | None  # of each write, whole reads of what it wrote, at the prices of its last call; None: no price
    advice: tuple[str, ...]

    @property
    def net_nanos(self) -> int:
        """What its reads saved, less what its writes cost above ordinary input."""
        return self.row.saved_nanos - self.row.premium_nanos

    @property
    def paid(self) -> bool:
        """Whether its reads have brought in what its writes cost."""
        return self.net_nanos >= 0 and self.row.write_count > 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What the doctor found."""

    prefixes: tuple[Diagnosis, ...]  # greatest loss first
    totals: PrefixTotals  # over all, listed or not


def prefix_limit(count: int) -> int:
    """Return how many prefixes are listed; 0 stands for the default.

    Raises:
        DomainError: INVALID_REQUEST for a count that can't be.
    """
    if not 0 <= count <= MOST_PREFIXES:
        raise invalid("prefix_count", count, f"0 to {MOST_PREFIXES}")
    return count or DEFAULT_PREFIXES


def diagnose(
    connection: sqlite3.Connection,
    query: StatsQuery,
    *,
    limit: int,
    price_of: Callable[[Route, float], PriceEntry | None],
    minimum_of: Callable[[Route], int],
) -> Examination:
    """Return what writes to prompt caches cost and their reads saved, by prefix.

    Args:
        connection: A reading connection; the caller's thread owns it.
        query: Scope, range and filter; what it groups by is not looked at.
        limit: Most prefixes.
        price_of: Returns the price of a route at a wall-clock time; must not block.
        minimum_of: Returns the tokens of the shortest prefix that a model keeps; 0 where that is not known.
    """
    rows, totals = examine(connection, scope=query.scope, start=query.start, end=query.end, usage_filter=query.filter, limit=limit)
    diagnoses = []
    for row in rows:
        route = Route(row.provider, row.model)
        needed = reads_needed(price_of(route, row.last_time), kept_long=row.kept_long)
        diagnoses.append(Diagnosis(row=row, reads_needed=needed, advice=tuple(_advice(row, needed, minimum_of(route)))))
    return Examination(prefixes=tuple(diagnoses), totals=totals)


def reads_needed(price: PriceEntry | None, *, kept_long: bool) -> Decimal | None:
    """Return how often what one write wrote must be read until that write has paid for itself.

    Example:
        >>> rates = {"input": Decimal(3), "cache_read": Decimal("0.3"), "cache_write_5m": Decimal("3.75")}
        >>> price = PriceEntry(**rates, cache_write_1h=Decimal(6), output=Decimal(15))
        >>> reads_needed(price, kept_long=False), reads_needed(price, kept_long=True)
        (Decimal('0.28'), Decimal('1.11'))
    """
    if price is None:
        return None
    plain, read = rate_of(price, "input"), rate_of(price, "cache_read")
    write = rate_of(price, "cache_write_1h" if kept_long else "cache_write_5m")
    if plain is None or read is None or write is None or read >= plain:
        return None
    return max(Decimal(0), ((write - plain) / (plain - read)).quantize(_HUNDREDTH))


def _advice(row: PrefixRow, needed: Decimal | None, minimum: int) -> Iterator[str]:
    """Yield what somebody should know who can change how prefixes are marked; nothing where all is well."""
    if not row.prefix:
        return
    if row.mark_count and not row.write_count and not row.read_count:
        least = f"the model's minimum of {minimum} tokens" if minimum else "the shortest that its model keeps"
        told = f"marked {_times(row.mark_count)} and neither written nor read: most likely shorter than {least}"
        yield f"{told}; make it longer or unmark it"
    elif row.write_count and not row.read_count:
        yield (
            f"written {_times(row.write_count)} and never read: its writes cost {usd(row.premium_nanos)} USD above ordinary input"
            " for nothing; unmark it, or let prompt_caching.decision mark what is sent again"
        )
    elif row.write_count and row.saved_nanos < row.premium_nanos:
        often = f"; a write needs {needed} reads of all that it wrote" if needed is not None else ""
        yield f"read too seldom: {row.read_count} reads saved less than {row.write_count} writes cost{often}"
    if row.sparable_count:
        yield (
            f"sent again {_times(row.sparable_count)} after it had expired and within an hour: its lifetime of {SHORT_S} s is too"
            " short; 3600 s would have kept it"
        )
    elif row.expired_count:
        yield f"sent again {_times(row.expired_count)} after it had expired: calls that share it come too far apart to be cached"
    if row.missed_count > row.expired_count:
        missed = row.missed_count - row.expired_count
        yield f"sent again {_times(missed)} while it should have been kept, and not read: calls that begin at once read nothing"


def _times(count: int) -> str:
    """Return how often, in words.

    Example:
        >>> _times(1), _times(3)
        ('once', '3 times')
    """
    return "once" if count == 1 else f"{count} times"
