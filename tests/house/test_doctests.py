"""Examples in docstrings are true."""

import doctest
import importlib

import pytest

from tests.house import tree

MODULES = [tree.module_name(path) for path in tree.package_files() if ">>> " in path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_are_true(name: str) -> None:
    """Each example prints what its docstring says."""
    results = doctest.testmod(importlib.import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert results.attempted > 0
    assert results.failed == 0
