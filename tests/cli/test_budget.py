"""`aigenctl budget`: what is sent, and what is shown."""

import json

import pytest
from aigen.v1 import budget_pb2 as pb
from aigenctl.exits import Exit

WINDOW = pb.BudgetWindow(
    budget="team",
    window="2026-11-21",
    action=pb.BUDGET_ACTION_PAUSE,
    limit_usd_nanos=10_000_000_000,
    spent_usd_nanos=5_000_000_000,
    reserved_usd_nanos=2_500_000_000,
    paused=True,
    forecast_usd_nanos=20_000_000_000,
)
BUDGET = pb.Budget(
    name="team",
    period=pb.BUDGET_PERIOD_DAILY,
    limit_usd_nanos=10_000_000_000,
    action=pb.BUDGET_ACTION_PAUSE,
    origin=pb.BUDGET_ORIGIN_SET,
)
ALERT = pb.Alert(id=7, kind=pb.ALERT_KIND_THRESHOLD, budget="team", percent=90, text="budget team passed 90 %")


@pytest.fixture
def filled(daemon):
    """Return a daemon with one budget in one window."""
    daemon.answers |= {
        "ListBudgets": pb.ListBudgetsResponse(budgets=[BUDGET]),
        "GetBudget": pb.GetBudgetResponse(budget=BUDGET),
        "SetBudget": pb.SetBudgetResponse(budget=BUDGET),
        "GetBudgetStatus": pb.GetBudgetStatusResponse(windows=[WINDOW]),
        "PauseBudget": pb.PauseBudgetResponse(changed=True),
        "ResumeBudget": pb.ResumeBudgetResponse(resumed_count=1),
        "ListAlerts": pb.ListAlertsResponse(alerts=[ALERT]),
        "WatchAlerts": [pb.WatchAlertsResponse(alert=ALERT)],
    }
    return daemon


def test_set_sends_the_whole_budget(filled, run):
    """Every option arrives as the contract spells it."""
    options = ("--period", "weekly", "--limit-usd", "0.15", "--action", "downgrade", "--select", "label:team=red")
    result = run("budget", "set", "mine", *options, "--each", "session", "--downgrade-to", "mini", "--downgrade-at", "80")
    assert result.exit_code == 0
    sent = filled.asked["SetBudget"][0].budget
    assert (sent.name, sent.period, sent.limit_usd_nanos) == ("mine", pb.BUDGET_PERIOD_WEEKLY, 150_000_000)
    assert (sent.action, dict(sent.selector), sent.each) == (pb.BUDGET_ACTION_DOWNGRADE, {"label:team": "red"}, "session")
    assert (sent.downgrade_to, sent.downgrade_at_percent) == ("mini", 80)


@pytest.mark.parametrize(
    "options", [("--limit-usd", "much"), ("--limit-usd", "1", "--select", "x"), ("--limit-usd", "0.0000000001")]
)
def test_set_refuses_what_it_can_not_send(filled, run, options):
    """A bad amount or selector is refused before anything is sent."""
    assert run("budget", "set", "mine", "--period", "daily", *options).exit_code in (2, 4)
    assert filled.asked["SetBudget"] == []


@pytest.mark.parametrize("command", [("list",), ("show", "team")])
def test_windows_are_bars_with_state_and_forecast(filled, run, command):
    """A person sees how much is spent and held, whether it is paused, and where it will end."""
    shown = run("budget", *command).stdout
    for part in ("██████████▒▒▒▒▒░░░░░", "paused", "ends at $20"):
        assert part in shown


def test_forms_for_programs(filled, run):
    """JSON and CSV have the contract's names."""
    assert json.loads(run("budget", "list", "--json").stdout)["windows"][0]["spent_usd"] == "5.000000000"
    assert json.loads(run("budget", "show", "team", "--json").stdout)["budget"]["name"] == "team"
    assert run("budget", "list", "--csv").stdout.startswith("budget,key,window,action,limit_usd_nanos")
    assert json.loads(run("budget", "set", "team", "--period", "daily", "--limit-usd", "1", "--json").stdout)["name"] == "team"
    assert json.loads(run("budget", "alerts", "--json").stdout)["alerts"][0]["percent"] == 90
    assert "7" in run("budget", "alerts", "--csv").stdout
    assert json.loads(run("budget", "pause", "team", "--json").stdout) == {"changed": True}
    assert json.loads(run("budget", "resume", "team", "--json").stdout) == {"resumed_count": 1}


def test_pause_resume_and_delete_say_what_they_did(filled, run):
    """What was done is said; delete asks first."""
    assert run("budget", "pause", "team", "--key", "red").stdout == "team is paused.\n"
    assert filled.asked["PauseBudget"][0].key == "red"
    assert run("budget", "resume", "team").stdout == "team is resumed.\n"
    refused = run("budget", "delete", "team", stdin="y\n")
    assert (refused.exit_code, "pass --yes" in refused.stderr) == (Exit.USAGE, True)
    assert filled.asked["DeleteBudget"] == []
    assert run("budget", "delete", "team", "--yes").stdout == "team is removed.\n"
    assert filled.asked["DeleteBudget"][0].name == "team"


def test_alerts_are_listed_and_followed(filled, run):
    """The list has a row each; following prints a line each as they come."""
    assert "budget team passed 90 %" in run("budget", "alerts").stdout
    assert "budget team passed 90 %" in run("budget", "alerts", "--follow").stdout
    assert json.loads(run("budget", "alerts", "--follow", "--json").stdout)["id"] == 7
