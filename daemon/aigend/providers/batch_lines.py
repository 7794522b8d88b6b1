"""What the batch adapters share: files of JSON lines, their lines read one by one, and what became of a line that failed.

A result file has no length that could be bounded in advance, its lines have: one that is too long is passed over to its end and
reported as too large, under the name that stands in it, and the others are read all the same.
"""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aigend.providers.batch_port import BatchLine, BatchResult
from aigend.providers.connection import READ_BY_LINE
from aigend.providers.faults import status_fault, unreadable
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply
from aigend.types import CompletionRequest, Lane, Processing

PATIENCE_S = 60.0  # for a question about a job, and for the next piece of its results
UPLOAD_PATIENCE_S = 600.0
SEARCH_MARGIN_S = 120.0  # how far the provider's clock may be behind ours
_AT_ONCE = 20
_SEEN_BYTES = 4_096  # of each end of a line that is too long; its name stands there
_NO_RESULT = (ValueError, LookupError, TypeError, AttributeError)  # what a line of any other shape leads to
_NAME = re.compile(rb'(?<!\\)"(?:custom_id|key)"\s*:\s*"([A-Za-z0-9_-]{1,64})"')


@dataclass(frozen=True, slots=True)
class RawLine:
    """A line as it came; `whole` is False where it passed the limit, and then only its ends are here."""

    data: bytes
    whole: bool = True


@dataclass(frozen=True, slots=True)
class ToldError:
    """An error that a result holds, in the form of the response that a call of its own would have got."""

    content: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


def encoded(body: Mapping[str, Any]) -> bytes:
    """Return a body as one line of a file, its end included."""
    return json.dumps(body, separators=(",", ":"), ensure_ascii=True).encode() + b"\n"


async def spelled(lines: Sequence[BatchLine], spell: Callable[[BatchLine], Mapping[str, Any]]) -> list[bytes]:
    """Return lines as they stand in a file, spelled a few at a time: other calls have their turns in between."""
    done: list[bytes] = []
    for line in lines:
        done.append(encoded(spell(line)))
        if len(done) % _AT_ONCE == 0:
            await asyncio.sleep(0)
    return done


def same_model(lines: Sequence[BatchLine], *, provider: str) -> str:
    """Return the one model that all lines ask for.

    Raises:
        ProviderFault: REJECTED; there are several, which such a job can't hold. Nothing was sent.
    """
    models = sorted({line.call.model for line in lines})
    if len(models) == 1:
        return models[0]
    message = f"a batch job of provider {provider} is for one model, not for {len(models)}: {', '.join(models)}; nothing was sent"
    raise ProviderFault(FaultKind.REJECTED, message, provider=provider)


def without_lane(request: CompletionRequest) -> CompletionRequest:
    """Return the request as a job holds it: its lane has been decided on by then."""
    return request if request.lane is Lane.INTERACTIVE else replace(request, lane=Lane.INTERACTIVE)


def batched(reply: ProviderReply) -> ProviderReply:
    """Return an answer with the mark that it was made at the batch price, whatever tier the provider names in it."""
    return replace(reply, processing=Processing.BATCH)


@contextlib.contextmanager
def by_line() -> Iterator[None]:
    """Let requests sent inside the block be read line by line, each bounded by its reader."""
    token = READ_BY_LINE.set(True)
    try:
        yield
    finally:
        READ_BY_LINE.reset(token)


async def lines_of(chunks: AsyncIterator[bytes], *, limit: int) -> AsyncGenerator[RawLine, None]:
    """Yield the lines of a file as it comes, empty ones left out, never holding more than one.

    Args:
        chunks: The file in pieces.
        limit: Longest line, in bytes.
    """
    reader = _Splitter(limit)
    async for chunk in chunks:
        for line in reader.take(chunk):
            yield line
    for line in reader.take(b"\n"):
        yield line


