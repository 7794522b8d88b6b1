"""SQL of the counters of answers that cost nothing: added to the row of their key and minute."""

import json
import sqlite3
from collections.abc import Mapping

from aigend.ledger.hits import HitKey, HitSum

_FIND_KEY = (
    "SELECT id FROM hit_key WHERE scope = ? AND service = ? AND session = ? AND phase = ? AND task = ? AND labels = ? AND agent = ?"
    " AND provider = ? AND model = ? AND outcome = ? AND cause = ?"
)
_NEW_KEY = (
    "INSERT INTO hit_key (scope, service, session, phase, task, labels, agent, provider, model, outcome, cause)"
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_FIND = "SELECT count, saved_nanos, saved_unknown_count, latency_us, histogram FROM hit_minute WHERE minute = ? AND key_id = ?"
_PUT = "INSERT OR REPLACE INTO hit_minute VALUES (?, ?, ?, ?, ?, ?, ?)"


def write(connection: sqlite3.Connection, taken: Mapping[tuple[HitKey, int], HitSum]) -> None:
    """Add what was counted to the rows of its minutes."""
    for (key, minute), counted in taken.items():
        key_id = _key_id(connection, key)
        total = _read(connection, minute, key_id)
        total.add(counted)
        histogram = json.dumps(total.histogram, separators=(",", ":"))
        row = (minute, key_id, total.count, total.saved_nanos, total.saved_unknown_count, total.latency_us, histogram)
        connection.execute(_PUT, row)


def _key_id(connection: sqlite3.Connection, key: HitKey) -> int:
    found = connection.execute(_FIND_KEY, key).fetchone()
    return int(found[0]) if found is not None else int(connection.execute(_NEW_KEY, key).lastrowid or 0)


def _read(connection: sqlite3.Connection, minute: int, key_id: int) -> HitSum:
    row = connection.execute(_FIND, (minute, key_id)).fetchone()
    if row is None:
        return HitSum()
    count, saved, unknown, latency, histogram = row
    return HitSum(count, saved, unknown, latency, {int(index): calls for index, calls in json.loads(histogram).items()})
