"""The provider emulator for tests: one server a session, handed out clean to each test.

`emulator` is what most tests want; those with settings of their own use `aigen_emulator.server.serving`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.faults import fault_from
from aigen_emulator.server import EmulatorServer, serving


class RunningEmulator:
    """The session's emulator as one test sees it: an empty script, no batch jobs, and the charges since the test began."""

    def __init__(self, server: EmulatorServer, truth: Path) -> None:
        self.server = server
        self.emulator = server.emulator
        self.base_url = server.base_url
        self.control_url = server.control_url
        self._truth = truth
        self._before = truth.stat().st_size
        self._requests_before = self._requests()
        self.emulator.script.clear()
        self.emulator.batches.forget()  # else who lists jobs has those of earlier tests run, and finds their charges

    def provider_url(self, provider: str) -> str:
        """Return where a provider of that name answers."""
        return self.server.provider_url(provider)

    def script(self, *faults: dict[str, Any]) -> None:
        """Let the next matching requests fail, one fault each."""
        for fault in faults:
            self.emulator.script.add(fault_from(fault))

    def charges(self) -> list[dict[str, Any]]:
        """Return what was billed since the test began, in order."""
        with self._truth.open("rb") as truth:
            truth.seek(self._before)
            return [json.loads(line) for line in truth]

    def requests(self) -> int:
        """Return how many completions were asked for since the test began."""
        return self._requests() - self._requests_before

    def _requests(self) -> int:
        return sum(self.emulator.requests.values())


@pytest.fixture(scope="session")
def emulator_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmulatorServer, Path]]:
    """Serve one emulator for the whole session."""
    truth = tmp_path_factory.mktemp("emulator") / "truth.jsonl"
    with serving(Emulator(EmulatorSettings(truth=truth))) as server:
        yield server, truth


@pytest.fixture
def emulator(emulator_server: tuple[EmulatorServer, Path]) -> RunningEmulator:
    """Hand out the session's emulator with an empty script."""
    return RunningEmulator(*emulator_server)
