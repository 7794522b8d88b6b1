"""Fixtures that several rooms share."""

from tests.emulator_server import emulator, emulator_server

__all__ = ["emulator", "emulator_server"]
