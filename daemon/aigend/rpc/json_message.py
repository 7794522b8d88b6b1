"""Messages of the contract as JSON for people and files: fields by their names, enums as lower-case words, bytes as digits.

Read more freely than written: protobuf's own JSON is understood as well, and a text where a list of parts is due is its one part.
"""

import json
import re
from collections.abc import Collection, Mapping
from typing import Any, cast

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from aigend.errors import invalid

_DURATION, _TIMESTAMP = "google.protobuf.Duration", "google.protobuf.Timestamp"
_MOST_SECONDS = 1e12  # more is no duration, and may be too large a number to be written out
_KINDS: Mapping[int, tuple[tuple[type, ...], str]] = {  # by type of a field: what JSON has for it, and how that is told
    FieldDescriptor.TYPE_STRING: ((str,), "a text"),
    FieldDescriptor.TYPE_BYTES: ((str,), "a text in base64"),
    FieldDescriptor.TYPE_BOOL: ((bool,), "true or false"),
    FieldDescriptor.TYPE_DOUBLE: ((int, float, str), "a number"),
    FieldDescriptor.TYPE_INT32: ((int, float, str), "a whole number from -2,147,483,648 to 2,147,483,647"),
    FieldDescriptor.TYPE_INT64: ((int, float, str), "a whole number of at most 64 bits"),
}
_TIMES = {
    _DURATION: ((int, float, str), "seconds, as a number or a text such as 90s"),
    _TIMESTAMP: ((str,), "a text in RFC 3339, such as 2030-11-22T08:00:00Z"),
}
_TEXT_PARTS = {"aigen.v1.CompleteRequest": {"system": "system"}, "aigen.v1.Message": {"content": "parts"}}
_WORD_BREAK = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def fill(message: Message, values: Mapping[str, Any], *, beside: Collection[str] = ()) -> None:
    """Set fields of a message from JSON values; null leaves a field unset.

    Args:
        message: What is filled.
        values: By the names of its fields.
        beside: Names that stand beside these and were read elsewhere, for the error that lists what is allowed.

    Raises:
        DomainError: INVALID_REQUEST naming the field.
    """
    for key, value in _spelled(values, cast(Descriptor, message.DESCRIPTOR), "", beside).items():
        try:
            ParseDict({key: value}, message)
        except (ParseError, ValueError, TypeError) as error:
            field = cast(Descriptor, message.DESCRIPTOR).fields_by_name[key]
            raise invalid(key, _shown(value), _kind(field)[1]) from error


def plain(message: Message) -> dict[str, Any]:
    """Return the fields of a message that are set; bytes as hexadecimal digits.

    Example:
        >>> from aigen.v1 import completion_pb2
        >>> plain(completion_pb2.CompleteResponse(text="4", cache_outcome=2, cache_key=bytes([10])))
        {'text': '4', 'cache_key': '0a', 'cache_outcome': 'miss'}
    """
    return {field.name: _plain(field, value) for field, value in message.ListFields()}


def _plain(field: FieldDescriptor, value: Any) -> Any:
    if isinstance(value, Message):
        return plain(value)
    if isinstance(value, bytes):
        return value.hex()
    if not isinstance(value, str | int | float):
        return [_plain(field, item) for item in value]
    return _word(field.enum_type, int(value)) if field.enum_type is not None else value


def _spelled(values: Mapping[str, Any], kind: Descriptor, where: str, beside: Collection[str] = ()) -> dict[str, Any]:
    """Return JSON values as protobuf's own JSON spells them, unknown keys refused and those without a value left out."""
    shorthands = _TEXT_PARTS.get(kind.full_name, {})
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = shorthands.get(key, key) if isinstance(value, str) else key
        field = kind.fields_by_name.get(name)
        if field is None and key in shorthands:
            raise invalid(f"{where}{key}", _shown(value), f"a text; a list of parts stands under {shorthands[key]}")
        if field is None:
            raise invalid(f"{where}{key}", "no field of it", ", ".join(sorted({*kind.fields_by_name, *shorthands, *beside})))
        if name in found:
            raise invalid(f"{where}{key}", "given twice", f"one of {key} and {name}")
        if value is not None:
            texts = key in shorthands and isinstance(value, str)
            found[name] = [{"text": value}] if texts else _value(field, value, f"{where}{key}")
    return found


def _value(field: FieldDescriptor, value: Any, where: str) -> Any:
    if field.is_repeated and not _is_map(field):
        if not isinstance(value, list):
            raise invalid(where, _shown(value), f"a list, each {_kind(field)[1]}")
        return [_one(field, item, f"{where}[{index}]") for index, item in enumerate(value)]
    return _one(field, value, where)


def _one(field: FieldDescriptor, value: Any, where: str) -> Any:
    if field.enum_type is not None:
        return _number(field.enum_type, value, where)
    kinds, told = _kind(field)
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise invalid(where, _shown(value), told)
    if field.message_type is None or _is_map(field) or field.message_type.full_name == _TIMESTAMP:
        return value
    if field.message_type.full_name != _DURATION:
        return _spelled(cast(Mapping[str, Any], value), field.message_type, f"{where}.")
    if isinstance(value, int | float) and not abs(value) < _MOST_SECONDS:
        raise invalid(where, _shown(value), told)
    return value if isinstance(value, str) else f"{value:.9f}s"


def _kind(field: FieldDescriptor) -> tuple[tuple[type, ...], str]:
    """Return what JSON has for a field, or for one of a list of them, and how that is told to people."""
    message = field.message_type
    if message is None:
        return _KINDS[field.type]
    if _is_map(field):
        return (Mapping,), "an object whose values are texts"
    shorthands = _TEXT_PARTS.get(message.full_name, {})
    return _TIMES.get(message.full_name) or ((Mapping,), f"an object with {', '.join((*message.fields_by_name, *shorthands))}")


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _number(kind: EnumDescriptor, value: Any, where: str) -> int:
    """Return the number of an enum's word, in lower case or as the contract spells it."""
    words = {_word(kind, number): number for number in kind.values_by_number if number}
    found = words.get(value.removeprefix(_prefix(kind)).lower()) if isinstance(value, str) else None
    if found is None:
        raise invalid(where, value, ", ".join(words))
    return found


def _word(kind: EnumDescriptor, number: int) -> str:
    value = kind.values_by_number.get(number)
    return str(number) if value is None else value.name.removeprefix(_prefix(kind)).lower()


def _prefix(kind: EnumDescriptor) -> str:
    return f"{_WORD_BREAK.sub('_', kind.name).upper()}_"


def _shown(value: Any) -> object:
    """Return a value as a refusal repeats it: what is no text or number as JSON."""
    return value if isinstance(value, str | int | float) and not isinstance(value, bool) else json.dumps(value, default=str)
