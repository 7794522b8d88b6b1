"""A fake daemon on a real socket, and clients of both kinds on it."""

from collections.abc import Iterator
from pathlib import Path

import aigen
import pytest
from aigen.testing import FakeDaemon


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[FakeDaemon]:
    """A scripted daemon that listens."""
    with FakeDaemon(tmp_path / "d.sock") as running:
        yield running


@pytest.fixture
def client(daemon: FakeDaemon) -> Iterator[aigen.Client]:
    """A sync client of that daemon."""
    with aigen.Client(daemon.socket, timeout=10, connect_timeout=1) as made:
        yield made
