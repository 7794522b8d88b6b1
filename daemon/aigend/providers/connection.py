"""The HTTP client under the providers' SDKs: shared connections, answers bounded in bytes, and proof of what left.

Files of results are bounded line by line by those who read them (`READ_BY_LINE`): a job has as many answers as it has lines.

What the bytes mean is the adapters'.
"""

import sys
import zlib
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

import httpx2

from aigend.providers.pooling import pooled
from aigend.providers.rate_headers import report_rates
from aigend.providers.transport import AiohttpTransport

_GZIP_OR_ZLIB = 47  # zlib's window bits that recognise both headers
_TAIL_BYTES = 32
_INFLATED_BYTES = 65_536  # of one piece, where the reader bounds lines


class AnswerTooLargeError(Exception):
    """An answer passed its limit and was cut off."""


class UnknownEncodingError(ValueError):
    """An answer was compressed although no compression was asked for, and in a way that can't be undone."""


class Sending:
    """Whether a request has begun to leave: before that, a failure is certainly free."""

    __slots__ = ("started",)

    def __init__(self) -> None:
        self.started = False


CURRENT_SENDING: ContextVar[Sending | None] = ContextVar("current_sending", default=None)
READ_BY_LINE: ContextVar[bool] = ContextVar("read_by_line", default=False)  # the bound is the reader's, a line at a time


def http_client(*, base_url: str, answer_bytes: int) -> httpx2.AsyncClient:
    """Return a client whose requests report to CURRENT_SENDING and whose answers end at `answer_bytes`."""

    async def on_response(response: httpx2.Response) -> None:
        report_rates(response.status_code, response.headers.raw)
        encoding = response.headers.pop("content-encoding", "identity").strip().lower()
        if not isinstance(response.stream, httpx2.AsyncByteStream):
            raise TypeError("the response has no asynchronous stream")
        limit = sys.maxsize if READ_BY_LINE.get() else answer_bytes
        response.stream = _BoundedStream(response.stream, limit=limit, encoding=encoding)

    return httpx2.AsyncClient(
        transport=pooled(AiohttpTransport, base_url, lambda: AiohttpTransport(base_url=base_url, leaving=_note_leaving)),
        timeout=None,
        follow_redirects=False,
        trust_env=False,
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [on_response]},
    )


def _note_leaving() -> None:
    sending = CURRENT_SENDING.get()
    if sending is not None:
        sending.started = True


def last_bytes(response: httpx2.Response) -> bytes:
    """Return the last bytes of a response that were read, at most 32 of them."""
    stream = response.stream
    return stream.tail if isinstance(stream, _BoundedStream) else b""


class _BoundedStream(httpx2.AsyncByteStream):
    """A response's bytes, decompressed, up to a limit; `tail` is the last of them."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, limit: int, encoding: str) -> None:
        self.tail = b""
        self._stream = stream
        self._limit = limit
        self._encoding = encoding

    async def __aiter__(self) -> AsyncIterator[bytes]:
        seen = 0
        inflate = self._inflater()
        async for raw in self._stream:
            for chunk in (raw,) if inflate is None else _inflated(inflate, raw):
                seen += len(chunk)
                if seen > self._limit:
                    raise AnswerTooLargeError
                self.tail = (self.tail + chunk[-_TAIL_BYTES:])[-_TAIL_BYTES:]
                yield chunk

    async def aclose(self) -> None:
        await self._stream.aclose()

    def _inflater(self) -> Any:
        if self._encoding in ("", "identity"):
            return None
        if self._encoding in ("gzip", "x-gzip", "deflate"):
            return zlib.decompressobj(_GZIP_OR_ZLIB)
        raise UnknownEncodingError(self._encoding)


def _inflated(inflate: Any, raw: bytes) -> Iterator[bytes]:
    """Yield what compressed bytes hold, in pieces so small that no bomb fills the memory."""
    while raw:
        yield inflate.decompress(raw, _INFLATED_BYTES)
        raw = inflate.unconsumed_tail
