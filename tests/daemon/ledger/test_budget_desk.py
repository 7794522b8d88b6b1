"""Budgets that are set, paused and watched, and what of them survives a restart."""

import asyncio
import random
from contextlib import aclosing
from decimal import Decimal

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger import store
from aigend.ledger.alerts.rows import AlertKind
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries_store import EntriesQuery
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.reprice import Repricer
from aigend.ledger.verify import verify
from aigend.types import Route

from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock


async def refused(ledger, request_id="again", **fields) -> DomainError:
    """Return why a call is refused."""
    with pytest.raises(DomainError) as caught:
        await ledger.reserve(intent(request_id, **fields))
    return caught.value


async def spend(ledger, request_id: str, nanos: int = 1_000, **fields) -> tuple[str, ...]:
    """Make a call and return what it was warned of."""
    reservation = await ledger.reserve(intent(request_id, **fields))
    settled = await ledger.settle(reservation, settlement(nanos))
    return (*reservation.warnings, *settled.warnings)


async def test_budget_that_was_set_holds_at_once_and_after_a_restart(tmp_path):
    """A budget set while the daemon runs is stored, and holds in the next life too."""
    async with opened(tmp_path) as ledger:
        record = await ledger.budgets.put(budget("mine", 1_500))
        assert record.stored is not None
        assert (record.budget.name, record.stored.create_time) == ("mine", NOW)
        await spend(ledger, "r1")
        assert (await refused(ledger)).reason is Reason.BUDGET_EXCEEDED
    async with opened(tmp_path) as ledger:
        assert ledger.budgets.get("mine").stored == record.stored
        assert (await refused(ledger)).metadata["budget"] == "mine"
        await ledger.budgets.delete("mine")
        await spend(ledger, "r2")
        with pytest.raises(DomainError, match="no budget is named 'mine'"):
            ledger.budgets.get("mine")
    async with opened(tmp_path) as ledger:
        assert ledger.budgets.records() == []


async def test_settings_own_their_budgets(tmp_path):
    """A budget of the settings is neither set nor deleted from outside, and the refusal names the file."""
    async with opened(tmp_path, budget("team")) as ledger:
        ledger.budgets.use(BudgetBook([budget("team")]), origin="the settings file /etc/aigend.yaml")
        for change in (ledger.budgets.put(budget("team", 5)), ledger.budgets.delete("team")):
            with pytest.raises(DomainError, match=r"written in the settings file /etc/aigend\.yaml and is changed there"):
                await change
        await ledger.budgets.put(budget("mine"))
        assert [(r.budget.name, r.stored is None) for r in ledger.budgets.records()] == [("mine", False), ("team", True)]
    async with opened(tmp_path, budget("mine", 1)) as ledger:  # now the settings name it too
        assert [(r.budget.name, r.stored is None) for r in ledger.budgets.records()] == [("mine", True)]


async def test_budgets_switched_off_hold_nothing_and_take_nothing(tmp_path):
    """Without the feature no budget holds, those that were set included."""
    async with opened(tmp_path) as ledger:
        await ledger.budgets.put(budget("mine", 1))
        ledger.budgets.use(BudgetBook(()), enabled=False)
        await spend(ledger, "r1")
        with pytest.raises(DomainError) as caught:
            await ledger.budgets.put(budget("other"))
        assert caught.value.reason is Reason.CAPABILITY_MISSING


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"selector": {"sesion": "x"}}, r"budget\.selector\['sesion'\] is 'x'; allowed: the keys agent, .*session\?\)"),
        ({"selector": {"team": "x"}}, r"budget\.selector\['team'\] is 'x'; allowed: the keys agent, .*label:team\?\)"),
        ({"each": "sesion"}, r"budget\.each is 'sesion'; allowed: agent, .*label:<key> \(did you mean session\?\)"),
    ],
)
async def test_unusable_selector_is_refused_by_name(tmp_path, fields, said):
    """What is stored can be used; the field, its value and the keys that there are, are named."""
    async with opened(tmp_path) as ledger:
        with pytest.raises(DomainError, match=said):
            await ledger.budgets.put(budget("mine", **fields))
        assert await rows(ledger, "SELECT count(*) FROM budget") == [(0,)]


