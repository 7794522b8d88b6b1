"""Budgets that can't be overshot."""

import asyncio

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger import store
from aigend.ledger.verify import verify

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock


async def admitted(ledger, count: int) -> int:
    """Return how many of so many concurrent calls were admitted; the others were BUDGET_EXCEEDED."""
    results = await asyncio.gather(*(ledger.reserve(intent(f"r{number}")) for number in range(count)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, BaseException)]
    assert {error.reason for error in refused} <= {Reason.BUDGET_EXCEEDED}
    return count - len(refused)


async def test_budget_for_five_admits_five_of_two_hundred(tmp_path):
    """Two hundred concurrent calls on a budget for five: exactly five are admitted."""
    async with opened(tmp_path, budget(limit_nanos=5_000)) as ledger:
        assert await admitted(ledger, 200) == 5
        assert await rows(ledger, "SELECT count(*), sum(reserved_nanos) FROM attempt") == [(5, 5_000)]
        assert verify(ledger.path) == ()


async def test_control_without_reservation_overshoots(tmp_path, monkeypatch):
    """Where nothing is held before a call, all two hundred get through: the reservation is the protection."""
    reserve = store.reserve

    def unheld(connection, *, claims, **rest):
        spent = connection.execute("SELECT coalesce(sum(cost_nanos), 0) FROM attempt").fetchone()[0]
        assert spent <= 5_000
        return reserve(connection, claims=(), **rest)

    monkeypatch.setattr(store, "reserve", unheld)
    async with opened(tmp_path, budget(limit_nanos=5_000)) as ledger:
        assert await admitted(ledger, 200) == 200


async def test_settled_cost_makes_room(tmp_path):
    """What a call did not use is free for the next."""
    async with opened(tmp_path, budget(limit_nanos=1_500)) as ledger:
        first = await ledger.reserve(intent("r1"))
        with pytest.raises(DomainError):
            await ledger.reserve(intent("r2"))
        await ledger.settle(first, settlement(500))
        assert await ledger.reserve(intent("r2"))


async def test_refusal_says_what_is_left(tmp_path):
    """BUDGET_EXCEEDED names budget, window, limit, spent, held, what is left and when it resets."""
    async with opened(tmp_path, budget("team", 2_500, each="label:team")) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1", labels={"team": "red"})), settlement(700))
        await ledger.reserve(intent("r2", labels={"team": "red"}))
        with pytest.raises(DomainError, match=r"budget team\[red\] has 0.0000008 of 0.0000025 USD left") as caught:
            await ledger.reserve(intent("r3", labels={"team": "red"}))
        assert caught.value.metadata == {
            "budget": "team",
            "key": "red",
            "window": "2026-01-01",
            "limit_usd_nanos": "2500",
            "spent_usd_nanos": "700",
            "reserved_usd_nanos": "1000",
            "remaining_usd_nanos": "800",
            "needed_usd_nanos": "1000",
            "resets_at": "2026-01-02T00:00:00+00:00",
        }
        await ledger.reserve(intent("r3", labels={"team": "blue"}))


async def test_refused_call_leaves_nothing_in_any_budget(tmp_path):
    """Where the second budget refuses, the first is as before, and no operation exists."""
    async with opened(tmp_path, budget("wide"), budget("narrow", 10, period="session")) as ledger:
        with pytest.raises(DomainError) as caught:
            await ledger.reserve(intent(session="run-1"))
        assert caught.value.metadata["resets_at"] == ""
        assert ledger.budget_status(NOW)[0].reserved_nanos == 0
        assert await rows(ledger, "SELECT count(*) FROM operation") == [(0,)]
        assert await rows(ledger, "SELECT count(*) FROM budget_window") == [(0,)]


async def test_warn_budget_counts_and_refuses_nothing(tmp_path):
    """A budget that only warns lets calls through above its limit and knows what they cost."""
    async with opened(tmp_path, budget(limit_nanos=10, action="warn")) as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement())
        state = ledger.budget_status(NOW)[0]
        assert (state.spent_nanos, state.limit_nanos, state.action) == (600, 10, "warn")


async def test_unknown_price_is_refused_where_a_budget_demands_one(tmp_path):
    """A call that can't be bounded does not pass a budget that wants bounds."""
    async with opened(tmp_path, budget(require_known_prices=True)) as ledger:
        with pytest.raises(DomainError, match=r"prices\.yaml") as caught:
            await ledger.reserve(intent(bound=None))
        assert caught.value.reason is Reason.PRICE_UNKNOWN


async def test_threshold_is_said_once_a_window(tmp_path):
    """50, 75, 90 and 100 % are said once each for a budget and window, also across a restart."""
    clock = FakeClock(NOW)
    said = []

    async def spend(ledger, number, nanos):
        reservation = await ledger.reserve(intent(f"r{number}"))
        settled = await ledger.settle(reservation, settlement(nanos))
        said.append((*reservation.warnings, *settled.warnings))

    async with opened(tmp_path, budget(limit_nanos=2_000, action="warn"), clock=clock) as ledger:
        for number, nanos in enumerate((900, 200, 100, 800)):
            await spend(ledger, number, nanos)
    async with opened(tmp_path, budget(limit_nanos=2_000, action="warn"), clock=clock) as ledger:
        await spend(ledger, 5, 100)
        clock.advance(86_400)
        await spend(ledger, 6, 1_000)
    assert said[0] == said[2] == said[4] == ()
    assert said[1] == ("budget all passed 50 % in window 2026-01-01: 0.0000011 of 0.000002 USD spent",)
    assert said[3] == ("budget all passed 100 % in window 2026-01-01: 0.000002 of 0.000002 USD spent",)
    assert said[5] == ("budget all passed 50 % in window 2026-01-02: 0.000001 of 0.000002 USD spent",)


