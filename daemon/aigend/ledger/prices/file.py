"""Reads a price file: YAML in, dated price entries out, or an error that names file, line, key, value and what is allowed.

Rates are read from the text of the file, never through a binary float. Which file wins over which is `price_catalog`'s decision.
"""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import yaml

from aigend.config import Problem, SettingsError
from aigend.ledger.prices.pricing import PriceEntry, Tier

RATE_KEYS = ("input", "output", "cache_read", "cache_write_5m", "cache_write_1h")
_FEE_KEYS = ("request_fee", "search_fee")
_TOP_KEYS = ("version", "currency", "source", "checked_on", "providers", "agents")
_MODEL_KEYS = (*RATE_KEYS, *_FEE_KEYS, "batch", "flex", "tiers", "valid_from", "source", "checked_on")
_MOST_USD = Decimal(1_000_000)
_MOST_DIGITS = 18
_SHOWN = 80  # characters of a bad value
_UNQUOTED = ("missing", "without a rate", "a list or mapping", "no list", "no mapping", "given twice", "unknown")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class PriceFileError(SettingsError):
    """A price file that can't be used; the text names file, line, key, value and what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceTable:
    """What one file says: dated entries by provider and model, and by agent, each in the order of `valid_from`."""

    version: str = ""
    models: Mapping[tuple[str, str], tuple[PriceEntry, ...]] = field(default_factory=dict)
    agents: Mapping[str, tuple[PriceEntry, ...]] = field(default_factory=dict)
    lines: Mapping[str, int] = field(default_factory=dict)  # of each key, by its dotted path


def parse_prices(text: str, *, name: str, today: date | None = None) -> PriceTable:
    """Return the prices that a file holds.

    Args:
        text: The file's content.
        name: The file's name, for errors and for the ids of price entries.
        today: The day that it is, in UTC; nothing can have been checked later than on the next. None: not known.

    Raises:
        PriceFileError: Anything is missing, unknown or out of range.

    Example:
        >>> file = "{version: 1, currency: USD, providers: {openai: {gpt-4o: {input: 2.5, output: 10}}}}"
        >>> parse_prices(file, name="prices.yaml").models["openai", "gpt-4o"][0].output
        Decimal('10')
    """
    try:
        node = yaml.compose(text, Loader=_LOADER)
    except yaml.YAMLError as error:
        raise PriceFileError([Problem(text=f"no YAML: {' '.join(str(error).split())}", file=Path(name))]) from error
    return _Reader(name, None if today is None else today + timedelta(days=1)).table(node)


@dataclass(frozen=True, slots=True)
class _Value:
    """A node with the path of keys that leads to it."""

    node: Any
    path: str


class _Reader:
    """Walks the nodes of one file; it keeps what is the same for all entries."""

    def __init__(self, name: str, latest_check: date | None) -> None:
        self._name = name
        self._latest_check = latest_check  # a day more than in UTC: somewhere it is tomorrow already
        self._lines: dict[str, int] = {}
        self._version = ""
        self._source = name
        self._checked_on: date | None = None

    def table(self, node: Any) -> PriceTable:
        top = self._mapping(_Value(node, ""), _TOP_KEYS)
        for key in ("version", "currency"):
            if key not in top:
                raise self._error(_Value(node, key), "missing", "version, currency: USD, providers")
        if (currency := self._text(top["currency"])) != "USD":
            raise self._error(top["currency"], currency, "USD; other currencies are a matter of display")
        self._version = self._text(top["version"])
        self._source = self._text(top["source"]) if "source" in top else self._name
        self._checked_on = self._check_day(top["checked_on"]) if "checked_on" in top else None
        return PriceTable(version=self._version, models=self._models(top), agents=self._agents(top), lines=self._lines)

    def _models(self, top: Mapping[str, _Value]) -> dict[tuple[str, str], tuple[PriceEntry, ...]]:
        providers = self._mapping(top["providers"]) if "providers" in top else {}
        return {
            (provider, model): self._entries(value, provider, model)
            for provider, models in providers.items()
            for model, value in self._mapping(models).items()
        }

    def _agents(self, top: Mapping[str, _Value]) -> dict[str, tuple[PriceEntry, ...]]:
        agents = self._mapping(top["agents"]) if "agents" in top else {}
        return {agent: self._entries(value, "agent", agent) for agent, value in agents.items()}

    def _entries(self, value: _Value, provider: str, model: str) -> tuple[PriceEntry, ...]:
        """One entry, or a list of dated ones."""
        several = self._items(value) if isinstance(value.node, yaml.SequenceNode) else [value]
        entries: list[PriceEntry] = []
        for one in several:
            entry = self._entry(one, provider, model)
            if any(entry.valid_from == other.valid_from for other in entries):
                raise self._same_day(one)
            entries.append(entry)
        return tuple(sorted(entries, key=lambda entry: entry.valid_from or 0.0))

    def _entry(self, value: _Value, provider: str, model: str) -> PriceEntry:
        keys = self._mapping(value, _MODEL_KEYS)
        if not any(key in keys for key in (*RATE_KEYS, *_FEE_KEYS)):
            raise self._error(value, "without a rate", f"at least one of {', '.join(RATE_KEYS)}")
        valid_from = self._date(keys["valid_from"]) if "valid_from" in keys else None
        entry_id = f"{self._name}@{self._version}:{provider}/{model}" + (f"@{valid_from}" if valid_from else "")
        about: dict[str, Any] = {
            "provider": provider,
            "model": model,
            "valid_from": _midnight(valid_from) if valid_from else None,
            "source": self._text(keys["source"]) if "source" in keys else self._source,
            "checked_on": self._check_day(keys["checked_on"]) if "checked_on" in keys else self._checked_on,
        }
        cheaper: dict[str, Any] = {
            name: PriceEntry(id=f"{entry_id}#{name}", **about, **self._rates(keys[name]))
            for name in ("batch", "flex")
            if name in keys
        }
        tiers = tuple(self._tier(item) for item in self._items(keys["tiers"])) if "tiers" in keys else ()
        amounts = self._amounts(keys, (*RATE_KEYS, *_FEE_KEYS))
        return PriceEntry(id=entry_id, **cheaper, tiers=tuple(sorted(tiers, key=lambda tier: tier.above)), **about, **amounts)

    def _tier(self, value: _Value) -> Tier:
        keys = self._mapping(value, ("above", *RATE_KEYS))
        above = self._text(keys["above"]) if "above" in keys else "missing"
        if not (above.isascii() and above.isdigit() and len(above) <= 12):
            raise self._error(_Value(keys.get("above", value).node, f"{value.path}.above"), above, "input tokens, a whole number")
        return Tier(above=int(above), **self._amounts(keys, RATE_KEYS))

    def _rates(self, value: _Value) -> dict[str, Any]:
        return self._amounts(self._mapping(value, RATE_KEYS), RATE_KEYS)

    def _amounts(self, keys: Mapping[str, _Value], names: Sequence[str]) -> dict[str, Any]:
        return {name: self._amount(keys[name]) for name in names if name in keys}

    def _amount(self, value: _Value) -> Decimal:
        text = self._text(value)
        try:
            amount = Decimal(text)
        except InvalidOperation:
            amount = Decimal(-1)
        if not amount.is_finite() or not 0 <= amount <= _MOST_USD or len(amount.as_tuple().digits) > _MOST_DIGITS:
            raise self._error(value, text, f"USD as a decimal number, 0 to {_MOST_USD}")
        return amount

    def _date(self, value: _Value) -> date:
        text = self._text(value)
        try:
            return date.fromisoformat(text)
        except ValueError:
            raise self._error(value, text, "a date as YYYY-MM-DD") from None

    def _check_day(self, value: _Value) -> date:
        day = self._date(value)
        if self._latest_check is not None and day > self._latest_check:
            raise self._error(value, str(day), "a day that has come, as YYYY-MM-DD")
        return day

    def _same_day(self, value: _Value) -> PriceFileError:
        """Two entries of one model that hold from the same day, or both from ever."""
        day = self._mapping(value).get("valid_from")
        allowed = "each day once in a model's list, and one entry without it"
        return self._error(day or _Value(value.node, f"{value.path}.valid_from"), self._text(day) if day else "missing", allowed)

    def _text(self, value: _Value) -> str:
        if not isinstance(value.node, yaml.ScalarNode):
            raise self._error(value, "a list or mapping", "a single value")
        return str(value.node.value)

    def _items(self, value: _Value) -> list[_Value]:
        if not isinstance(value.node, yaml.SequenceNode):
            raise self._error(value, "no list", "a list")
        return [_Value(node, f"{value.path}[{index}]") for index, node in enumerate(value.node.value)]

    def _mapping(self, value: _Value, allowed: Sequence[str] = ()) -> dict[str, _Value]:
        if not isinstance(value.node, yaml.MappingNode):
            raise self._error(value, "no mapping", "keys with values")
        found: dict[str, _Value] = {}
        for key_node, node in value.node.value:
            key = str(key_node.value)
            item = _Value(node, f"{value.path}.{key}" if value.path else key)
            if key in found:
                raise self._error(_Value(key_node, item.path), "given twice", "once")
            if allowed and key not in allowed:
                raise self._unknown(_Value(key_node, item.path), key, allowed)
            found[key] = item
            self._lines[item.path] = key_node.start_mark.line + 1
        return found

    def _unknown(self, value: _Value, key: str, allowed: Sequence[str]) -> PriceFileError:
        near = difflib.get_close_matches(key, allowed, n=1)
        return self._error(value, "unknown", f"{', '.join(allowed)}" + (f" (did you mean {near[0]}?)" if near else ""))

    def _error(self, value: _Value, found: str, allowed: str) -> PriceFileError:
        line = value.node.start_mark.line + 1 if value.node is not None else 1
        key, said = value.path or "the file", found if found in _UNQUOTED else repr(found[:_SHOWN])
        text = f"{key} is {said}; allowed: {allowed}"
        return PriceFileError(
            [Problem(text=text, key=key, value=found[:_SHOWN], allowed=allowed, file=Path(self._name), line=line)]
        )


def _midnight(day: date) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()
