"""A short run of the state machine in every test run, and what it is worth; `make fuzz-ledger` is the long one."""

import tempfile
from pathlib import Path

import pytest
from aigend.ledger import store
from aigend.ledger.budgets import windows

from tests.daemon.ledger.ledger_machine import run_sequences

MEMORY = Path("/dev/shm")  # noqa: S108 - a place where a sync costs nothing, and no machine fails here
SEQUENCES = 40
CONTROL_SEQUENCES = 200  # at most: the first that shows the fault ends the run


@pytest.fixture(autouse=True)
def in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the many small ledgers off the disk where that is possible."""
    if MEMORY.is_dir():
        monkeypatch.setattr(tempfile, "tempdir", str(MEMORY))


@pytest.mark.timeout(60)
def test_sequences_agree_with_the_model() -> None:
    """Random calls, ends, hits, clock jumps, restarts and crashes leave exactly what a plain model says."""
    counts = run_sequences(SEQUENCES)
    assert counts["sequences"] >= SEQUENCES
    kinds = ("sent", "reserved", "submitted", "settled", "released", "unknown", "conflict", "crashes")
    assert min(counts[name] for name in kinds) > 0


def test_control_without_guard_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """An end that is booked whatever the state of its attempt is found."""
    monkeypatch.setattr(store, "_GUARD", " WHERE id = ? AND ? != ''")
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_sequences(CONTROL_SEQUENCES, shrink=False)


def test_control_without_reservation_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A budget that is counted and not held to is found."""
    held = windows._HOLD_WITHIN.replace("spent_nanos + reserved_nanos + ? <= ?", "? <= ?")
    assert held != windows._HOLD_WITHIN
    monkeypatch.setattr(windows, "_HOLD_WITHIN", held)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_sequences(CONTROL_SEQUENCES, shrink=False)
