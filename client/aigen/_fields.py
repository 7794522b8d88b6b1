"""One field of a request: written, or refused by its name.

Protobuf refuses a wrong value without a field, or with one that the caller never saw. Nothing here knows which requests there are.
"""

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from aigen.errors import InvalidRequest, invalid

Words = Mapping[str, int]

NOT_TAKEN = (TypeError, ValueError, AttributeError, OverflowError)  # what protobuf and conversions raise for a wrong value


class WrongValue(ValueError):  # noqa: N818 - says what is allowed, and becomes InvalidRequest where the field is known
    """A value that a field can't hold; its text says what is allowed."""


_SHOWN_BITS = 10_000  # of a whole number; Python refuses to write out much longer ones

_TAKES: Mapping[int, str] = {
    FieldDescriptor.TYPE_DOUBLE: "a number",
    FieldDescriptor.TYPE_INT32: f"a whole number from {-(2**31)} to {2**31 - 1}",
    FieldDescriptor.TYPE_INT64: f"a whole number from {-(2**63)} to {2**63 - 1}",
    FieldDescriptor.TYPE_STRING: "text",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "True or False",
}


_OBJECTS: Mapping[str, str] = {  # fields that are more than one value, and what protobuf says of them helps nobody
    "phase": "text or a whole number",
    "stop_sequences": "a list of texts",
    "fallback_models": "a list of texts",
    "tools": "a list of Tool",
    "tool_choice": "a ToolChoice, or its mode",
    "response_format": "a ResponseFormat, or its type",
    "prompt_caching": "a PromptCaching",
    "labels": "a mapping of texts to texts",
    "selector": "a mapping of texts to texts",
    "usage": "a TokenUsage",
}


def words(enum: Any, prefix: str) -> Words:
    """Return the numbers of a protobuf enum by our lower-case words; its unspecified value has none."""
    return {name.removeprefix(prefix).lower(): number for name, number in enum.items() if number}


def set_timestamp(target: Timestamp, value: datetime) -> None:
    """Write a moment; one without a time zone is refused, because it would be read differently elsewhere."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise WrongValue("a datetime with its time zone")
    target.FromDatetime(value)


def set_duration(target: Duration, value: timedelta | float) -> None:
    """Write a length of time."""
    try:
        target.FromTimedelta(value if isinstance(value, timedelta) else timedelta(seconds=value))
    except NOT_TAKEN:
        raise WrongValue("seconds as a number, or a timedelta") from None
    target.SetInParent()


def json_text(value: Mapping[str, Any] | str) -> str:
    """Return the JSON text of an object, or the text as it is; the order of keys is kept because it can matter to models."""
    if isinstance(value, str):
        return value
    if not isinstance(value, Mapping):
        raise WrongValue("an object or its JSON text")
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def number_of(value: str, known: Words) -> Any:
    """Return the protobuf number of one of our words; each enum has an integer type of its own."""
    number = known.get(value) if isinstance(value, str) else None
    if number is None:
        raise WrongValue(f"one of {', '.join(known)}")
    return number


class Within:
    """Puts the path of what is being built in front of the field that an error names."""

    __slots__ = ("_prefix", "_value")

    def __init__(self, prefix: str, value: Any = None) -> None:
        self._prefix = prefix
        self._value = value

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, InvalidRequest):
            name = f"{self._prefix}{error.field}"
            raise _same_at(error, name) from None
        if isinstance(error, NOT_TAKEN):
            raise refused(self._prefix.rstrip("."), self._value, error) from None


def _same_at(error: InvalidRequest, name: str) -> InvalidRequest:
    text = f"{name}{error.text.removeprefix(error.field)}"
    return InvalidRequest(text, reason=error.reason, metadata={**error.metadata, "field": name})


def set_field(target: Any, name: str, value: Any) -> None:
    """Write a field; what it can't hold is refused with what it can."""
    try:
        setattr(target, name, value)
    except UnicodeEncodeError:
        raise  # is told with its position
    except NOT_TAKEN:
        raise WrongValue(_TAKES[target.DESCRIPTOR.fields_by_name[name].type]) from None


def copy_fields(target: Any, source: Any, fields: Iterable[str], name: str) -> None:
    """Copy fields of the same name, telling an error with the field it happened in."""
    for field in fields:
        value = getattr(source, field)
        with Within(f"{name}.{field}", value):
            set_field(target, field, value)


def refused(name: str, value: Any, error: Exception) -> InvalidRequest:
    """Return the refusal of a field that protobuf would not take."""
    if isinstance(error, UnicodeEncodeError):
        return invalid(name, f"not valid Unicode at position {error.start}", "text without lone surrogates")
    allowed = str(error) if isinstance(error, WrongValue) else _OBJECTS.get(name, f"a value of the field's type ({error})")
    return invalid(name, shown(value), allowed)


def shown(value: Any) -> str:
    """Return a value as a refusal repeats it; long ones are cut, and of whole objects only the type is told."""
    if value is None:
        return "not taken"
    if isinstance(value, int) and value.bit_length() > _SHOWN_BITS:
        return f"a whole number of {value.bit_length():,} bits"
    return f"{value!r:.60}" if isinstance(value, str | int | float | bytes | Decimal) else f"of type {type(value).__name__}"
