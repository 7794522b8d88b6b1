"""How a synchronous client reaches the daemon: it connects, sends, repeats where that is safe, reads streams and pages.

What is sent and what becomes of the answer is decided elsewhere; `_aio_transport.py` is the same for asyncio.
"""

import threading
import time
from collections.abc import Generator, Iterator
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc

from aigen import _call, _channel, _queries
from aigen._base import BaseClient
from aigen._tracing import trace_headers
from aigen.results import StreamEvent

T = TypeVar("T")


class Transport(BaseClient):
    """A connection to the daemon that threads may share; takes what `BaseClient` takes."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._lock = threading.Lock()

    def close(self) -> None:
        """Close the connection; calls under way end with ClientClosed, and so does every later one."""
        with self._lock:
            self._closed = self._closed or "is closed"
            self._stubs = {}
            channel: grpc.Channel | None = self._channel
            self._channel = None
        if channel is not None:
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _send(
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
            stub = self._stubs.get(method.path) or self._connected(method, deadline)
            try:
                return method.decode(stub(payload, timeout=_call.grpc_seconds(seconds), metadata=metadata or trace_headers()))
            except grpc.RpcError as error:
                self._check_open()
                recovery = recovery or self._recovery(method, request_id, timeout=seconds, deadline=deadline)
                time.sleep(recovery.pause_after(error))
                seconds = recovery.seconds_left()

    def _events(
        self, payload: bytes, seconds: float, metadata: _call.Metadata, request_id: str
    ) -> Generator[StreamEvent, None, None]:
        deadline = time.monotonic() + seconds
        recovery = self._recovery(_call.STREAM, request_id, timeout=seconds, deadline=deadline)
        answering = False
        while True:
            stub = self._stubs.get(_call.STREAM.path) or self._connected(_call.STREAM, deadline)
            call = stub(payload, timeout=_call.grpc_seconds(recovery.seconds_left()), metadata=metadata)
            try:
                for message in call:
                    answering = True
                    if (event := _call.STREAM.decode(message)) is not None:
                        yield event
                return
            except grpc.RpcError as error:
                self._check_open()
                time.sleep(recovery.pause_after(error, answering=answering))
            finally:
                call.cancel()

    def _pages(self, method: _call.Method[tuple[list[T], str]], first: _queries.PageRequest, timeout: float | None) -> Iterator[T]:
        token = ""
        while True:
            items, token = self._send(method, _queries.next_page(first, token), timeout)
            yield from items
            if not token:
                return

    def _streamed(self, method: _call.Method[list[T]], payload: bytes, timeout: float | None) -> Generator[T, None, None]:
        """Give what the messages of a stream hold; once some of it was given, a lost connection ends it with its error."""
        seconds = self._seconds(timeout)
        deadline = time.monotonic() + seconds
        recovery = self._recovery(method, "", timeout=seconds, deadline=deadline)
        answering = False
        while True:
            stub = self._stubs.get(method.path) or self._connected(method, deadline)
            call = stub(payload, timeout=_call.grpc_seconds(recovery.seconds_left()), metadata=trace_headers())
            try:
                for message in call:
                    answering = True
                    yield from method.decode(message)
                return
            except grpc.RpcError as error:
                self._check_open()
                time.sleep(recovery.pause_after(error, answering=answering))
            finally:
                call.cancel()

    def _connected(self, method: _call.Method[Any], deadline: float) -> Any:
        """Return the stub of a method after finding the daemon and opening the channel."""
        self._check_open()
        for pause in self._finder.pauses(min(self._connect_timeout, deadline - time.monotonic())):
            time.sleep(pause)
        with self._lock:
            self._check_open()
            if not self._stubs:
                self._open(self._finder.find() or self._finder.paths[0])
            return self._stubs[method.path]

    def _open(self, path: str) -> None:
        channel = grpc.insecure_channel(_channel.channel_target(path), options=_channel.CHANNEL_OPTIONS)
        stubs: dict[str, Any] = {method.path: channel.unary_unary(method.path) for method in _call.UNARY}
        stubs |= {method.path: channel.unary_stream(method.path) for method in _call.STREAMED}
        self._channel, self._stubs = channel, stubs

    def _forsake(self) -> None:
        super()._forsake()
        self._lock = threading.Lock()  # the parent may have held the old one
