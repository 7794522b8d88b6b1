"""What corrections by hand come to in money; how they are asked for is tested over a real server."""

from decimal import Decimal

import pytest
from aigend.errors import DomainError
from aigend.ledger.corrections import Corrections, RecordedCall
from aigend.ledger.entries_store import EntriesQuery
from aigend.ledger.explain import entry_called
from aigend.ledger.prices.pricing import PriceEntry
from aigend.ledger.reprice import Repricer
from aigend.ledger.verify import verify
from aigend.types import Accounting, Route, SavingsCause, TokenUsage

from tests.daemon.ledger.ledger_calls import NOW, intent, opened, rows

USAGE = TokenUsage(input=1_000, output=1_000)


def _priced(name, dollars, **cheaper):
    return PriceEntry(id=name, provider="p", model="m", input=Decimal(dollars), output=Decimal(dollars), **cheaper)


PRICE = _priced("p", 4, batch=_priced("p#batch", 2), flex=_priced("p#flex", 3))


@pytest.mark.parametrize(
    ("held_at", "cost", "saved"), [("p", 8_000_000, 0), ("p#batch", 4_000_000, 4_000_000), ("p#flex", 6_000_000, 2_000_000)]
)
async def test_an_unknown_call_is_settled_at_the_price_that_it_was_held_at(tmp_path, held_at, cost, saved):
    """A line of a batch job that turns out to have been paid costs the batch price by its tokens, and tells what that saved."""
    async with opened(tmp_path) as ledger:
        reservation = await ledger.reserve(intent(price_entry_id=held_at))
        await ledger.mark_unknown(reservation, reason="lost")
        corrections = Corrections(ledger, price_of=lambda _, __: PRICE)
        entry = await corrections.settle("me", reservation.entry_id, usage=USAGE, cost_nanos=None)
        assert (entry.cost.nanos, entry.cost.price_entry_id) == (cost, held_at)
        assert sum(entry.savings.values()) == saved
        assert not entry.savings.keys() - {SavingsCause.BATCH}
        assert verify(ledger.path) == ()


@pytest.mark.parametrize(("known", "at_first"), [(None, None), (_priced("p", 4), 8_000_000)], ids=["unpriced", "no batch price"])
async def test_a_batch_price_that_comes_late_is_the_one_that_repricing_takes(tmp_path, known, at_first):
    """That a call ran in a batch job is remembered where no price of batch jobs was known; it is corrected to that one."""
    prices = [known]
    call = RecordedCall(
        scope="me", request_id="r", request_digest=b"", accounting=Accounting(), route=Route("p", "m"), usage=USAGE, batch=True
    )
    async with opened(tmp_path) as ledger:
        recorded = await Corrections(ledger, price_of=lambda _, __: prices[-1]).record(call, now=NOW)
        assert (recorded.entry.cost.nanos, recorded.entry.cost.price_entry_id) == (at_first, f"{'p' if known else ''}#batch")
        assert known is None or entry_called([known], recorded.entry.cost.price_entry_id) is known
        prices.append(PRICE)
        done = await Repricer(ledger, price_of=lambda _, __: prices[-1]).run(EntriesQuery(scope="me"), validate_only=False)
        assert (done.changed_count, done.after_nanos, done.models[Route("p", "m")].price_entry_id) == (1, 4_000_000, "p#batch")
        assert verify(ledger.path) == ()


@pytest.mark.parametrize(("moment", "shown"), [(NOW + 1, "2026-01-01T00:00:01"), (-1.0, "1969-12-31T23:59:59"), (1e30, "1e+30")])
async def test_a_time_that_can_not_be_is_told_as_people_write_it(tmp_path, moment, shown):
    """The refusal repeats the moment as a date, not as seconds; a number that no calendar has stands as it is."""
    call = RecordedCall(
        scope="me",
        request_id="r",
        request_digest=b"",
        accounting=Accounting(),
        route=Route("p", "m"),
        usage=USAGE,
        create_time=moment,
    )
    async with opened(tmp_path) as ledger:
        with pytest.raises(DomainError) as refused:
            await Corrections(ledger, price_of=lambda _, __: PRICE).record(call, now=NOW)
        assert refused.value.metadata["field"] == "create_time"
        assert shown in str(refused.value)
        assert await rows(ledger, "SELECT count(*) FROM attempt") == [(0,)]
