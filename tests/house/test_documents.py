"""Pages are true: commands exist and are all listed, settings are those of the code, links lead somewhere."""

import argparse
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from aigenctl.app import app
from aigend import __main__ as daemon

from tests.house import settings_page, tree

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
SHELL_BLOCK = re.compile(r"^```(?:sh|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
COMMAND_LINE = typer.main.get_command(app)


def written_pages() -> tuple[Path, ...]:
    """Return the pages for people, with those that stand beside the README."""
    return (*tree.pages(), tree.ROOT / "CONTRIBUTING.md", tree.ROOT / "CHANGELOG.md")


def commands(command: Any, path: tuple[str, ...] = ("aigenctl",)) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command that does something."""
    below = getattr(command, "commands", {})
    for name, inner in below.items():
        yield from commands(inner, (*path, name))
    if not below or (command.invoke_without_command and len(path) > 1):
        yield path


def daemon_commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ("aigend",)) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command of the daemon."""
    below = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not below:
        yield path
    for action in below:
        for name, inner in action.choices.items():
            yield from daemon_commands(inner, (*path, name))


def typed_commands() -> Iterator[tuple[str, list[str]]]:
    """Yield every line of a shell block that runs aigenctl: where it stands, and its words after the program's name."""
    for page in written_pages():
        text = page.read_text(encoding="utf-8")
        for block in SHELL_BLOCK.finditer(text):
            for line in block[1].replace("\\\n", " ").splitlines():
                words = shlex.split(line.removeprefix("$ "), comments=True)
                if words[:1] == ["aigenctl"]:
                    yield f"{page.relative_to(tree.ROOT)}: {line}", words[1:]


def unknown_words(words: list[str]) -> list[str]:
    """Return the options that the typed command doesn't have; its name itself where there is no such command."""
    command: Any = COMMAND_LINE
    known = {name for option in command.params for name in option.opts}
    wrong = []
    for word in words:
        if word in ("|", ">", "&&", ";"):
            break
        if word.startswith("-") and not word.lstrip("-").isdigit():
            wrong += [] if word.partition("=")[0] in known | {"--help", "-h"} else [word]
        elif hasattr(command, "commands") and not wrong:
            if word not in command.commands:
                # What follows an option may be its value.
                wrong += [] if any(before.startswith("-") for before in words[: words.index(word)]) else [word]
                continue
            command = command.commands[word]
            known |= {name for option in command.params for name in option.opts}
    return wrong


@pytest.mark.parametrize("path", [*sorted(commands(COMMAND_LINE)), *sorted(daemon_commands(daemon._parser()))], ids=" ".join)
def test_every_command_is_documented(path: tuple[str, ...]) -> None:
    """A page shows the command as it is typed."""
    pages = "\n".join(page.read_text(encoding="utf-8") for page in tree.pages())
    assert re.search(re.escape(" ".join(path)) + r"\b", pages)


def test_every_typed_command_exists() -> None:
    """Commands and options in shell blocks are those that the program has."""
    assert [f"{where}: {wrong}" for where, words in typed_commands() if (wrong := unknown_words(words))] == []


def test_a_wrong_command_is_noticed() -> None:
    """Control: a command and an option that don't exist are found."""
    assert unknown_words(["cache", "cleer"]) == ["cleer"]
    assert unknown_words(["stats", "--grouped-by", "agent"]) == ["--grouped-by"]


def test_settings_page_is_made_from_the_settings() -> None:
    """docs/settings.md lists every setting with default, variable and meaning; `python -m tests.house.settings_page` writes it."""
    assert (tree.ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == settings_page.page()


@pytest.mark.parametrize("page", written_pages(), ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Each link that is not an address names a file of the project."""
    targets = [target.partition("#")[0] for target in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in target]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []
