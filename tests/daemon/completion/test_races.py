"""The races that the order of the steps closes, each with a control in which its protection is missing."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigend.cache.entry import ALL
from aigend.completion.call import Call
from aigend.completion.sharing import Sharing
from aigend.errors import DomainError, Reason
from aigend.providers.port import FaultKind, ProviderFault
from aigend.scheduling.single_flight import LeaderLeftError
from aigend.types import Accounting, CacheMode, CacheOutcome

from tests.fakes import settle
from tests.spine import Spine, caller, question, spine


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A running spine."""
    async with spine(tmp_path) as running:
        yield running


async def _left(*tasks: asyncio.Task) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _free_protected(house: Spine, *, protected) -> None:
    """Without protection a new leader does not look into the memory tier before it joins."""
    if not protected:

        class Blind:
            peek = staticmethod(lambda call: None)
            follow, hit, replay = house.sharing._free.follow, house.sharing._free.hit, house.sharing._free.replay

        house.sharing._free = Blind()


@pytest.mark.parametrize("protected", [True, False])
async def test_late_leader_looks_into_the_memory_tier_once_more(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """A call whose look-up missed while another's answer landed is a HIT; without the second look it pays again."""
    _free_protected(house, protected=protected)
    load, go_on = house.cache.load, asyncio.Event()

    async def slow(keys):
        found = await load(keys)
        await go_on.wait()
        return found

    monkeypatch.setattr(house.cache, "load", slow)
    late = house.start()
    await settle()
    monkeypatch.setattr(house.cache, "load", load)
    await house.ask()
    go_on.set()
    assert ((await late).outcome is CacheOutcome.HIT) == protected
    assert len(house.one.calls) == (1 if protected else 2)


@pytest.mark.parametrize("protected", [True, False])
async def test_flight_is_left_only_after_the_answer_is_in_the_memory_tier(
    house: Spine, monkeypatch: pytest.MonkeyPatch, protected
) -> None:
    """Whoever asks in the moment in which a flight is left finds the answer; with the two steps swapped it would be missing."""
    seen: list[bool] = []
    leave, keep = house.sharing._leave, house.sharing._keep

    def leaving(call, flight) -> None:
        leave(call, flight)
        seen.append(house.cache.peek(call.keys[0]) is not None)

    def early(flight, landing):
        leaving(flight.terms.call, flight)
        return keep(flight, landing)

    monkeypatch.setattr(house.sharing, "_leave", leaving)
    if not protected:
        monkeypatch.setattr(house.sharing, "_keep", early)
    await house.ask()
    assert all(seen) == protected


@pytest.mark.parametrize("protected", [True, False])
async def test_answer_of_a_cleared_namespace_is_dropped(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """An answer under way while its namespace is cleared is not kept; without the generation it would outlive the clear."""
    if not protected:
        monkeypatch.setattr(house.cache, "generation", lambda scope, namespace: 0)
    house.one.hold()
    call = house.start()
    await house.one.arrived(1)
    await house.cache.clear("local", ALL)
    house.one.release()
    await call
    assert ((await house.ask()).outcome is CacheOutcome.MISS) == protected


@pytest.mark.parametrize("protected", [True, False])
async def test_leader_that_leaves_before_sent_makes_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """A leader that leaves in the queue takes nobody down; were its end everybody's, its followers would fail with it."""
    async with spine(tmp_path, limits={"per_provider": 1}) as house:
        if not protected:
            gone = DomainError(Reason.DAEMON_FAULT, "the leader left")
            monkeypatch.setattr(house.sharing, "_endings", lambda *_: (gone, gone))
        house.one.hold()
        other = house.start("another question")
        await house.one.arrived(1)
        leader = house.start()
        await house.boarded(2)
        follower = house.start()
        await house.boarded(3)
        await _left(leader)
        house.one.release()
        (ending,) = await asyncio.gather(follower, return_exceptions=True)
        assert (not isinstance(ending, DomainError)) == protected
        await other


@pytest.mark.parametrize("protected", [True, False])
async def test_leader_that_leaves_after_sent_detaches(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """After SENT the flight runs on for its followers; were it cut with its leader, they would get no answer."""
    if not protected:
        monkeypatch.setattr(house.sharing, "_step_off", lambda flight, leads: house.sharing._work[flight].cancel())
    house.one.hold()
    leader = house.start()
    await house.one.arrived(1)
    follower = house.start()
    await house.boarded(2)
    await _left(leader)
    house.one.release()
    (ending,) = await asyncio.gather(follower, return_exceptions=True)
    assert (getattr(ending, "outcome", None) is CacheOutcome.COALESCED) == protected


@pytest.mark.parametrize("protected", [True, False])
async def test_leaders_own_refusal_is_not_its_followers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """A leader's spent budget stops the leader alone; shared, it would stop callers whose budgets have room."""
    budget = {"name": "poor", "selector": {"session": "poor"}, "period": "daily", "limit_usd": "0.000000001"}
    async with spine(tmp_path, budgets=[budget]) as house:
        if not protected:
            monkeypatch.setattr(house.sharing, "_endings", lambda call, flight, error: (error, error))
        account = Accounting(session="poor")
        calls = [asyncio.create_task(house.ask(account=a)) for a in (account, None, None)]
        poor, *rich = await asyncio.gather(*calls, return_exceptions=True)
        assert poor.reason is Reason.BUDGET_EXCEEDED
        outcomes = [getattr(ending, "outcome", None) for ending in rich]
        assert (None not in outcomes) == protected
        assert len(house.one.calls) == (1 if protected else 0)


@pytest.mark.parametrize("protected", [True, False])
async def test_followers_inherit_an_unknown_outcome(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """One attempt, one error for all; were it the leader's alone, each follower would send it again."""
    if not protected:
        monkeypatch.setattr(house.sharing, "_endings", lambda call, flight, error: (error.error, LeaderLeftError()))
    house.one.hold()
    house.one.will(*[ProviderFault(FaultKind.RESET, "reset", provider="one")] * 3)
    calls = [house.start() for _ in range(3)]
    await house.one.arrived(1)
    await house.boarded(3)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.OUTCOME_UNKNOWN}
    assert (len(house.one.calls) == 1) == protected


@pytest.mark.parametrize("protected", [True, False])
async def test_refresh_joins_only_a_refresh(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """Two REFRESH calls share one and follow no other; were the mode not in the key, they would follow what may be older."""
    if not protected:
        monkeypatch.setattr(Call, "flight_key", property(lambda call: tuple(sorted(call.keys))))
    house.one.hold()
    calls = [house.start(), house.start(mode=CacheMode.REFRESH), house.start(mode=CacheMode.REFRESH)]
    await house.boarded(3)
    house.one.release()
    outcomes = [reply.outcome for reply in await asyncio.gather(*calls)]
    kept_apart = sorted(outcomes) == [CacheOutcome.COALESCED, CacheOutcome.MISS, CacheOutcome.REFRESH]
    assert kept_apart == protected
    assert len(house.one.calls) == (2 if protected else 1)


@pytest.mark.parametrize("protected", [True, False])
async def test_order_of_routes_does_not_part_equal_questions(house: Spine, monkeypatch: pytest.MonkeyPatch, protected) -> None:
    """Calls with the same routes in another order share a flight, and the answer lies under the key of the route that gave it."""
    if not protected:
        monkeypatch.setattr(Call, "flight_key", property(lambda call: tuple(call.keys)))
    house.one.hold()
    house.two.hold()
    calls = [house.start(fallback_models=("two/model-2",))]
    await house.boarded(1)
    calls.append(house.start(model="two/model-2", fallback_models=("one/model-1",)))
    await house.boarded(2)
    house.one.release()
    house.two.release()
    await asyncio.gather(*calls)
    assert len(house.one.calls) + len(house.two.calls) == (1 if protected else 2)
    assert (await house.ask()).outcome is CacheOutcome.HIT


@pytest.mark.parametrize("mode", [CacheMode.NO_STORE, CacheMode.BYPASS])
async def test_modes_that_join_nothing_pay_for_themselves(house: Spine, mode: CacheMode) -> None:
    """NO_STORE and BYPASS share with nobody."""
    house.one.hold()
    calls = [house.start(), house.start(mode=mode)]
    await house.one.arrived(2)
    house.one.release()
    assert CacheOutcome.COALESCED not in [reply.outcome for reply in await asyncio.gather(*calls)]


async def test_first_who_wants_it_stored_sets_the_terms(house: Spine) -> None:
    """An answer paid for by a READ_ONLY leader is kept as its first storing follower asked."""
    house.one.hold()
    leader = house.start(mode=CacheMode.READ_ONLY)
    await house.one.arrived(1)
    follower = house.start(ttl_s=60.0)
    await house.boarded(2)
    house.one.release()
    await asyncio.gather(leader, follower)
    assert (await house.ask()).outcome is CacheOutcome.HIT
    house.clock.advance(61)
    assert (await house.ask()).outcome is CacheOutcome.MISS


async def test_orphan_that_is_joined_is_no_orphan(tmp_path: Path) -> None:
    """A detached flight that somebody joins counts as attended, and may be left again without being cut."""
    async with spine(tmp_path, limits={"detached": 1}) as house:
        house.one.hold()
        leader = house.start()
        await house.one.arrived(1)
        await _left(leader)
        follower = house.start()
        await house.boarded(1)
        assert house.sharing.detached == 0
        await _left(follower)
        assert house.sharing.detached == 1
        house.one.release()
        await house.sharing.settled()
        assert (await house.ask()).outcome is CacheOutcome.HIT


async def test_answer_that_was_read_is_never_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where only the booking is missing, neither the bound on orphans nor the stop cuts a call off: it is settled and cached."""
    async with spine(tmp_path, limits={"detached": 0}) as house:
        book, go_on, reached = house.ledger.settle, asyncio.Event(), asyncio.Event()

        async def slow(*arguments):
            reached.set()
            await go_on.wait()
            return await book(*arguments)

        monkeypatch.setattr(house.ledger, "settle", slow)
        leader = house.start()
        await reached.wait()
        await _left(leader)
        closing = asyncio.create_task(house.sharing.close())
        await settle()
        go_on.set()
        await closing
        totals = (await house.stats()).totals
        assert (totals.miss_count, totals.unknown_count) == (1, 0)
        assert (await house.cache.stats("local")).entry_count == 1


async def test_call_that_boards_while_all_work_ends_is_told_so(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is cut before its first step still ends its flight: nobody waits for ever."""
    board = Sharing._board

    def closing(sharing, call, *, streaming):
        boarded = board(sharing, call, streaming=streaming)
        chores.append(asyncio.create_task(sharing.close()))
        for work in sharing._work.values():
            work.cancel()
        return boarded

    chores: list[asyncio.Task] = []
    monkeypatch.setattr(Sharing, "_board", closing)
    with pytest.raises(DomainError) as refused:
        await asyncio.wait_for(house.ask(), 5)
    assert refused.value.reason is Reason.DRAINING
    await asyncio.gather(*chores)


async def test_nobody_boards_after_the_end(house: Spine) -> None:
    """A call that was admitted before the stop and comes to board after it is refused, and nothing is reserved."""
    steps = house.sharing.ride(house.engine._begin(question(), caller()), streaming=False)
    await house.sharing.close()
    before = house.ledger.sequence
    with pytest.raises(DomainError) as refused:
        await anext(steps)
    assert (refused.value.reason, house.ledger.sequence) == (Reason.DRAINING, before)


async def test_defect_after_the_answer_ends_the_flight(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong while an answer is kept, all aboard hear of it and the flight is left."""

    def broken(*_, **__):
        raise RuntimeError("a defect")

    monkeypatch.setattr(house.cache, "keep", broken)
    house.one.hold()
    calls = [house.start() for _ in range(2)]
    await house.one.arrived(1)
    await house.boarded(2)
    house.one.release()
    errors = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 5)
    assert [type(error) for error in errors] == [RuntimeError] * 2
    monkeypatch.undo()
    assert (await house.ask()).outcome is CacheOutcome.MISS


async def test_nothing_is_kept_of_calls_that_have_ended(house: Spine) -> None:
    """After hits, failures and departures no flight, id, work or slot is left behind."""
    house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
    await asyncio.gather(*(house.start(f"question {n}") for n in range(5)), return_exceptions=True)
    house.one.hold()
    leavers = [house.start(f"other {n}") for n in range(3)]
    await house.one.arrived(8)
    await _left(*leavers)
    house.one.release()
    await house.sharing.settled()
    await settle()
    sharing = house.sharing
    assert (len(sharing._flights), sharing._work, sharing._orphans, sharing._known_ids._under_way) == (0, {}, set(), {})
    assert (house.dispatcher.in_flight, house.dispatcher.queued) == (0, 0)
