"""Months that a running daemon archives on its schedule, seen from outside: sums stay, charges lie in files, no kill loses any."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import aigen
import pytest
from aigend.config import BudgetSettings, LedgerSettings
from aigend.ledger.archives.rows import month_after, month_of, month_start
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.ledger import Ledger
from aigend.ledger.statistics.hits import HitKey
from aigend.rpc.caller import LOCAL_SCOPE
from aigend.types import CacheOutcome, Route, SavingsCause

from tests.daemon.ledger.ledger_calls import intent, settlement
from tests.e2e.conftest import MakeDaemon
from tests.e2e.running import ROOT, Aigend, eventually
from tests.fakes import FakeClock

pytestmark = pytest.mark.not_on_floor
HASTY = (sys.executable, str(ROOT / "tests" / "e2e" / "hasty.py"))
MODEL = "gpt-4o-mini"
BUDGET = {"name": "all", "period": "session", "each": "session", "limit_usd": "1000"}
HIT = HitKey(LOCAL_SCOPE, "s", "run-1", "1", "", "{}", "", "openai", MODEL, CacheOutcome.HIT, SavingsCause.CACHE)
DAY_S = 86_400.0
MONTHS = 4  # with charges, the one that runs besides
A_MONTH = 28  # days of each with charges
GROUPS = (
    (aigen.GroupBy.MODEL,),
    (aigen.GroupBy.DAY,),
    (aigen.GroupBy.SESSION, aigen.GroupBy.OUTCOME),
    (aigen.GroupBy.SERVICE, aigen.GroupBy.PHASE),
)


async def fill(folder: Path, *, each_day: int) -> None:
    """Write months of charges of every ending, as calls of their days have made them."""
    first = month_start(month_after(month_of(time.time()), by=-MONTHS))
    clock = FakeClock(first)
    book = BudgetBook([BudgetSettings(**BUDGET)])
    ledger = Ledger(path=folder / "ledger.db", clock=clock, settings=LedgerSettings(reply_ttl_s=3_600), budgets=book)
    await ledger.open()
    for month in range(MONTHS):
        start = month_start(month_after(month_of(first), by=month))
        for day in range(A_MONTH):
            clock.jump(start + day * DAY_S + 40_000 - clock.time())
            await asyncio.gather(*(charge(ledger, f"{month}-{day}-{number}") for number in range(each_day)))
        await ledger.mark_unknown(await ledger.reserve(named(f"unknown-{month}")), reason="timeout")
        ledger.hits.cell(HIT).add(clock.time(), 7, 100)
        await ledger.flush()
    await ledger.close()


def named(request_id: str) -> Any:
    """Return a call of the scope that a daemon's own socket has."""
    made = intent(
        request_id, scope=LOCAL_SCOPE, route=Route("openai", MODEL), bound=10_000, session="run-1", labels={"team": "ä|b"}
    )
    return replace(made, agent="", requested_model=MODEL)


async def charge(ledger: Ledger, request_id: str) -> None:
    """Make one call; one of four is refused by the provider, and its savings are below zero."""
    reservation = await ledger.reserve(named(request_id))
    if request_id.endswith("3"):
        await ledger.release(reservation, reason="refused")
        return
    cost = 100 + len(request_id)
    await ledger.settle(reservation, settlement(cost, reply=b"", total_us=900, savings={SavingsCause.PROMPT_CACHE: -7}))


def filled(make_daemon: MakeDaemon, *, each_day: int = 4) -> Aigend:
    """Return a daemon that does not run yet, whose ledger holds months of charges."""
    daemon = make_daemon({"budgets": [BUDGET]})
    daemon.state.mkdir(mode=0o700)
    asyncio.run(fill(daemon.state, each_day=each_day))
    return daemon


def sums(client: aigen.Client) -> dict[str, Any]:
    """Return all that is told of what has passed: statistics, reports and budgets."""
    last = month_after(month_of(time.time()), by=-MONTHS)
    report = client.report(month=last)
    stats = [client.stats(group_by=list(group)) for group in GROUPS]
    labelled = client.stats(group_by=[aigen.GroupBy.LABEL], label_key="team")
    return {
        "stats": [(sorted((row.group, row.totals) for row in found.rows), found.totals) for found in (*stats, labelled)],
        "report": (report.totals, report.sections, report.unknown_entries),
        "budgets": [(one.key, one.spent_usd_nanos, one.reserved_usd_nanos) for one in client.budget_status() if one.key],
    }


def archived(daemon: Aigend) -> list[str]:
    """Return the states of the archives that a ledger knows of, oldest month first."""
    with closing(sqlite3.connect(f"file:{daemon.ledger}?mode=ro", uri=True)) as connection:
        return [row[0] for row in connection.execute("SELECT state FROM archive ORDER BY month")]


