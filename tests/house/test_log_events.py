"""Every event that the daemon logs is in the table of docs/operations.md, and every event of the table is logged."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from aigend.routing.health import CircuitState

from tests.house import tree

PAGE = (tree.ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("| event | means |")[2].partition("\n\n")[0]
ROW = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", re.MULTILINE)
LEVELS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
LOGGERS = frozenset({"_log", "log"})
MADE = {
    "circuit_{}": {f"circuit_{state}" for state in CircuitState if state is not CircuitState.OPEN}
}  # events whose name is put together, by its form
RECORD = "msg"  # the key under which the log itself makes a line


def events(source: ast.Module) -> Iterator[str]:
    """Yield the name of every event that a module logs."""
    for node in ast.walk(source):
        if isinstance(node, ast.Call) and _logs(node.func):
            assert node.args, ast.unparse(node)
            yield from _names(node.args[0])
        elif isinstance(node, ast.Dict):
            told = {key.value: value for key, value in zip(node.keys, node.values, strict=True) if isinstance(key, ast.Constant)}
            yield from _names(told[RECORD]) if "levelno" in told else ()


def _logs(called: ast.expr) -> bool:
    return (
        isinstance(called, ast.Attribute)
        and called.attr in LEVELS
        and isinstance(called.value, ast.Name)
        and called.value.id in LOGGERS
    )


def _names(event: ast.expr) -> Iterator[str]:
    """Yield what an event's name may be; one that can't be read from the code fails."""
    if isinstance(event, ast.Constant) and isinstance(event.value, str):
        yield event.value
    elif isinstance(event, ast.JoinedStr):
        yield from MADE["".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in event.values)]
    else:
        raise AssertionError(f"the event {ast.unparse(event)} is no literal")


def daemon_files() -> Iterator[Path]:
    """Yield the modules that may log."""
    return tree.python_files(tree.PACKAGES["aigend"])


def test_every_event_is_in_the_table() -> None:
    """The table names exactly what is logged."""
    logged = {name for path in daemon_files() for name in events(tree.syntax(path))}
    listed = {name for row in ROW.findall(TABLE) for name in re.findall(r"`([a-z_]+)`", row)}
    assert listed == logged


def test_loggers_have_the_names_that_are_looked_for() -> None:
    """No module logs through a logger of another name, which would go unseen here."""
    made = re.compile(r"^(\w+) = (?:structlog\.get_logger|logging\.getLogger)\(", re.MULTILINE)
    assert {name for path in daemon_files() for name in made.findall(path.read_text(encoding="utf-8"))} <= LOGGERS


def test_an_event_is_found_in_whatever_form() -> None:
    """Control: plain calls, names over several lines, names put together, and lines that the log makes itself."""
    plain = "_log.info(\n'a_b', x=1)\nlog.exception('c')\nother.info('e')\n"
    source = plain + "_log.info(f'circuit_{report.state}')\n{'levelno': 1, 'msg': 'd'}"
    assert set(events(ast.parse(source))) == {"a_b", "c", "d", *MADE["circuit_{}"]}
