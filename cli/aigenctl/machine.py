"""Results as programs read them: JSON and CSV whose keys are the contract's field names.

Every amount `…_usd_nanos` stands beside its `…_usd`, a decimal string with nine digits, and every rate of a price, in nano-dollars
a token, beside its `…_usd_per_million`; unknown is null in both, never 0.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

import aigen

from aigenctl.figures import exact_usd

_NANOS = "_usd_nanos"
PER_MILLION = "_usd_per_million"
_WHOLE = re.compile(r"-?\d{1,30}")


def plain(value: object) -> object:
    """Return a result as JSON types: moments in UTC, bytes in hexadecimal, amounts doubled as dollars."""
    if isinstance(value, aigen.Price):
        return _price(value)
    if is_dataclass(value) and not isinstance(value, type):
        return _object((field.name, getattr(value, field.name)) for field in fields(value))
    if isinstance(value, Mapping):
        return _object((str(key), item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return _scalar(value)


def _object(items: Iterable[tuple[str, object]]) -> dict[str, object]:
    result: dict[str, object] = {}
    for name, value in items:
        result[name] = plain(value)
        if name.endswith(_NANOS):
            result[name.removesuffix("_nanos")] = _dollars(value)
    return result


def _dollars(value: object) -> str | None:
    """Return nano-dollars as dollars: of a number, or of the text that an error's facts hold; None where they are not known."""
    if isinstance(value, Decimal):  # a price may have fractions of a nano-dollar
        whole = exact_usd(int(value))
        return whole if value == int(value) else f"{value.scaleb(-9):f}"
    if isinstance(value, str):
        return exact_usd(int(value)) if _WHOLE.fullmatch(value) else None
    return exact_usd(value) if isinstance(value, int) else None


def _price(price: aigen.Price) -> dict[str, object]:
    result: dict[str, object] = {}
    for field in fields(price):
        result[field.name] = plain(getattr(price, field.name))
        if field.name in price.usd_per_million:
            result[f"{field.name}{PER_MILLION}"] = plain(price.usd_per_million[field.name])
    return result


def _scalar(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return value.hex() if isinstance(value, bytes) else value


def as_json(value: object) -> str:
    """Return a result as indented JSON text, keys in the contract's order."""
    return json.dumps(plain(value), indent=2, ensure_ascii=False)


def as_json_line(value: object) -> str:
    """Return a result as one line of JSON."""
    return json.dumps(plain(value), ensure_ascii=False)


def as_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return rows as CSV with a header; lines end in a single newline, unknown is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows(rows)
    return text.getvalue()
