"""How an asyncio client reaches the daemon: it connects, sends, repeats where that is safe, reads streams and pages.

What is sent and what becomes of the answer is decided elsewhere; `_transport.py` is the same for synchronous programs.
"""
# ruff: noqa: ASYNC109 - both clients take the same arguments; the timeout is the deadline that travels to the daemon

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
import grpc.aio

from aigen import _call, _channel, _queries
from aigen._base import BaseClient
from aigen._tracing import trace_headers
from aigen.errors import ClientClosed
from aigen.results import StreamEvent

T = TypeVar("T")


class AsyncTransport(BaseClient):
    """A connection to the daemon from one event loop; takes what `BaseClient` takes."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._loop: asyncio.AbstractEventLoop | None = None

    async def close(self) -> None:
        """Close the connection; calls under way end with ClientClosed, and so does every later one."""
        self._closed = self._closed or "is closed"
        self._stubs = {}
        channel: grpc.aio.Channel | None = self._channel
        self._channel = None
        if channel is not None:
            await channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _send(
        self,
        method: _call.Method[T],
        payload: bytes,
        timeout: float | None,
        *,
        metadata: _call.Metadata | None = None,
        request_id: str = "",
    ) -> T:
        seconds = self._seconds(timeout)
        deadline = time.monotonic() + seconds
        recovery = None
        while True:
            stub = self._stubs.get(method.path)
            if stub is None or self._loop is not asyncio.get_running_loop():
                stub = await self._connected(method, deadline)
            try:
                return method.decode(await stub(payload, timeout=_call.grpc_seconds(seconds), metadata=metadata or trace_headers()))
            except grpc.RpcError as error:
                self._check_open()
                recovery = recovery or self._recovery(method, request_id, timeout=seconds, deadline=deadline)
                await asyncio.sleep(recovery.pause_after(error))
                seconds = recovery.seconds_left()
            except asyncio.CancelledError:
                self._check_cancelled_by_close()
                raise

    async def _events(
        self, payload: bytes, seconds: float, metadata: _call.Metadata, request_id: str
    ) -> AsyncGenerator[StreamEvent, None]:
        deadline = time.monotonic() + seconds
        recovery = self._recovery(_call.STREAM, request_id, timeout=seconds, deadline=deadline)
        answering = False
        while True:
            stub = await self._connected(_call.STREAM, deadline)
            call = stub(payload, timeout=_call.grpc_seconds(recovery.seconds_left()), metadata=metadata)
            try:
                async for message in call:
                    answering = True
                    if (event := _call.STREAM.decode(message)) is not None:
                        yield event
                return
            except grpc.RpcError as error:
                self._check_open()
                await asyncio.sleep(recovery.pause_after(error, answering=answering))
            except asyncio.CancelledError:
                self._check_cancelled_by_close()
                raise
            finally:
                call.cancel()

    async def _pages(
        self, method: _call.Method[tuple[list[T], str]], first: _queries.PageRequest, timeout: float | None
    ) -> AsyncIterator[T]:
        token = ""
        while True:
            items, token = await self._send(method, _queries.next_page(first, token), timeout)
            for item in items:
                yield item
            if not token:
                return

    async def _streamed(self, method: _call.Method[list[T]], payload: bytes, timeout: float | None) -> AsyncGenerator[T, None]:
        """Give what the messages of a stream hold; once some of it was given, a lost connection ends it with its error."""
        seconds = self._seconds(timeout)
        deadline = time.monotonic() + seconds
        recovery = self._recovery(method, "", timeout=seconds, deadline=deadline)
        answering = False
        while True:
            stub = await self._connected(method, deadline)
            call = stub(payload, timeout=_call.grpc_seconds(recovery.seconds_left()), metadata=trace_headers())
            try:
                async for message in call:
                    answering = True
                    for item in method.decode(message):
                        yield item
                return
            except grpc.RpcError as error:
                self._check_open()
                await asyncio.sleep(recovery.pause_after(error, answering=answering))
            except asyncio.CancelledError:
                self._check_cancelled_by_close()
                raise
            finally:
                call.cancel()

    async def _connected(self, method: _call.Method[Any], deadline: float) -> Any:
        """Return the stub of a method, after finding the daemon and opening the channel where that is still to be done."""
        self._check_open()
        self._check_loop()
        if not self._stubs:
            for pause in self._finder.pauses(min(self._connect_timeout, deadline - time.monotonic())):
                await asyncio.sleep(pause)
            self._check_open()
        if not self._stubs:  # another task may have been faster
            self._open(self._finder.find() or self._finder.paths[0])
        return self._stubs[method.path]

    def _open(self, path: str) -> None:
        channel = grpc.aio.insecure_channel(_channel.channel_target(path), options=_channel.CHANNEL_OPTIONS)
        stubs: dict[str, Any] = {method.path: channel.unary_unary(method.path) for method in _call.UNARY}
        stubs |= {method.path: channel.unary_stream(method.path) for method in _call.STREAMED}
        self._channel, self._stubs, self._loop = channel, stubs, asyncio.get_running_loop()

    def _check_loop(self) -> None:
        """Drop the connection of a loop that has ended, such as that of an earlier `asyncio.run`."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return
        if not self._loop.is_closed():
            raise ClientClosed("this AsyncClient belongs to another event loop that is still open; make one client for each loop")
        self._channel, self._stubs, self._loop = None, {}, None

    def _check_cancelled_by_close(self) -> None:
        """Tell a call that `close()` ended from a task that was cancelled; gRPC says the same of both."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            self._check_open()
