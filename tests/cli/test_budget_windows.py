"""Of budgets with many windows people see the few that matter; and what `budget set` says besides the budget."""

import json
from datetime import UTC, datetime

import pytest
from aigen.v1 import budget_pb2 as pb
from aigen.v1 import daemon_pb2, model_pb2, usage_pb2
from aigenctl import budget_windows

from tests.cli.scripted_daemon import ScriptedError

SESSIONS = [f"s{number:03}" for number in range(150)]
RUN = pb.Budget(name="run", each="session", period=pb.BUDGET_PERIOD_SESSION, limit_usd_nanos=10**9)
BEGAN = datetime(2026, 11, 1, tzinfo=UTC)


def windows(**more) -> list[pb.BudgetWindow]:
    """Return a window for each of many sessions, the first one used last."""
    return [
        pb.BudgetWindow(budget="run", key=name, window=name, limit_usd_nanos=10**9, paused=name == "s149", **more)
        for name in SESSIONS
    ]


def statuses() -> list[daemon_pb2.BudgetStatus]:
    """Return the same as a status tells it, after a budget with one window."""
    many = [daemon_pb2.BudgetStatus(name=f"run[{name}]", window=name, limit_usd_nanos=10**9) for name in SESSIONS]
    return [daemon_pb2.BudgetStatus(name="all", window="2026-11", limit_usd_nanos=10**9), *many]


def test_lists_of_windows_are_bounded(daemon, run):
    """Ten of 150 sessions are shown, whatever is paused among them, and how many there are besides; programs get all."""
    daemon.answers["ListBudgets"] = pb.ListBudgetsResponse(budgets=[RUN])
    daemon.answers["GetBudget"] = pb.GetBudgetResponse(budget=RUN)
    daemon.answers["GetBudgetStatus"] = pb.GetBudgetStatusResponse(windows=windows())
    for command in (("list",), ("show", "run")):
        shown = run("budget", *command).stdout
        assert "… and 140 more of run" in shown
        assert [name for name in SESSIONS if f"run[{name}]" in shown] == [*SESSIONS[:9], "s149"]
        assert len(json.loads(run("budget", *command, "--json").stdout)["windows"]) == 150
        assert len(run("budget", *command, "--csv").stdout.splitlines()) == 151


def test_status_report_and_watch_are_bounded(daemon, run):
    """What a person reads stays short however many sessions there were, and other budgets are shown beside them."""
    daemon.answers["GetStatus"] = daemon_pb2.GetStatusResponse(budgets=statuses())
    daemon.answers["GenerateReport"] = usage_pb2.GenerateReportResponse(time_zone="UTC", budgets=statuses())
    daemon.answers["WatchUsage"] = [usage_pb2.WatchUsageResponse(budgets=statuses())]
    for command in (("status",), ("report", "daily")):
        shown = run(*command).stdout
        assert "and 140 more of run" in shown
        assert "s009" in shown
        assert "s010" not in shown
        assert "2026-11" in shown
    shown = run("stats", "watch", "--count", "1").stdout
    assert "… and 146 more of run" in shown
    assert len(json.loads(run("status", "--json").stdout)["budgets"]) == 151


def test_windows_of_the_calendar_are_chosen_by_what_is_left():
    """Those nearest their limit are shown first, with what is held for calls under way."""
    found = [
        pb.BudgetWindow(budget="day", key=f"k{share:02}", limit_usd_nanos=100, spent_usd_nanos=share, reserved_usd_nanos=1)
        for share in range(20)
    ]
    for window in found:
        window.reset_time.GetCurrentTime()
    told = [(window and window.key, hidden) for _, window, hidden in budget_windows.of_windows(found, most=2)]
    assert told == [("k19", 0), ("k18", 0), (None, 18)]
    assert [window and window.key for _, window, _ in budget_windows.of_windows(found[:2], most=2)] == ["k00", "k01"]


def test_missing_value_is_shown_as_none(daemon, run):
    """A window of calls without the value that the budget holds for has a name."""
    daemon.answers["ListBudgets"] = pb.ListBudgetsResponse(budgets=[pb.Budget(name="team", each="label:team")])
    status = pb.GetBudgetStatusResponse(windows=[pb.BudgetWindow(budget="team", window="2026-11-21")])
    daemon.answers["GetBudgetStatus"] = status
    assert "team[(none)] 2026-11-21" in run("budget", "list").stdout


