"""What is said to the cache's database: each function one question or one change on a connection that it is given."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from aigend.cache.codec import RecordDamagedError, decode_entry
from aigend.cache.entry import ALL, KEY_DIGITS, CacheEntry, CacheEntryInfo, CacheFilter, Cleared
from aigend.cache.lru import victims
from aigend.cache.stores.port import StoredPage, Touch, Usage
from aigend.types import Route

CHUNK = 500  # entries deleted at a time, so that nobody waits long behind it
VACUUM_PAGES = 256  # given back to the disk at a time

Condition = tuple[str, tuple[object, ...]]
_COLUMNS = ("provider", "model", "agent", "phase", "service", "namespace")
_INFO = (
    "SELECT id, key, namespace, provider, model, agent, phase, service, size_bytes, create_time, expire_time, last_use_time,"
    " hit_count, saved_nanos FROM entry"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """Entries that were cleared and are not yet deleted: those up to a number that match."""

    id: int
    scope: str
    chosen: CacheFilter
    time: float
    last_id: int
    swept_id: int = 0  # all up to this number are deleted

    def covers(self, entry_id: int, entry: CacheEntry) -> bool:
        """Return whether an entry was cleared."""
        return entry_id <= self.last_id and entry.scope == self.scope and self.chosen.matches(entry, now=self.time)

    def condition(self) -> Condition:
        """Return the same as SQL."""
        where, values = _matching(self.scope, self.chosen, self.time)
        return f"{where} AND id <= ?", (*values, self.last_id)


@dataclass(slots=True)
class Found:
    """What a look-up found: an entry or none, and damaged ones on the way."""

    entry: CacheEntry | None = None
    damaged: list[bytes] = field(default_factory=list)


def clearings(connection: sqlite3.Connection) -> tuple[Clearing, ...]:
    """Return what was cleared and is not yet deleted."""
    rows = connection.execute("SELECT id, scope, filter, time, last_id FROM clearing ORDER BY id")
    return tuple(
        Clearing(id=number, scope=scope, chosen=CacheFilter(**json.loads(chosen)), time=time, last_id=last_id)
        for number, scope, chosen, time, last_id in rows
    )


def last_use_number(connection: sqlite3.Connection) -> int:
    """Return the number of the last use that is on record."""
    return int(connection.execute("SELECT coalesce(max(use_number), 0) FROM entry").fetchone()[0])


def keys(connection: sqlite3.Connection, *, after: int) -> tuple[list[bytes], int | None]:
    """Return some keys from the given number on, and the number to go on from; None: these were the last."""
    found = connection.execute("SELECT id, key FROM entry WHERE id > ? ORDER BY id LIMIT ?", (after, CHUNK)).fetchall()
    return [key for _, key in found], found[-1][0] if len(found) == CHUNK else None


def fetch(connection: sqlite3.Connection, keys: Sequence[bytes], *, now: float, cleared: Iterable[Clearing]) -> Found:
    """Return the entry of the first key that has a fresh one."""
    found = Found()
    for key in keys:
        row = connection.execute("SELECT id, body FROM entry JOIN record USING (id) WHERE key = ?", (key,)).fetchone()
        if row is None:
            continue
        try:
            entry = decode_entry(row[1], key=key)
        except RecordDamagedError:
            found.damaged.append(key)
            continue
        if entry.fresh(now) and not any(clearing.covers(row[0], entry) for clearing in cleared):
            found.entry = entry
            break
    return found


def put(connection: sqlite3.Connection, entry: CacheEntry, record: bytes, *, size: int, use_number: int) -> None:
    """Keep an entry in place of the one with its key."""
    connection.execute("DELETE FROM entry WHERE key = ?", (entry.key,))
    row = (
        *(entry.key, entry.scope, entry.namespace, entry.route.provider, entry.route.model, entry.agent, entry.phase),
        *(entry.service, size, entry.create_time, entry.expire_time, entry.create_time, use_number, entry.answer.cost.nanos),
    )
    cursor = connection.execute(
        "INSERT INTO entry (key, scope, namespace, provider, model, agent, phase, service, size_bytes, create_time, expire_time,"
        " last_use_time, use_number, saved_nanos) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        row,
    )
    connection.execute("INSERT INTO record VALUES (?, ?)", (cursor.lastrowid, record))


def touch(connection: sqlite3.Connection, touches: Iterable[Touch], *, use_numbers: Iterator[int]) -> None:
    """Count hits, the last of them as the last use."""
    connection.executemany(
        "UPDATE entry SET hit_count = hit_count + ?, last_use_time = ?, use_number = ? WHERE key = ?",
        ((touch.hit_count, touch.last_use_time, next(use_numbers), touch.key) for touch in touches),
    )


def evict(connection: sqlite3.Connection, *, max_bytes: int, at_most: int | None = None) -> int:
    """Delete the least recently used until the rest fits, or `at_most` of them; return how many went."""
    gone = 0
    while at_most is None or gone < at_most:
        excess = _total_bytes(connection) - max_bytes
        oldest = connection.execute("SELECT id, size_bytes FROM entry ORDER BY use_number LIMIT ?", (CHUNK,))
        chosen = victims(oldest.fetchall(), excess=excess) if excess > 0 else []
        if not chosen:
            break
        _delete(connection, chosen)
        gone += len(chosen)
    return gone


def remove(connection: sqlite3.Connection, keys: Iterable[bytes]) -> None:
    """Delete entries by their keys."""
    connection.executemany("DELETE FROM entry WHERE key = ?", ((key,) for key in keys))


def expire(connection: sqlite3.Connection, *, now: float) -> int:
    """Delete some stale entries; return how many."""
    rows = connection.execute("SELECT id FROM entry WHERE expire_time <= ? ORDER BY expire_time LIMIT ?", (now, CHUNK))
    return _delete(connection, [number for (number,) in rows])


def count(connection: sqlite3.Connection, scope: str, chosen: CacheFilter, *, now: float, cleared: Sequence[Clearing]) -> Cleared:
    """Return how many entries match and how much they count against the limit."""
    summed = not cleared and chosen.older_than_s is None and not chosen.key_prefix
    what = "sum(entry_count), sum(size_bytes) FROM usage" if summed else "count(*), sum(size_bytes) FROM entry"
    where, values = _living(_matching(scope, chosen, now), cleared)
    row = connection.execute(f"SELECT {what} WHERE {where}", values).fetchone()
    return Cleared(entry_count=row[0] or 0, size_bytes=row[1] or 0)


def clear(
    connection: sqlite3.Connection, scope: str, chosen: CacheFilter, *, now: float, cleared: Sequence[Clearing]
) -> tuple[Cleared, Clearing | None]:
    """Note that entries are cleared; deleting them is `sweep`'s."""
    counted = count(connection, scope, chosen, now=now, cleared=cleared)
    if not counted.entry_count:
        return counted, None
    last_id = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'entry'").fetchone()[0]
    row = (scope, json.dumps(asdict(chosen)), now, last_id)
    number = connection.execute("INSERT INTO clearing (scope, filter, time, last_id) VALUES (?, ?, ?, ?)", row).lastrowid
    return counted, Clearing(id=int(number or 0), scope=scope, chosen=chosen, time=now, last_id=last_id)