async def test_threshold_passed_by_an_unknown_call_is_told_at_once(tmp_path):
    """What was booked without an answer to say it in is an alert, also where every later call is refused."""
    async with opened(tmp_path, budget(limit_nanos=1_000)) as ledger:
        await ledger.mark_unknown(await ledger.reserve(intent("r1")), reason="timeout")
        with pytest.raises(DomainError):
            await ledger.reserve(intent("r2"))
        await ledger.budgets.alerts.finish()
        assert await rows(ledger, "SELECT percent FROM alert ORDER BY id") == [(50,), (75,), (90,), (100,)]


async def test_call_is_settled_in_the_window_that_it_was_reserved_in(tmp_path):
    """A call that ends after midnight costs yesterday's money."""
    clock = FakeClock(NOW + 86_000)
    async with opened(tmp_path, budget(), clock=clock) as ledger:
        reservation = await ledger.reserve(intent())
        clock.advance(1_000)
        await ledger.settle(reservation, settlement(600))
        assert await rows(ledger, "SELECT window, spent_nanos FROM budget_window") == [("2026-01-01", 600)]
        assert [(state.window, state.spent_nanos) for state in ledger.budget_status(clock.time())] == [("2026-01-02", 0)]


async def test_call_that_waited_past_midnight_is_held_today(tmp_path):
    """The window is the one that runs when the cost is reserved, not when the call was admitted."""
    clock = FakeClock(NOW + 86_401)
    async with opened(tmp_path, budget(), clock=clock) as ledger:
        await ledger.reserve(intent(create_time=NOW + 86_399))
        assert await rows(ledger, "SELECT window FROM budget_window") == [("2026-01-02",)]


async def test_change_of_zone_takes_effect_with_the_next_window(tmp_path):
    """The window that runs keeps its end, so that no change of settings gives a second allowance."""
    clock = FakeClock(NOW + 80_000)
    async with opened(tmp_path, budget(limit_nanos=1_500), clock=clock) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1")), settlement(1_000))
    async with opened(tmp_path, budget(limit_nanos=1_500), clock=clock, time_zone="Asia/Seoul") as ledger:
        with pytest.raises(DomainError) as caught:  # it is tomorrow in Seoul
            await ledger.reserve(intent("r2"))
        assert caught.value.metadata["window"] == "2026-01-01"
        clock.advance(6_400)
        await ledger.reserve(intent("r2"))
        assert await rows(ledger, "SELECT window FROM budget_window ORDER BY id") == [("2026-01-01",), ("2026-01-02",)]


async def test_totals_survive_a_restart(tmp_path):
    """Running totals are there at once after a start, without a call."""
    async with opened(tmp_path, budget(), budget("gone")) as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement(600))
    async with opened(tmp_path, budget()) as ledger:
        assert [(state.budget, state.spent_nanos) for state in ledger.budget_status(NOW)] == [("all", 600)]


async def test_missing_value_is_told_as_none(tmp_path):
    """Refusal and alert say (none) of calls without the value that a budget holds for."""
    async with opened(tmp_path, budget("team", 1_000, each="label:team")) as ledger:
        settled = await ledger.settle(await ledger.reserve(intent()), settlement(950))
        assert settled.warnings[0].startswith("budget team[(none)] passed 90 % in window 2026-01-01")
        with pytest.raises(DomainError, match=r"budget team\[\(none\)\] has 0\.00000005 of"):
            await ledger.reserve(intent("r2"))
        assert [(state.key, state.per_value) for state in ledger.budget_status(NOW)] == [("", True)]


async def test_sessions_are_told_of_with_the_one_used_last_first(tmp_path):
    """Windows of sessions never end, so that those in use come before those long gone; others go by value."""
    async with opened(tmp_path, budget("run", period="session", each="session"), budget("day", each="session")) as ledger:
        for number, session in enumerate(("b", "a", "c", "a")):
            await ledger.reserve(intent(f"r{number}", session=session))
        told = [(state.budget, state.key) for state in ledger.budget_status(NOW)]
        assert told == [("day", "a"), ("day", "b"), ("day", "c"), ("run", "a"), ("run", "c"), ("run", "b")]


@pytest.mark.parametrize(
    ("before", "after"),
    [({"period": "monthly"}, {"period": "daily"}), ({"each": "session"}, {"each": None}), ({"period": "session"}, {})],
)
async def test_windows_to_which_no_call_can_come_are_not_told_of(tmp_path, before, after):
    """With another period, or holding for other values, a budget begins new windows, and the old ones are not shown as its own."""
    async with opened(tmp_path) as ledger:
        await ledger.budgets.put(budget(**before))
        await ledger.settle(await ledger.reserve(intent(session="run-1")), settlement(600))
        assert [state.spent_nanos for state in ledger.budget_status(NOW)] == [600]
        await ledger.budgets.put(budget(**after))
        assert [(state.window, state.spent_nanos) for state in ledger.budget_status(NOW)] == [("2026-01-01", 0)]


async def test_remembered_windows_are_bounded(tmp_path):
    """Windows of sessions long gone cost no memory."""
    async with opened(tmp_path, budget(each="session")) as ledger:
        ledger._totals.limit = 3
        for number in range(5):
            await ledger.reserve(intent(f"r{number}", session=f"s{number}"))
        assert [state.key for state in ledger.budget_status(NOW)] == ["s2", "s3", "s4"]
