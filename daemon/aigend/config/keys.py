"""Which settings exist, read off the models: the one list behind errors, variables, the printed file and GetSettings."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from aigend.config.sections import GUARDED, Settings

VARIABLE_PREFIX = "AIGEND_"
VARIABLE_DELIMITER = "__"
ANY_NAME = "<name>"
_UNITS = {"_s": "seconds", "_bytes": "bytes", "_usd": "US dollars", "_tokens": "tokens", "_days": "days"}


class Kind(Enum):
    """What a field holds."""

    VALUE = "value"
    VALUES = "values"  # a list or mapping of plain values, or of small ones whose form the field's own sentence tells
    SECTION = "section"
    SECTIONS_BY_NAME = "sections by name"
    SECTION_LIST = "list of sections"


@dataclass(frozen=True, slots=True)
class Key:
    """One field of the settings: its place, what it holds, and the model of its entries where it has some."""

    path: tuple[str, ...]
    field: FieldInfo
    kind: Kind
    section: type[BaseModel] | None

    @property
    def dotted(self) -> str:
        """The key as errors and GetSettings spell it."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return VARIABLE_PREFIX + VARIABLE_DELIMITER.join(self.path).upper()

    @property
    def secret(self) -> bool:
        """Whether its value must never be shown."""
        return SecretStr in (self.field.annotation, *get_args(self.field.annotation))

    @property
    def guarded(self) -> bool:
        """Whether an error must not show what was written there."""
        return self.secret or GUARDED in self.field.metadata

    def bounds(self) -> tuple[float | None, float | None, bool]:
        """Return the lowest and highest number it takes, and whether the lowest itself is excluded."""
        rules = [*self.field.metadata, *_optional_rules(self.field.annotation)]
        low = [bound for item in rules if (bound := getattr(item, "ge", getattr(item, "gt", None))) is not None]
        high = [bound for item in rules if (bound := getattr(item, "le", None)) is not None]
        excluded = any(hasattr(item, "gt") for item in rules)
        return max(low, default=None), min(high, default=None), excluded

    @property
    def unit(self) -> str:
        """The unit of its number, as its name says; empty where it has none."""
        return next((unit for suffix, unit in _UNITS.items() if self.path[-1].endswith(suffix)), "")

    @property
    def bounds_words(self) -> str:
        """The numbers it takes, such as "above 0 to 10"; empty where it has no bounds."""
        low, high, excluded = self.bounds()
        words = [f"{'above' if excluded else 'from'} {low:_}"] if low is not None else []
        words += [f"to {high:_.0f}"] if high is not None else []
        return " ".join(words)

    @property
    def range_words(self) -> str:
        """What it takes where it takes a number, such as "a whole number from 0 to 10 seconds"."""
        kinds = {inner for kind in (self.field.annotation, *get_args(self.field.annotation)) for inner in (kind, *get_args(kind))}
        number = "a number" if float in kinds else "a whole number"
        return " ".join(word for word in (number, self.bounds_words or (self.unit and "of"), self.unit) if word)


def _optional_rules(annotation: Any) -> Iterator[Any]:
    """Yield the rules of a field that may be null, which stand at the other half of its type."""
    for half in get_args(annotation):
        for rule in getattr(half, "__metadata__", ()):
            yield from rule.metadata if isinstance(rule, FieldInfo) else (rule,)


def keys(model: type[BaseModel] = Settings, path: tuple[str, ...] = ()) -> Iterator[Key]:
    """Yield every key in the order of the models, a section before what it holds; `<name>` stands for any name."""
    for name, field in model.model_fields.items():
        key = _key((*path, name), field)
        yield key
        if key.section is not None:
            below = (*key.path, ANY_NAME) if key.kind is Kind.SECTIONS_BY_NAME else key.path
            yield from keys(key.section, below)


def _key(path: tuple[str, ...], field: FieldInfo) -> Key:
    annotation = field.annotation
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return Key(path, field, Kind.SECTION, annotation)
    origin, inner = get_origin(annotation), get_args(annotation)
    entry = inner[1] if origin is dict else inner[0] if origin is tuple else None
    if entry is None:
        return Key(path, field, Kind.VALUE, None)
    if isinstance(entry, type) and issubclass(entry, BaseModel) and GUARDED not in field.metadata:
        return Key(path, field, Kind.SECTIONS_BY_NAME if origin is dict else Kind.SECTION_LIST, entry)
    return Key(path, field, Kind.VALUES, None)


_ALL = tuple(keys())
_BY_PATH = {key.path: key for key in _ALL}


def known_beside(path: tuple[str | int, ...]) -> list[str]:
    """Return dotted keys that a misspelt place may mean: first those of its own section, then all others."""
    parent = find_key(path[:-1])
    section = (parent.section if parent else None) or Settings
    around = ".".join(str(part) for part in path[:-1]) + "." if parent and parent.section else ""
    open_names = [key.dotted for key in _ALL if ANY_NAME not in key.path]
    return [around + name for name in section.model_fields] + open_names


def find_key(path: tuple[str | int, ...]) -> Key | None:
    """Return the key that a concrete place belongs to: names and positions are what the models leave open.

    Example:
        >>> find_key(("providers", "openai", "timeout_s")).dotted
        'providers.<name>.timeout_s'
    """
    found: Key | None = None
    place: tuple[str, ...] = ()
    for part in path:
        if isinstance(part, int):
            continue
        named = found is not None and found.kind is Kind.SECTIONS_BY_NAME and place == found.path
        if found is not None and found.kind is Kind.VALUES:
            return found
        place = (*place, ANY_NAME if named else part)
        if named:
            continue
        found = _BY_PATH.get(place)
        if found is None:
            return None
    return found


def leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the path and value of every leaf of dumped settings; lists and empty mappings are leaves."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, (*path, name))
        else:
            yield (*path, name), value
