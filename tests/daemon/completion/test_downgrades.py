"""Calls that a budget sends to its cheaper model, before they are made or once they found no room."""

import asyncio

import pytest
from aigend.config import BudgetSettings
from aigend.errors import DomainError, Reason
from aigend.types import CacheMode, CacheOutcome

from tests.spine import Spine, caller, origin, question, read, spine

BOUND = {"max_output_tokens": 1_000}


def short(limit_usd: str = "1", **fields) -> BudgetSettings:
    """Return a budget that sends calls from provider two to provider one."""
    values = {"name": "team", "period": "daily", "limit_usd": limit_usd, "action": "downgrade", "downgrade_to": "one/model-1"}
    return BudgetSettings(**values | fields)


async def dear(house: Spine, text: str = "a question", **fields):
    """Ask the dear model."""
    return await house.ask(text, model="two/model-2", **BOUND | fields)


@pytest.fixture
def budgets():
    """Return a budget that runs short after little."""
    return (short("0.03", downgrade_at_percent=1),)


async def test_downgrade_begins_and_ends_with_the_window(tmp_path, budgets):
    """Once the percent is spent, calls go to the other model under its own key, warned; the next window is dear again."""
    async with spine(tmp_path, budgets=budgets) as house:
        assert read(await dear(house, "1")).provider == "two"
        while house.ledger.budget_status(house.clock.time())[0].spent_nanos * 100 < 30_000_000:
            await dear(house, "1", mode=CacheMode.BYPASS)
        answered = read(await dear(house, "2"))
        assert (answered.provider, list(answered.warnings)) == (
            "one",
            ["budget team is short in window 2026-01-01: one/model-1 in place of two/model-2"],
        )
        again = await dear(house, "2")
        assert again.outcome is CacheOutcome.HIT
        assert list(read(again).warnings) == list(answered.warnings)
        own = await house.ask("2", model="one/model-1", **BOUND)
        assert own.outcome is CacheOutcome.HIT  # the same key as asked by name
        assert list(read(own).warnings) == []
        house.clock.advance(86_400)
        assert read(await dear(house, "3")).provider == "two"


async def test_refused_reservation_goes_to_the_cheaper_model_once(tmp_path):
    """A call that found no room is looked up, joined and stored under the cheaper model's key, and warned."""
    async with spine(tmp_path, budgets=(short("0.015"),)) as house:
        reply = read(await dear(house))  # needs above 0.02 there, and above 0.01 here
        assert (reply.provider, len(reply.warnings)) == ("one", 1)
        assert len(house.two.calls) == 0
        assert (await dear(house)).outcome is CacheOutcome.HIT
        assert (await house.ask(model="one/model-1", **BOUND)).outcome is CacheOutcome.HIT


async def test_refused_calls_join_on_the_cheaper_model(tmp_path):
    """Equal calls that all find no room share one call to the cheaper model."""
    async with spine(tmp_path, budgets=(short("0.015"),)) as house:
        replies = await asyncio.gather(*(dear(house) for _ in range(8)))
        assert {read(reply).provider for reply in replies} == {"one"}
        assert len(house.one.calls) == 1


async def test_refused_stream_goes_to_the_cheaper_model(tmp_path):
    """A stream takes the same way, before anything of it was seen."""
    async with spine(tmp_path, budgets=(short("0.015"),)) as house:
        steps = [step async for step in house.engine.stream(question(model="two/model-2", **BOUND), caller())]
        assert read(steps[-1]).provider == "one"


async def test_what_does_not_fit_even_so_is_refused(tmp_path):
    """There is one way down and no other."""
    async with spine(tmp_path, budgets=(short("0.001"),)) as house:
        with pytest.raises(DomainError) as caught:
            await dear(house)
        assert caught.value.reason is Reason.BUDGET_EXCEEDED
        assert (len(house.one.calls), len(house.two.calls)) == (0, 0)


async def test_selector_of_the_dear_model_leaves_the_others(tmp_path):
    """A budget for one model replaces that route alone, and each route stands there once."""
    async with spine(tmp_path, budgets=(short("0.015", selector={"model": "model-2"}),)) as house:
        call = house.engine._begin(
            question(model="two/model-2", fallback_models=("one/model-1",), **BOUND), caller(), refused_by="team"
        )
        assert [route.route.model for route in call.routes] == ["model-1"]


async def test_model_that_is_gone_or_lacks_something_changes_nothing(tmp_path):
    """Where the cheaper model can't serve, the limit alone holds."""
    async with spine(tmp_path, budgets=(short("0.015", downgrade_to="no-such-model"),)) as house:
        with pytest.raises(DomainError) as caught:
            await dear(house)
        assert caught.value.reason is Reason.BUDGET_EXCEEDED


async def test_bytes_seen_before_take_the_long_way_once_it_begins(tmp_path, budgets):
    """The fast path forgets what was decided before the budget ran short."""
    async with spine(tmp_path, budgets=budgets) as house:
        asked = question("1", model="two/model-2", **BOUND)
        for _ in range(3):
            await house.engine.complete(asked, caller(), origin())
        while house.ledger.budget_status(house.clock.time())[0].spent_nanos * 100 < 30_000_000:
            await dear(house, "1", mode=CacheMode.BYPASS)
        assert house.engine.answer_repeat(origin(), "local", "r", 0.0) is None
        for _ in range(3):
            await house.engine.complete(asked, caller(), origin())
        assert house.engine.answer_repeat(origin(), "local", "r", 0.0) is None
