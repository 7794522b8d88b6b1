"""Nothing tells people to install aigen by its name: it is on no package index, and whoever took the name would get their keys."""

import re
import tomllib

import pytest

from tests.house import tree

NAME = "aigen"
BY_NAME = re.compile(
    rf"\b(?:pipx?|pip3|uvx?|uv tool|uv pip) (?:install|add|run)?(?:\s+-\S+)*\s*['\"]?{NAME}(?=\[|['\"`\s]|$)", re.MULTILINE
)
FROM_CHECKOUT = re.compile(r"install (?:\S+ )*'\.\[([a-z,]+)\]'")


def by_name(text: str) -> list[str]:
    """Return what in a text installs the project by its name."""
    return [found[0] for found in BY_NAME.finditer(text)]


def texts() -> dict[str, str]:
    """Return every file of the project that is text, by its path."""
    found = {}
    for path in tree.project_files():
        try:
            found[str(path.relative_to(tree.ROOT))] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
    return found


def test_nothing_is_installed_by_its_name() -> None:
    """Pages, units, messages and comments install out of a checkout or a wheel."""
    assert {path: found for path, text in texts().items() if (found := by_name(text))} == {}


@pytest.mark.parametrize("command", ["pip install", "pipx install", "pip install --upgrade", "uv pip install", "uv add", "uvx"])
@pytest.mark.parametrize("named", [NAME, f"'{NAME}[daemon]'", f"{NAME}[cli]"])
def test_a_hint_by_name_is_noticed(command: str, named: str) -> None:
    """Control: each usual way of installing by name is found."""
    assert by_name(f"Run `{command} {named}`.") != []


def test_extras_that_are_named_exist() -> None:
    """Each extra that a text installs out of a checkout is one of the project's."""
    known = tomllib.loads((tree.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    named = {extra for text in texts().values() for found in FROM_CHECKOUT.findall(text) for extra in found.split(",")}
    assert named >= {"daemon", "cli", "emulator", "bedrock"}
    assert named <= known.keys()
