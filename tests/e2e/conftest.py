"""Fixtures of the tests with real processes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.running import Aigend, Warm
from tests.emulator_server import RunningEmulator

MakeDaemon = Callable[..., Aigend]


@pytest.fixture(scope="session")
def warm() -> Iterator[Warm]:
    """What daemons are forked from."""
    with closing(Warm()) as warm:
        yield warm


@pytest.fixture
def make_daemon(tmp_path: Path, emulator: RunningEmulator, warm: Warm) -> Iterator[MakeDaemon]:
    """Make daemons that ask the emulator; what was started is ended."""
    with ExitStack() as stack:

        def make(settings: dict[str, Any] | None = None, *, name: str = "a", **more: Any) -> Aigend:
            options = {"base_url": emulator.base_url, "warm": warm} | more
            return stack.enter_context(closing(Aigend(tmp_path / name, settings=settings, **options)))

        yield make


@pytest.fixture
def daemon(make_daemon: MakeDaemon) -> Aigend:
    """A running daemon."""
    return make_daemon().start()
