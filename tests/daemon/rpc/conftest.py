"""A daemon behind a real socket for the tests of the RPCs."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.emulator_server import RunningEmulator
from tests.serving import House, serving


@pytest.fixture
async def house(tmp_path: Path, emulator: RunningEmulator) -> AsyncIterator[House]:
    """A daemon whose provider is the emulator."""
    async with serving(tmp_path / "h", emulator.base_url) as house:
        yield house
