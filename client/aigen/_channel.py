"""Where the daemon's socket is, whether somebody listens there, and how a channel to it is set up.

The client tries the socket itself before gRPC does: that tells a missing daemon from a slow one, in microseconds and with the
reason, where a channel would only say that it is not ready yet.
"""

import os
import socket
import string
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from aigen.errors import DaemonUnavailable, invalid

SOCKET_VARIABLE: Final = "AIGEN_SOCKET"
SYSTEM_SOCKET: Final = "/run/aigend/aigend.sock"
MAX_PATH_BYTES: Final = 107  # sun_path of Linux, less its closing zero
_TRANSPORT_BYTES: Final = 33 * 1024 * 1024  # 1 MiB above the daemon's own limit, so that the daemon's clear refusal is the one seen
_FIRST_PAUSE_S: Final = 0.02
_PLAIN: Final = frozenset(b"/-._~" + string.ascii_letters.encode() + string.digits.encode())  # all else is percent-encoded
_LONGEST_PAUSE_S: Final = 0.25

CHANNEL_OPTIONS: Final = (
    # Calls are sent again by `_call.Recovery` alone. gRPC's own retries now and then left a stream waiting until its deadline when
    # the daemon was killed under it, though nothing was under way any more.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_send_message_length", _TRANSPORT_BYTES),
    ("grpc.max_receive_message_length", _TRANSPORT_BYTES),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.max_metadata_size", 64 * 1024),  # details of an error may be longer than the default of 8 KiB
    ("grpc.absolute_max_metadata_size", 128 * 1024),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),  # each client its own connection: closing one never touches another
    ("grpc.primary_user_agent", "aigen-python"),
)


def socket_paths(given: str | os.PathLike[str] | None, environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the paths at which the daemon is looked for, in order.

    Args:
        given: The caller's path; it alone counts where it is given.
        environment: Where `AIGEN_SOCKET`, which counts alone as well, `XDG_RUNTIME_DIR`, `XDG_STATE_HOME` and `HOME` are read.
            The last two say where a daemon serves that was started without a runtime directory.
    """
    if given is not None:
        return (_checked_path("socket", os.fspath(given)),)
    if named := environment.get(SOCKET_VARIABLE):
        return (_checked_path(SOCKET_VARIABLE, named),)
    runtime = environment.get("XDG_RUNTIME_DIR")
    own = (_checked_path("XDG_RUNTIME_DIR", os.path.join(runtime, "aigen", "aigend.sock")),) if runtime else ()
    state = environment.get("XDG_STATE_HOME") or (
        os.path.join(home, ".local", "state") if (home := environment.get("HOME")) else ""
    )
    fallback = os.path.join(state, "aigen", "aigend.sock")
    if not state.startswith("/") or len(os.fsencode(fallback)) > MAX_PATH_BYTES:
        return (*own, SYSTEM_SOCKET)
    return (*own, SYSTEM_SOCKET, fallback)


def _checked_path(name: str, path: object) -> str:
    if not isinstance(path, str) or not path or "\0" in path:
        raise invalid(name, repr(path), "the path of a unix socket")
    absolute = os.path.abspath(path.removeprefix("unix://").removeprefix("unix:"))
    if len(os.fsencode(absolute)) > MAX_PATH_BYTES:
        raise invalid(name, f"{len(os.fsencode(absolute))} bytes long ({absolute})", f"at most {MAX_PATH_BYTES} bytes")
    return absolute


def channel_target(path: str) -> str:
    """Return the gRPC target of a socket path."""
    return "unix:" + "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in os.fsencode(path))


def why_unreachable(path: str) -> str | None:
    """Return why nobody can be reached at a socket; None where somebody listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as trial:
        try:
            trial.connect(path)
        except BlockingIOError:
            return None  # its queue is full, so it is there
        except FileNotFoundError:
            return "no such file"
        except ConnectionRefusedError:
            return "nobody listens there any more"
        except OSError as error:
            return (error.strerror or type(error).__name__).lower()
    return None


@dataclass(frozen=True, slots=True)
class Finder:
    """Looks for a daemon at the paths where it may be."""

    paths: tuple[str, ...]
    clock: Callable[[], float] = time.monotonic

    def find(self) -> str | None:
        """Return the first path at which somebody listens."""
        return next((path for path in self.paths if why_unreachable(path) is None), None)

    def pauses(self, seconds: float) -> Iterator[float]:
        """Yield the pauses between looks; it ends as soon as somebody listens.

        Raises:
            DaemonUnavailable: Nobody was found within the given seconds.
        """
        end = self.clock() + seconds
        pause = _FIRST_PAUSE_S
        while self.find() is None:
            left = end - self.clock()
            if left <= 0:
                raise self.unavailable(seconds)
            yield min(pause, left)
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    def unavailable(self, seconds: float | None) -> DaemonUnavailable:
        """Return the error that names each path that was tried and what is wrong there."""
        tried = "; ".join(f"{path}: {why_unreachable(path) or 'somebody listens, but calls fail'}" for path in self.paths)
        within = "" if seconds is None else f" within {seconds:.3g} s"
        text = f"no aigend was found{within} ({tried}). Start one with `aigend serve`, or name its socket in {SOCKET_VARIABLE}"
        return DaemonUnavailable(text, metadata={"paths": os.pathsep.join(self.paths)})
