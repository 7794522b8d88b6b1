"""Names and words that have no place in the project."""

import ast
import re

from tests.house import tree

DUMPING_GROUNDS = {"utils", "util", "helpers", "helper", "common", "misc", "shared"}
# Written in pieces so that this file does not hold what it looks for.
MACHINE_PATH = re.compile("/" + r"(?:work|Users|root|home/\w+)" + r"/\w")
UNFINISHED = re.compile(r"#.*\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK")) + r")\b")
MOCKS = {"Mock", "MagicMock", "AsyncMock", "patch"}


def test_there_are_no_dumping_grounds() -> None:
    """No file or folder is called utils, helpers, common or misc: what three files want is a noun with a file of its own."""
    wrong = [path for path in tree.project_files() if DUMPING_GROUNDS & {*path.relative_to(tree.ROOT).parts[:-1], path.stem}]
    assert wrong == []


def test_no_file_names_the_machine_it_was_written_on() -> None:
    """No tracked file holds a path into somebody's home or workplace."""
    wrong = []
    for path in tree.project_files():
        text = path.read_bytes().decode("utf-8", errors="replace")
        wrong += [tree.place(path, text[: found.start()].count("\n") + 1) for found in MACHINE_PATH.finditer(text)]
    assert wrong == []


def test_nothing_is_left_unfinished() -> None:
    """No comment promises work for later, and no function only says that it is not implemented."""
    wrong = []
    for path in (*tree.package_files(), *tree.python_files(*tree.PROGRAMS)):
        lines = path.read_text(encoding="utf-8").splitlines()
        wrong += [tree.place(path, number) for number, line in enumerate(lines, 1) if UNFINISHED.search(line)]
        raised = (node for node in ast.walk(tree.syntax(path)) if isinstance(node, ast.Raise) and node.exc is not None)
        wrong += [tree.place(path, node.lineno) for node in raised if "NotImplementedError" in ast.unparse(node.exc)]
    assert wrong == []


def test_our_own_code_is_never_mocked() -> None:
    """No test imports unittest.mock: a port has a fake."""
    wrong = [
        tree.place(path, line)
        for path in tree.python_files(tree.ROOT / "tests")
        for line, name in tree.imports(path)
        if name.startswith("unittest.mock") or name.split(".")[-1] in MOCKS
    ]
    assert wrong == []


def test_every_test_says_what_must_hold() -> None:
    """Each test function has a docstring, and so has each module of tests."""
    wrong = []
    for path in tree.python_files(tree.ROOT / "tests"):
        module = tree.syntax(path)
        wrong += [] if ast.get_docstring(module) or not module.body else [tree.place(path, 1)]
        tests = (node for node in ast.walk(module) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
        wrong += [tree.place(path, node.lineno) for node in tests if node.name.startswith("test_") and not ast.get_docstring(node)]
    assert wrong == []


def test_every_module_says_what_its_room_is_for() -> None:
    """Each module and package of the four programs has a docstring."""
    assert [path for path in tree.package_files() if not ast.get_docstring(tree.syntax(path))] == []
