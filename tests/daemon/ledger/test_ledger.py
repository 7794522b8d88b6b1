"""Calls that are reserved, settled, released and unknown, and what memory and rows say of them."""

import asyncio

import pytest
from aigend.config import LedgerSettings
from aigend.errors import DomainError, Reason
from aigend.ledger.entries import AlreadyKnown, AttemptState, StateConflict
from aigend.ledger.entries_store import EntriesQuery, list_entries
from aigend.ledger.statistics.hits import HitKey
from aigend.ledger.statistics.query import stats_query
from aigend.ledger.statistics.stats import compute
from aigend.ledger.verify import verify
from aigend.types import CacheOutcome, SavingsCause

from tests import fakes
from tests.daemon.ledger.ledger_calls import NOW, budget, intent, opened, rows, settlement
from tests.fakes import FakeClock


def counters(ledger) -> tuple[int, int]:
    """Return spent and reserved of the only budget, from memory."""
    state = ledger.budget_status(NOW)[0]
    return state.spent_nanos, state.reserved_nanos


async def test_call_is_held_then_booked(tmp_path):
    """Between reserve and settle the upper bound is held; afterwards the real cost is booked."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent())
        assert counters(ledger) == (0, 1_000)
        assert (reservation.attempt_number, reservation.entry_id) == (1, "1")
        await ledger.settle(reservation, settlement(600, savings={SavingsCause.PROMPT_CACHE: 40}, flags=("usage_missing",)))
        assert counters(ledger) == (600, 0)
        found = await rows(ledger, "SELECT state, cost_nanos, input_tokens, output_tokens, flags, savings FROM attempt")
        assert found == [("settled", 600, 7, 3, '["usage_missing"]', '{"prompt_cache": 40}')]
        assert verify(ledger.path) == ()


async def test_sent_is_durable_before_reserve_returns(tmp_path):
    """Another connection sees SENT and the held money as soon as the caller may send."""
    async with opened(tmp_path, budget()) as ledger:
        await ledger.reserve(intent())
        assert await rows(ledger, "SELECT a.state, w.reserved_nanos FROM attempt a, budget_window w") == [("sent", 1_000)]


async def test_released_call_costs_nothing_and_its_id_is_free(tmp_path):
    """What was not charged is given back, and the same id makes a second attempt."""
    async with opened(tmp_path, budget()) as ledger:
        await ledger.release(await ledger.reserve(intent()), reason="connect refused")
        assert counters(ledger) == (0, 0)
        again = await ledger.reserve(intent())
        assert again.attempt_number == 2
        await ledger.settle(again, settlement())
        assert await rows(ledger, "SELECT count(*) FROM operation") == [(1,)]
        assert verify(ledger.path) == ()


@pytest.mark.parametrize(("low", "high", "booked"), [(None, None, 1_000), (100, 400, 400)])
async def test_unknown_call_is_booked_at_its_upper_bound(tmp_path, low, high, booked):
    """An attempt of which nobody knows is booked as if it had cost the most."""
    async with opened(tmp_path, budget()) as ledger:
        await ledger.mark_unknown(await ledger.reserve(intent()), low_nanos=low, high_nanos=high, reason="timeout")
        assert counters(ledger) == (booked, 0)
        assert await rows(ledger, "SELECT unknown_low_nanos, unknown_high_nanos, cost_nanos FROM attempt") == [
            (low or 0, booked, None)
        ]
        assert verify(ledger.path) == ()


async def test_known_id_is_not_sent_again(tmp_path):
    """An id under way, settled or unknown is refused with what is known of it; unknown passes where that is allowed."""
    async with opened(tmp_path) as ledger:
        sent = await ledger.reserve(intent())
        for state, change in (
            (AttemptState.SENT, None),
            (AttemptState.UNKNOWN, ledger.mark_unknown(sent, reason="reset")),
        ):
            if change is not None:
                await change
            with pytest.raises(AlreadyKnown) as caught:
                await ledger.reserve(intent())
            assert caught.value.known.state is state
            assert ledger.known("me", "r1") == caught.value.known
        again = await ledger.reserve(intent(), allow_repeat=True)
        await ledger.settle(again, settlement())
        with pytest.raises(AlreadyKnown):
            await ledger.reserve(intent(), allow_repeat=True)
        assert ledger.known("me", "r1").state is AttemptState.SETTLED
        assert ledger.known("me", "r1").attempt_number == 2
        assert ledger.known("you", "r1") is None


async def test_late_end_of_an_old_attempt_does_not_hide_the_new_one(tmp_path):
    """Memory speaks of the last attempt, whichever ends last."""
    async with opened(tmp_path) as ledger:
        first = await ledger.reserve(intent())
        await ledger.mark_unknown(first, reason="timeout")
        second = await ledger.reserve(intent(), allow_repeat=True)
        before = ledger.known("me", "r1")
        ledger._known.update(first.intent, AttemptState.UNKNOWN, _change_of(first), now=NOW)
        assert ledger.known("me", "r1") == before
        assert before.entry_id == second.entry_id


def _change_of(reservation):
    """Return a change that speaks of an attempt."""
    from aigend.ledger.journal import Tail
    from aigend.ledger.store import Change

    return Change(
        attempt_id=reservation.attempt_id,
        operation_id=reservation.operation_id,
        attempt_number=reservation.attempt_number,
        tail=Tail(),
    )


async def test_other_request_under_a_used_id_is_refused(tmp_path):
    """An id belongs to one request."""
    async with opened(tmp_path) as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement())
        with pytest.raises(DomainError) as caught:
            await ledger.reserve(intent(digest=b"other"))
        assert caught.value.reason is Reason.REQUEST_ID_REUSED


async def test_same_id_in_two_scopes_is_two_operations(tmp_path):
    """Ids are per scope."""
    async with opened(tmp_path) as ledger:
        await ledger.reserve(intent())
        assert (await ledger.reserve(intent(scope="you"))).attempt_number == 1


async def test_settling_twice_is_refused_and_counts_once(tmp_path):
    """The second end of an attempt finds it ended, and nothing is counted."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent())
        ends = [
            ledger.settle(reservation, settlement()),
            ledger.settle(reservation, settlement()),
            ledger.release(reservation, reason="x"),
            ledger.mark_unknown(reservation, reason="x"),
        ]
        results = await asyncio.gather(*ends, return_exceptions=True)
        assert [isinstance(result, StateConflict) for result in results] == [False, True, True, True]
        assert counters(ledger) == (600, 0)
        assert verify(ledger.path) == ()


