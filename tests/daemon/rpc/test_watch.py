"""WatchUsage through a real socket, from the daemon's ledger to the view that a person sees."""

import io
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime

import aigen
import aigen.live
import pytest
from aigenctl import watching
from rich.console import Console

from tests.serving import MODEL, House


async def test_watch_shows_paid_and_free_calls(house: House):
    """A view brings this minute's spend, calls and hits, and each call that ended, once."""
    await house.client.complete("one", model=MODEL)
    await house.client.complete("one", model=MODEL)
    await house.daemon._parts.sharing.settled()
    views = house.client.watch_usage(interval=0.2)
    first, second = await anext(views), await anext(views)
    await views.aclose()
    assert len(first.minutes) == 10
    assert (sum(minute.paid_count for minute in first.minutes), sum(minute.free_count for minute in first.minutes)) == (1, 1)
    totals = (await house.client.stats()).totals
    assert sum(minute.spent_usd_nanos for minute in first.minutes) == totals.cost_usd_nanos > 0
    assert (first.in_flight_count, first.queued_count) == (0, 0)
    assert [(call.model, call.state) for call in first.calls][:1] == [(MODEL, aigen.AttemptState.SETTLED)]
    assert second.calls == ()
    assert second.minutes[-1].start_time >= first.minutes[-1].start_time


async def test_watch_refuses_a_bad_interval(house: House):
    """Too short an interval is refused with what is allowed."""
    with pytest.raises(aigen.AigenError, match="200 ms to 1 minute"):
        await anext(house.client.watch_usage(interval=0.01))


async def test_watch_is_shown_as_a_panel(house: House):
    """The panel holds spend, hit rate, queue, and the call's line."""
    await house.client.complete("one", model=MODEL)
    await house.daemon._parts.sharing.settled()
    views = house.client.watch_usage(interval=0.2)
    view = await anext(views)
    await views.aclose()
    console = Console(file=io.StringIO(), width=160)
    console.print(watching.panel(view, list(view.calls)))
    text = console.file.getvalue()
    for word in ("Usage Now", "Spend a minute", "Hit rate", "0 in flight, 0 queued", MODEL, "MISS"):
        assert word in text


def test_a_correction_takes_the_place_of_its_call():
    """The view of a person shows a corrected call once, where it stood, and says so; calls without an entry are all kept."""
    call = aigen.live.WatchedCall(
        time=datetime(2026, 11, 21, tzinfo=UTC),
        provider="p",
        model="m",
        service="",
        session="",
        cache_outcome=aigen.CacheOutcome.MISS,
        state=aigen.AttemptState.UNKNOWN,
        cost_usd_nanos=None,
        total_us=None,
        ledger_entry_id="7",
    )
    hit = replace(call, state=None, cache_outcome=aigen.CacheOutcome.HIT, cost_usd_nanos=0, ledger_entry_id="")
    settled = replace(call, state=aigen.AttemptState.SETTLED, cost_usd_nanos=12_300_000, corrected=True)
    calls = deque([call])
    watching.keep(calls, [hit, hit, settled])
    assert list(calls) == [settled, hit, hit]
    assert [cell for cell in watching._row(settled) if cell in ("MISS (corrected)", "$0.0123")] == ["MISS (corrected)", "$0.0123"]


@pytest.mark.parametrize(
    ("spent", "held", "drawn"),
    [(0, 0, "░" * 24), (50, 0, "█" * 12 + "░" * 12), (50, 25, "█" * 12 + "▒" * 6 + "░" * 6), (150, 10, "█" * 24)],
)
def test_budgets_are_bars(spent, held, drawn):
    """What is booked is full, what is held is lighter, and no bar is longer than its room."""
    budget = aigen.BudgetStatus(
        name="all",
        window="2026-11-21",
        limit_usd_nanos=100,
        spent_usd_nanos=spent,
        reserved_usd_nanos=held,
        action="refuse",
        reset_time=None,
    )
    assert watching.bar(budget).split(" ", 1)[0] == drawn
