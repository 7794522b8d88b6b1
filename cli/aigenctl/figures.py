"""Figures as people read them: dollars, bytes, shares, times. Plain strings, no terminal and no daemon in here."""

from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal

import aigen

UNKNOWN = "unknown"
NONE = "-"
NANOS_A_DOLLAR = 1_000_000_000
_CENT = 10_000_000


def exact_usd(nanos: int) -> str:
    """Return an amount in dollars with all nine digits, for programs.

    Example:
        >>> exact_usd(1_234_000_567)
        '1.234000567'
    """
    sign = "-" if nanos < 0 else ""
    whole, rest = divmod(abs(nanos), NANOS_A_DOLLAR)
    return f"{sign}{whole}.{rest:09d}"


def usd(nanos: int | None) -> str:
    """Return an amount as people read it: cents from one cent on, two significant digits below; unknown is never 0.

    Example:
        >>> usd(160_500_000), usd(1_834_000), usd(0), usd(None), usd(-25_000_000)
        ('$0.16', '$0.0018', '$0.00', 'unknown', '-$0.03')
    """
    if nanos is None:
        return UNKNOWN
    sign, amount = ("-" if nanos < 0 else ""), abs(nanos)
    dollars = Decimal(amount).scaleb(-9)
    digits = 2 if amount == 0 or amount >= _CENT else 1 - dollars.adjusted()
    return f"{sign}${dollars.quantize(Decimal(1).scaleb(-digits), rounding=ROUND_HALF_UP):,f}"


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


def known_cost(totals: aigen.UsageTotals) -> int | None:
    """Return what calls cost; None where the price of all that were paid is unknown, which is never 0."""
    return None if totals.unpriced_count and not totals.cost_usd_nanos else totals.cost_usd_nanos


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
