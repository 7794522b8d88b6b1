"""A program that prints a key, such as a password manager: run without a shell, for a bounded time, read up to a bound."""

import contextlib
import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence

COMMAND_TIMEOUT_S = 10.0


class CommandFailed(Exception):  # noqa: N818 - names what happened
    """A command gave nothing that can be used; says why, and nothing of what it printed."""


def printed(command: Sequence[str], environ: Mapping[str, str], *, limit_bytes: int, timeout_s: float = COMMAND_TIMEOUT_S) -> bytes:
    """Return what a command prints on its standard output; what it says on standard error is read by nobody.

    Args:
        command: Program and arguments.
        environ: Variables that it runs with.
        limit_bytes: Most that is read; a command that prints more is ended, and one byte more is returned.
        timeout_s: Longest time that it may take, in seconds.

    Raises:
        CommandFailed: It can't be run, takes too long, or ends with another status than 0.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - the operator's own words, no shell
            [*command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=dict(environ),
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise CommandFailed(f"it can't be run: {getattr(error, 'strerror', None) or type(error).__name__}") from error
    deadline = time.monotonic() + timeout_s
    with process:
        try:
            raw = _read(process, limit_bytes, deadline)
            status = 0 if len(raw) > limit_bytes else process.wait(max(0.0, deadline - time.monotonic()))
        except (TimeoutError, subprocess.TimeoutExpired) as error:
            raise CommandFailed("it took longer") from error
        finally:
            _end(process)
    if status:
        raise CommandFailed(f"it ended with status {status}")
    return raw


def _read(process: "subprocess.Popen[bytes]", limit_bytes: int, deadline: float) -> bytes:
    """Return all that comes before the end of the output, one byte above the limit at most."""
    assert process.stdout is not None  # noqa: S101 - it was asked for
    number, raw = process.stdout.fileno(), b""
    while len(raw) <= limit_bytes:
        ready, _, _ = select.select([number], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        chunk = os.read(number, limit_bytes + 1 - len(raw))
        if not chunk:
            break
        raw += chunk
    return raw


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Leave neither the command nor what it started in its session running."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
