"""What the daemon tells the service manager that started it: ready, alive, reloading, stopping.

Without `$NOTIFY_SOCKET` everything here does nothing. Who calls what when is `server.py`'s business.

Source:
    sd_notify(3), sd_watchdog_enabled(3), systemd 257.
"""

import math
import os
import socket
from collections.abc import Mapping

from aigend.clock import Clock

MICROSECONDS = 1_000_000
SEND_TIMEOUT_S = 1.0


class ServiceManager:
    """The service manager at the other end of `$NOTIFY_SOCKET`, or none.

    Args:
        environ: Where `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` are read.
        clock: Waits between two pings, and dates a reload.
    """

    def __init__(self, environ: Mapping[str, str], *, clock: Clock) -> None:
        self._address = _address(environ.get("NOTIFY_SOCKET", ""))
        self._clock = clock
        self.watchdog_interval_s = _watchdog_interval_s(environ) if self._address else None
        self.failure: OSError | None = None  # why the last message could not be sent

    @property
    def present(self) -> bool:
        """Whether anybody listens."""
        return self._address is not None

    def ready(self, status: str) -> None:
        """Say that calls are served, at the start and after a reload."""
        self._send("READY=1", _status(status), f"MAINPID={os.getpid()}")

    def status(self, text: str) -> None:
        """Show a line in `systemctl status`."""
        self._send(_status(text))

    def reloading(self) -> None:
        """Say that a reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={int(self._clock.monotonic() * MICROSECONDS)}")

    def stopping(self, status: str) -> None:
        """Say that the daemon drains and then ends."""
        self._send("STOPPING=1", _status(status))

    def extend_timeout(self, seconds: float) -> None:
        """Ask for time, such as a long drain needs."""
        self._send(f"EXTEND_TIMEOUT_USEC={math.ceil(seconds * MICROSECONDS)}")

    async def keep_alive(self) -> None:
        """Ping at half the watchdog's interval until cancelled; at once done where no watchdog watches.

        It runs on the event loop, so that a blocked loop misses its pings and is restarted.
        """
        while self.watchdog_interval_s is not None:
            self._send("WATCHDOG=1", timeout_s=0.0)
            await self._clock.sleep(self.watchdog_interval_s / 2)

    def _send(self, *lines: str, timeout_s: float = SEND_TIMEOUT_S) -> None:
        """A message that can't be sent is noted, never raised: serving matters more than telling."""
        if self._address is None:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(timeout_s)
                sender.connect(self._address)
                sender.sendall("\n".join(lines).encode())
        except OSError as error:
            self.failure = error
        else:
            self.failure = None


def _address(notify_socket: str) -> str | None:
    """A path, or `@name` in the abstract namespace; other kinds of sockets are not for this machine's daemons."""
    if notify_socket.startswith("@") and len(notify_socket) > 1:
        return "\0" + notify_socket[1:]
    return notify_socket if notify_socket.startswith("/") else None


def _watchdog_interval_s(environ: Mapping[str, str]) -> float | None:
    """How long the manager waits for a ping; None where it watches nothing, or another process."""
    microseconds = environ.get("WATCHDOG_USEC", "")
    if not (microseconds.isascii() and microseconds.isdigit()) or int(microseconds) == 0:
        return None
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    return int(microseconds) / MICROSECONDS


def _status(text: str) -> str:
    """A status is one line: what follows a line break would be read as another assignment."""
    return "STATUS=" + " ".join(text.split())
