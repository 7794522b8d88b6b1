"""The reader of test reports: it counts, and refuses what nobody allowed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.house import tree

PASSED = '<testcase classname="tests.a" name="test_one" />'
SKIPPED = '<testcase classname="tests.a" name="test_two"><skipped type="pytest.skip" message="no cc" /></testcase>'
FAILED = '<testcase classname="tests.a" name="test_three"><failure message="wrong" /></testcase>'


def read(folder: Path, *cases: str, allowed: str = "") -> subprocess.CompletedProcess[str]:
    """Run the reader on one report."""
    (folder / "allowed").write_text(allowed, encoding="utf-8")
    (folder / "report.xml").write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>", encoding="utf-8")
    command = [sys.executable, tree.ROOT / ".ci" / "results.py", folder / "allowed", folder / "report.xml"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("cases", "allowed", "code"),
    [
        pytest.param([PASSED], "", 0, id="all-passed"),
        pytest.param([PASSED, SKIPPED], "tests.a::test_two # needs cc", 0, id="skip-allowed"),
        pytest.param([PASSED, SKIPPED], "tests.a::test_one", 1, id="skip-not-allowed"),
        pytest.param([PASSED, FAILED], "", 1, id="failed"),
        pytest.param([], "", 1, id="nothing-ran"),
    ],
)
def test_only_what_passed_or_may_skip_is_accepted(tmp_path: Path, cases: list[str], allowed: str, code: int) -> None:
    """A run is accepted when something passed, nothing failed, and each skip is on the list."""
    assert read(tmp_path, *cases, allowed=allowed).returncode == code


def test_the_last_line_is_the_count(tmp_path: Path) -> None:
    """The count is printed last and kept beside the report."""
    result = read(tmp_path, PASSED, SKIPPED, FAILED)
    assert result.stdout.splitlines()[-1] == "1 passed, 1 failed, 1 skipped"
    assert (tmp_path / "summary").read_text(encoding="utf-8") == "1 passed, 1 failed, 1 skipped\n"
    assert "SKIPPED WITHOUT LEAVE in report: tests.a::test_two: no cc" in result.stdout
