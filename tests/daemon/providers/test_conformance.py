"""Every adapter passes the same cases, through its real SDK and over loopback; what its format can't say is refused by name."""

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import EmulatorServer, serving
from aigend.errors import DomainError, Reason
from aigend.providers.port import ProviderFault

from tests.daemon.providers import conformance_bills, conformance_cases, conformance_faults
from tests.daemon.providers.conformance import ADAPTERS, CASES, REFUSED, UNNOTICED, Bench
from tests.emulator_server import RunningEmulator


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EmulatorServer, Path]]:
    """Serve an emulator that caches long prompts by itself, as most providers do."""
    truth = tmp_path_factory.mktemp("conformance") / "truth.jsonl"
    with serving(Emulator(EmulatorSettings(truth=truth, prompt_cache=True))) as server:
        yield server, truth


@pytest.fixture
async def bench(adapter: str, served: tuple[EmulatorServer, Path]) -> AsyncIterator[Bench]:
    """Return the adapter, pointed at an emulator with an empty script."""
    made = Bench(adapter, RunningEmulator(*served))
    yield made
    await made.aclose()


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("adapter", ADAPTERS)
async def test_conformance(bench: Bench, adapter: str, name: str) -> None:
    """A case holds, or what the format can't say of it is refused by name and nothing of it is sent."""
    field = REFUSED.get((adapter, name))
    if field is None:
        await CASES[name](bench)
        return
    with pytest.raises(DomainError) as caught:
        await CASES[name](bench)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)
    assert bench.emulator.requests() == bench.asked


@pytest.mark.parametrize(("adapter", "name"), sorted(REFUSED.keys() - UNNOTICED))
async def test_control_without_the_check_a_refused_case_does_not_hold(bench: Bench, adapter: str, name: str) -> None:
    """Control: what the check refuses is no more than what fails without it, in the answer or at the provider."""
    assert bench.adapter == adapter
    bench.checks = False
    with pytest.raises((AssertionError, ProviderFault, ValueError, KeyError)):
        await CASES[name](bench)


def test_the_suite_is_whole() -> None:
    """There are at least 40 cases, each has a sentence, every refusal belongs to one, and a table shows who refuses what."""
    rooms = (conformance_cases, conformance_bills, conformance_faults)
    assert {made.__module__ for made in CASES.values()} == {room.__name__ for room in rooms}
    assert len(CASES) >= 40
    assert all(made.__doc__ for made in CASES.values())
    assert {adapter for adapter, _ in REFUSED} <= ADAPTERS.keys()
    assert {name for _, name in REFUSED} <= CASES.keys()
    assert REFUSED.keys() >= UNNOTICED
    rows = [f"{'adapter':<18}{'holds':>6}{'refused':>8}  refused by name"]
    for adapter in ADAPTERS:
        refused = [name for name in CASES if (adapter, name) in REFUSED]
        rows.append(f"{adapter:<18}{len(CASES) - len(refused):>6}{len(refused):>8}  {', '.join(refused)}")
    sys.stdout.write("\n".join([f"{len(CASES)} cases", *rows, ""]))
