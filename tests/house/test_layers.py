"""Who may import whom, and who may look at the world."""

import ast
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

LINTER = Path(sys.executable).parent / "lint-imports"
CLIENT_NEEDS = {"grpc", "google", "aigen"}
READS_THE_WORLD = {
    "time.time",
    "time.time_ns",
    "datetime.now",
    "datetime.utcnow",
    "datetime.today",
    "date.today",
    "os.environ",
    "os.getenv",
    "sys.argv",
}
MAY_READ_THE_WORLD = ("__main__.py", "server.py", "clock.py", "config")

needs_linter = pytest.mark.skipif(not LINTER.exists(), reason="import-linter is not installed here (floor environment)")


def lint_layers(root: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages below `root`."""
    folders = os.pathsep.join(str(root / name) for name in ("client", "daemon", "cli", "emulator"))
    environment = {**os.environ, "PYTHONPATH": folders}
    return subprocess.run(
        [LINTER, "--no-logo", "--no-cache"], cwd=root, env=environment, capture_output=True, text=True, check=False
    )


@needs_linter
def test_rooms_import_only_what_they_may() -> None:
    """Every contract in pyproject.toml is kept."""
    result = lint_layers(tree.ROOT)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_linter
@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param("daemon/aigend/cache/__init__.py", "import aigend.ledger", id="sibling"),
        pytest.param("daemon/aigend/types.py", "import aigend.cache", id="upwards"),
        pytest.param("daemon/aigend/completion/__init__.py", "import grpc", id="wire"),
        pytest.param("daemon/aigend/cache/__init__.py", "import aigenctl", id="other-program"),
        pytest.param("client/aigen/__init__.py", "import aigend", id="client-on-daemon"),
    ],
)
def test_a_forbidden_import_is_noticed(tmp_path: Path, module: str, line: str) -> None:
    """Control: the same check fails on a copy of the tree in which one room imports what it must not."""
    for name in ("client", "daemon", "cli", "emulator"):
        shutil.copytree(tree.ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(tree.ROOT / "pyproject.toml", tmp_path)
    planted = tmp_path / module
    planted.write_text(planted.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    result = lint_layers(tmp_path)
    assert result.returncode == 1
    assert "1 broken" in result.stdout or "2 broken" in result.stdout, result.stdout


def test_client_imports_its_three_dependencies_only() -> None:
    """Nothing below `aigen` imports a package other than grpc, google.protobuf, google.rpc and the standard library."""
    allowed = CLIENT_NEEDS | set(sys.stdlib_module_names)
    wrong = [
        f"{tree.place(path, line)} imports {name}"
        for path in sorted(tree.PACKAGES["aigen"].rglob("*.py"))
        for line, name in tree.imports(path)
        if name.partition(".")[0] not in allowed
        or (name.startswith("google.") and not name.startswith(("google.protobuf", "google.rpc")))
    ]
    assert wrong == []


def test_daemon_takes_only_the_generated_code_from_the_client_and_only_in_rpc() -> None:
    """`aigend` imports `aigen.v1` in rpc/ and nothing else of `aigen` anywhere."""
    rpc = tree.PACKAGES["aigend"] / "rpc"
    wrong = [
        f"{tree.place(path, line)} imports {name}"
        for path in tree.python_files(tree.PACKAGES["aigend"])
        for line, name in tree.imports(path)
        if name.partition(".")[0] == "aigen" and not (name.startswith("aigen.v1") and path.is_relative_to(rpc))
    ]
    assert wrong == []


@pytest.mark.parametrize("package", ["aigenctl", "aigend", "aigen_emulator"])
def test_nobody_reaches_into_the_clients_private_modules(package: str) -> None:
    """Only `aigen` itself imports a name of `aigen` that begins with an underscore."""
    wrong = [
        f"{tree.place(path, line)} imports {name}"
        for path in tree.python_files(tree.PACKAGES[package])
        for line, name in tree.imports(path)
        if name.startswith("aigen.") and any(part.startswith("_") for part in name.split("."))
    ]
    assert wrong == []


def reads_of_the_world(path: Path) -> list[str]:
    """Return where a file asks the wall clock, the environment or argv."""
    named = {(line, name) for line, name in tree.imports(path) if name in READS_THE_WORLD}
    for node in ast.walk(tree.syntax(path)):
        if isinstance(node, ast.Attribute):
            ending = ".".join(ast.unparse(node).split(".")[-2:])
            named |= {(node.lineno, ending)} if ending in READS_THE_WORLD else set()
    return [f"{tree.place(path, line)} reads {name}" for line, name in sorted(named)]


def test_time_environment_and_argv_enter_at_the_top() -> None:
    """Below server.py the wall clock comes from `Clock`, and settings come as values."""
    top = tree.PACKAGES["aigend"]
    below = [path for path in tree.python_files(top) if path.relative_to(top).parts[0] not in MAY_READ_THE_WORLD]
    assert [where for path in below for where in reads_of_the_world(path)] == []


def test_a_look_at_the_wall_clock_is_noticed() -> None:
    """Control: the reader of the test above finds the one place that is allowed to ask the wall clock."""
    assert reads_of_the_world(tree.PACKAGES["aigend"] / "clock.py") != []
