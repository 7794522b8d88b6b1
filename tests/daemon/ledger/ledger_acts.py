"""What the state machine does to a ledger: random acts, settings for the budgets of the model, and copies of files in use."""

import shutil
import uuid
from dataclasses import replace
from pathlib import Path

from aigend.config import BudgetSettings
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import LineEnd, LineFacts, UploadRow
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import AttemptState, Intent
from hypothesis import strategies as st

from tests.daemon.ledger.ledger_calls import intent, settlement
from tests.daemon.ledger.ledger_model import LIMITS, REPLY_TTL_S, ZONE, End, Limit, Reserve, Submit, source_of

FILES = ("ledger.db", "ledger.db-wal", "ledger.db-shm", "ledger.db.mark")

RESERVES = st.builds(
    Reserve,
    scope=st.sampled_from(["me", "me", "you"]),
    request_id=st.sampled_from(["a", "b", "c", "d", "e", "f"]),
    session=st.sampled_from(["s1", "s2"]),
    team=st.sampled_from(["", "x"]),
    agent=st.sampled_from(["claude", "strict"]),
    digest=st.sampled_from([b"1", b"1", b"1", b"1", b"2"]),
    bound=st.sampled_from([None, 0, 1, 700, 1_000, 2_500, 7_000]),
    allow_repeat=st.booleans(),
    batch=st.sampled_from([False, False, True]),
)
SUBMITS = st.builds(Submit, pick=st.integers(0, 50), of_open=st.sampled_from([True, True, False]))
ENDS = st.builds(
    End,
    pick=st.integers(0, 50),
    of_open=st.sampled_from([True, True, False]),
    state=st.sampled_from(["settled", "settled", "released", "unknown"]),
    cost=st.sampled_from([None, 0, 1, 600, 1_000, 4_000, 9_000]),
    low=st.sampled_from([None, 0, 300]),
    high=st.sampled_from([None, 300, 5_000]),
    reply=st.sampled_from([b"", b"answer", b"long answer " * 500]),
    early=st.booleans(),
)
FACTS = LineFacts(
    custom_id="token", account=1, request=b"a request", cache_key=b"k", input_tokens=7, max_output_tokens=3, start_by=None
)


def book() -> BudgetBook:
    """Return the model's budgets as settings name them."""
    return BudgetBook([_budget(limit) for limit in LIMITS], time_zone=ZONE)


def _budget(limit: Limit) -> BudgetSettings:
    labels = {} if limit.team is None else {"label:team": limit.team}
    agents = {} if limit.agent is None else {"agent": limit.agent}
    return BudgetSettings(
        name=limit.name,
        period=limit.period,
        limit_usd=f"0.{limit.nanos:09d}",
        each="session" if limit.each_session else None,
        selector=labels | agents,
        action="refuse" if limit.refuses else "warn",
        require_known_prices=limit.demands_price,
    )


def intent_of(call: Reserve) -> Intent:
    """Return the ledger's word for a call."""
    labels = {"team": call.team} if call.team else {}
    made = {"scope": call.scope, "session": call.session, "labels": labels, "agent": call.agent, "digest": call.digest}
    return intent(f"{call.scope} {call.request_id}", bound=call.bound, **made)


async def collect(desk: BatchDesk, call: Reserve) -> tuple[str, ...]:
    """Collect a batch line and return what the ledger warns of."""
    facts = replace(FACTS, custom_id=uuid.uuid4().hex)
    return (await desk.collect(intent_of(call), facts, allow_repeat=call.allow_repeat)).warnings


async def submit(desk: BatchDesk, attempt_id: int) -> str:
    """Let a batch line leave in a job of its own."""
    upload = UploadRow(
        id=0,
        mark=uuid.uuid4().hex,
        provider="p",
        model="m",
        account=1,
        provider_job_id="",
        line_count=1,
        cancelled=False,
        create_time=0.0,
    )
    await desk.submit(upload, [attempt_id])
    return "submitted"


async def end_line(desk: BatchDesk, attempt_id: int, call: Reserve, end: End) -> tuple[str, tuple[str, ...]]:
    """End a batch line and return how it went, and what the ledger warns of."""
    ended = LineEnd(
        attempt_id=attempt_id,
        settlement=settlement(end.cost, reply=end.reply) if end.state == "settled" else None,
        state=AttemptState(end.state),
        source=AttemptState(source_of(call, end)),
        reason="made up",
        reply_ttl_s=REPLY_TTL_S,
    )
    change = await desk.end_line(ended)
    return ("conflict", ()) if change is None else (end.state, change.warnings)


def copy_files(source: Path, target: Path, connection: object = None) -> None:
    """Copy a ledger in use as it is at this moment; within the writer's thread nothing is written meanwhile."""
    del connection
    target.mkdir()
    for name in FILES:
        if (source / name).exists():
            shutil.copy(source / name, target / name)
