"""Full verification finds what was changed behind the ledger's back."""

import sqlite3

import pytest
from aigend.ledger.verify import verify

from tests.daemon.ledger.ledger_calls import budget, intent, opened, settlement


async def filled(directory):
    """Fill a ledger with calls in every state."""
    async with opened(directory, budget()) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1")), settlement(100))
        await ledger.release(await ledger.reserve(intent("r2")), reason="x")
        await ledger.mark_unknown(await ledger.reserve(intent("r3")), reason="x")
        await ledger.mark_unknown(await ledger.reserve(intent("r4")), reason="x")
        await ledger.settle(await ledger.reserve(intent("r4"), allow_repeat=True), settlement(50))
        await ledger.reserve(intent("r5"))
    return directory / "ledger.db"


async def test_sound_ledger_has_no_findings(tmp_path):
    """Nothing is wrong with what the ledger wrote."""
    assert verify(await filled(tmp_path)) == ()


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        ("UPDATE budget_window SET spent_nanos = spent_nanos + 1", "counters differ"),
        ("UPDATE budget_window SET reserved_nanos = 0", "counters differ"),
        ("DELETE FROM attempt_window", "counters differ"),
        ("UPDATE attempt SET cost_nanos = 99 WHERE id = 1", "journal differs"),
        ("UPDATE attempt SET state = 'sent' WHERE id = 1", "journal differs"),
        ("DELETE FROM journal WHERE seq = 3", "journal row 3 is missing"),
        ("UPDATE journal SET create_us = 1 WHERE seq = 3", "journal row 3 was changed"),
        ("DELETE FROM attempt WHERE id = 1", "speaks of no attempt"),
        ("UPDATE operation SET attempt_id = 1", "differs from its last attempt"),
        ("UPDATE operation SET attempt_count = 3 WHERE id = 1", "numbered without gaps"),
        ("UPDATE attempt SET state = 'settled' WHERE request_id = 'r4'", "more than one settled"),
        ("UPDATE reply SET size_bytes = 1", "replies are counted wrongly"),
        ("UPDATE reply SET operation_id = operation_id + 100", "belongs to no settled operation"),
    ],
)
async def test_damage_is_found(tmp_path, damage, finding):
    """Every counter, state and row is checked against another."""
    path = await filled(tmp_path)
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(damage)
    connection.close()
    assert any(finding in found for found in verify(path)), verify(path)


async def test_overwritten_pages_are_found(tmp_path):
    """A file that SQLite can't read is said to be so."""
    path = await filled(tmp_path)
    with path.open("r+b") as file:
        file.seek(8_192)
        file.write(b"\xff" * 20_000)
    assert verify(path)
