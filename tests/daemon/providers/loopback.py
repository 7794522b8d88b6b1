"""A server on loopback that gives one answer to everything: for bytes that no emulator would send."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Seen:
    """A request that came in."""

    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Loopback:
    """What is answered, and what was asked."""

    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    requests: list[Seen] = field(default_factory=list)
    base_url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = (line.partition(":")[::2] for line in head[1:] if line)
        headers = {name.lower(): value.strip() for name, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        self.requests.append(Seen(head[0].split(" ")[1], headers, body))
        told = (
            {"content-type": "application/json"}
            | dict(self.headers)
            | {"content-length": str(len(self.body)), "connection": "close"}
        )
        lines = [f"HTTP/1.1 {self.status} Whatever", *(f"{name}: {value}" for name, value in told.items()), "", ""]
        writer.write("\r\n".join(lines).encode("latin-1") + self.body)
        with contextlib.suppress(ConnectionError):
            await writer.drain()
            writer.close()
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def serving_bytes(body: bytes, *, status: int = 200, headers: Mapping[str, str] | None = None) -> AsyncIterator[Loopback]:
    """Answer everything with these bytes for as long as the block lasts."""
    answering = Loopback(body, status, headers or {})
    server = await asyncio.start_server(answering.serve, "127.0.0.1", 0)
    answering.base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    async with server:
        yield answering
