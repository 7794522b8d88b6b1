"""Traces of requests: what a line of one says, and the request that it stands for.

A trace names blocks of 512 tokens from a request's beginning on, and nothing of their text. Each becomes a part of one user message
with a text of its own, of as many bytes as both the daemon and the emulated provider count for so many tokens; the last one is as
long as the request's length leaves it. What no id names at a request's end, nobody else sends but its equals.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from typing import Any

from aigend.types import CompletionRequest, Message, Part, Role, Text

BLOCK_TOKENS = 512
BYTES_A_TOKEN = 4
_FIELDS = ("timestamp", "input_length", "output_length", "hash_ids")
_MOST = 10**15  # of any number: doubles hold it, and no trace has more
_SHOWN = 80  # characters of a bad value


class TraceError(ValueError):
    """A trace that can't be read; the text names line, field, value and what is allowed."""


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One request of a trace."""

    time: float  # seconds from the trace's beginning
    input_length: int  # tokens
    output_length: int  # tokens
    hash_ids: tuple[int, ...]  # of its blocks; equal ids are equal beginnings up to that block

    @property
    def question(self) -> tuple[tuple[int, ...], int]:
        """What makes two requests equal."""
        return self.hash_ids, self.input_length

    @property
    def ends(self) -> list[int]:
        """Tokens up to the end of each block."""
        return [*range(BLOCK_TOKENS, BLOCK_TOKENS * len(self.hash_ids), BLOCK_TOKENS), self.input_length]


def read_trace(path: Path) -> list[TraceRequest]:
    """Return the requests of a trace, in its order.

    Raises:
        TraceError: A line is not understood, or goes back in time.
        OSError: The file can't be read.
    """
    requests: list[TraceRequest] = []
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(_readable(lines, path), 1):
            if line.strip():
                asked = _request(line, f"{path}, line {number}")
                if requests and asked.time < requests[-1].time:
                    least = f"at least {requests[-1].time * 1_000:g}, that of the line above"
                    raise _refused(f"{path}, line {number}", "timestamp", asked.time * 1_000, least)
                requests.append(asked)
    if not requests:
        raise TraceError(f"{path}: there is no request in it")
    return _whole(requests)


def _readable(lines: Iterable[str], path: Path) -> Iterator[str]:
    try:
        yield from lines
    except UnicodeDecodeError as error:
        raise TraceError(f"{path} is not UTF-8") from error


def _request(line: str, where: str) -> TraceRequest:
    try:
        fields = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{where} is {line.strip()[:_SHOWN]!r}, no JSON; allowed: an object with {', '.join(_FIELDS)}") from error
    if not isinstance(fields, dict):
        raise TraceError(f"{where} is {json.dumps(fields)[:_SHOWN]}; allowed: an object with {', '.join(_FIELDS)}")
    time = _number(fields, "timestamp", where, least=0, whole=False)
    length = int(_number(fields, "input_length", where, least=1))
    answer = int(_number(fields, "output_length", where, least=0))
    ids = fields.get("hash_ids")
    if not isinstance(ids, list) or not all(type(number) is int and number >= 0 for number in ids):
        raise _refused(where, "hash_ids", ids, "a list of whole numbers from 0 on", missing="hash_ids" not in fields)
    if len(ids) > (blocks := _blocks(length)):
        allowed = f"at most {blocks} ids with input_length {length}: one for each {BLOCK_TOKENS} tokens begun"
        raise _refused(where, "hash_ids", ids, allowed)
    return TraceRequest(time / 1_000, length, answer, tuple(ids))


def _blocks(length: int) -> int:
    """How many blocks a request of that many tokens begins."""
    return -(-length // BLOCK_TOKENS)


def _whole(requests: Sequence[TraceRequest]) -> list[TraceRequest]:
    """Return the requests with ids for what none was given for: new ones, the same for equal requests."""
    fresh = count(max((number for asked in requests for number in asked.hash_ids), default=0) + 1)
    own: dict[tuple[tuple[int, ...], int], tuple[int, ...]] = {}
    found = []
    for asked in requests:
        missing = _blocks(asked.input_length) - len(asked.hash_ids)
        if missing and asked.question not in own:
            own[asked.question] = tuple(islice(fresh, missing))
        found.append(replace(asked, hash_ids=(*asked.hash_ids, *own[asked.question])) if missing else asked)
    return found


def _number(fields: Mapping[str, Any], name: str, where: str, *, least: int, whole: bool = True) -> float:
    """A number of a line, within what such numbers may be."""
    value = fields.get(name)
    kinds = (int,) if whole else (int, float)
    if type(value) not in kinds or not least <= value <= _MOST:
        allowed = f"{'a whole number' if whole else 'milliseconds'} from {least} to {_MOST:_}"
        raise _refused(where, name, value, allowed, missing=name not in fields)
    return float(value)


def _refused(where: str, name: str, value: object, allowed: str, *, missing: bool = False) -> TraceError:
    shown = "missing" if missing else json.dumps(value)
    return TraceError(f"{where}: {name} is {shown if len(shown) <= _SHOWN else shown[:_SHOWN] + '...'}; allowed: {allowed}")


def completion_request(asked: TraceRequest, *, model: str) -> CompletionRequest:
    """Return the request that a line of a trace stands for."""
    return CompletionRequest(messages=(Message(Role.USER, tuple(Part(Text(text)) for text in block_texts(asked))),), model=model)


def block_texts(asked: TraceRequest) -> list[str]:
    """Return the texts of the blocks."""
    last = asked.input_length - BLOCK_TOKENS * (len(asked.hash_ids) - 1)
    whole, rest = BLOCK_TOKENS * BYTES_A_TOKEN, last * BYTES_A_TOKEN
    return [*(_text(number, whole) for number in asked.hash_ids[:-1]), _text(asked.hash_ids[-1], rest)]


def _text(number: int, size: int) -> str:
    """Return a text of that size that begins with the block's number, its last digits first where there is room for no more."""
    return f"{number:x}"[::-1].ljust(size, "x")[:size]


def in_turn(requests: Iterable[TraceRequest], *, exact: bool) -> list[tuple[TraceRequest, bool]]:
    """Return the requests with whether each is paid for: with an exact cache, equal ones are paid for once."""
    seen: set[tuple[tuple[int, ...], int]] = set()
    paid = []
    for asked in requests:
        paid.append((asked, not (exact and asked.question in seen)))
        seen.add(asked.question)
    return paid


def half(requests: Sequence[TraceRequest]) -> list[bool]:
    """Return which requests are deferred where half of them are: every second one."""
    return [bool(number % 2) for number in range(len(requests))]
