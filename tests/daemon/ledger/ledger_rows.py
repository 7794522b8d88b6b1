"""Rows of a made-up ledger, written straight into its tables, for tests of what reads them."""

import json
import sqlite3
from collections.abc import Mapping

from aigend.ledger import schema
from aigend.ledger.statistics import hit_rows, rollups
from aigend.ledger.statistics.hits import HitKey, HitSum
from aigend.ledger.statistics.latency import bucket_of

_ACCOUNT = ("service", "session", "phase", "task", "agent", "provider", "model")


class _ClosesItself(sqlite3.Connection):
    """A connection that ends with the test that holds it, on whatever thread; Python 3.13 and later warn of one dropped open."""

    def __del__(self) -> None:
        self.close()


def empty_ledger() -> sqlite3.Connection:
    """Return a ledger in memory, with its tables and nothing in them."""
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False, factory=_ClosesItself)
    schema.migrate(connection)
    return connection


def add_attempt(
    connection: sqlite3.Connection, *, at: float, state: str = "settled", operation: int | None = None, **fields: object
) -> int:
    """Write one attempt, and the operation that it is the last of; return its id."""
    row = dict.fromkeys(_ACCOUNT, "") | {
        "scope": "me",
        "request_id": f"r{at}",
        "attempt_number": 1,
        "epoch": 1,
        "state": state,
        "create_us": round(at * 1e6),
        "update_us": round(at * 1e6) + 5,
        "labels": "{}",
        "requested_model": "",
        "outcome": "miss",
        "reserved_nanos": 1_000,
        "operation_id": operation or 0,
    }
    row |= {name: json.dumps(value) if isinstance(value, Mapping | list) else value for name, value in fields.items()}
    names = ", ".join(row)
    cursor = connection.execute(f"INSERT INTO attempt ({names}) VALUES ({', '.join('?' * len(row))})", tuple(row.values()))  # noqa: S608
    attempt_id = int(cursor.lastrowid or 0)
    if operation is None:
        operation = attempt_id
        connection.execute(
            "INSERT INTO operation (id, scope, request_id, request_digest, attempt_count, attempt_id, create_us)"
            " VALUES (?, ?, ?, x'00', 1, ?, 0)",
            (operation, row["scope"], f"o{operation}", attempt_id),
        )
        connection.execute("UPDATE attempt SET operation_id = ? WHERE id = ?", (operation, attempt_id))
    else:
        rollups.take(connection, operation)
        connection.execute("UPDATE operation SET attempt_id = ? WHERE id = ?", (attempt_id, operation))
        rollups.add(connection, operation)
    rollups.add(connection, attempt_id)
    return attempt_id


def add_hits(
    connection: sqlite3.Connection,
    *,
    at: float,
    latencies: list[int],
    saved: int = 0,
    outcome: str = "hit",
    cause: str = "cache",
    labels: Mapping[str, str] | None = None,
    **fields: str,
) -> None:
    """Write one minute of answers that cost nothing."""
    account = dict.fromkeys(_ACCOUNT, "") | fields | {"outcome": outcome, "cause": cause}
    account |= {"scope": fields.get("scope", "me"), "labels": json.dumps(labels) if labels else "{}"}
    key = HitKey(**account)
    counted = HitSum(count=len(latencies), saved_nanos=saved, latency_us=sum(latencies))
    for latency in latencies:
        counted.histogram[bucket_of(latency)] = counted.histogram.get(bucket_of(latency), 0) + 1
    hit_rows.write(connection, {(key, int(at) // 60): counted})
