"""Show the branch coverage of each package from the last run, and refuse less than 90 %."""

import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

import coverage

FLOOR_PERCENT = 90.0
ROOT = Path(__file__).resolve().parent.parent


def measured() -> dict[str, dict]:
    """Return coverage's figures for each file."""
    data = coverage.Coverage(config_file=str(ROOT / "pyproject.toml"))
    data.load()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "coverage.json"
        data.json_report(outfile=str(report))
        return json.loads(report.read_text(encoding="utf-8"))["files"]


def percent(files: list[dict]) -> float:
    """Return the share of branches taken; where there are none, that of statements run."""
    total = sum(file["summary"]["num_branches"] for file in files)
    if not total:
        return min((file["summary"]["percent_covered"] for file in files), default=0.0)
    return 100.0 * sum(file["summary"]["covered_branches"] for file in files) / total


def main() -> int:
    """Print a line a package, and a line a file for what is below the floor; return 1 when a package is below."""
    packages: dict[str, dict[str, dict]] = defaultdict(dict)
    for name, figures in measured().items():
        packages[name.split("/")[1]][name] = figures
    low = []
    for package, files in sorted(packages.items()):
        share = percent(list(files.values()))
        print(f"{package:16} {share:5.1f} % of branches")
        if share < FLOOR_PERCENT:
            low.append(package)
            worst = sorted(files.items(), key=lambda item: -item[1]["summary"]["missing_branches"])[:15]
            for name, figures in worst:
                lines = sorted({abs(line) for branch in figures["missing_branches"] for line in branch[:1]})
                print(f"    {percent([figures]):5.1f} % {name}: from lines {', '.join(map(str, lines[:20]))}")
    if low:
        print(f"Below {FLOOR_PERCENT:.0f} %: {', '.join(low)}")
    return 1 if low or not packages else 0


if __name__ == "__main__":
    sys.exit(main())
