"""Single-flight to its end: who waits for whom across lanes, scopes, deadlines and streams, and what followers are told."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from aigend.completion.call import Call
from aigend.errors import DomainError, Reason
from aigend.providers.port import FaultKind, ProviderFault
from aigend.types import CacheOutcome, Lane, SavingsCause

from tests.spine import Spine, caller, eventually, question, read, spine

COST = 10 * 1_000 + 5 * 10_000  # nano-dollars of ten tokens in and five out, as the fake provider counts


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A running spine."""
    async with spine(tmp_path) as running:
        yield running


async def streamed(house: Spine, text: str = "a question") -> list:
    """Return the steps of a stream."""
    return [step async for step in house.engine.stream(question(text), caller())]


def in_lane(monkeypatch: pytest.MonkeyPatch, lane: Lane) -> None:
    """Let requests of a lane through the door, whatever else it needs."""
    monkeypatch.setattr("aigend.completion.engine.check_built", lambda request: lane)


async def test_followers_are_charged_nothing_and_told_what_they_saved(house: Spine) -> None:
    """Two followers of one call are COALESCED at no cost, and statistics book by cause what both would have paid."""
    house.one.hold()
    house.one.will("answer of twenty bytes")
    calls = [house.start() for _ in range(3)]
    await house.boarded(3)
    house.one.release()
    leader, *followers = [read(reply) for reply in await asyncio.gather(*calls)]
    assert leader.cost_usd_nanos == COST
    for follower in followers:
        assert (follower.cost_usd_nanos, follower.saved_usd_nanos, follower.ledger_entry_id) == (0, COST, "")
        assert follower.text == leader.text
    totals = (await house.stats()).totals
    assert [(item.cause, item.saved_nanos, item.call_count) for item in totals.savings] == [
        (SavingsCause.SINGLE_FLIGHT, 2 * COST, 2)
    ]
    assert (totals.cost_nanos, totals.coalesced_count) == (COST, 2)


async def test_scopes_share_no_flight(house: Spine) -> None:
    """The same question of two scopes at once is two calls: nobody learns from another's flight."""
    house.one.hold()
    other = replace(caller(), scope="another")
    calls = [house.start(), asyncio.create_task(house.engine.complete(question(), other))]
    await house.one.arrived(2)
    house.one.release()
    assert [reply.outcome for reply in await asyncio.gather(*calls)] == [CacheOutcome.MISS] * 2


async def test_a_follower_whose_time_is_up_leaves_alone(house: Spine) -> None:
    """A follower that is cancelled, as at its deadline, disturbs neither its leader nor the other followers."""
    house.one.hold()
    leader, hurried, patient = (house.start() for _ in range(3))
    await house.boarded(3)
    hurried.cancel()
    await house.boarded(2)
    house.one.release()
    assert [reply.outcome for reply in await asyncio.gather(leader, patient)] == [CacheOutcome.MISS, CacheOutcome.COALESCED]
    assert hurried.cancelled()
    assert len(house.one.calls) == 1


async def test_a_leader_whose_time_is_up_hands_over_without_a_second_charge(house: Spine) -> None:
    """After SENT the leader's own deadline ends its wait alone: the follower with more time gets the one answer."""
    house.one.hold()
    leader, follower = house.start(), house.start()
    await house.boarded(2)
    await house.one.arrived(1)
    leader.cancel()
    await house.boarded(1)
    house.one.release()
    assert (await follower).outcome is CacheOutcome.COALESCED
    assert len(house.one.calls) == 1
    assert (await house.stats()).totals.cost_nanos > 0


async def test_a_failed_flight_is_one_attempt_for_all(house: Spine) -> None:
    """A provider's final word reaches leader and followers; nobody asks again by itself, however many wait."""
    house.one.hold()
    house.one.will(ProviderFault(FaultKind.REJECTED, "no", status=400))
    calls = [house.start() for _ in range(20)]
    await house.boarded(20)
    house.one.release()
    told = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in told if isinstance(error, DomainError)} == {Reason.PROVIDER_REFUSED}
    assert len(house.one.calls) == 1


async def test_leaders_that_leave_before_sent_hand_over_one_by_one(tmp_path: Path) -> None:
    """Of many who wait for a slot each that leaves hands over to one other; there is never more than one call."""
    async with spine(tmp_path, limits={"total": 1, "per_provider": 1}) as house:
        house.one.hold()
        before = house.start("another question")
        await house.one.arrived(1)
        calls = [house.start() for _ in range(5)]
        await house.boarded(6)
        for left in range(3):
            calls[left].cancel()
            await house.boarded(5 - left)
            await eventually(lambda: house.dispatcher.queued == 1)
        house.one.release()
        outcomes = sorted(reply.outcome for reply in await asyncio.gather(*calls[3:]))
        assert outcomes == [CacheOutcome.COALESCED, CacheOutcome.MISS]
        await before
        assert len(house.one.calls) == 2


