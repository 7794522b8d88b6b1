"""Read pytest's reports: list the skips, refuse those that nobody allowed, and count.

Usage: results.py ALLOWED REPORT.xml ...; it writes the count beside the first report, as `summary`.
"""

import fnmatch
import sys
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path


def allowed_patterns(path: Path) -> list[str]:
    """Return the patterns of a file of allowed skips."""
    lines = (line.split("#")[0].split() for line in path.read_text(encoding="utf-8").splitlines())
    return [words[0] for words in lines if words]


def outcome(case: ET.Element) -> str:
    """Return passed, failed or skipped; what is expected to fail counts as passed."""
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    return "skipped" if skipped is not None and skipped.get("type") != "pytest.xfail" else "passed"


def main(allowed: str, *reports: str) -> int:
    """Print skips and counts; return 1 when a test failed, skipped without leave, or none ran."""
    patterns = allowed_patterns(Path(allowed))
    counts: Counter[str] = Counter()
    unexpected = 0
    for report in map(Path, reports):
        for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - reports of our own making
            result = outcome(case)
            counts[result] += 1
            if result != "skipped":
                continue
            name = f"{case.get('classname')}::{case.get('name')}"
            known = any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
            unexpected += not known
            print(
                f"{'skipped' if known else 'SKIPPED WITHOUT LEAVE'} in {report.stem}: {name}: {case.find('skipped').get('message')}"
            )
    summary = f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped"
    Path(reports[0]).with_name("summary").write_text(summary + "\n", encoding="utf-8")
    print(summary)
    return 1 if counts["failed"] or unexpected or not counts["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
