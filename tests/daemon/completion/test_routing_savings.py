"""What is counted as saved by routing: choices for the price, and no others."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigend.ledger.explain import find_operation
from aigend.types import SavingsCause, Strategy

from tests.daemon.completion.test_choice import MODELS
from tests.daemon.completion.test_downgrades import BOUND, dear, short
from tests.spine import Spine, read, spine


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A spine whose second model costs twice as much as its first."""
    async with spine(tmp_path, models=MODELS) as running:
        yield running


async def _routed(house: Spine) -> list[int]:
    """What routing saved over all calls, in nano-dollars."""
    savings = (await house.stats()).totals.savings
    return [saving.saved_nanos for saving in savings if saving.cause is SavingsCause.ROUTING]


async def test_the_cheaper_model_saved_what_the_one_asked_for_would_have_cost_more(house: Spine) -> None:
    """At half the rates the same tokens cost half: what was saved is what was paid."""
    reply = read(await house.ask("q1", model="two/model-2", strategy=Strategy.COST_OPTIMIZED))
    assert reply.provider == "one"
    assert await _routed(house) == [reply.cost_usd_nanos]


async def test_the_model_asked_for_saves_nothing(house: Spine) -> None:
    """Neither where the strategy chose what was asked for, nor where it does not choose by price."""
    await house.ask("q1", model="one/model-1", strategy=Strategy.COST_OPTIMIZED)
    await house.ask("q2", model="two/model-2", strategy=Strategy.PRIMARY)
    await house.ask("q3", model="two/model-2", fallback_models=("one/model-1",), strategy=Strategy.FALLBACK)
    assert await _routed(house) == []


async def test_a_downgrade_saves_and_its_row_says_why(tmp_path: Path) -> None:
    """A budget that sends a call to its cheaper model saves the difference, and the row keeps the sentence for explain."""
    async with spine(tmp_path, budgets=(short("0.015"),)) as house:
        reply = read(await dear(house))
        assert reply.provider == "one"
        assert await _routed(house) == [reply.cost_usd_nanos]
        ids = await house.ledger.read(lambda connection: connection.execute("SELECT request_id FROM attempt").fetchall())
        found = await house.ledger.read(lambda connection: find_operation(connection, "local", ids[-1][0]))
        assert found is not None
        assert "one/model-1 in place of two/model-2" in found.attempts[-1].decided
        assert [window.budget for window in found.attempts[-1].windows] == ["team"]


async def test_a_refusal_is_remembered_with_its_budget(tmp_path: Path) -> None:
    """A call that no model's price fits is refused, and the last refusals tell by which budget."""
    async with spine(tmp_path, budgets=(short("0.001", action="refuse", downgrade_to=None),)) as house:
        with pytest.raises(Exception, match="BUDGET_EXCEEDED"):
            await house.ask(model="one/model-1", **BOUND)
        (refusal,) = list(house.engine.refusals._last)
        assert (refusal.budget, refusal.reason) == ("team", "BUDGET_EXCEEDED")
        assert house.engine.refusals.of(refusal.scope, refusal.request_id) == [refusal]
        assert house.engine.refusals.of("another", refusal.request_id) == []