async def test_caller_cancelled_while_reserving_holds_nothing(tmp_path):
    """Where the caller left before it could send, what was held is given back."""
    async with opened(tmp_path, budget()) as ledger:
        task = asyncio.create_task(ledger.reserve(intent()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ledger.reserve(intent("r2"))  # the writer works in order
        await ledger.reserve(intent("r3"))
        assert await rows(ledger, "SELECT request_id, state FROM attempt ORDER BY id") == [
            ("r1", "released"),
            ("r2", "sent"),
            ("r3", "sent"),
        ]
        assert ledger.known("me", "r1").state is AttemptState.RELEASED
        assert verify(ledger.path) == ()


async def test_caller_cancelled_as_its_reservation_becomes_durable_holds_nothing(tmp_path, monkeypatch):
    """Between the commit and the caller's waking nothing is lost either."""
    async with opened(tmp_path, budget()) as ledger:
        task = asyncio.create_task(ledger.reserve(intent()))
        apply = ledger._apply

        def cancel_then(*change):
            apply(*change)
            monkeypatch.undo()
            asyncio.get_running_loop().call_soon(task.cancel)

        monkeypatch.setattr(ledger, "_apply", cancel_then)
        with pytest.raises(asyncio.CancelledError):
            await task
        await ledger.reserve(intent("r2", bound=0))  # the writer works in order
        assert await rows(ledger, "SELECT state FROM attempt ORDER BY id") == [("released",), ("sent",)]
        assert counters(ledger) == (0, 0)


async def test_caller_cancelled_while_its_reservation_is_refused(tmp_path):
    """There is nothing to give back where nothing was held."""
    async with opened(tmp_path, budget(limit_nanos=10)) as ledger:
        task = asyncio.create_task(ledger.reserve(intent()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await rows(ledger, "SELECT count(*) FROM attempt") == [(0,)]


async def test_caller_cancelled_while_settling_is_booked(tmp_path):
    """A bill is written down whoever waits for it."""
    async with opened(tmp_path, budget()) as ledger:
        task = asyncio.create_task(ledger.settle(await ledger.reserve(intent()), settlement()))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await ledger.reserve(intent("r2", bound=0))  # the writer works in order
        assert await rows(ledger, "SELECT state FROM attempt WHERE id = 1") == [("settled",)]
        assert counters(ledger) == (600, 0)


async def test_cost_above_the_reservation_is_booked_and_flagged(tmp_path):
    """Settling never fails on a limit: the excess is booked and flagged."""
    async with opened(tmp_path, budget(limit_nanos=1_000)) as ledger:
        settled = await ledger.settle(await ledger.reserve(intent()), settlement(5_000))
        assert settled.over_reservation
        assert counters(ledger) == (5_000, 0)
        assert await rows(ledger, "SELECT flags FROM attempt") == [('["over_reservation"]',)]


async def test_call_without_a_price_holds_nothing_and_is_flagged(tmp_path):
    """Unknown is not 0: the row says so, and no sum contains it."""
    async with opened(tmp_path, budget()) as ledger:
        reservation = await ledger.reserve(intent(bound=None))
        assert counters(ledger) == (0, 0)
        settled = await ledger.settle(reservation, settlement(None))
        assert not settled.over_reservation
        assert await rows(ledger, "SELECT cost_nanos, cost_basis, flags FROM attempt") == [(None, "unpriced", '["unpriced"]')]
        assert verify(ledger.path) == ()


async def test_reply_is_kept_for_its_time(tmp_path):
    """A settled answer can be replayed until it expires; then it is swept."""
    clock = FakeClock(NOW)
    async with opened(tmp_path, clock=clock, settings=LedgerSettings(reply_ttl_s=60)) as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement(reply=b"the answer"))
        assert await ledger.reply("me", "r1") == b"the answer"
        assert await ledger.reply("you", "r1") is None
        clock.advance(61)
        assert await ledger.reply("me", "r1") is None
        assert ledger.known("me", "r1") is None
        await ledger._upkeep(sweep=True)
        assert await rows(ledger, "SELECT count(*) FROM reply") == [(0,)]
        with pytest.raises(AlreadyKnown):  # the unique index remembers for ever
            await ledger.reserve(intent())
        assert verify(ledger.path) == ()


async def test_replies_are_bounded_in_bytes(tmp_path):
    """The oldest go when the bytes are used up; an answer that is too large alone is not kept, and its call is settled."""
    async with opened(tmp_path, settings=LedgerSettings(reply_max_bytes=100)) as ledger:
        for number, size in enumerate((60, 40, 30, 101, 0)):
            await ledger.settle(await ledger.reserve(intent(f"r{number}")), settlement(reply=b"x" * size))
        kept = [await ledger.reply("me", f"r{number}") for number in range(5)]
        assert [len(reply) if reply is not None else None for reply in kept] == [None, 40, 30, None, None]
        assert verify(ledger.path) == ()


async def test_hits_are_written_and_read_back_exactly(tmp_path):
    """Every call counted in memory is in the sums that are asked for next."""
    key = HitKey("me", "", "run-1", "1", "", "{}", "claude", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)
    async with opened(tmp_path) as ledger:
        cell = ledger.hits.cell(key)
        for round_number in range(3):
            for _ in range(100):
                cell.add(NOW + round_number, 5, 100)
            totals = (await ledger.read(lambda connection: compute(connection, stats_query(scope="me", now=NOW + 10)))).totals
            assert totals.hit_count == (round_number + 1) * 100
        assert totals.savings[0].saved_nanos == 1_500


async def test_hits_are_flushed_every_100_ms(tmp_path):
    """A kill loses at most a tenth of a second of hit counts."""
    clock = FakeClock(NOW)
    key = HitKey("me", "", "", "", "", "{}", "", "p", "m", CacheOutcome.HIT, SavingsCause.CACHE)
    async with opened(tmp_path, clock=clock) as ledger:
        ledger.hits.cell(key).add(NOW, None, 5)
        await fakes.settle()
        clock.advance(0.1)
        await fakes.settle()
        await ledger._writer.submit(lambda connection: None)
        found = await ledger.read(
            lambda connection: connection.execute("SELECT count, saved_unknown_count FROM hit_minute").fetchall(), fresh=False
        )
        assert found == [(1, 1)]


async def test_entries_are_listed(tmp_path):
    """The list of entries shows what was reserved and settled."""
    async with opened(tmp_path) as ledger:
        await ledger.settle(await ledger.reserve(intent(labels={"team": "red"})), settlement())
        page = await ledger.read(lambda connection: list_entries(connection, EntriesQuery(scope="me")))
        assert [(entry.id, entry.cost.nanos, entry.labels) for entry in page.entries] == [("1", 600, {"team": "red"})]


async def test_mark_follows_at_most_once_a_second(tmp_path):
    """The mark is written a second after the last one, and at the end."""
    clock = FakeClock(NOW)
    from aigend.ledger.mark import mark_path, read_mark

    async with opened(tmp_path, clock=clock) as ledger:
        first = read_mark(mark_path(ledger.path))
        assert first.seq == ledger.sequence == 1
        await ledger.reserve(intent())
        await fakes.settle()
        clock.advance(0.5)
        await fakes.settle()
        assert read_mark(mark_path(ledger.path)) == first
    assert read_mark(mark_path(ledger.path)).seq == 2


async def test_mark_that_cannot_be_written_is_said(tmp_path):
    """The ledger serves without a mark, and an operator is told."""
    said = []
    (tmp_path / "ledger.db.mark.new").mkdir()
    async with opened(tmp_path, on_fault=said.append) as ledger:
        await ledger.reserve(intent())
    assert "mark can't be written" in said[0]


async def test_windows_are_sealed_now_and_then(tmp_path, monkeypatch):
    """After many rows the counters are sealed, so that a start counts only what came later."""
    from aigend.ledger import ledger as module

    monkeypatch.setattr(module, "SEAL_ROWS", 2)
    async with opened(tmp_path, budget()) as ledger:
        await ledger.settle(await ledger.reserve(intent()), settlement())
        await ledger._upkeep(sweep=False)
        sealed = await rows(ledger, "SELECT sealed_spent_nanos, value FROM budget_window, meta WHERE name = 'sealed_seq'")
        assert sealed == [(600, 3)]


async def test_closing_twice_is_harmless(tmp_path):
    """A second close finds nothing to do, and nothing has failed by it."""
    async with opened(tmp_path) as ledger:
        await ledger.close()
        assert not ledger.failed
    assert not ledger.failed


async def test_unreadable_file_is_a_storage_failure(tmp_path):
    """A question that SQLite can't answer is STORAGE_DAMAGED."""
    async with opened(tmp_path) as ledger:
        with pytest.raises(DomainError) as caught:
            await rows(ledger, "SELECT * FROM nothing_of_the_kind")
        assert caught.value.reason is Reason.STORAGE_DAMAGED
