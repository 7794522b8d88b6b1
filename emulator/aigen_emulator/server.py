"""Serving the emulator on loopback, in this process or in a thread of it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from aigen_emulator.app import Emulator
from aigen_emulator.exchange import TRANSPORT

HOST = "127.0.0.1"
KEEP_ALIVE_S = 75  # longer than clients keep idle connections, so that none is closed under a request
_START_TIMEOUT_S = 10.0


class _Protocol(HttpToolsProtocol):
    """uvicorn's protocol, with the connection in the scope: faults cut and reset it."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        cast(dict[str, Any], self.scope)[TRANSPORT] = self.transport


class EmulatorServer(uvicorn.Server):
    """An emulator on a port of its own.

    Args:
        emulator: What answers.
        port: Where; 0 picks a free one, known as `port` at once.
        on_ready: Called when requests are answered.
    """

    def __init__(self, emulator: Emulator, *, port: int = 0, on_ready: Callable[["EmulatorServer"], None] | None = None) -> None:
        super().__init__(
            uvicorn.Config(
                emulator,
                http=_Protocol,
                ws="none",
                loop="uvloop",
                lifespan="off",
                log_level="critical",
                access_log=False,
                server_header=False,
                date_header=False,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=1,
            )
        )
        self.emulator = emulator
        self._on_ready = on_ready
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, port))
        self.port: int = self._socket.getsockname()[1]

    @property
    def base_url(self) -> str:
        """Where clients of OpenAI's format connect."""
        return f"http://{HOST}:{self.port}/v1"

    def provider_url(self, provider: str) -> str:
        """Return where a provider of that name answers, told apart in the truth log."""
        return f"http://{HOST}:{self.port}/p/{provider}/v1"

    @property
    def control_url(self) -> str:
        """Where the script is."""
        return f"http://{HOST}:{self.port}/emulator"

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port and say so."""
        await super().startup(sockets)
        if self._on_ready is not None:
            self._on_ready(self)

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until told to stop."""
        try:
            super().run(sockets=sockets or [self._socket])
        finally:
            self.emulator.truth.close()
            self._socket.close()


@contextmanager
def serving(emulator: Emulator, **options: Any) -> Iterator[EmulatorServer]:
    """Serve in a thread for as long as the block lasts.

    Raises:
        TimeoutError: The server was not ready within ten seconds.
    """
    ready = threading.Event()
    server = EmulatorServer(emulator, on_ready=lambda _: ready.set(), **options)
    thread = threading.Thread(target=server.run, name="emulator", daemon=True)
    thread.start()
    if not ready.wait(_START_TIMEOUT_S):
        raise TimeoutError("the emulator did not start")
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join(_START_TIMEOUT_S)
