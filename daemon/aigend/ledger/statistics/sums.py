"""Sums over calls as short byte strings that rows hold and SQL adds up.

All sums of a row are one large integer with eight bytes a measure, so that adding rows is adding integers; a sum below nothing
borrows from the measure above it and gives back when the integer is taken apart. Stored is that integer with its sign, lowest byte
first and no longer than it must be; nothing where all is zero. One set of sums has one spelling, so that rows can be compared.
"""

import sqlite3
import struct
from collections.abc import Mapping

# Their order is part of the format: those that most rows have come first, so that rows stay short. New ones come last.
MEASURES = (
    *("calls", "cost_nanos", "input", "output", "latency_us", "cache_read", "estimated_nanos"),
    *("saved_prompt_cache_count", "saved_prompt_cache_nanos", "saved_cache_count", "saved_cache_nanos"),
    *("saved_single_flight_count", "saved_single_flight_nanos", "reasoning", "cache_write_5m"),
    *("unknown_count", "unknown_nanos", "failed_count", "released_count", "unpriced_count", "cache_write_1h", "searches"),
    *("saved_batch_count", "saved_batch_nanos", "saved_routing_count", "saved_routing_nanos"),
)
_COUNT = len(MEASURES)
_BITS = 64
_HALF = 1 << (_BITS - 1)
_FIELDS = struct.Struct(f"<{_COUNT}Q")
_SIGNED = struct.Struct(f"<{_COUNT}q")
_BIAS = sum(_HALF << (_BITS * index) for index in range(_COUNT))


def packed(value: int) -> bytes:
    """Return sums as rows hold them.

    Example:
        >>> packed(of({"calls": 2, "cost_nanos": 256})).hex()
        '02000000000000000001'
    """
    return value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True) if value else b""


def unpacked(stored: bytes | None) -> int:
    """Return stored sums as the integer that can be added up."""
    return int.from_bytes(stored, "little", signed=True) if stored else 0


def of(values: Mapping[str, int]) -> int:
    """Return the integer with these sums by measure; what is not named is 0."""
    return sum(values.get(name, 0) << (_BITS * index) for index, name in enumerate(MEASURES))


def values(value: int) -> dict[str, int]:
    """Return sums by measure.

    Example:
        >>> found = values(unpacked(packed(of({"calls": 2, "saved_prompt_cache_nanos": -7}))))
        >>> found["calls"], found["saved_prompt_cache_nanos"], found["unknown_count"]
        (2, -7, 0)
    """
    fields = _FIELDS.unpack((value + _BIAS).to_bytes(_FIELDS.size, "little"))
    return {name: field - _HALF for name, field in zip(MEASURES, fields, strict=True)}


def calls(value: int) -> int:
    """Return the first of the sums: how many calls were answered."""
    return value & (_HALF - 1)


def register(connection: sqlite3.Connection) -> None:
    """Give a connection the functions with which statements add sums up."""
    connection.create_function("packed_sums", _COUNT, _of_columns, deterministic=True)
    connection.create_function("sums_added", 2, lambda one, other: packed(unpacked(one) + unpacked(other)), deterministic=True)
    connection.create_function("sums_less", 2, lambda one, other: packed(unpacked(one) - unpacked(other)), deterministic=True)
    connection.create_aggregate("sums_total", 1, _Total)  # type: ignore[arg-type]  # the stub knows no aggregate over bytes


class _Total:
    """The sum of the sums of many rows."""

    def __init__(self) -> None:
        self._value = 0

    def step(self, stored: bytes | None) -> None:
        self._value += unpacked(stored)

    def finalize(self) -> bytes:
        return packed(self._value)


def _of_columns(*columns: int) -> bytes:
    """Return what is stored of sums in the order of measures."""
    if min(columns) < 0:
        return packed(sum(column << (_BITS * index) for index, column in enumerate(columns)))
    stored = _SIGNED.pack(*columns).rstrip(b"\0")
    return stored + b"\0" if stored and stored[-1] & 0x80 else stored
