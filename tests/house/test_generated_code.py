"""The contract: linted, and generated into the client exactly as it stands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

GENERATOR = tree.ROOT / ".venv-gen" / "bin" / "python"
BUF = Path(sys.executable).parent / "buf"

needs_generator = pytest.mark.skipif(not GENERATOR.exists(), reason="no .venv-gen here; `make check` sets it up")
needs_buf = pytest.mark.skipif(not BUF.exists(), reason="buf is not installed here (floor environment)")


def copy_of_contract(folder: Path) -> Path:
    """Copy what the two programs of proto/ look at; return the copied proto folder."""
    shutil.copytree(tree.ROOT / "proto", folder / "proto", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tree.GENERATED, folder / "client" / "aigen" / "v1", ignore=shutil.ignore_patterns("__pycache__"))
    return folder / "proto"


def run(python: Path | str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program of proto/ and return what it said."""
    return subprocess.run([python, *arguments], env=dict(os.environ), capture_output=True, text=True, check=False)


@needs_generator
def test_generated_code_is_fresh() -> None:
    """What is committed is what the .proto files generate."""
    result = run(GENERATOR, tree.ROOT / "proto" / "generate.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr


@needs_generator
def test_stale_code_is_noticed(tmp_path: Path) -> None:
    """Control: a field that is added to a copy of the contract, but not to its code, is found and named."""
    proto = copy_of_contract(tmp_path)
    with (proto / "aigen" / "v1" / "message.proto").open("a") as file:
        file.write("// Added.\nmessage Added {\n  // A name.\n  string name = 1;\n}\n")
    result = run(GENERATOR, proto / "generate.py", "--check")
    assert result.returncode == 1
    assert "message_pb2.py" in result.stdout


@needs_buf
def test_contract_is_linted() -> None:
    """Buf finds nothing in the contract."""
    result = run(sys.executable, tree.ROOT / "proto" / "lint.py")
    assert result.returncode == 0, result.stdout + result.stderr


@needs_buf
def test_an_uncommented_field_is_noticed(tmp_path: Path) -> None:
    """Control: a field without a comment in a copy of the contract is refused."""
    proto = copy_of_contract(tmp_path)
    with (proto / "aigen" / "v1" / "message.proto").open("a") as file:
        file.write("// Added.\nmessage Added {\n  string name = 1;\n}\n")
    result = run(sys.executable, proto / "lint.py")
    assert result.returncode != 0
    assert "message.proto" in result.stdout + result.stderr
