"""Lint the contract with buf, offline: imported google/rpc files come from the installed googleapis-common-protos.

buf wants every imported file in its workspace, and copies of other people's files have no place in this tree;
so the workspace is made for the occasion and only our own folder in it is linted.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import google.rpc

PROTO = Path(__file__).resolve().parent
BUF = Path(sys.executable).parent / "buf"


def lint(workspace: Path) -> int:
    """Return buf's exit code for a copy of the contract in `workspace`."""
    shutil.copytree(PROTO / "aigen", workspace / "aigen")
    shutil.copy(PROTO / "buf.yaml", workspace)
    (workspace / "google" / "rpc").mkdir(parents=True)
    foreign = Path(next(iter(google.rpc.__path__)))
    for path in foreign.glob("*.proto"):
        shutil.copy(path, workspace / "google" / "rpc")
    return subprocess.run([BUF, "lint", "--path", "aigen"], cwd=workspace, check=False).returncode


def main() -> int:
    """Lint once; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        return lint(Path(folder))


if __name__ == "__main__":
    sys.exit(main())
