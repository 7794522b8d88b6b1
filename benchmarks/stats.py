"""`python -m benchmarks.stats`: what GetStats takes over a million entries; the last line is a JSON object.

The ledger is made by one statement in the shape of the rows that calls leave, rolled up by the code that a daemon runs on an old
ledger, and verified. Each question is put to a new read-only connection, as the daemon does.
"""

import argparse
import contextlib
import itertools
import json
import shutil
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from aigend.ledger import schema
from aigend.ledger.statistics import rollups, stats
from aigend.ledger.statistics.query import Dimension, StatsQuery, UsageFilter, stats_query

DAYS = 30
NOW = 1_795_000_000.0  # a fixed day, so that runs are alike
FAST = tuple(Dimension(name) for name in ("provider", "model", "agent", "service", "phase", "task", "outcome"))
FAST_GOAL_MS, OTHER_GOAL_MS = 50.0, 1_000.0
_SPAN_US = DAYS * 86_400 * 10**6
_ENTRIES = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :entries),
    drawn AS MATERIALIZED (SELECT i, i * 1000 / :entries AS run, abs(random()) AS a, abs(random()) AS b FROM n)
    INSERT INTO attempt (id, operation_id, scope, request_id, attempt_number, epoch, state, create_us, update_us, service, session,
        phase, task, labels, agent, provider, model, requested_model, resolved_model, outcome, reserved_nanos, cost_nanos,
        cost_basis, unknown_high_nanos, input_tokens, cache_read_tokens, output_tokens, provider_us, total_us, savings)
    SELECT i, i, 'local', 'r' || i, 1, 1,
        CASE WHEN a % 100 < 97 THEN 'settled' WHEN a % 100 < 99 THEN 'released' ELSE 'unknown' END,
        :start + i * :span / :entries, :start + i * :span / :entries + 900000,
        'service-' || (run % 5), 'run-' || run, 'phase-' || (b % 4), 'task-' || (b % 8),
        '{"environment":"' || CASE run % 3 WHEN 0 THEN 'production' ELSE 'test' END || '","team":"team-' || (run % 10) || '"}',
        'agent-' || (a % 4), 'provider-' || (a % 4), 'model-' || (a % 8), '', '',
        CASE WHEN b % 50 = 0 THEN 'bypass' ELSE 'miss' END, 9000000,
        iif(a % 100 < 97, 1000 + b % 5000000, NULL), iif(a % 10 = 0, 'estimated', 'priced'), iif(a % 100 = 99, 9000000, NULL),
        iif(a % 100 < 97, 100 + b % 4000, NULL), iif(a % 100 < 97, a % 1000, NULL), iif(a % 100 < 97, b % 900, NULL),
        800000, 200000 + b % 3000000, iif(a % 5 = 0, '{"prompt_cache":' || (b % 9000 - 1000) || '}', '{}')
    FROM drawn
"""
_OPERATIONS = (
    "INSERT INTO operation (id, scope, request_id, request_digest, attempt_count, attempt_id, create_us)"
    " SELECT id, scope, request_id, x'00', 1, id, create_us FROM attempt"
)


def build(path: Path, *, entries: int) -> sqlite3.Connection:
    """Return a ledger of so many entries, spread over a month and a thousand sessions, and its roll-ups."""
    schema.create(path)
    connection = schema.open_writer(path)
    connection.execute("PRAGMA synchronous=OFF")
    connection.execute("BEGIN")
    start = int((NOW - 86_400 * DAYS) * 1e6)
    connection.execute(_ENTRIES, {"entries": entries, "start": start, "span": _SPAN_US})
    connection.execute(_OPERATIONS)
    connection.execute("COMMIT")
    connection.execute("BEGIN")
    rollups.rebuild(connection, now=NOW)
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return connection


def questions() -> Iterator[tuple[str, bool, StatsQuery]]:
    """Yield names and questions, and whether a question is one of those that must be fast."""
    odd = {"start": NOW - 20 * 86_400 + 123.4, "end": NOW - 3_456.7}
    for size in (0, 1, 2):
        for group_by in itertools.combinations(FAST, size):
            name = "+".join(group_by) or "totals"
            yield f"{name}, all time", True, _query(group_by)
            yield f"{name}, odd range", True, _query(group_by, **odd)
    yield "one model, all time", True, _query((Dimension.PHASE,), usage_filter=UsageFilter(model="model-3"))
    for group_by in (
        (Dimension.SESSION,),
        (Dimension.DAY,),
        (Dimension.HOUR,),
        (Dimension.SESSION, Dimension.MODEL, Dimension.DAY),
    ):
        yield "+".join(group_by), False, _query(group_by, time_zone="Asia/Seoul")
    yield "hour, Kathmandu", False, _query((Dimension.HOUR,), time_zone="Asia/Kathmandu")
    yield "label", False, _query((Dimension.LABEL,), label_key="team")
    yield "label+model", False, _query((Dimension.LABEL, Dimension.MODEL), label_key="team", **odd)
    yield "session, one label", False, _query((Dimension.SESSION,), usage_filter=UsageFilter(labels={"team": "team-3"}), **odd)
    yield "one session", False, _query((Dimension.MODEL,), usage_filter=UsageFilter(session="run-500"))


def measure(path: Path, query: StatsQuery, *, rounds: int) -> float:
    """Return the median time of an answer, in milliseconds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        with contextlib.closing(schema.connect_reader(path)) as connection:
            stats.compute(connection, query)
        taken.append((time.perf_counter() - began) * 1e3)
    return statistics.median(taken)


def run(folder: Path, *, entries: int, rounds: int) -> dict[str, object]:
    """Build, verify and measure; print each question and return what the last line holds."""
    began = time.perf_counter()
    with contextlib.closing(build(folder / "ledger.db", entries=entries)) as connection:
        built = time.perf_counter() - began
        print(f"{entries:,} entries built and rolled up in {built:.0f} s")
        wrong = rollups.differences(connection)
    slowest = {True: 0.0, False: 0.0}
    for name, fast, query in questions():
        took = measure(folder / "ledger.db", query, rounds=rounds)
        slowest[fast] = max(slowest[fast], took)
        print(f"{name:<40}{took:>9.1f} ms")
    return {
        "entries": entries,
        "build_s": round(built, 1),
        "differences": len(wrong),
        "stats_ms": {"fast_slowest": round(slowest[True], 1), "other_slowest": round(slowest[False], 1)},
        "goals_met": not wrong and slowest[True] <= FAST_GOAL_MS and slowest[False] <= OTHER_GOAL_MS,
    }


def _query(group_by: tuple[Dimension, ...], **fields: object) -> StatsQuery:
    return stats_query(scope="local", now=NOW, group_by=group_by, **fields)  # type: ignore[arg-type]  # passed on as they are


def main() -> None:
    """Build a ledger, measure, and print the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.stats", description="Measure GetStats over a large ledger.")
    parser.add_argument("--entries", type=int, default=1_000_000, help="entries of the ledger")
    parser.add_argument("--rounds", type=int, default=5, help="times that each question is asked")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aigen-bench-stats-"))
    try:
        figures = run(folder, entries=options.entries, rounds=options.rounds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
