"""The project's own tree as the house tests see it: which files belong to it, and their syntax trees."""

import ast
import functools
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = {
    "aigen": ROOT / "client" / "aigen",
    "aigend": ROOT / "daemon" / "aigend",
    "aigenctl": ROOT / "cli" / "aigenctl",
    "aigen_emulator": ROOT / "emulator" / "aigen_emulator",
}
GENERATED = ROOT / "client" / "aigen" / "v1"
PROGRAMS = tuple(ROOT / name for name in ("proto", "examples", "benchmarks", "tests", ".ci"))


def is_generated(path: Path) -> bool:
    """Return whether protoc wrote the file."""
    return path.is_relative_to(GENERATED)


def python_files(*folders: Path) -> Iterator[Path]:
    """Yield every Python file that people wrote below the folders."""
    for folder in folders:
        yield from (path for path in sorted(folder.rglob("*.py")) if not is_generated(path))


def package_files() -> Iterator[Path]:
    """Yield every Python file of the four packages that people wrote."""
    return python_files(*PACKAGES.values())


def module_name(path: Path) -> str:
    """Return the dotted name under which a file of a package is imported."""
    folder = next(folder for folder in PACKAGES.values() if path.is_relative_to(folder))
    parts = path.relative_to(folder.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def syntax(path: Path) -> ast.Module:
    """Return the file's syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute dotted name of all that the file imports, names out of modules included."""
    for node in ast.walk(syntax(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def place(path: Path, line: int) -> str:
    """Return where something stands, as an editor takes it."""
    return f"{path.relative_to(ROOT)}:{line}"


@functools.cache
def project_files() -> tuple[Path, ...]:
    """Return every file that belongs to the project: what git knows or would take."""
    git = shutil.which("git")
    assert git is not None, "git tells which files belong to the project"
    listed = subprocess.run(
        [git, "ls-files", "-co", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    return tuple(path for path in (ROOT / name for name in listed.splitlines()) if path.is_file())


def pages() -> tuple[Path, ...]:
    """Return README.md and the pages of docs/."""
    return (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
