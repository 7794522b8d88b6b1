"""Full verification of a ledger: every page, every journal row, every counter against its rows. Reads only."""

import contextlib
import sqlite3
from pathlib import Path

from aigend.ledger import batch_rows, journal, schema
from aigend.ledger.archives import rows as archive_rows
from aigend.ledger.statistics import rollups

_CHECKS = {
    "a budget window's counters differ from its rows": """
        SELECT w.id FROM budget_window w LEFT JOIN (
            SELECT aw.window_id AS id,
                sum(CASE a.state WHEN 'settled' THEN coalesce(a.cost_nanos, 0)
                    WHEN 'unknown' THEN a.unknown_high_nanos ELSE 0 END) AS spent,
                sum(CASE WHEN a.state IN ('reserved', 'sent', 'submitted') THEN a.reserved_nanos ELSE 0 END) AS reserved
            FROM attempt_window aw JOIN attempt a ON a.id = aw.attempt_id GROUP BY aw.window_id
        ) t ON t.id = w.id
        WHERE w.spent_nanos != w.archived_nanos + coalesce(t.spent, 0) OR w.reserved_nanos != coalesce(t.reserved, 0)""",
    "an attempt's journal differs from its row": """
        SELECT a.id FROM attempt a LEFT JOIN (
            SELECT attempt_id AS id, sum(spent_delta) AS spent, sum(reserved_delta) AS reserved,
                sum(event = 'sent') AS sent, sum(event = 'settled') AS settled
            FROM journal WHERE attempt_id IS NOT NULL GROUP BY attempt_id
        ) j ON j.id = a.id
        WHERE j.id IS NULL OR j.sent > 1 OR j.settled != (a.state = 'settled')
            OR j.reserved != CASE WHEN a.state IN ('reserved', 'sent', 'submitted') THEN a.reserved_nanos ELSE 0 END
            OR j.spent != CASE a.state WHEN 'settled' THEN coalesce(a.cost_nanos, 0)
                WHEN 'unknown' THEN a.unknown_high_nanos ELSE 0 END""",
    "a journal row speaks of no attempt": """
        SELECT j.seq FROM journal j LEFT JOIN attempt a ON a.id = j.attempt_id
        WHERE j.attempt_id IS NOT NULL AND a.id IS NULL
            AND j.seq > coalesce((SELECT max(last_seq) FROM archive WHERE state IN ('written', 'done')), 0)""",
    "an operation differs from its last attempt": """
        SELECT o.id FROM operation o LEFT JOIN attempt a ON a.id = o.attempt_id
        WHERE (a.id IS NULL AND NOT EXISTS (SELECT 1 FROM archive f WHERE f.id = o.archive_id AND f.state IN ('written', 'done')))
            OR a.operation_id != o.id OR a.attempt_number != o.attempt_count""",
    "an operation's attempts are not numbered without gaps": """
        SELECT o.id FROM operation o JOIN attempt a ON a.operation_id = o.id WHERE o.archive_id IS NULL
        GROUP BY o.id HAVING count(*) != o.attempt_count OR count(DISTINCT a.attempt_number) != o.attempt_count""",
    "an operation has more than one settled attempt": """
        SELECT operation_id FROM attempt WHERE state = 'settled' AND flags NOT LIKE '%"reconciled"%'
        GROUP BY operation_id HAVING count(*) > 1""",
    "kept replies are counted wrongly": """
        SELECT 0 FROM meta WHERE name = 'reply_bytes' AND value != (SELECT coalesce(sum(size_bytes), 0) FROM reply)""",
    "a kept reply belongs to no settled operation": """
        SELECT r.operation_id FROM reply r LEFT JOIN operation o ON o.id = r.operation_id WHERE o.id IS NULL""",
    "archives do not follow each other": """
        SELECT month FROM (SELECT month, first_seq, before_checksum, lag(last_seq, 1, 0) OVER (ORDER BY last_seq, month) AS seq,
            lag(last_checksum, 1, zeroblob(16)) OVER (ORDER BY last_seq, month) AS checksum FROM archive)
        WHERE first_seq != seq + 1 OR before_checksum != checksum""",
}

_WITHOUT_ARCHIVES = """
    WITH budget_window AS (SELECT *, 0 AS archived_nanos FROM main.budget_window),
        operation AS (SELECT *, NULL AS archive_id FROM main.operation),
        archive AS (SELECT 0 AS id, '' AS month, '' AS state, 1 AS first_seq, 0 AS last_seq, x'' AS before_checksum,
            x'' AS last_checksum WHERE 0)
"""  # what a ledger of an older version has not got


def verify(path: Path) -> tuple[str, ...]:
    """Return everything that is wrong with a ledger; nothing where it is sound. It may be in use."""
    with contextlib.closing(schema.connect_reader(path)) as connection:
        try:
            return tuple(_findings(connection))
        except sqlite3.DatabaseError as error:
            return (f"the file can't be read: {error}",)


def _findings(connection: sqlite3.Connection) -> list[str]:
    connection.execute("BEGIN")  # one snapshot for all questions
    found = [f"the file is damaged: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"]
    older = not connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'archive'").fetchone()[0]
    start = (None if older else archive_rows.journal_start(connection)) or (0, journal.GENESIS)
    if fault := journal.first_fault(connection, after_seq=start[0], after_checksum=start[1]):
        found.append(fault)
    for text, question in _CHECKS.items():
        found += [f"{text}: {row[0]}" for row in connection.execute(_WITHOUT_ARCHIVES + question if older else question)]
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'rollup_quarter'").fetchone()[0]:
        found += rollups.differences(connection)
    if connection.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'batch_line'").fetchone()[0]:
        found += batch_rows.differences(connection)
    connection.execute("COMMIT")
    return found
