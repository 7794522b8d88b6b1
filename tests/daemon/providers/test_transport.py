"""The HTTP connections under the SDKs, on loopback sockets: what leaves, what comes, and how it fails."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx2
import pytest
from aigend.providers.transport import AiohttpTransport

from tests.daemon.providers.loopback import serving_bytes

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nX-Odd: a\r\n\r\nok"


class Peer:
    """A server of raw bytes that counts its connections.

    Args:
        said: What it says to each request; empty: it closes the connection instead.
    """

    def __init__(self, said: bytes) -> None:
        self.said = said
        self.connections = 0
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer until the client or the answer ends the connection."""
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next((int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")), 0)
                await reader.readexactly(length)
                writer.write(self.said)
                await writer.drain()
                if b"content-length: 2\r\n" not in self.said:
                    break
        self.ended.set()
        writer.close()


@contextlib.asynccontextmanager
async def serving(said: bytes) -> AsyncIterator[tuple[Peer, str]]:
    """Serve raw bytes for as long as the block lasts."""
    peer = Peer(said)
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    async with server:
        yield peer, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


@contextlib.asynccontextmanager
async def client(base_url: str) -> AsyncIterator[tuple[httpx2.AsyncClient, list[str]]]:
    """Return a client over the transport, and what it noted of leaving requests."""
    left: list[str] = []
    transport = AiohttpTransport(base_url=base_url, leaving=lambda: left.append("left"))
    async with httpx2.AsyncClient(transport=transport, base_url=base_url, timeout=None) as sender:
        yield sender, left


async def test_connections_are_kept_and_shared() -> None:
    """Requests one after another travel over one connection, and headers arrive as they were spelled."""
    async with serving(ANSWER) as (peer, url), client(url) as (sender, left):
        answers = [await sender.post("/x", json={"a": 1}) for _ in range(3)]
    assert [(answer.status_code, answer.content) for answer in answers] == [(200, b"ok")] * 3
    assert (b"X-Odd", b"a") in answers[0].headers.raw
    assert (peer.connections, left) == (1, ["left"] * 3)


async def test_nothing_left_where_nobody_listens() -> None:
    """A refused connection is an error of connecting, before anything left."""
    async with serving(ANSWER) as (_, url):
        pass
    async with client(url) as (sender, left):
        with pytest.raises(httpx2.ConnectError):
            await sender.post("/x", json={})
    assert left == []


async def test_a_name_that_does_not_resolve_is_an_error_of_connecting() -> None:
    """An unknown host is found out before anything left."""
    async with client("http://nowhere.invalid/v1") as (sender, left):
        with pytest.raises(httpx2.ConnectError):
            await sender.post("/x", json={})
    assert left == []


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", httpx2.ReadError),
        (b"this is no HTTP\r\n\r\n", httpx2.RemoteProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", httpx2.RemoteProtocolError),
    ],
)
async def test_what_breaks_after_the_request_left_is_told(said: bytes, error: type[Exception]) -> None:
    """A connection that ends early, no HTTP, and half a body are errors of their own, after the request had left."""
    async with serving(said) as (_, url), client(url) as (sender, left):
        with pytest.raises(error):
            await sender.post("/x", json={})
    assert left == ["left"]


async def test_an_answer_that_nobody_reads_to_its_end_is_cut() -> None:
    """Closing a response early ends its connection, so that the provider stops."""
    said = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n"
    async with serving(said + b"") as (peer, url), client(url) as (sender, _), sender.stream("POST", "/x", json={}) as answer:
        assert answer.status_code == 200
    async with asyncio.timeout(5):
        await peer.ended.wait()


async def test_redirects_are_not_followed() -> None:
    """A redirect is an answer like others: following it could pay twice."""
    said = b"HTTP/1.1 307 Go\r\ncontent-length: 2\r\nlocation: /elsewhere\r\n\r\nok"
    async with serving(said) as (_, url), client(url) as (sender, left):
        assert (await sender.post("/x", json={})).status_code == 307
    assert left == ["left"]


async def test_proxies_are_for_far_addresses_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment is asked for far addresses and never for loopback."""
    async with serving_bytes(b"{}") as proxy, serving_bytes(b"{}") as near:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url.removesuffix("/v1"))
        monkeypatch.delenv("NO_PROXY", raising=False)
        for url in (near.base_url, "http://far.example/v1"):
            async with client(url) as (sender, _):
                await sender.post("/x", json={})
    assert [seen.path for seen in near.requests] == ["/v1/x"]
    assert [seen.path for seen in proxy.requests] == ["http://far.example/v1/x"]
