"""The live view of a ledger: each call once, also when its outcome is put right afterwards."""

from typing import Any

import pytest
from aigend.ledger.corrections import Corrections
from aigend.ledger.watching import UsageWatch

from tests.daemon.ledger.ledger_calls import NOW, intent, opened, settlement
from tests.fakes import FakeClock


def paid(view) -> int:
    """Return how many paid calls the minutes of a view count."""
    return sum(minute.paid for minute in view.minutes)


def spent(view) -> int:
    """Return what the minutes of a view booked."""
    return sum(minute.spent_nanos for minute in view.minutes)


def told(view) -> list[tuple[str, str, Any, bool]]:
    """Return the calls of a view: entry, state, cost, and whether it is a correction."""
    return [(call.entry_id, str(call.state), call.cost_nanos, call.corrected) for call in view.calls]


@pytest.mark.parametrize(("settled", "state", "cost"), [(True, "settled", 700), (False, "released", 0)])
async def test_a_correction_is_no_further_paid_call(tmp_path, settled, state, cost):
    """Who watches meanwhile sees one paid call, then its correction under the same entry; who comes later sees it once."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, clock=clock) as ledger:
        watch = UsageWatch(ledger, scope="me", clock=clock)
        lost = await ledger.reserve(intent("lost"))
        await ledger.mark_unknown(lost, reason="reset")
        first = await watch.view()
        assert (told(first), paid(first), spent(first)) == ([(lost.entry_id, "unknown", None, False)], 1, 1_000)
        corrections = Corrections(ledger, price_of=lambda _, __: None)
        if settled:
            await corrections.settle("me", lost.entry_id, usage=None, cost_nanos=700, note="bill")
        else:
            await corrections.release("me", lost.entry_id)
        second = await watch.view()
        late = await UsageWatch(ledger, scope="me", clock=clock).view()
    assert told(second) == told(late) == [(lost.entry_id, state, cost, True)]
    assert (paid(second), spent(second)) == (paid(late), spent(late)) == (1, cost)


async def test_an_ordinary_call_is_no_correction(tmp_path):
    """Control: calls that are settled, released or of unknown outcome as they end are told once, uncorrected."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, clock=clock) as ledger:
        paid_for, free, lost = [await ledger.reserve(intent(name)) for name in ("paid", "free", "lost")]
        await ledger.settle(paid_for, settlement(nanos=600))
        await ledger.release(free, reason="refused")
        await ledger.mark_unknown(lost, reason="reset")
        view = await UsageWatch(ledger, scope="me", clock=clock).view()
    assert [(state, corrected) for _, state, _, corrected in told(view)] == [
        ("settled", False),
        ("released", False),
        ("unknown", False),
    ]
    assert paid(view) == 2
