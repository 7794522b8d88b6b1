"""One HTTP exchange: reading the request and sending bytes in all the ways that a connection can go well or badly."""

import asyncio
import itertools
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import cached_property
from typing import Any

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
HeaderList = list[tuple[bytes, bytes]]

TRANSPORT = "aigen_emulator.transport"  # where the server leaves the connection in the scope
_LINGER_NOT = struct.pack("ii", 1, 0)
_BREATH = 64  # events between two looks at other connections
_numbers = itertools.count(1)


class Exchange:
    """A request and what is sent back.

    Args:
        scope: The ASGI scope; it holds the connection under TRANSPORT.
        receive: ASGI's.
        send: ASGI's.
        wire_headers: Returns the headers of the wire format.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, wire_headers: Callable[[], HeaderList]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._wire_headers = wire_headers

    @cached_property
    def headers(self) -> dict[bytes, bytes]:
        """The request's headers, names in lower case."""
        return dict(self._scope["headers"])

    async def read(self) -> bytes | None:
        """Return the request's body, or None where the client has gone."""
        pieces = []
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                return None
            pieces.append(message["body"])
            if not message.get("more_body"):
                return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def respond(
        self, status: int, body: bytes, *, headers: Mapping[str, str] | None = None, content_type: bytes = b"application/json"
    ) -> None:
        """Send a whole response."""
        await self._start(status, content_type, headers, length=len(body))
        await self._send({"type": "http.response.body", "body": body, "more_body": False})

    async def stream(
        self, events: Iterable[bytes], *, pause_s: float, headers: Mapping[str, str] | None = None, end: bool = True
    ) -> None:
        """Send events one by one; without `end` the response is left open."""
        await self._start(200, b"text/event-stream; charset=utf-8", headers)
        for number, event in enumerate(events):
            await self._send({"type": "http.response.body", "body": event, "more_body": True})
            if pause_s or number % _BREATH == 0:
                await asyncio.sleep(pause_s)
            if self._scope[TRANSPORT].is_closing():
                return
        if end:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def drip(self, body: bytes, *, pause_s: float, content_type: bytes) -> None:
        """Send a response byte by byte for as long as the client stays."""
        await self._start(200, content_type, None, length=len(body))
        gone = asyncio.ensure_future(self.wait_gone())
        for index, byte in enumerate(body):
            await self._send({"type": "http.response.body", "body": bytes((byte,)), "more_body": index + 1 < len(body)})
            done, _ = await asyncio.wait((gone,), timeout=pause_s)
            if done:
                return
        gone.cancel()

    async def cut(self, pieces: Iterable[bytes], *, status: int = 200, length: int | None, content_type: bytes) -> None:
        """Send a part of a response and close the connection."""
        await self._start(status, content_type, None, length=length)
        for piece in pieces:
            await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._scope[TRANSPORT].close()
        await self.wait_gone()

    async def reset(self) -> None:
        """Reset the connection: the client sees neither an answer nor an orderly end."""
        transport = self._scope[TRANSPORT]
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        transport.abort()
        await self.wait_gone()

    async def wait_gone(self) -> None:
        """Return when the client has gone."""
        while (await self._receive())["type"] != "http.disconnect":
            continue

    async def _start(self, status: int, content_type: bytes, extra: Mapping[str, str] | None, *, length: int | None = None) -> None:
        headers: HeaderList = [
            (b"content-type", content_type),
            (b"x-request-id", b"req_%032x" % next(_numbers)),
            *self._wire_headers(),
        ]
        if extra:
            named = {name.lower().encode("latin-1"): value.encode("latin-1") for name, value in extra.items()}
            headers = [(name, value) for name, value in headers if name not in named] + list(named.items())
        if length is not None:
            headers.append((b"content-length", b"%d" % length))
        await self._send({"type": "http.response.start", "status": status, "headers": headers})
