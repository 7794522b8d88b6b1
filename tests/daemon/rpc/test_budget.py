"""BudgetService over a real server."""

import asyncio

import pytest
from aigen.v1 import budget_pb2 as pb
from aigend.config import BudgetSettings

from tests.daemon.rpc.served import failure, served

TEAM = BudgetSettings(name="team", period="daily", limit_usd="2")


def mine(**fields) -> pb.SetBudgetRequest:
    """Return a request to set a budget."""
    return pb.SetBudgetRequest(
        budget=pb.Budget(**{"name": "mine", "period": pb.BUDGET_PERIOD_MONTHLY, "limit_usd_nanos": 5} | fields)
    )


async def test_what_was_set_is_returned_listed_and_deleted(tmp_path):
    """SetBudget returns what was stored; the list has it beside those of the settings."""
    async with served(tmp_path, budgets=(TEAM,)) as daemon:
        fields = {
            "selector": {"service": "flow"},
            "each": "session",
            "action": pb.BUDGET_ACTION_DOWNGRADE,
            "downgrade_to": "one/model-1",
        }
        stored = (await daemon.budget.SetBudget(mine(**fields))).budget
        assert (stored.name, stored.limit_usd_nanos, stored.downgrade_at_percent) == ("mine", 5, 90)
        assert (dict(stored.selector), stored.each, stored.origin) == ({"service": "flow"}, "session", pb.BUDGET_ORIGIN_SET)
        first = await daemon.budget.ListBudgets(pb.ListBudgetsRequest(page_size=1))
        second = await daemon.budget.ListBudgets(pb.ListBudgetsRequest(page_size=1, page_token=first.next_page_token))
        assert [budget.name for budget in (*first.budgets, *second.budgets)] == ["mine", "team"]
        assert (await daemon.budget.GetBudget(pb.GetBudgetRequest(name="mine"))).budget == stored
        await daemon.budget.DeleteBudget(pb.DeleteBudgetRequest(name="mine"))
        assert (await failure(daemon.budget.GetBudget(pb.GetBudgetRequest(name="mine")))).reason == "NOT_FOUND"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "a b"}, "budget.name"),
        ({"name": "team"}, "name"),
        ({"period": 0}, "budget.period"),
        ({"period": 99}, "budget.period"),
        ({"action": 99}, "budget.action"),
        ({"limit_usd_nanos": -1}, "budget.limit_usd_nanos"),
        ({"limit_usd_nanos": 10**18}, "budget.limit_usd_nanos"),
        ({"downgrade_at_percent": 101}, "budget.downgrade_at_percent"),
        ({"downgrade_to": "one/model-1"}, "budget.downgrade_to"),
        ({"action": pb.BUDGET_ACTION_DOWNGRADE}, "budget.downgrade_to"),
        ({"selector": {"sesion": "x"}}, "budget.selector['sesion']"),
        ({"selector": {"model": "two/model-1", "provider": "one"}}, "budget.selector['model']"),
        ({"selector": {"model": "modle-1"}}, "budget.selector['model']"),
        ({"selector": {"agent": "claud"}}, "budget.selector['agent']"),
        ({"selector": {"provider": "opnai"}}, "budget.selector['provider']"),
        ({"selector": {f"label:{number}": "x" for number in range(17)}}, "budget.selector"),
        ({"selector": {"service": "x" * 257}}, "budget.selector['service']"),
    ],
)
async def test_bad_field_is_refused_by_name(tmp_path, fields, field):
    """INVALID_REQUEST names the field; nothing is stored."""
    async with served(tmp_path, budgets=(TEAM,)) as daemon:
        info = await failure(daemon.budget.SetBudget(mine(**fields)))
        assert (info.reason, info.metadata["field"]) == ("INVALID_REQUEST", field)
        assert len((await daemon.budget.ListBudgets(pb.ListBudgetsRequest())).budgets) == 1


async def test_unknown_field_is_refused(tmp_path):
    """A field of a newer contract is not dropped silently."""
    async with served(tmp_path) as daemon:
        request = pb.SetBudgetRequest.FromString(mine().SerializeToString() + b"\xf8\x07\x01")
        assert (await failure(daemon.budget.SetBudget(request))).reason == "CAPABILITY_MISSING"


async def test_pause_is_seen_in_the_status_and_told_to_who_watches(tmp_path):
    """A pause shows in the windows and arrives as an alert, in the stream and in the list."""
    async with served(tmp_path, budgets=(TEAM,)) as daemon:
        watching = daemon.budget.WatchAlerts(pb.WatchAlertsRequest(after_alert_id=0, budget="team"))
        assert (await daemon.budget.PauseBudget(pb.PauseBudgetRequest(name="team"))).changed
        alert = (await asyncio.wait_for(watching.read(), 10)).alert
        assert (alert.kind, alert.budget) == (pb.ALERT_KIND_PAUSED, "team")
        (window,) = (await daemon.budget.GetBudgetStatus(pb.GetBudgetStatusRequest(name="team"))).windows
        assert (window.paused, window.limit_usd_nanos, window.HasField("forecast_usd_nanos")) == (True, 2_000_000_000, False)
        assert (await daemon.budget.ResumeBudget(pb.ResumeBudgetRequest(name="team"))).resumed_count == 1
        newest = await daemon.budget.ListAlerts(pb.ListAlertsRequest(page_size=1))
        older = await daemon.budget.ListAlerts(pb.ListAlertsRequest(page_token=newest.next_page_token))
        assert [a.kind for a in (*newest.alerts, *older.alerts)] == [pb.ALERT_KIND_RESUMED, pb.ALERT_KIND_PAUSED]
        watching.cancel()


@pytest.mark.parametrize("call", ["token", "after"])
async def test_bad_place_is_refused(tmp_path, call):
    """A token or id that no list gave is INVALID_REQUEST."""
    async with served(tmp_path) as daemon:
        if call == "token":
            asked = daemon.budget.ListAlerts(pb.ListAlertsRequest(page_token="x"))
        else:
            asked = daemon.budget.WatchAlerts(pb.WatchAlertsRequest(after_alert_id=-1)).read()
        assert (await failure(asked)).reason == "INVALID_REQUEST"
