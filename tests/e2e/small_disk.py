"""A daemon whose state directory is a small disk of its own, which a test can fill to the last byte and empty again."""

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.running import Aigend


class SmallDisk:
    """The disk of one daemon, seen from outside its mount namespace.

    Args:
        daemon: One that is not running yet.
        mib: Size of the disk.
    """

    def __init__(self, daemon: Aigend, *, mib: int) -> None:
        self.daemon = daemon
        self._mib = mib

    def start(self, **environ: str) -> Aigend:
        """Start the daemon on its disk; skip the test where that is not allowed."""
        daemon = self.daemon
        daemon.state.mkdir(mode=0o700)
        mounted = f'mount -t tmpfs -o size={self._mib}m,mode=700 tmpfs "{daemon.state}" && exec "$@"'
        try:
            return daemon.start(wrapper=["unshare", "-Urm", "sh", "-c", mounted, "sh"], **environ)
        except (AssertionError, FileNotFoundError):
            if "Operation not permitted" in daemon.log() or "not found" in daemon.log() or not daemon.log():
                pytest.skip(f"needs unshare with user namespaces: {daemon.log()}")
            raise

    @property
    def filler(self) -> Path:
        """The file that takes the room."""
        return Path(f"/proc/{self.daemon.pid}/root{self.daemon.state}/filler")

    def take(self, size: int) -> None:
        """Take so many bytes of it."""
        self.filler.write_bytes(bytes(size))

    def empty(self) -> None:
        """Give all back that was taken."""
        self.filler.unlink()

    @contextlib.contextmanager
    def filled(self) -> Iterator[None]:
        """Take all that is free, and at once whatever is given free meanwhile; it stays taken until `empty`."""
        full, enough = threading.Event(), threading.Event()
        filling = threading.Thread(target=self._fill, args=(full, enough))
        filling.start()
        try:
            assert full.wait(10)
            yield
        finally:
            enough.set()
            filling.join()

    def _fill(self, full: threading.Event, enough: threading.Event) -> None:
        with self.filler.open("ab", buffering=0) as file:
            while not enough.is_set():
                try:
                    os.write(file.fileno(), bytes(4_096))
                except OSError:
                    full.set()
