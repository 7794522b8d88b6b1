"""`python -m benchmarks.export`: what memory an export of a large ledger takes; the last line is a JSON object.

The same export is made of a small ledger and of a large one, as CSV and as JSON lines, by `aigenctl` from a daemon. Constant memory
means that neither process grows with the number of entries.
"""

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import bulk_ledger, processes
from benchmarks.load import resident_mb

SMALL = 20_000
DAYS = 30.0
GROWTH_GOAL_MB = 20.0
FORMS = ("--csv", "--jsonl")


@dataclass(frozen=True, slots=True)
class Export:
    """What one export took; memory in MB at its highest."""

    entries: int
    form: str
    lines: int
    seconds: float
    daemon_mb: float
    command_mb: float


def export(folder: Path, *, entries: int) -> list[Export]:
    """Make a ledger of so many entries, serve on it, and export it in both forms."""
    (folder / "state").mkdir(mode=0o700, parents=True)
    bulk_ledger.build(folder / "state" / "ledger.db", entries=entries, end=time.time() - 60, days=DAYS)
    with processes.daemon(folder, base_url=None) as daemon:
        return [_export(folder, daemon, entries=entries, form=form) for form in FORMS]


def _export(folder: Path, daemon: processes.Running, *, entries: int, form: str) -> Export:
    Path(f"/proc/{daemon.pid}/clear_refs").write_text("5", encoding="ascii")  # begin its high-water mark anew
    written, began = folder / f"export{form}", time.monotonic()
    command = [sys.executable, "-m", "aigenctl", "--socket", daemon.socket, "ledger", "export", form]
    highest = 0.0
    with written.open("wb") as out, subprocess.Popen(command, stdout=out) as child:
        while child.poll() is None:
            with contextlib.suppress(StopIteration):  # it has ended, and has no memory to tell of
                highest = max(highest, _peak_mb(child.pid))
            time.sleep(0.02)
    took = time.monotonic() - began
    with written.open("rb") as lines:
        count = sum(1 for _ in lines)
    written.unlink()
    assert child.returncode == 0, f"exit code {child.returncode}"
    found = Export(entries, form, count, round(took, 1), round(_peak_mb(daemon.pid), 1), round(highest, 1))
    print(f"{found}, {resident_mb(daemon.pid):.1f} MB afterwards", flush=True)
    return found


def _peak_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1_024 / 1e6


def run(folder: Path, *, entries: int) -> dict[str, object]:
    """Export both ledgers; return what the last line holds."""
    small, large = (export(folder / str(count), entries=count) for count in (SMALL, entries))
    daemon_mb = max(found.daemon_mb for found in large) - max(found.daemon_mb for found in small)
    command_mb = max(found.command_mb for found in large) - max(found.command_mb for found in small)
    return {
        "exports": [asdict(found) for found in (*small, *large)],
        "daemon_growth_mb": round(daemon_mb, 1),
        "command_growth_mb": round(command_mb, 1),
        "goals_met": max(daemon_mb, command_mb) <= GROWTH_GOAL_MB and all(found.lines >= found.entries for found in large),
    }


def main() -> None:
    """Export, and print the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.export", description="Measure the memory of exporting a large ledger.")
    parser.add_argument("--entries", type=int, default=300_000, help="entries of the large ledger")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aigen-bench-export-"))
    try:
        figures = run(folder, entries=options.entries)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
