"""Figures as people read them: dollars, bytes, shares, times. Plain strings, no terminal and no daemon in here."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import aigen

UNKNOWN = "unknown"
NO_CALLS = "No calls match."
NONE = "-"
NANOS_A_DOLLAR = 1_000_000_000


def exact_usd(nanos: int) -> str:
    """Return an amount in dollars with all nine digits, for programs.

    Example:
        >>> exact_usd(1_234_000_567)
        '1.234000567'
    """
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_A_DOLLAR)
    return f"{sign}{whole}.{rest:09d}"


def decimals(amount: Decimal) -> int:
    """Return how many digits behind the point an amount of money is shown with, whatever its currency.

    Two from one unit on, and for nothing; four below one unit; below 0.001 as many as show two significant digits.

    Example:
        >>> [decimals(Decimal(text)) for text in ("12.5", "0", "0.0175", "0.000012")]
        [2, 2, 4, 6]
    """
    if not amount or round(abs(amount), 4) >= 1:
        return 2
    return max(4, 1 - amount.adjusted())


def usd(nanos: int | None, *, beside: int | None = None) -> str:
    """Return an amount as people read it, with the digits that `decimals` says; unknown is never 0.

    Args:
        nanos: The amount in nano-dollars; None: unknown.
        beside: An amount that it is read with, such as the limit of what was spent: two that differ never read the same.

    Example:
        >>> usd(160_500_000), usd(1_834_000), usd(0), usd(None), usd(-1_025_000_000)
        ('$0.1605', '$0.0018', '$0.00', 'unknown', '-$1.03')
        >>> usd(1_017_500_000, beside=1_020_000_000)
        '$1.018'
    """
    if nanos is None:
        return UNKNOWN
    dollars = Decimal(nanos).scaleb(-9)
    digits = decimals(dollars)
    while beside not in (None, nanos) and _rounded(dollars, digits) == _rounded(Decimal(beside or 0).scaleb(-9), digits):
        digits += 1
    return f"{'-' if nanos < 0 else ''}${_rounded(abs(dollars), digits):,f}"


def _rounded(amount: Decimal, digits: int) -> Decimal:
    return amount.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP)


def size(size_bytes: int) -> str:
    """Return a size in decimal units with one digit behind the point.

    Example:
        >>> size(999), size(12_500_000), size(500_000_000)
        ('999 B', '12.5 MB', '500.0 MB')
    """
    if size_bytes < 1_000:
        return f"{size_bytes} B"
    value, unit = size_bytes / 1_000, "kB"
    for larger in ("MB", "GB", "TB"):
        if value < 999.95:
            break
        value, unit = value / 1_000, larger
    return f"{value:,.1f} {unit}"


def counts_any(totals: aigen.UsageTotals) -> bool:
    """Tell whether any call stands behind sums; without one a cost of 0 says nothing."""
    return bool(totals.call_count or totals.unknown_count or totals.released_count)


def share(part: int, whole: int) -> str:
    """Return a share in percent, or a dash where there is nothing to have a share of.

    Example:
        >>> share(47, 200), share(0, 0)
        ('23.5%', '-')
    """
    return f"{100 * part / whole:.1f}%" if whole else NONE


def percent(part: float | None) -> str:
    """Return a share from 0 to 1 in percent, or a dash where there is none.

    Example:
        >>> percent(0.235), percent(None)
        ('23.5%', '-')
    """
    return NONE if part is None else f"{100 * part:.1f}%"


def duration(microseconds: float | None) -> str:
    """Return a time in the unit that reads best.

    Example:
        >>> duration(40), duration(3_200), duration(12_340_000), duration(None)
        ('0.04 ms', '3.2 ms', '12.3 s', '-')
    """
    if microseconds is None:
        return NONE
    if microseconds >= 10_000_000:
        return f"{microseconds / 1_000_000:,.1f} s"
    return f"{microseconds / 1_000:.{1 if microseconds >= 1_000 else 2}f} ms"


def count(number: int) -> str:
    """Return a whole number with thousands set apart.

    Example:
        >>> count(12500)
        '12,500'
    """
    return f"{number:,}"


def counted(number: int, one: str, many: str = "") -> str:
    """Return how many of something there are.

    Example:
        >>> counted(1, "call"), counted(2_000, "call"), counted(0, "entry", "entries")
        ('1 call', '2,000 calls', '0 entries')
    """
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def moment(time: datetime | None) -> str:
    """Return a moment in UTC to the second, or a dash.

    Example:
        >>> moment(datetime(2026, 11, 21, 8, 30, 5, 900, tzinfo=UTC))
        '2026-11-21 08:30:05Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if time else NONE
