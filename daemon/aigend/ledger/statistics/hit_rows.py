"""SQL of the counters of answers that cost nothing: added to the row of their account and minute, and to its roll-ups."""

import json
import sqlite3
from collections.abc import Mapping

from aigend.ledger.statistics import rollups
from aigend.ledger.statistics.hits import HitKey, HitSum

_FIND = "SELECT count, saved_nanos, saved_unknown_count, latency_us, histogram FROM hit_minute WHERE minute = ? AND key_id = ?"
_PUT = "INSERT OR REPLACE INTO hit_minute VALUES (?, ?, ?, ?, ?, ?, ?)"


def write(connection: sqlite3.Connection, taken: Mapping[tuple[HitKey, int], HitSum]) -> None:
    """Add what was counted to the rows of its minutes."""
    for (key, minute), counted in taken.items():
        key_id = rollups.account_of(connection, key)
        total = _read(connection, minute, key_id)
        total.add(counted)
        histogram = json.dumps(total.histogram, separators=(",", ":"))
        row = (minute, key_id, total.count, total.saved_nanos, total.saved_unknown_count, total.latency_us, histogram)
        connection.execute(_PUT, row)
        rollups.add_hits(connection, account_id=key_id, key=key, minute=minute, counted=counted)


def _read(connection: sqlite3.Connection, minute: int, key_id: int) -> HitSum:
    row = connection.execute(_FIND, (minute, key_id)).fetchone()
    if row is None:
        return HitSum()
    count, saved, unknown, latency, histogram = row
    return HitSum(count, saved, unknown, latency, {int(index): calls for index, calls in json.loads(histogram).items()})
