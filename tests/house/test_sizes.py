"""Sizes that stay pleasant: functions, modules, parameters."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.house import tree

FUNCTION_LINES = 60
MODULE_LINES = 400
POSITIONAL = 5

Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(path: Path) -> Iterator[Function]:
    """Yield every function and method of a file, nested ones too."""
    return (node for node in ast.walk(tree.syntax(path)) if isinstance(node, Function))


def own_lines(node: Function) -> int:
    """Return how many lines a function has without its docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def positional(node: Function) -> int:
    """Return how many parameters may be given by place, `self` and `cls` aside."""
    names = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    return len(names) - (names[:1] in (["self"], ["cls"]))


def test_no_function_is_longer_than_a_screen() -> None:
    """A function has at most 60 lines beside its docstring, tests included."""
    files = (*tree.package_files(), *tree.python_files(*tree.PROGRAMS))
    long = [
        f"{tree.place(path, node.lineno)} {node.name}: {own_lines(node)} lines"
        for path in files
        for node in functions(path)
        if own_lines(node) > FUNCTION_LINES
    ]
    assert long == []


def test_no_module_holds_two_rooms() -> None:
    """A module has at most 400 lines."""
    sizes = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in tree.package_files()}
    assert [f"{path.relative_to(tree.ROOT)}: {lines} lines" for path, lines in sizes.items() if lines > MODULE_LINES] == []


def test_most_functions_are_short() -> None:
    """Half of the functions have at most 8 lines, nine of ten at most 30."""
    lengths = sorted(own_lines(node) for path in tree.package_files() for node in functions(path))
    assert lengths[len(lengths) // 2] <= 8
    assert lengths[len(lengths) * 9 // 10] <= 30


def test_parameters_are_named_at_the_call() -> None:
    """No function takes more than five parameters by place."""
    many = [
        f"{tree.place(path, node.lineno)} {node.name}: {positional(node)}"
        for path in tree.package_files()
        for node in functions(path)
        if positional(node) > POSITIONAL
    ]
    assert many == []
