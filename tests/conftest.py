"""Fixtures that several rooms share, and the order of all tests."""

import gc
from pathlib import Path

import pytest

from tests.emulator_server import emulator, emulator_server

__all__ = ["emulator", "emulator_server"]
LONGEST = (*(Path(name) for name in ("benchmarks/test_savings.py", "e2e/test_mixed_run.py", "e2e", "torture", "cli")), Path())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long first, so that no worker begins one when the others have ended."""
    items.sort(key=lambda item: _rank(item.path.relative_to(Path(__file__).parent)))


def pytest_collection_finish() -> None:
    """Leave what was imported out of every further look for garbage: half a million objects that stay till the end."""
    gc.freeze()


def _rank(path: Path) -> int:
    return next(rank for rank, part in enumerate(LONGEST) if path.is_relative_to(part))