async def results_of(
    lines: AsyncGenerator[RawLine, None], *, parse: Callable[[Any], BatchResult], provider: str
) -> AsyncGenerator[BatchResult, None]:
    """Yield what became of each line; one that can't be read is a fault of its own where it can be told whose it is.

    Args:
        lines: The lines of the results.
        parse: Returns what a line says; any error of it means that the line says nothing.
        provider: Whose results.

    Raises:
        ProviderFault: BAD_ANSWER at the end; there were lines of which nobody knows whose they are.
    """
    nameless = 0
    async with contextlib.aclosing(lines):
        async for line in lines:
            result = _read(line, parse=parse, provider=provider)
            if result.custom_id:
                yield result
            else:
                nameless += 1
    if nameless:
        message = f"{nameless} lines in the results of provider {provider} can't be read, not even whose they are"
        raise ProviderFault(FaultKind.BAD_ANSWER, message, provider=provider)


def listed(page: Mapping[str, Any], *, provider: str) -> list[dict[str, Any]]:
    """Return the jobs on a page of a list.

    Raises:
        ProviderFault: BAD_ANSWER; it is no list. That says nothing of what the provider has.
    """
    jobs = page.get("data")
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise unreadable(provider, "data is no list of jobs")
    return jobs


async def in_time(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield what comes, as long as each piece comes in time. Raises TimeoutError where one does not."""
    while True:
        async with asyncio.timeout(PATIENCE_S):
            chunk = await anext(chunks, None)
        if chunk is None:
            return
        yield chunk


def name_in(line: RawLine) -> str:
    """Return the name of the request that a line is about, read from its text; empty where there is none.

    Example:
        >>> name_in(RawLine(b'{"id": "x", "custom_id": "a1-7", "response"', whole=False))
        'a1-7'
    """
    found = _NAME.search(line.data)
    return found[1].decode() if found else ""


def error_fault(provider: str, status: int, told: Any) -> ProviderFault:
    """Return the fault of a line that failed, as a call of its own with that status and that body would have had it."""
    return status_fault(provider, status, ToldError(json.dumps(told).encode()))


def may_have_ended(fault: ProviderFault) -> bool:
    """Return whether a refusal to stop a job may mean that there is nothing to stop any more."""
    return fault.status in (400, 409)


def not_created(fault: ProviderFault) -> ProviderFault:
    """Return the fault of a file that could not be handed over: whatever became of it, there is no job yet.

    A file costs nothing, and what may be half there can't become a job without a further request.
    """
    message = f"the lines could not be handed over to provider {fault.provider}, no job was made: {fault.message}"
    return ProviderFault(
        FaultKind.UNREACHABLE if fault.kind not in (FaultKind.REJECTED, FaultKind.AUTH, FaultKind.RATE_LIMITED) else fault.kind,
        message,
        provider=fault.provider,
        status=fault.status,
        code=fault.code,
        provider_message=fault.provider_message,
        retry_after_s=fault.retry_after_s,
    )


def _read(line: RawLine, *, parse: Callable[[Any], BatchResult], provider: str) -> BatchResult:
    if not line.whole:
        message = f"a result of provider {provider} passed limits.answer_bytes and was left unread"
        return BatchResult(custom_id=name_in(line), outcome=ProviderFault(FaultKind.TOO_LARGE, message, provider=provider))
    try:
        return parse(json.loads(line.data))
    except _NO_RESULT as error:
        return BatchResult(custom_id=name_in(line), outcome=unreadable(provider, f"{type(error).__name__} in its line"))


class _Splitter:
    """Cuts a stream of bytes into lines."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: list[bytes] = []
        self._length = 0

    def take(self, chunk: bytes) -> Iterator[RawLine]:
        """Yield the lines that end in a piece."""
        *ends, rest = chunk.split(b"\n")
        for end in ends:
            self._hold(end)
            if line := self._line():
                yield line
        self._hold(rest)

    def _hold(self, piece: bytes) -> None:
        self._length += len(piece)
        self._held.append(piece)
        if self._length > self._limit:
            joined = b"".join(self._held)
            self._held = [joined[:_SEEN_BYTES], joined[max(_SEEN_BYTES, len(joined) - _SEEN_BYTES) :]]

    def _line(self) -> RawLine | None:
        data, whole = b"".join(self._held), self._length <= self._limit
        self._held, self._length = [], 0
        return RawLine(data, whole) if data.strip() else None
