"""Numbers with units as people write them: `24h`, `500MB`, `10.5` dollars.

Only the spelling is handled here; bounds stand beside each field.
"""

import re
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

_SECONDS = {"ms": Decimal("0.001"), "s": Decimal(1), "min": Decimal(60), "h": Decimal(3_600), "d": Decimal(86_400)}
_BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_AMOUNT = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,9})?)\s*([A-Za-z]+)\s*")
_MONEY = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")
TEN_YEARS_S = 315_576_000.0


def _no_switch(value: object) -> object:
    """YAML reads `yes` and `on` as true, which a number must not take as 1."""
    if isinstance(value, bool):
        raise PydanticCustomError("number", "{allowed}", {"allowed": "a number, not yes or no"})
    return value


def seconds(value: object) -> object:
    """Return a duration in seconds where it is written with a unit, anything else as it is.

    Example:
        >>> seconds("24h"), seconds("250ms"), seconds(5)
        (86400.0, 0.25, 5)
    """
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _no_switch(value)
    factor = _SECONDS.get(match[2])
    if factor is None:
        raise PydanticCustomError("duration", "{allowed}", {"allowed": "seconds, or a number with ms, s, min, h or d"})
    return float(Decimal(match[1]) * factor)


def whole_seconds(value: object) -> object:
    """Return a duration of whole seconds as their number, with or without a unit; anything else as it is.

    Example:
        >>> whole_seconds("1h"), whole_seconds("300"), whole_seconds(2.5)
        (3600, 300, 2.5)
    """
    read = seconds(int(value) if isinstance(value, str) and value.isdecimal() else value)
    return int(read) if isinstance(read, float) and read.is_integer() else read


def size_bytes(value: object) -> object:
    """Return a size in bytes where it is written with a unit, anything else as it is.

    Example:
        >>> size_bytes("500MB"), size_bytes("1.5 KiB"), size_bytes(7)
        (500000000, 1536, 7)
    """
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return _no_switch(value)
    factor = _BYTES.get(match[2].lower())
    if factor is None:
        raise PydanticCustomError("size", "{allowed}", {"allowed": "bytes, or a number with kB, MB, GB, KiB, MiB or GiB"})
    return int(Decimal(match[1]) * factor)


def money_text(value: object) -> object:
    """Return an amount of money as decimal text, so that `10` and `0.5` need no quotes in YAML.

    Example:
        >>> money_text(10), money_text(0.1), money_text("2.50")
        ('10', '0.1', '2.50')
    """
    text = format(Decimal(repr(value)), "f") if isinstance(value, int | float) and not isinstance(value, bool) else value
    if not isinstance(text, str) or _MONEY.fullmatch(text) is None:
        allowed = "0 to 999_999_999 US dollars, with at most 9 decimals"
        raise PydanticCustomError("money", "{allowed}", {"allowed": allowed})
    return text


def spelled(pattern: str, allowed: str) -> AfterValidator:
    """Return the rule that a text matches a pattern, which is told in words and never shown itself."""
    whole = re.compile(pattern)

    def check(text: str) -> str:
        if whole.fullmatch(text) is None:
            raise PydanticCustomError("spelling", "{allowed}", {"allowed": allowed})
        return text

    return AfterValidator(check)


Count = Annotated[int, BeforeValidator(_no_switch)]
Bytes = Annotated[int, Field(ge=0, le=2**50), BeforeValidator(size_bytes)]
Wait = Annotated[float, Field(ge=0, le=TEN_YEARS_S, allow_inf_nan=False), BeforeValidator(seconds)]
Seconds = Annotated[float, Field(gt=0, le=TEN_YEARS_S, allow_inf_nan=False), BeforeValidator(seconds)]
KeptFor = Annotated[Literal[300, 3_600], BeforeValidator(whole_seconds)]  # how long prompt caches keep what is marked
Ratio = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_no_switch)]
Money = Annotated[str, BeforeValidator(money_text)]