def ready(daemon, new: pb.Budget, *, old: pb.Budget | None = None, held: int = 0, cost: int = 0) -> None:
    """Have a budget set where another was, whose window holds something and whose calls cost something."""
    missing = ScriptedError("NOT_FOUND", "NOT_FOUND", "no budget is named so")
    window = pb.BudgetWindow(budget=new.name, window="2026-11", spent_usd_nanos=held)
    window.start_time.FromDatetime(BEGAN)
    daemon.answers |= {
        "GetBudget": missing if old is None else pb.GetBudgetResponse(budget=old),
        "SetBudget": pb.SetBudgetResponse(budget=new),
        "GetBudgetStatus": pb.GetBudgetStatusResponse(windows=[window]),
        "GetStats": usage_pb2.GetStatsResponse(totals={"cost_usd_nanos": cost}),
        "GetModel": model_pb2.GetModelResponse(model={"id": "gpt-4o", "provider": "openai"}),
    }


def budget(**fields) -> pb.Budget:
    """Return a monthly budget."""
    return pb.Budget(**{"name": "m1", "period": pb.BUDGET_PERIOD_MONTHLY, "limit_usd_nanos": 10**9} | fields)


SET = ("budget", "set", "m1", "--period", "monthly", "--limit-usd", "1")


def test_new_budget_says_that_it_counts_from_now_on(daemon, run):
    """What calls cost in its window before is told, as statistics know it, and asked for by what calls are booked under."""
    ready(daemon, budget(selector={"model": "openai/gpt-4o", "label:team": "red", "service": "flow"}), cost=2_700_000)
    shown = run(*SET).stdout
    assert "It counts calls from now on; what was spent before is not in it." in shown
    assert "By the statistics, the calls that it selects cost $0.0027 since its window began." in shown
    (asked,) = daemon.asked["GetStats"]
    found = asked.filter
    assert (found.provider, found.model, found.service, dict(found.labels)) == ("openai", "gpt-4o", "flow", {"team": "red"})
    assert asked.start_time.ToDatetime(UTC) == BEGAN


@pytest.mark.parametrize(("model", "selects"), [("gpt-4o-2024-08-06", ("", "gpt-4o")), ("mine/x/y", ("mine", "x/y"))])
def test_model_is_asked_for_as_it_is_booked(daemon, run, model, selects):
    """An alias is its model at any provider; what the catalog does not list is what its name says."""
    ready(daemon, budget(selector={"model": model}))
    if "/" in model:
        daemon.answers["GetModel"] = ScriptedError("INVALID_ARGUMENT", "UNKNOWN_MODEL", "it is not in the catalog")
    assert run(*SET).exit_code == 0
    found = daemon.asked["GetStats"][0].filter
    assert (found.provider, found.model) == selects


@pytest.mark.parametrize("fields", [{"each": "session"}, {"period": pb.BUDGET_PERIOD_SESSION}])
def test_budget_of_many_windows_says_no_sum(daemon, run, fields):
    """Statistics are not asked where a budget has a window for each of many values."""
    ready(daemon, budget(**fields))
    if "period" in fields:
        daemon.answers["GetBudgetStatus"] = pb.GetBudgetStatusResponse()
    assert "It counts calls from now on" in run(*SET).stdout
    assert daemon.asked["GetStats"] == []


def test_replaced_budget_is_told_with_what_it_was(daemon, run):
    """Everything that is different is named, old and new; another limit alone does not begin the count anew."""
    ready(daemon, budget(limit_usd_nanos=2 * 10**9), old=budget(action=pb.BUDGET_ACTION_WARN))
    shown = run(*SET).stdout
    assert "Replaced what m1 was: limit $1.00 → $2.00; action warn → unknown." in shown
    assert "from now on" not in shown
    ready(daemon, budget(selector={"service": "flow"}), old=budget(), held=3_000_000, cost=1_000_000)
    shown = run(*SET).stdout
    assert "Replaced what m1 was: counts all calls → service=flow." in shown
    assert "It counts calls from now on, on top of the $0.0030 that its window holds already." in shown
    assert "cost $0.0010 since its window began" in shown
    ready(daemon, budget(), old=budget())
    assert "m1 was set so already; nothing is different." in run(*SET).stdout


def test_json_is_the_budget_alone(daemon, run):
    """A program gets what was stored, and nothing else is asked."""
    ready(daemon, budget())
    assert json.loads(run(*SET, "--json").stdout)["name"] == "m1"
    assert daemon.asked["GetBudget"] == daemon.asked["GetStats"] == []
