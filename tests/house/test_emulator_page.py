"""What docs/client.md says of the emulated provider is true: its addresses, its faults, its controls."""

import dataclasses
import re
from pathlib import Path

from aigen_emulator import faults
from aigen_emulator.app import Emulator, EmulatorSettings
from aigend.config import WELL_KNOWN

from tests.house import tree

PAGE = (tree.ROOT / "docs" / "client.md").read_text(encoding="utf-8").partition("## The emulated provider")[2]
ROOT = "http://127.0.0.1:8099"
# What each provider's SDK puts behind the address that it is given.
ASKED = {
    "openai": "/chat/completions",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/gemini-2.5-flash:generateContent",
    "perplexity": "/responses",
}
ADDRESS = re.compile(rf"^\| `([a-z]+)` \| `([A-Z_]+)` \| `{re.escape(ROOT)}([^`]*)` \|$", re.MULTILINE)
FAULT = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \| (.*) \|$", re.MULTILINE)
CONTROL = re.compile(r'"(/emulator/[a-z]+)"')


def _faults() -> dict[str, str]:
    """Return what the page says of each fault, by its key."""
    table = PAGE.partition("| fault | what happens |")[2].partition("\n\n")[0]
    return {key: row[1] for row in FAULT.findall(table) for key in re.findall(r"`([a-z_]+)`", row[0])}


def test_each_provider_has_its_address() -> None:
    """The table names every provider's variable, and the emulator answers where that provider's SDK asks below the address."""
    rows = ADDRESS.findall(PAGE)
    assert {name: variable for name, variable, _ in rows} == {name: usual.address for name, usual in WELL_KNOWN.items()}
    emulator = Emulator(EmulatorSettings())
    for name, _, path in rows:
        for below in ("", "/p/second"):
            target = emulator._target(below + path + ASKED[name])
            assert target is not None, (name, below)
    assert emulator._target("/v1" + ASKED["anthropic"]) is None


def test_each_fault_is_told() -> None:
    """The table has one entry for every key that a fault may have, and no other."""
    assert list(_faults()) == [field.name for field in dataclasses.fields(faults.Fault)]


def test_each_value_of_a_fault_is_told() -> None:
    """Where a fault takes one of several words, all of them stand in its row."""
    words = {"garbage": faults.GARBAGE, "usage": faults.USAGES, "on": faults.OPERATIONS, "tier": faults.TIERS[1:]}
    told = _faults()
    assert {key: tuple(re.findall(r"`(\w+)`", told[key])) for key in words} == words


def test_each_control_address_is_told() -> None:
    """Every address that steers the emulator is in the table."""
    source = Path(tree.PACKAGES["aigen_emulator"] / "control.py").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(/emulator/[a-z]+)` \|", PAGE, re.MULTILINE)) == set(CONTROL.findall(source))
