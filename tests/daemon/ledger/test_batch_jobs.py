"""Rows of batch jobs that a ledger of an older version brings along; what jobs do is in `tests/daemon/rpc/test_batch_job.py`."""

import contextlib
import sqlite3
from pathlib import Path

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger import batch_jobs, schema
from aigend.ledger.batch_jobs import ItemState, NewItem, NewJob
from aigend.types import Accounting


def older_ledger(path: Path) -> None:
    """Write a ledger of the version before: one id, refused in the first job, answered in the second, and open in a third."""
    before = schema.MIGRATIONS.index(schema.JOB_SHARES)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as old:
        schema.register(old)
        for version in range(before):
            old.executescript(f"{schema.MIGRATIONS[version]}; PRAGMA user_version={version + 1};")
        old.execute("INSERT INTO operation VALUES (1, 'me', 'r', x'00', 1, 1, 0, 0)")
        old.execute(
            "INSERT INTO attempt (id, operation_id, scope, request_id, attempt_number, epoch, state, create_us, update_us, service,"
            " session, phase, task, labels, agent, provider, model, requested_model, outcome, reserved_nanos, cost_nanos)"
            " VALUES (1, 1, 'me', 'r', 1, 1, 'settled', 0, 0, '', '', '', '', '{}', '', 'p', 'm', 'm', 'miss', 9, 5)"
        )
        for number, state in enumerate(("failed", "answered", "open"), 1):
            old.execute(
                "INSERT INTO batch_job (id, scope, name, request_digest, session, task, labels, allow_repeat, item_count,"
                " create_us) VALUES (?, 'me', ?, x'00', '', '', '{}', 0, 1, 0)",
                (number, state),
            )
            old.execute(
                "INSERT INTO batch_item (job_id, position, request_id, state, body) VALUES (?, 0, 'r', ?, x'00')", (number, state)
            )


def test_jobs_of_an_older_version_keep_their_cost_once(tmp_path):
    """What failed gets nothing of it, and of those that may have paid the first does."""
    older_ledger(tmp_path / "ledger.db")
    with contextlib.closing(schema.open_writer(tmp_path / "ledger.db")) as connection:
        costs = {name: batch_jobs.find(connection, "me", name).cost_nanos for name in ("failed", "answered", "open")}
    assert costs == {"failed": 0, "answered": 5, "open": 0}


def test_job_of_an_older_version_is_another_one_without_saying_what_differs(tmp_path):
    """Its requests left no digests, so that nobody can tell; it is refused all the same."""
    older_ledger(tmp_path / "ledger.db")
    job = NewJob(
        scope="me",
        name="open",
        request_digest=b"1",
        accounting=Accounting(),
        items=[NewItem(request_id="r", body=b"", digest=b"1")],
        complete_by=None,
    )
    with contextlib.closing(schema.open_writer(tmp_path / "ledger.db")) as connection:
        [(_, [item])] = [found for found in batch_jobs.running(connection) if found[0].name == "open"]
        with pytest.raises(DomainError, match="job id open stands for another batch job") as refused:
            batch_jobs.create(connection, job, now_us=0)
    assert (item.state, item.digest, refused.value.reason) == (ItemState.OPEN, None, Reason.REQUEST_ID_REUSED)
