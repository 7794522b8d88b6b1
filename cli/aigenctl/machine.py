"""Results as programs read them: JSON and CSV whose keys are the contract's field names.

Every amount `…_usd_nanos` stands beside its `…_usd`, a decimal string with nine digits; unknown is null in both, never 0.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum

from aigenctl.figures import exact_usd

_NANOS = "_usd_nanos"


def plain(value: object) -> object:
    """Return a result as JSON types: moments in UTC, bytes in hexadecimal, amounts doubled as dollars."""
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
            result[name.removesuffix("_nanos")] = exact_usd(value) if isinstance(value, int) else None
    return result


def _scalar(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Decimal):
        return str(value)
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
