"""The chain of the journal."""

import sqlite3

import pytest
from aigend.ledger import journal, schema
from aigend.ledger.journal import Event


@pytest.fixture
def connection():
    """Return a ledger in memory with five journal rows."""
    made = sqlite3.connect(":memory:", isolation_level=None)
    schema.migrate(made)
    for number in range(1, 6):
        journal.append(made, Event(name="sent", epoch=1, create_us=number, attempt_id=number, reserved_delta=5, detail={"n": "한"}))
    yield made
    made.close()


def test_sequence_has_no_gaps(connection):
    """Rows are numbered from 1 without gaps."""
    assert journal.tail(connection).seq == 5
    assert journal.first_fault(connection) is None


def test_rolled_back_row_leaves_no_gap(connection):
    """A number is used again when its row was rolled back."""
    connection.execute("BEGIN")
    journal.append(connection, Event(name="sent", epoch=1, create_us=9))
    connection.execute("ROLLBACK")
    assert journal.append(connection, Event(name="sent", epoch=1, create_us=9)).seq == 6
    assert journal.first_fault(connection) is None


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        ("UPDATE journal SET reserved_delta = 6 WHERE seq = 3", "journal row 3 was changed"),
        ("UPDATE journal SET detail = '{}' WHERE seq = 3", "journal row 3 was changed"),
        ("UPDATE journal SET attempt_id = NULL WHERE seq = 3", "journal row 3 was changed"),
        ("UPDATE journal SET checksum = zeroblob(16) WHERE seq = 3", "journal row 3 was changed"),
        ("DELETE FROM journal WHERE seq = 3", "journal row 3 is missing"),
    ],
)
def test_changed_or_lost_row_is_seen(connection, damage, fault):
    """Every column is under the checksum, and no row can be taken away from the middle."""
    connection.execute(damage)
    assert journal.first_fault(connection) == fault
    assert journal.first_fault(connection, after_seq=2) == fault
    assert journal.first_fault(connection, after_seq=4) is None


def test_missing_anchor_is_a_fault(connection):
    """A row that was trusted must be there."""
    connection.execute("DELETE FROM journal WHERE seq = 3")
    assert journal.first_fault(connection, after_seq=3) == "journal row 3 is missing"