async def test_pause_begins_at_the_limit_and_ends_only_by_resume(tmp_path):
    """A budget that is used up is paused: past its window and a restart, until somebody resumes it."""
    clock = FakeClock(NOW)
    team = budget("team", 1_000, action="pause")
    async with opened(tmp_path, team, clock=clock) as ledger:
        warnings = await spend(ledger, "r1")
        assert "budget team is paused until it is resumed" in warnings[-1]
        assert (await refused(ledger)).reason is Reason.BUDGET_PAUSED
        clock.advance(2 * 86_400)
        assert (await refused(ledger)).metadata["paused_since"] == "2026-01-01T00:00:00+00:00"
    async with opened(tmp_path, team, clock=clock) as ledger:
        assert (await refused(ledger)).reason is Reason.BUDGET_PAUSED
        assert [view.paused for view in await ledger.budgets.views("team")] == [True]
        assert await ledger.budgets.resume("team") == 1
        assert await ledger.budgets.resume("team") == 0
        await spend(ledger, "r2", 10)
        kinds = [alert.kind for alert in await ledger.budgets.alerts.page(limit=10)]
        assert (kinds.count(AlertKind.PAUSED), kinds.count(AlertKind.RESUMED)) == (1, 1)


async def test_call_that_spending_leaves_no_room_for_pauses(tmp_path):
    """What is spent stands in the way: the budget pauses. What is only held, or could never fit, is no reason."""
    async with opened(tmp_path, budget("team", 2_500, action="pause")) as ledger:
        assert (await refused(ledger, "huge", bound=2_501)).reason is Reason.BUDGET_EXCEEDED
        held = await ledger.reserve(intent("r1", bound=2_000))
        assert (await refused(ledger, "r2")).reason is Reason.BUDGET_EXCEEDED
        await ledger.settle(held, settlement(2_000))
        assert (await refused(ledger, "r2")).reason is Reason.BUDGET_PAUSED
        assert (await refused(ledger, "small", bound=1)).reason is Reason.BUDGET_PAUSED