async def test_a_unary_call_joins_a_stream(house: Spine) -> None:
    """Who asks for a whole answer while it is being streamed to another gets it whole, and is COALESCED."""
    house.one.hold()
    house.one.will("some words")
    stream = asyncio.create_task(streamed(house))
    await house.one.arrived(1)
    unary = house.start()
    await house.boarded(2)
    house.one.release()
    steps, reply = await asyncio.gather(stream, unary)
    assert [step.text for step in steps[:-1]] == ["some", " words"]
    assert (reply.outcome, read(reply).text) == (CacheOutcome.COALESCED, "some words")
    assert len(house.one.calls) == 1


async def test_a_stream_that_joins_before_the_call_is_sent_gets_words_as_they_come(tmp_path: Path) -> None:
    """A stream that joins a unary call still waiting for its slot makes it a stream, from its first word on."""
    async with spine(tmp_path, limits={"total": 1, "per_provider": 1}) as house:
        house.one.hold()
        house.one.will("before", "some words")
        before = house.start("another question")
        await house.one.arrived(1)
        unary = house.start()
        await house.boarded(2)
        stream = asyncio.create_task(streamed(house))
        await house.boarded(3)
        house.one.release()
        reply, steps, _ = await asyncio.gather(unary, stream, before)
        assert [step.text for step in steps[:-1]] == ["some", " words"]
        assert [reply.outcome, steps[-1].outcome] == [CacheOutcome.MISS, CacheOutcome.COALESCED]
        assert read(reply).text == read(steps[-1]).text == "some words"


async def test_a_stream_that_joins_a_call_that_was_sent_gets_the_answer_whole(house: Spine) -> None:
    """What was asked for whole can't be had in pieces: a stream that comes later gets the reply, and nothing is sent twice."""
    house.one.hold()
    unary = house.start()
    await house.one.arrived(1)
    stream = asyncio.create_task(streamed(house))
    await house.boarded(2)
    house.one.release()
    reply, steps = await asyncio.gather(unary, stream)
    assert [step.outcome for step in steps] == [CacheOutcome.COALESCED]
    assert read(steps[0]).text == read(reply).text
    assert len(house.one.calls) == 1


@pytest.mark.parametrize("protected", [True, False])
async def test_nobody_waits_for_a_slower_lane(house: Spine, monkeypatch: pytest.MonkeyPatch, *, protected: bool) -> None:
    """An INTERACTIVE call never follows one of lane FLEX; were the lane not in the key, it would wait for it."""
    in_lane(monkeypatch, Lane.FLEX)
    if not protected:
        monkeypatch.setattr(Call, "flight_key", property(lambda call: tuple(sorted(call.keys))))
        monkeypatch.setattr(Call, "quicker_flights", ())
    house.one.hold()
    calls = [house.start(lane=Lane.FLEX)]
    await house.one.arrived(1)
    calls.append(house.start())
    await house.boarded(2)
    if protected:
        await house.one.arrived(2)
    house.one.release()
    await asyncio.gather(*calls)
    assert len(house.one.calls) == (2 if protected else 1)


async def test_a_slower_lane_follows_a_quicker_one(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A FLEX call follows an INTERACTIVE one that is under way: it is there sooner, and free."""
    in_lane(monkeypatch, Lane.FLEX)
    house.one.hold()
    calls = [house.start()]
    await house.one.arrived(1)
    calls.append(house.start(lane=Lane.FLEX))
    await house.boarded(2)
    house.one.release()
    assert [reply.outcome for reply in await asyncio.gather(*calls)] == [CacheOutcome.MISS, CacheOutcome.COALESCED]


async def test_a_deferred_call_has_a_key_of_its_own(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question deferred and not has two flight keys, and a deferred one joins no interactive flight by itself."""
    in_lane(monkeypatch, Lane.DEFERRED)
    deferred, interactive = (house.engine._begin(question(lane=lane), caller()) for lane in (Lane.DEFERRED, Lane.INTERACTIVE))
    assert deferred.keys == interactive.keys
    assert deferred.flight_key != interactive.flight_key
    assert deferred.quicker_flights == interactive.quicker_flights == ()
