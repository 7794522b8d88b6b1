"""Rows of settled answers, kept for a while so that a request id seen again is answered and not paid again."""

import sqlite3
from dataclasses import dataclass

from aigend.storage.deferring import defer
from aigend.types import Route

SWEEP_ROWS = 50  # at once, so that no commit waits long for it
SWEEP_BYTES = 256 * 1024  # at once, about: what is dropped is wiped, and so written
_KEEP = "INSERT INTO reply (operation_id, expire_us, size_bytes, body) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
_COUNT = "UPDATE meta SET value = value + ? WHERE name = 'reply_bytes' RETURNING value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """How long and how much is kept."""

    ttl_us: int
    max_bytes: int


def keep(connection: sqlite3.Connection, operation_id: int, body: bytes, *, keep: Keep, now_us: int) -> None:
    """Keep an answer; those that expire first make room. One that alone is too large is not kept, a second one neither."""
    size = len(body)
    if not size or size > keep.max_bytes:
        return
    if connection.execute(_KEEP, (operation_id, now_us + keep.ttl_us, size, body)).rowcount == 1:
        defer(connection, _count_kept, (size, keep.max_bytes))


def find(connection: sqlite3.Connection, scope: str, request_id: str, *, now_us: int) -> bytes | None:
    """Return the answer kept for a request id; None where there is none or it has expired."""
    row = connection.execute(
        "SELECT r.body FROM operation o JOIN reply r ON r.operation_id = o.id"
        " WHERE o.scope = ? AND o.request_id = ? AND r.expire_us > ?",
        (scope, request_id, now_us),
    ).fetchone()
    return None if row is None else bytes(row[0])


def route_of(connection: sqlite3.Connection, entry_id: str) -> Route | None:
    """Return who gave the answer of an entry, which need not be who was asked first; None where it is archived."""
    row = connection.execute("SELECT provider, model FROM attempt WHERE id = ?", (int(entry_id),)).fetchone()
    return None if row is None else Route(*row)


@dataclass(frozen=True, slots=True)
class Expired:
    """Answers that have expired, a few of them."""

    operation_ids: list[int]
    sizes: list[int]  # bytes


def expired(connection: sqlite3.Connection, *, now_us: int) -> Expired:
    """Return some answers that have expired, oldest first; at least one where there is one."""
    found = connection.execute(
        "SELECT operation_id, size_bytes FROM reply WHERE expire_us <= ? ORDER BY expire_us LIMIT ?", (now_us, SWEEP_ROWS)
    ).fetchall()
    few = Expired([], [])
    for operation_id, size in found:
        if few.sizes and sum(few.sizes) + size > SWEEP_BYTES:
            break
        few.operation_ids.append(operation_id)
        few.sizes.append(size)
    return few


def sweep(connection: sqlite3.Connection, few: Expired) -> None:
    """Drop answers that have expired."""
    for operation_id in few.operation_ids:
        drop(connection, operation_id)


def drop(connection: sqlite3.Connection, operation_id: int) -> int:
    """Drop one answer, if there is one, and return how many bytes are kept then."""
    found = connection.execute("DELETE FROM reply WHERE operation_id = ? RETURNING size_bytes", (operation_id,)).fetchall()
    return _count(connection, -sum(size for (size,) in found))


def _count_kept(connection: sqlite3.Connection, kept: list[tuple[int, int]]) -> None:
    """Count answers that were kept, each with its size and the most that may be kept, and make room for them."""
    total = _count(connection, sum(size for size, _ in kept))
    _make_room(connection, total, max_bytes=min(most for _, most in kept))


def _count(connection: sqlite3.Connection, size: int) -> int:
    """Add to the bytes kept and return them."""
    return int(connection.execute(_COUNT, (size,)).fetchall()[0][0])


def _make_room(connection: sqlite3.Connection, total: int, *, max_bytes: int) -> None:
    while total > max_bytes:
        total = drop(connection, connection.execute("SELECT operation_id FROM reply ORDER BY expire_us LIMIT 1").fetchone()[0])
