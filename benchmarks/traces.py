"""Traces of requests: what a line of one says, and the request that it stands for.

A trace names blocks of 512 tokens and nothing of their text. Each becomes a part of one user message with a text of its own, of
as many bytes as both the daemon and the emulated provider count for so many tokens; the last one is as long as the request's
length leaves it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aigend.types import CompletionRequest, Message, Part, Role, Text

BLOCK_TOKENS = 512
BYTES_A_TOKEN = 4


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
        for number, line in enumerate(lines, 1):
            if line.strip():
                requests.append(_request(line, f"{path}, line {number}"))
                if len(requests) > 1 and requests[-1].time < requests[-2].time:
                    raise TraceError(f"{path}, line {number}: timestamp is before that of the line above")
    if not requests:
        raise TraceError(f"{path}: there is no request in it")
    return requests


def _request(line: str, where: str) -> TraceRequest:
    try:
        fields = json.loads(line)
        ids = tuple(int(number) for number in fields["hash_ids"])
        asked = TraceRequest(fields["timestamp"] / 1_000, int(fields["input_length"]), int(fields["output_length"]), ids)
    except (ValueError, TypeError, KeyError) as error:
        raise TraceError(f"{where}: {error!r}; allowed: timestamp, input_length, output_length, hash_ids") from error
    least = BLOCK_TOKENS * (len(ids) - 1) + 1
    if not ids or asked.input_length < least or asked.output_length < 0 or min(ids) < 0:
        told = f"{len(ids)} hash_ids with input_length {asked.input_length}, output_length {asked.output_length}"
        raise TraceError(f"{where}: {told}; allowed: at least one id, and lengths that go with them, from {max(1, least)} on")
    return asked


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