def sweep(connection: sqlite3.Connection, clearing: Clearing) -> Clearing | None:
    """Delete some of what was cleared; return what is left to do."""
    where, values = clearing.condition()
    question = f"SELECT id FROM entry WHERE {where} AND id > ? ORDER BY id LIMIT ?"  # noqa: S608 - built of fixed words
    rows = connection.execute(question, (*values, clearing.swept_id, CHUNK))
    chosen = [number for (number,) in rows]
    _delete(connection, chosen)
    _shrink(connection)
    if len(chosen) == CHUNK:
        return replace(clearing, swept_id=chosen[-1])
    connection.execute("DELETE FROM clearing WHERE id = ?", (clearing.id,))
    return None


def page(
    connection: sqlite3.Connection,
    scope: str,
    chosen: CacheFilter,
    *,
    now: float,
    size: int,
    after: int | None,
    cleared: Sequence[Clearing],
) -> StoredPage:
    """Return fresh entries that match, newest first."""
    where, values = _living(_matching(scope, chosen, now), cleared)
    if after is not None:
        where, values = f"{where} AND id < ?", (*values, after)
    rows = connection.execute(
        f"{_INFO} WHERE {where} AND expire_time > ? ORDER BY id DESC LIMIT ?", (*values, now, size + 1)
    ).fetchall()
    more = len(rows) > size
    return StoredPage(tuple(_info(row) for row in rows[:size]), rows[size - 1][0] if more else None)