@pytest.mark.parametrize("period", ["daily", "session"])
async def test_what_is_paused_is_shown_where_nothing_was_spent(tmp_path, period):
    """A pause outlives its window, so that it is among the windows that are shown, with nothing spent, until it is resumed."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, budget("run", each="session", period=period), budget("plain"), clock=clock) as ledger:
        await spend(ledger, "r1", session="one")
        for key in ("one", "two"):
            await ledger.budgets.pause("run", key=key)
        clock.advance(2 * 86_400)
        views = await ledger.budgets.views("run")
        assert [(view.state.key, view.paused) for view in views] == [("one", True), ("two", True)]
        assert [view.state.spent_nanos for view in views] == ([1_000, 0] if period == "session" else [0, 0])
        assert views[1].state.window == ("two" if period == "session" else "2026-01-03")
        assert (views[1].state.start_time is None) == (period == "session")
        assert await ledger.budgets.resume("run") == 2
        assert await ledger.budgets.pause("run")
        shown = [(view.state.budget, view.state.key, view.paused) for view in await ledger.budgets.views()]
        assert shown == [("plain", "", False), ("run", "one" if period == "session" else "", True)]


async def test_pause_by_hand_holds_for_a_value_or_for_all(tmp_path):
    """Any budget can be paused, as a whole or for one of its values."""
    async with opened(tmp_path, budget("team", each="label:team", action="warn"), budget("plain")) as ledger:
        assert await ledger.budgets.pause("team", key="red")
        assert not await ledger.budgets.pause("team", key="red")
        assert (await refused(ledger, labels={"team": "red"})).reason is Reason.BUDGET_PAUSED
        await spend(ledger, "r1", labels={"team": "blue"})
        assert await ledger.budgets.pause("team")
        assert (await refused(ledger, labels={"team": "blue"})).reason is Reason.BUDGET_PAUSED
        assert await ledger.budgets.resume("team") == 2
        await spend(ledger, "r2", labels={"team": "red"})
        with pytest.raises(DomainError, match="does not hold per value"):
            await ledger.budgets.pause("plain", key="x")
        for missing in (ledger.budgets.pause("none"), ledger.budgets.resume("none"), ledger.budgets.delete("none")):
            with pytest.raises(DomainError) as caught:
                await missing
            assert caught.value.reason is Reason.NOT_FOUND


async def test_thresholds_of_another_limit_are_told_again(tmp_path):
    """A higher limit has thresholds of its own in the window that runs."""
    async with opened(tmp_path) as ledger:
        await ledger.budgets.put(budget("mine", 1_000, action="warn"))
        await spend(ledger, "r1")
        await ledger.budgets.put(budget("mine", 4_000, action="warn"))
        assert len(await spend(ledger, "r2")) == 1
        told = [alert.percent for alert in await ledger.budgets.alerts.page(limit=10)]
        assert told == [50, 100, 90, 75, 50]


async def test_each_threshold_is_one_alert_a_window(tmp_path):
    """A jump over several thresholds tells each of them, once, to rows, listeners and watchers alike."""
    heard = []
    async with opened(tmp_path, budget("mine", 1_000, action="warn")) as ledger:
        ledger.budgets.alerts.listeners.append(heard.append)
        async with aclosing(ledger.budgets.alerts.watch()) as watching:
            first = asyncio.ensure_future(anext(watching))
            await asyncio.sleep(0)
            assert len(await spend(ledger, "r1", 800)) == 1
            await spend(ledger, "r2", 200)
            await spend(ledger, "r3", 900)
            seen = [await first, *[await anext(watching) for _ in range(3)]]
        await ledger.budgets.alerts.finish()
        assert [alert.percent for alert in heard] == [alert.percent for alert in seen] == [50, 75, 90, 100]
    async with opened(tmp_path, budget("mine", 1_000, action="warn")) as ledger:
        async with aclosing(ledger.budgets.alerts.watch(after=seen[1].id)) as watching:
            assert [(await anext(watching)).percent for _ in range(2)] == [90, 100]
            ledger.budgets.alerts.close()
            with pytest.raises(DomainError) as caught:
                await anext(watching)
        assert caught.value.reason is Reason.DRAINING
        older = await ledger.budgets.alerts.page(before=seen[2].id, budget="mine", limit=1)
        assert [alert.percent for alert in older] == [75]


async def test_repricing_that_passes_a_threshold_tells_it(tmp_path):
    """Costs that become known, or larger, by computing them anew are told like spending, each threshold once."""
    heard, prices = [], [PriceEntry(id="now", input=Decimal(50), output=Decimal(50))]
    async with opened(tmp_path, budget("mine", 1_000_000, action="warn")) as ledger:
        ledger.budgets.alerts.listeners.append(heard.append)
        unpriced = await ledger.reserve(intent("r1", bound=None))
        await ledger.settle(unpriced, settlement(None))
        repricer = Repricer(ledger, price_of=lambda *_: prices[-1])
        await repricer.run(EntriesQuery(scope="me"), validate_only=True)
        await ledger.budgets.alerts.finish()
        assert heard == []
        await repricer.run(EntriesQuery(scope="me"), validate_only=False)
        await ledger.budgets.alerts.finish()
        assert [alert.percent for alert in heard] == [50]
        assert ledger.budget_status(NOW)[0].spent_nanos == 500_000
        prices.append(PriceEntry(id="later", input=Decimal(90), output=Decimal(90)))
        await repricer.run(EntriesQuery(scope="me"), validate_only=False)
        await repricer.run(EntriesQuery(scope="me"), validate_only=False)
        await ledger.budgets.alerts.finish()
        assert [alert.percent for alert in heard] == [50, 75, 90]
        assert verify(ledger.path) == ()


async def test_corrections_are_counted_beside_costs(tmp_path):
    """What repricing adds or takes away stands by route, so that metrics can say it."""
    price = PriceEntry(id="now", input=Decimal(50), output=Decimal(50))
    async with opened(tmp_path) as ledger:
        await ledger.settle(await ledger.reserve(intent("r1", bound=600_000)), settlement(600_000))
        await Repricer(ledger, price_of=lambda *_: price).run(EntriesQuery(scope="me"), validate_only=False)
        assert ledger.corrected_nanos == {Route("p", "m"): -100_000}


async def test_forecast_says_where_the_window_ends(tmp_path):
    """Two calls in the last hour, at noon: eleven hours and a half like it follow, and the limit is reached after three of them."""
    clock = FakeClock(NOW + 43_200)
    async with opened(tmp_path, budget("mine", 8_000), clock=clock) as ledger:
        await spend(ledger, "r1")
        clock.advance(1_800)
        await spend(ledger, "r2")
        (view,) = await ledger.budgets.views("mine")
        assert view.forecast is not None
        assert (view.forecast.spent_nanos, view.forecast.limit_time) == (25_000, NOW + 45_000 + 3 * 3_600)


@pytest.mark.parametrize(("period", "stretch"), [("daily", 3_600), ("weekly", 86_400), ("monthly", 86_400)])
async def test_forecast_goes_by_the_present_rate(tmp_path, period, stretch):
    """A burst counts for an hour of a day and a day of longer windows; when it is past, the window ends at what is spent."""
    clock = FakeClock(NOW + 43_200)
    async with opened(tmp_path, budget("mine", 1_000_000, period=period), clock=clock) as ledger:
        await spend(ledger, "r1")
        clock.advance(stretch - 1)
        (view,) = await ledger.budgets.views("mine")
        assert view.forecast is not None
        assert view.forecast.spent_nanos > 1_000
        clock.advance(2)
        (view,) = await ledger.budgets.views("mine")
        assert view.forecast is not None
        assert (view.forecast.spent_nanos, view.forecast.limit_time) == (1_000, None)


@pytest.mark.parametrize("seed", range(20))
async def test_two_hundred_concurrent_calls_pass_a_budget_for_five(tmp_path, seed):
    """In whatever order two hundred calls arrive, end and come again, five are paid and nothing is held past a limit."""
    chance = random.Random(seed)  # noqa: S311 - an order, no secret
    daily = budget("day", 5_000, selector={"service": "flow"})
    session = budget("run", 3_000, each="session", period="session")
    async with opened(tmp_path, daily, session) as ledger:
        calls = [(f"r{number}", chance.choice(("a", "b"))) for number in range(200)]
        chance.shuffle(calls)
        reasons: set[Reason] = set()

        async def call(request_id: str, name: str) -> str:
            for _ in range(chance.randrange(4)):
                await asyncio.sleep(0)
            try:
                held = await ledger.reserve(intent(request_id, session=name, service="flow"))
            except DomainError as error:
                reasons.add(error.reason)
                return ""
            if chance.random() < 0.5:
                await ledger.settle(held, settlement(1_000))
            return name

        admitted = [name for name in await asyncio.gather(*(call(*one) for one in calls)) if name]
        assert reasons == {Reason.BUDGET_EXCEEDED}
        assert len(admitted) == 5
        assert max(admitted.count("a"), admitted.count("b")) <= 3
        over = (
            "SELECT count(*) FROM budget_window WHERE spent_nanos + reserved_nanos > CASE budget WHEN 'day' THEN 5000 ELSE 3000 END"
        )
        assert await rows(ledger, over) == [(0,)]
        assert verify(ledger.path) == ()


async def test_control_a_pause_that_is_not_looked_at_lets_calls_through(tmp_path, monkeypatch):
    """The look at pauses inside the reservation is the protection."""
    monkeypatch.setattr(store.windows.budget_rows, "paused_since", lambda *_: None)
    async with opened(tmp_path, budget("team")) as ledger:
        await ledger.budgets.pause("team")
        assert await spend(ledger, "r1") == ()
