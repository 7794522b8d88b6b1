"""The high-water mark: a small file beside the ledger that remembers how far its journal went.

SQLite takes a database whose last commits are gone for a sound one, and so it does a restored old copy; the mark does not.
"""

import json
import os
from enum import StrEnum
from pathlib import Path

from aigend.ledger.journal import Tail


class TailState(StrEnum):
    """How the journal's end compares with the mark."""

    OK = "ok"  # the marked row is there
    NEW = "new"  # no mark and no rows
    UNMARKED = "unmarked"  # rows, but no readable mark
    LOST = "lost"  # the mark is beyond the last row
    FOREIGN = "foreign"  # the marked row is another one


def mark_path(ledger_path: Path) -> Path:
    """Return where the mark of a ledger lies."""
    return ledger_path.with_name(ledger_path.name + ".mark")


def write_mark(path: Path, tail: Tail) -> None:
    """Replace the mark in one step; called after the commit that it speaks of."""
    fresh = path.with_name(path.name + ".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, json.dumps({"seq": tail.seq, "checksum": tail.checksum.hex()}).encode() + b"\n")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    fresh.replace(path)


def read_mark(path: Path) -> Tail | None:
    """Return what the mark says; None where there is none or it can't be read."""
    try:
        found = json.loads(path.read_bytes())
        return Tail(int(found["seq"]), bytes.fromhex(found["checksum"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