def info(connection: sqlite3.Connection, scope: str, key: bytes) -> CacheEntryInfo | None:
    """Return what is told about an entry."""
    row = connection.execute(f"{_INFO} WHERE key = ? AND scope = ?", (key, scope)).fetchone()
    return None if row is None else _info(row)


def usage(connection: sqlite3.Connection, scope: str, *, cleared: Sequence[Clearing]) -> Usage:
    """Return what is stored and not cleared."""
    entry_count = count(connection, scope, ALL, now=0.0, cleared=cleared).entry_count
    if not cleared:
        return Usage(entry_count, _total_bytes(connection))
    where, values = _living(("1", ()), cleared)
    row = connection.execute(f"SELECT sum(size_bytes) FROM entry WHERE {where}", values).fetchone()  # noqa: S608 - built of fixed words
    return Usage(entry_count, row[0] or 0)


def _total_bytes(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT size_bytes FROM total").fetchone()[0])


def _delete(connection: sqlite3.Connection, numbers: Sequence[int]) -> int:
    return connection.execute("DELETE FROM entry WHERE id IN (SELECT value FROM json_each(?))", (json.dumps(numbers),)).rowcount


def _shrink(connection: sqlite3.Connection) -> None:
    """Give some free pages back to the disk; the pragma takes one step for each page, and execute() makes one step."""
    free = connection.execute("PRAGMA freelist_count").fetchone()[0]
    for _ in range(min(free, VACUUM_PAGES)):
        connection.execute("PRAGMA incremental_vacuum(1)")


def _matching(scope: str, chosen: CacheFilter, now: float) -> Condition:
    """Return what `CacheFilter.matches` says, as SQL."""
    wheres: list[str] = ["scope = ?"]
    values: list[object] = [scope]
    for column in _COLUMNS:
        if wanted := getattr(chosen, column):
            wheres.append(f"{column} = ?")
            values.append(wanted)
    if chosen.older_than_s is not None:
        wheres.append("create_time < ?")
        values.append(now - chosen.older_than_s)
    if chosen.key_prefix:
        wheres.append("key BETWEEN ? AND ?")
        values += [bytes.fromhex(chosen.key_prefix.ljust(KEY_DIGITS, filler)) for filler in "0f"]
    return " AND ".join(wheres), tuple(values)


def _living(condition: Condition, cleared: Iterable[Clearing]) -> Condition:
    """Return a condition that leaves out what was cleared."""
    where, values = condition
    for clearing in cleared:
        gone, more = clearing.condition()
        where, values = f"{where} AND NOT ({gone})", (*values, *more)
    return where, values


def _info(row: Sequence[Any]) -> CacheEntryInfo:
    _, key, namespace, provider, model, agent, phase, service, size_bytes, created, expires, last_used, hit_count, saved_nanos = row
    return CacheEntryInfo(
        key=key,
        namespace=namespace,
        route=Route(provider, model),
        agent=agent,
        phase=phase,
        service=service,
        size_bytes=size_bytes,
        create_time=created,
        expire_time=expires,
        last_use_time=last_used,
        hit_count=hit_count,
        saved_nanos=saved_nanos,
    )
