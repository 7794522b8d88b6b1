"""Ledgers that benchmarks make at once hold the rows that calls would have left."""

import contextlib
import json
import sqlite3
from dataclasses import replace

from aigend.ledger import journal, mark, schema
from aigend.ledger.journal import Event, Tail
from aigend.ledger.verify import verify

from benchmarks import bulk_ledger
from benchmarks.bulk_ledger import RESERVED
from tests.daemon.ledger.ledger_calls import NOW, intent, opened, settlement


def _shape(path):
    """Return which columns of an attempt are unknown, and what its journal's details name, and its replies and indexes."""
    with contextlib.closing(schema.connect_reader(path)) as connection:
        connection.row_factory = sqlite3.Row
        attempt = connection.execute("SELECT * FROM attempt WHERE state = 'settled' ORDER BY id DESC LIMIT 1").fetchone()
        details = connection.execute("SELECT event, detail FROM journal WHERE attempt_id = ? ORDER BY seq", (attempt["id"],))
        named = {row["event"]: sorted(json.loads(row["detail"])) for row in details}
        indexes = sorted(row["name"] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'index'"))
        return {name for name in attempt.keys() if attempt[name] is None}, named, indexes  # noqa: SIM118 - a row's values otherwise


async def test_made_ledger_is_sound_and_serves(tmp_path):
    """Verification finds nothing, a ledger opens on it as after an orderly end, and goes on counting."""
    path = tmp_path / "state" / "ledger.db"
    path.parent.mkdir(mode=0o700)
    bulk_ledger.build(path, entries=3_000, end=NOW, days=2.0)
    assert verify(path) == ()
    (tmp_path / "other").mkdir(mode=0o700)
    async with opened(tmp_path / "other") as real:
        await real.settle(await real.reserve(intent("r1")), replace(settlement(600), provider_usage_json="{}"))
    assert _shape(path) == _shape(real.path)
    assert mark.read_mark(mark.mark_path(path)).seq == 6_000


def test_journal_is_what_the_ledger_would_write():
    """The rows that are made without the ledger's own code are the ones that it would have made."""
    call = bulk_ledger.call(7, 1_000_000)
    sent = {"request_id": call.request_id, "attempt": 1, "provider": call.provider, "model": call.model}
    settled = {"cost_nanos": call.cost_nanos, "basis": "priced", "usage": [call.input, 0, 0, 0, call.output, 0, 0]}
    ends = {"reserved_delta": -RESERVED, "spent_delta": call.cost_nanos, "detail": settled}
    first = Event(name="sent", epoch=1, create_us=call.create_us, attempt_id=7, reserved_delta=RESERVED, detail=sent)
    second = Event(name="settled", epoch=1, create_us=call.update_us, attempt_id=7, **ends)
    row = journal.row_after(Tail(), first)
    assert bulk_ledger.journal_rows(Tail(), [call]) == [row, journal.row_after(Tail(row[0], row[-1]), second)]
