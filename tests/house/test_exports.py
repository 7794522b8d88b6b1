"""`__all__` is true: what it names is there, and what the client shows is in it."""

import importlib

import pytest

from tests.house import tree

MODULES = [
    tree.module_name(path)
    for path in tree.package_files()
    if path.stem != "__main__" and "__all__" in path.read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_all_is_true(name: str) -> None:
    """Every name in `__all__` exists, none stands there twice, and capitals, classes and functions each stand in order."""
    module = importlib.import_module(name)
    listed: list[str] = list(module.__all__)
    assert [word for word in listed if not hasattr(module, word)] == []
    assert listed == sorted(set(listed), key=lambda word: (not word.isupper(), not word[:1].isupper(), word))


def test_what_the_client_shows_is_exported() -> None:
    """Each public name of ours that the client's face holds is in its `__all__`."""
    module = importlib.import_module("aigen._api")
    ours = {word for word, value in vars(module).items() if getattr(value, "__module__", "").partition(".")[0] == "aigen"}
    assert {word for word in ours if not word.startswith("_")} <= set(module.__all__)