def words(daemon: Aigend, *arguments: str, of: str = "aigenctl") -> str:
    """Return what a command prints."""
    place = ["--socket", str(daemon.socket)] if of == "aigenctl" else []
    command = [sys.executable, "-m", of, *place, *arguments, *(["--config", str(daemon.config)] if of == "aigend" else [])]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=15, env=_environ(daemon)).stdout


def exported(daemon: Aigend, *arguments: str) -> dict[str, dict[str, Any]]:
    """Return the charges that `aigenctl ledger export` prints, by their ids."""
    rows = [json.loads(line) for line in words(daemon, "ledger", "export", *arguments).splitlines()]
    found = {row["id"]: row for row in rows}
    assert len(found) == len(rows)
    return found


def _environ(daemon: Aigend) -> dict[str, str]:
    return {"HOME": str(daemon.folder), "PATH": "/usr/bin:/bin", "E2E_KEY": "made-up"}


@pytest.mark.timeout(60)
def test_a_running_daemon_archives_old_months_and_keeps_every_sum(make_daemon: MakeDaemon):
    """What is older than the retention goes while calls are made; sums stay, and each charge is here or in one file."""
    daemon = filled(make_daemon)
    client = daemon.start().client()
    before, entries = sums(client), exported(daemon)
    assert daemon.stop() == 0

    daemon.write_settings({"budgets": [BUDGET], "ledger": {"retention_months": 1}})
    client = daemon.start(wrapper=HASTY).client()
    answers = [client.complete(f"meanwhile {number}", model=MODEL).cost_usd_nanos for number in range(5)]
    eventually(lambda: archived(daemon) == ["done"] * (MONTHS - 1))

    recorded = client.stats(session="run-1").totals
    assert recorded == before["stats"][0][1]
    assert client.stats().totals.cost_usd_nanos == recorded.cost_usd_nanos + sum(answers)
    after = sums(client)
    assert (after["report"], after["budgets"]) == (before["report"], before["budgets"])

    files = list(client.ledger_archives())
    told = [exported(daemon, "--archive", archive.file) for archive in files]
    out = {name: row for file in told for name, row in file.items()}
    left = {entry.id: entry for entry in client.ledger_entries(session="run-1")}
    assert (len(out), out.keys() | left.keys()) == (sum(map(len, told)), entries.keys())
    assert not out.keys() & left.keys()
    assert out == {name: entries[name] for name in out}  # to the last field
    assert [entry.request_id for entry in left.values() if entry.state == "unknown"] == [f"unknown-{n}" for n in (3, 2, 1, 0)]
    assert sum(archive.attempt_count for archive in files) == len(out)
    assert words(daemon, "ledger", "archives", "--csv").count(".jsonl.gz") == MONTHS - 1

    with pytest.raises(aigen.InvalidRequest, match="0-0-0 was used"):  # an archived id stays known
        client.record_usage("openai", MODEL, request_id="0-0-0", usage=aigen.TokenUsage(input_tokens=1))
    unknown = next(entry for entry in left.values() if entry.request_id == "unknown-0")
    client.settle_entry(unknown.id, cost_usd_nanos=5)
    assert client.stats(session="run-1").totals.cost_usd_nanos == recorded.cost_usd_nanos + 5
    assert daemon.stop() == 0
    assert "ok" in words(daemon, "ledger", "verify", "--archives", of="aigend")


@pytest.mark.timeout(60)
def test_a_daemon_killed_while_it_archives_goes_on_where_it_was(make_daemon: MakeDaemon):
    """Lives that end with kill -9 at each state of an archive: in the end each charge is in one place, and sums are as before."""
    daemon = filled(make_daemon, each_day=8)
    client = daemon.start().client()
    before, entries = sums(client), {entry.id for entry in client.ledger_entries()}
    assert daemon.stop() == 0
    daemon.write_settings({"budgets": [BUDGET], "ledger": {"retention_months": 1}})

    left_undone = 0
    for state in ("claiming", "claimed", "written", "done"):
        daemon.start(wrapper=HASTY, ready=False)
        eventually(lambda state=state: reached(daemon, state))
        daemon.kill()
        left_undone += {*archived(daemon)} != {"done"}
        assert "ok" in words(daemon, "ledger", "verify", of="aigend")

    assert left_undone  # some kill came in the middle
    client = daemon.start(wrapper=HASTY).client()
    eventually(lambda: archived(daemon) == ["done"] * (MONTHS - 1))
    assert sums(client) == before
    told = [
        json.loads(line)["id"]
        for archive in client.ledger_archives()
        for line in words(daemon, "ledger", "export", "--archive", archive.file).splitlines()
    ]
    left = [entry.id for entry in client.ledger_entries()]
    assert len(told) + len(left) == len(entries)
    assert {*told, *left} == entries
    assert daemon.stop() == 0
    assert "ok" in words(daemon, "ledger", "verify", "--archives", of="aigend")


def reached(daemon: Aigend, state: str) -> bool:
    """Tell whether an archive has come this far, or all have come further."""
    return state in (states := archived(daemon)) or states == ["done"] * (MONTHS - 1)
