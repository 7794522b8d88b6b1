"""HTTP under the providers' SDKs: aiohttp's connections behind the interface that the SDKs know.

The SDKs' default transport spends about half of a call's processor time in its connection pool; aiohttp's pool and C parser a
small part of that. Which bytes may leave, how many may come and what they mean is not decided here.
"""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from functools import lru_cache
from typing import Any

import aiohttp
import httpx2
from yarl import URL

from aigend.providers.address import on_loopback

CONNECT_TIMEOUT_S = 10.0
_CONNECTIONS = 1_000
_KEEP_ALIVE_S = 3.0  # shorter than servers keep them (often 5 s), so that none closes one under a request
_LONGEST_HEADER = 65_536
_NO_TIMEOUT = aiohttp.ClientTimeout(total=None, connect=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=None)
_ADDED_BY_AIOHTTP = frozenset(("user-agent", "accept", "accept-encoding", "content-type"))

# aiohttp's errors as the SDKs know them, the most special first.
_ERRORS: tuple[tuple[type[BaseException], type[httpx2.TransportError]], ...] = (
    (aiohttp.ConnectionTimeoutError, httpx2.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx2.ReadTimeout),
    (aiohttp.ClientProxyConnectionError, httpx2.ProxyError),
    (aiohttp.ClientHttpProxyError, httpx2.ProxyError),
    (aiohttp.ClientConnectorError, httpx2.ConnectError),
    (aiohttp.ClientConnectionError, httpx2.ReadError),
    (aiohttp.ClientPayloadError, httpx2.RemoteProtocolError),
    (aiohttp.ClientResponseError, httpx2.RemoteProtocolError),
    (aiohttp.InvalidURL, httpx2.UnsupportedProtocol),
    (ConnectionError, httpx2.ReadError),
    (aiohttp.ClientError, httpx2.ReadError),
)


class AiohttpTransport(httpx2.AsyncBaseTransport):
    """Sends requests over connections that are kept and shared, HTTP/1.1 or TLS.

    Redirects are not followed: a redirected completion could be paid twice. Proxies of the environment are honoured, except on
    loopback. No time limits but that on connecting: a whole call has one of its own.

    Args:
        base_url: Address of the API.
        leaving: Called in the context of a request when its first byte is about to leave.
    """

    def __init__(self, *, base_url: str, leaving: Callable[[], None]) -> None:
        self._trust_env = not on_loopback(base_url)
        # Reading the trusted certificates takes long: here, in whichever thread connects, and not at the first call on the loop.
        self._tls = httpx2.create_ssl_context(trust_env=self._trust_env) if base_url.lower().startswith("https:") else True
        self._leaving = leaving
        self._session: aiohttp.ClientSession | None = None  # belongs to the loop that makes the first call

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the response once its headers have come; the body is read as the caller asks for it."""
        session = self._session or self._open()
        body = await request.aread()
        with _translated():
            answer = await session.request(
                request.method,
                _address(str(request.url)),
                headers=request.headers.multi_items(),
                data=body or None,
                allow_redirects=False,
                timeout=_NO_TIMEOUT,
            )
        return httpx2.Response(
            answer.status,
            headers=list(answer.raw_headers),
            stream=_AnswerStream(answer),
            extensions={"http_version": b"HTTP/1.1", "reason_phrase": (answer.reason or "").encode("latin-1", "replace")},
        )

    async def aclose(self) -> None:
        """Close all connections."""
        if self._session is not None:
            await self._session.close()

    def _open(self) -> aiohttp.ClientSession:
        tracing = aiohttp.TraceConfig()
        tracing.on_request_headers_sent.append(self._on_leaving)  # despite its name it comes before the first byte
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                ssl=self._tls,
                limit=_CONNECTIONS,
                keepalive_timeout=_KEEP_ALIVE_S,
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=self._trust_env,
            auto_decompress=False,
            skip_auto_headers=_ADDED_BY_AIOHTTP,
            trace_configs=[tracing],
            max_line_size=_LONGEST_HEADER,
            max_field_size=_LONGEST_HEADER,
        )
        return self._session

    async def _on_leaving(self, session: object, context: object, params: Any) -> None:  # noqa: ARG002 - aiohttp's shape
        if params.method != "CONNECT":  # asking a proxy for a tunnel sends nothing to the provider
            self._leaving()


@lru_cache(maxsize=256)
def _address(url: str) -> URL:
    """Return an address as aiohttp wants it; a provider has few, and reading one takes time."""
    return URL(url, encoded=True)


class _AnswerStream(httpx2.AsyncByteStream):
    """The body of a response as it arrives."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _translated():
            async for chunk in self._answer.content.iter_any():
                yield chunk

    async def aclose(self) -> None:
        """Give the connection back where all was read, and cut it where not: nobody wants the rest."""
        if self._answer.content.at_eof():
            self._answer.release()
        else:
            self._answer.close()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Raise aiohttp's errors as those of the HTTP client that the SDKs expect."""
    try:
        yield
    except (aiohttp.ClientError, ConnectionError) as error:
        kind = next(theirs for ours, theirs in _ERRORS if isinstance(error, ours))
        raise kind(str(error) or type(error).__name__) from error
    except TimeoutError as error:
        raise httpx2.ReadTimeout(str(error)) from error
