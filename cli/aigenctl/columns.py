"""Any list of results as CSV: one column a field, by the contract's names, in the order in which the result declares them.

Amounts and rates stand twice, as in JSON; what is inside a result gets a column for each of its fields; lists and labels are
one cell.
"""

import csv
import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

import aigen

from aigenctl.machine import PER_MILLION, plain

_NANOS = "_usd_nanos"


def header(kind: type) -> list[str]:
    """Return the names of a result's columns.

    Example:
        >>> import aigen
        >>> header(aigen.ClearedCache)
        ['entry_count', 'size_bytes']
    """
    return [name for name, _ in _columns(kind, "")]


def cells(kind: type, item: object) -> list[object]:
    """Return one result's cells; unknown is empty."""
    return [_cell(plain(item), path) for _, path in _columns(kind, "")]


def print_csv(kind: type, items: Iterable[object]) -> None:
    """Print results as they come, with a header."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    names = list(_columns(kind, ""))
    writer.writerow(name for name, _ in names)
    for item in items:
        shown = plain(item)
        writer.writerow(_cell(shown, path) for _, path in names)


def _columns(kind: type, prefix: str, path: tuple[str, ...] = ()) -> Iterator[tuple[str, tuple[str, ...]]]:
    hints = get_type_hints(kind)
    for field in fields(kind):
        inner = _inside(hints[field.name])
        name, place = prefix + field.name, (*path, field.name)
        if inner is not None:
            yield from _columns(inner, f"{name}_", place)
            continue
        yield name, place
        if name.endswith(_NANOS):
            yield name.removesuffix("_nanos"), (*path, field.name.removesuffix("_nanos"))
        elif kind is aigen.Price and field.name in aigen.Price.BUCKETS:
            yield f"{name}{PER_MILLION}", (*path, f"{field.name}{PER_MILLION}")


def _inside(hint: Any) -> type | None:
    """Return the result that a field holds; None for a plain value."""
    kinds = [kind for kind in (get_args(hint) or (hint,)) if kind is not NoneType]
    return kinds[0] if len(kinds) == 1 and isinstance(kinds[0], type) and is_dataclass(kinds[0]) else None


def _cell(shown: object, path: tuple[str, ...]) -> object:
    for name in path:
        shown = shown.get(name) if isinstance(shown, Mapping) else None
    if isinstance(shown, list) and not any(isinstance(item, (list, dict)) for item in shown):
        return ", ".join(str(item) for item in shown)
    if isinstance(shown, bool):
        return str(shown).lower()
    return json.dumps(shown, ensure_ascii=False) if isinstance(shown, (list, dict)) else shown
