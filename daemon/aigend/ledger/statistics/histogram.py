"""Latency histograms as short byte strings that rows hold and SQL adds up.

A histogram is one large integer with five bytes a bucket, so that adding histograms is adding integers. Stored are the number of
the first bucket in use and the counts from there to the last one in use, lowest byte first; nothing where nothing was counted.
One set of counts has one spelling, so that rows can be compared.
"""

import json
import sqlite3
from collections.abc import Mapping

from aigend.ledger.statistics.latency import bucket_of

_FIELD_BITS = 40  # up to 10^12 calls a bucket


def packed(value: int) -> bytes:
    """Return a histogram as rows hold it.

    Example:
        >>> packed(of({3: 2, 4: 1})).hex()
        '03020000000001'
    """
    if value <= 0:
        return b""
    first = ((value & -value).bit_length() - 1) // _FIELD_BITS
    value >>= first * _FIELD_BITS
    return bytes((first,)) + value.to_bytes((value.bit_length() + 7) // 8, "little")


def unpacked(stored: bytes | None) -> int:
    """Return a stored histogram as the integer that can be added up."""
    return int.from_bytes(stored[1:], "little") << (stored[0] * _FIELD_BITS) if stored else 0


def of(counts: Mapping[int, int]) -> int:
    """Return the histogram with these calls by bucket index."""
    return sum(count << (index * _FIELD_BITS) for index, count in counts.items())


def counts(value: int) -> dict[int, int]:
    """Return calls by bucket index.

    Example:
        >>> counts(unpacked(packed(of({3: 2, 40: 1}))))
        {3: 2, 40: 1}
    """
    found, size = {}, _FIELD_BITS // 8
    stored = packed(value)
    for index, start in enumerate(range(1, len(stored), size), start=stored[0] if stored else 0):
        if count := int.from_bytes(stored[start : start + size], "little"):
            found[index] = count
    return found


def of_latency(latency_us: int | None) -> bytes:
    """Return the stored histogram of one call; of none where its latency is not known."""
    return b"" if latency_us is None else bytes((bucket_of(latency_us), 1))


def register(connection: sqlite3.Connection) -> None:
    """Give a connection the functions with which statements add histograms up."""
    connection.create_function("latency_histogram", 1, of_latency, deterministic=True)
    connection.create_function("packed_histogram", 1, _of_json, deterministic=True)
    connection.create_function("histogram_sum", 2, lambda one, other: packed(unpacked(one) + unpacked(other)), deterministic=True)
    connection.create_function("histogram_less", 2, lambda one, other: packed(unpacked(one) - unpacked(other)), deterministic=True)
    connection.create_aggregate("latency_total", 1, _Latencies)  # type: ignore[arg-type]  # as below
    connection.create_aggregate("histogram_total", 1, _Total)  # type: ignore[arg-type]  # the stub knows no aggregate over bytes


class _Latencies:
    """The histogram of the latencies of many calls."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def step(self, latency_us: int | None) -> None:
        if latency_us is not None:
            bucket = bucket_of(latency_us)
            self._counts[bucket] = self._counts.get(bucket, 0) + 1

    def finalize(self) -> bytes:
        return packed(of(self._counts))


class _Total:
    """The sum of the histograms of many rows."""

    def __init__(self) -> None:
        self._value = 0

    def step(self, stored: bytes | None) -> None:
        self._value += unpacked(stored)

    def finalize(self) -> bytes:
        return packed(self._value)


def _of_json(text: str) -> bytes:
    return packed(of({int(index): count for index, count in json.loads(text).items()}))
