"""The life of a request: answered from the cache, from a call in flight, or from a provider, and counted exactly."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2 as pb
from aigend.completion.repeats import Origin
from aigend.errors import DomainError, Reason
from aigend.ledger.statistics.query import Dimension, stats_query
from aigend.ledger.statistics.stats import compute
from aigend.providers.port import FaultKind, ProviderFault
from aigend.types import (
    Accounting,
    CacheMode,
    CacheOutcome,
    FinishReason,
    Lane,
)

from tests.fakes import fake_reply, settle
from tests.spine import Spine, caller, make_settings, make_snapshot, origin, question, read, spine


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A running spine."""
    async with spine(tmp_path) as running:
        yield running


async def _refused(awaitable) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await awaitable
    return refused.value


async def test_first_call_is_paid_and_the_second_a_hit(house: Spine) -> None:
    """The same question is paid once, then answered from the cache at no cost, with what it saved."""
    house.one.will(fake_reply("hello"))
    first, second = read(await house.ask()), read(await house.ask())
    assert (first.text, first.cache_outcome, first.attempt_count) == ("hello", pb.CACHE_OUTCOME_MISS, 1)
    assert first.cost_usd_nanos == 10 * 1_000 + 1 * 10_000
    assert first.cost_basis == pb.COST_BASIS_PRICED
    assert (second.text, second.cache_outcome, second.attempt_count) == ("hello", pb.CACHE_OUTCOME_HIT, 0)
    assert (second.cost_usd_nanos, second.saved_usd_nanos) == (0, first.cost_usd_nanos)
    assert second.saved_cause == pb.SAVINGS_CAUSE_CACHE
    assert second.HasField("cost_usd_nanos")
    assert len(house.one.calls) == 1


async def test_totals_equal_the_calls(house: Spine) -> None:
    """The ledger counts every call, paid or not."""
    for _ in range(3):
        await house.ask()
    totals = (await house.stats()).totals
    assert (totals.call_count, totals.miss_count, totals.hit_count) == (3, 1, 2)
    assert totals.cost_nanos == totals.savings[0].saved_nanos // 2


async def test_64_equal_calls_are_paid_once(house: Spine) -> None:
    """64 identical concurrent calls make one provider call and one charge; 63 are COALESCED."""
    house.one.hold()
    calls = [house.start() for _ in range(64)]
    await house.one.arrived(1)
    await house.boarded(64)
    house.one.release()
    outcomes = [reply.outcome for reply in await asyncio.gather(*calls)]
    assert outcomes.count(CacheOutcome.COALESCED) == 63
    assert outcomes.count(CacheOutcome.MISS) == 1
    totals = (await house.stats()).totals
    assert (totals.miss_count, totals.coalesced_count, len(house.one.calls)) == (1, 63, 1)


async def test_without_single_flight_equal_calls_are_each_paid(tmp_path: Path) -> None:
    """Control: with the switch off, equal concurrent calls do not share."""
    async with spine(tmp_path, features={"single_flight": False}) as house:
        house.one.hold()
        calls = [house.start() for _ in range(3)]
        await house.one.arrived(3)
        house.one.release()
        await asyncio.gather(*calls)
        assert len(house.one.calls) == 3


async def test_cache_switched_off_pays_each_call(tmp_path: Path) -> None:
    """With features.cache off nothing is looked up or stored, and calls count as BYPASS."""
    async with spine(tmp_path, features={"cache": False}) as house:
        outcomes = [(await house.ask()).outcome for _ in range(2)]
        assert outcomes == [CacheOutcome.BYPASS] * 2


@pytest.mark.parametrize(
    ("mode", "outcomes"),
    [
        (CacheMode.DEFAULT, [CacheOutcome.MISS, CacheOutcome.HIT]),
        (CacheMode.READ_ONLY, [CacheOutcome.MISS, CacheOutcome.MISS]),
        (CacheMode.REFRESH, [CacheOutcome.REFRESH, CacheOutcome.REFRESH]),
        (CacheMode.NO_STORE, [CacheOutcome.MISS, CacheOutcome.MISS]),
        (CacheMode.BYPASS, [CacheOutcome.BYPASS, CacheOutcome.BYPASS]),
    ],
)
async def test_mode_decides_look_up_and_store(house: Spine, mode: CacheMode, outcomes: list[CacheOutcome]) -> None:
    """Each mode does with the cache what the contract's table says."""
    assert [(await house.ask(mode=mode)).outcome for _ in range(2)] == outcomes


async def test_refresh_replaces_what_is_cached(house: Spine) -> None:
    """A REFRESH pays for a new answer, which later calls get."""
    house.one.will(fake_reply("old"), fake_reply("new"))
    await house.ask()
    await house.ask(mode=CacheMode.REFRESH)
    assert read(await house.ask()).text == "new"


async def test_only_if_cached_makes_no_call(house: Spine) -> None:
    """ONLY_IF_CACHED answers from the cache or says NOT_CACHED."""
    error = await _refused(house.ask(mode=CacheMode.ONLY_IF_CACHED))
    assert error.reason is Reason.NOT_CACHED
    await house.ask()
    assert (await house.ask(mode=CacheMode.ONLY_IF_CACHED)).outcome is CacheOutcome.HIT
    assert len(house.one.calls) == 1


@pytest.mark.parametrize("reason", [FinishReason.LENGTH, FinishReason.CONTENT_FILTER, FinishReason.OTHER])
async def test_incomplete_answers_are_never_stored(house: Spine, reason: FinishReason) -> None:
    """A truncated or filtered answer reaches its caller and is not cached."""
    house.one.will(fake_reply("cut", finish_reason=reason))
    assert read(await house.ask()).text == "cut"
    assert (await house.ask()).outcome is CacheOutcome.MISS


async def test_hit_survives_the_memory_tier(tmp_path: Path) -> None:
    """An answer comes from the disk after a restart."""
    async with spine(tmp_path) as house:
        await house.ask()
        await settle()
    async with spine(tmp_path) as house:
        assert (await house.ask()).outcome is CacheOutcome.HIT


async def test_expired_answer_is_paid_again(house: Spine) -> None:
    """After its TTL an answer no longer serves."""
    await house.ask(ttl_s=60.0)
    house.clock.advance(61)
    assert (await house.ask(ttl_s=60.0)).outcome is CacheOutcome.MISS


async def test_followers_keep_on_when_the_leaders_caller_leaves_after_sent(house: Spine) -> None:
    """After SENT a leaving leader detaches: the call runs on and its followers get its answer."""
    house.one.hold()
    leader = house.start()
    await house.one.arrived(1)
    follower = house.start()
    await house.boarded(2)
    leader.cancel()
    await settle()
    house.one.release()
    assert (await follower).outcome is CacheOutcome.COALESCED
    assert len(house.one.calls) == 1


async def test_lone_caller_that_leaves_pays_and_caches(house: Spine) -> None:
    """A call whose only caller left after SENT is read to its end, settled and cached."""
    house.one.hold()
    leaver = house.start()
    await house.one.arrived(1)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    assert house.sharing.detached == 1
    house.one.release()
    await house.sharing.settled()
    assert house.sharing.detached == 0
    assert (await house.ask()).outcome is CacheOutcome.HIT
    assert (await house.stats()).totals.miss_count == 1


async def test_orphans_above_the_bound_are_cut_and_booked_unknown(tmp_path: Path) -> None:
    """Above limits.detached the upstream is cut and the attempt booked as UNKNOWN."""
    async with spine(tmp_path, limits={"detached": 0}) as house:
        house.one.hold()
        leaver = house.start()
        await house.one.arrived(1)
        leaver.cancel()
        await asyncio.gather(leaver, return_exceptions=True)
        await house.sharing.settled()
        assert (await house.stats()).totals.unknown_count == 1


async def test_next_follower_leads_when_the_leader_leaves_before_sent(tmp_path: Path) -> None:
    """A leader that leaves while waiting for a slot takes nobody down: the next follower leads."""
    async with spine(tmp_path, limits={"per_provider": 1}) as house:
        house.one.hold()
        other = house.start("another question")
        await house.one.arrived(1)
        leader = house.start()
        await house.boarded(2)
        follower = house.start()
        await house.boarded(3)
        leader.cancel()
        await settle()
        house.one.release()
        assert (await follower).outcome is CacheOutcome.MISS
        await other
        assert len(house.one.calls) == 2


async def test_leaders_budget_error_is_its_alone(tmp_path: Path) -> None:
    """A leader refused by its own budget does not fail its followers: the next one leads."""
    budget = {"name": "poor", "selector": {"session": "poor"}, "period": "daily", "limit_usd": "0.000000001"}
    async with spine(tmp_path, budgets=[budget]) as house:
        poor = asyncio.create_task(house.ask(account=Accounting(session="poor")))
        rich = asyncio.create_task(house.ask(account=Accounting(session="rich")))
        assert (await _refused(poor)).reason is Reason.BUDGET_EXCEEDED
        assert (await rich).outcome is CacheOutcome.MISS


async def test_followers_inherit_the_providers_verdict(house: Spine) -> None:
    """A provider's refusal is everybody's: one attempt, one error for all."""
    house.one.hold()
    house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400))
    calls = [house.start() for _ in range(5)]
    await house.one.arrived(1)
    await house.boarded(5)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.PROVIDER_REFUSED}
    assert len(house.one.calls) == 1


async def test_unknown_outcome_is_everybodys_and_never_sent_again(house: Spine) -> None:
    """After a reset one attempt is UNKNOWN, all get OUTCOME_UNKNOWN, and nothing is sent again."""
    house.one.hold()
    house.one.will(ProviderFault(FaultKind.RESET, "reset", provider="one"))
    calls = [house.start(request_id=f"id-{number}") for number in range(3)]
    await house.one.arrived(1)
    await house.boarded(3)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.OUTCOME_UNKNOWN}
    assert (await _refused(house.ask(request_id="id-0"))).reason is Reason.OUTCOME_UNKNOWN
    assert len(house.one.calls) == 1
    totals = (await house.stats()).totals
    assert totals.unknown_count == 1
    assert totals.unknown_nanos > 0


async def test_allow_repeat_pays_for_an_unknown_id_again(house: Spine) -> None:
    """A caller who says so gets a second paid call under an id whose outcome is unknown."""
    house.one.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="one"), fake_reply("at last"))
    assert (await _refused(house.ask(request_id="id"))).reason is Reason.PROVIDER_TIMEOUT
    reply = await house.ask(request_id="id", account=Accounting(allow_repeat=True))
    assert read(reply).text == "at last"


async def test_server_error_is_retried_and_booked_free(house: Spine) -> None:
    """A 503 is retried after its wait; the failed attempt costs nothing."""
    house.one.will(ProviderFault(FaultKind.SERVER_ERROR, "busy", provider="one", status=503), fake_reply("hello"))
    call = house.start()
    while not call.done():  # the ledger's own thread decides when the retry begins to wait
        house.clock.advance(0.1)
        await asyncio.sleep(0.001)
    response = read(call.result())
    assert (response.text, response.attempt_count) == ("hello", 2)
    totals = (await house.stats()).totals
    assert (totals.released_count, totals.unknown_count) == (1, 0)


async def test_next_route_answers_when_the_first_refuses(house: Spine) -> None:
    """FALLBACK goes on to the next model, whose answer is stored under its own key."""
    house.one.will(ProviderFault(FaultKind.AUTH, "no key", provider="one", status=401))
    response = read(await house.ask(fallback_models=("two/model-2",)))
    assert (response.provider, response.attempt_count) == ("two", 2)
    assert (await house.ask(model="two/model-2")).outcome is CacheOutcome.HIT


async def test_timeout_stays_charged_and_the_next_route_answers(house: Spine) -> None:
    """An ambiguous first route holds its upper bound while the next route answers."""
    house.one.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="one"))
    assert read(await house.ask(fallback_models=("two/model-2",))).provider == "two"
    totals = (await house.stats()).totals
    assert (totals.unknown_count, totals.miss_count) == (1, 1)


async def test_settled_id_gets_its_reply_again(house: Spine) -> None:
    """The same id and request after settling repeats the stored response, byte for byte, and is not charged."""
    first = await house.ask(request_id="id", mode=CacheMode.BYPASS)
    again = await house.ask(request_id="id", mode=CacheMode.BYPASS)
    assert again.response == first.response
    assert again.outcome is CacheOutcome.REPLAY
    totals = (await house.stats()).totals
    assert (totals.replay_count, totals.bypass_count) == (1, 1)


async def test_id_in_flight_is_joined(house: Spine) -> None:
    """The same id while its call is under way gets the same response."""
    house.one.hold()
    first = house.start(request_id="id", mode=CacheMode.BYPASS)
    await house.one.arrived(1)
    second = house.start(request_id="id", mode=CacheMode.BYPASS)
    await house.boarded(2)
    house.one.release()
    assert (await first).response == (await second).response
    assert len(house.one.calls) == 1


async def test_released_id_may_be_used_again(house: Spine) -> None:
    """An id whose attempt was certainly free gets a new attempt."""
    house.one.will(ProviderFault(FaultKind.REJECTED, "no", provider="one", status=400), fake_reply("yes"))
    assert (await _refused(house.ask(request_id="id"))).reason is Reason.PROVIDER_REFUSED
    assert read(await house.ask(request_id="id")).text == "yes"


async def test_joined_id_is_counted_on_the_route_that_answered(house: Spine) -> None:
    """A replay of an id in flight is counted where its answer came from."""
    house.one.will(ProviderFault(FaultKind.AUTH, "no key", provider="one", status=401))
    house.two.hold()
    fields = {"request_id": "id", "mode": CacheMode.BYPASS, "fallback_models": ("two/model-2",)}
    calls = [house.start(**fields) for _ in range(2)]
    await house.two.arrived(1)
    await house.boarded(2)
    house.two.release()
    await asyncio.gather(*calls)
    query = stats_query(scope="local", now=house.clock.time(), group_by=(Dimension.PROVIDER, Dimension.OUTCOME))
    rows = await house.ledger.read(lambda connection: compute(connection, query).rows)
    assert ("two", "replay") in [row.group for row in rows]


async def test_settled_id_is_counted_on_the_route_that_answered(house: Spine) -> None:
    """A replay of a kept reply is counted where that answer came from, not on the route that is tried first."""
    house.one.will(ProviderFault(FaultKind.AUTH, "no key", provider="one", status=401))
    fields = {"request_id": "id", "mode": CacheMode.BYPASS, "fallback_models": ("two/model-2",)}
    assert read(await house.ask(**fields)).provider == "two"
    await house.ask(**fields)
    query = stats_query(scope="local", now=house.clock.time(), group_by=(Dimension.PROVIDER, Dimension.OUTCOME))
    rows = await house.ledger.read(lambda connection: compute(connection, query).rows)
    assert ("two", "replay") in [row.group for row in rows]


@pytest.mark.parametrize("in_flight", [False, True])
async def test_id_with_another_request_is_refused(house: Spine, *, in_flight: bool) -> None:
    """An id that was used for another request is REQUEST_ID_REUSED, in flight or settled."""
    if in_flight:
        house.one.hold()
    first = house.start(request_id="id")
    await house.one.arrived(1)
    if not in_flight:
        await first
    other = house.engine.complete(question("another question"), caller("id", digest=b"e" * 32))
    assert (await _refused(other)).reason is Reason.REQUEST_ID_REUSED
    house.one.release()
    await first


async def test_reply_gone_is_said(tmp_path: Path) -> None:
    """A settled id whose reply is no longer kept is REPLY_GONE, never a second call."""
    async with spine(tmp_path, features={"replay": False}) as house:
        await house.ask(request_id="id", mode=CacheMode.BYPASS)
        assert (await _refused(house.ask(request_id="id", mode=CacheMode.BYPASS))).reason is Reason.REPLY_GONE
        assert len(house.one.calls) == 1


async def test_answer_to_a_cleared_namespace_is_not_kept(house: Spine) -> None:
    """An answer whose namespace was cleared while it was under way is dropped, so that a clear is final."""
    from aigend.cache.entry import CacheFilter

    house.one.hold()
    call = house.start()
    await house.one.arrived(1)
    await house.cache.clear("local", CacheFilter(), validate_only=False)
    house.one.release()
    await call
    assert (await house.ask()).outcome is CacheOutcome.MISS


async def test_clear_does_not_wait_for_a_call_under_way(house: Spine) -> None:
    """A clear ends, and hits go on, while a provider call hangs."""
    from aigend.cache.entry import CacheFilter

    await house.ask("warm")
    house.one.hold()
    hanging = house.start("slow")
    await house.one.arrived(2)
    assert (await house.ask("warm")).outcome is CacheOutcome.HIT
    cleared = await house.cache.clear("local", CacheFilter(), validate_only=False)
    assert cleared.entry_count == 1
    assert not hanging.done()


async def test_swap_leaves_calls_under_way_their_settings(house: Spine) -> None:
    """New settings count for the next call; the one under way ends with the old ones."""
    house.one.hold()
    old = house.start()
    await house.one.arrived(1)
    house.engine.swap(make_snapshot(make_settings(features={"cache": False})))
    house.one.release()
    assert (await old).outcome is CacheOutcome.MISS
    assert (await house.ask()).outcome is CacheOutcome.BYPASS


async def test_draining_refuses_new_calls_and_lets_old_ones_end(house: Spine) -> None:
    """After drain a new call is DRAINING, with the time after which to come again; the one inside ends."""
    house.one.hold()
    inside = house.start()
    await house.one.arrived(1)
    house.engine.drain()
    error = await _refused(house.ask("new"))
    assert (error.reason, error.retry_after_s) == (Reason.DRAINING, 1.0)
    house.one.release()
    assert (await inside).outcome is CacheOutcome.MISS


async def test_close_books_what_was_sent_as_unknown(house: Spine) -> None:
    """Calls that are cut by the stop are booked as UNKNOWN and their callers told so."""
    house.one.hold()
    call = house.start()
    await house.one.arrived(1)
    await house.sharing.close()
    assert (await _refused(call)).reason is Reason.OUTCOME_UNKNOWN
    assert (await house.stats()).totals.unknown_count == 1


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"lane": Lane.DEFERRED}, "lane"),
        ({"similarity": 0.9}, "similarity"),
    ],
)
async def test_what_is_not_built_is_refused_by_name(house: Spine, fields: dict, named: str) -> None:
    """A field or value whose room is not built is CAPABILITY_MISSING that names it, before anything is reserved."""
    before = house.ledger.sequence
    error = await _refused(house.ask(**fields))
    assert error.reason is Reason.CAPABILITY_MISSING
    assert error.metadata["field"] == named
    assert house.ledger.sequence == before


async def test_latest_time_without_the_lane_that_has_one_is_refused(house: Spine) -> None:
    """A time by which nobody would see to it is not ignored."""
    error = await _refused(house.ask(complete_by=1.0))
    assert (error.reason, error.metadata["field"]) == (Reason.INVALID_REQUEST, "complete_by")


async def test_past_deadline_is_refused_at_the_door(house: Spine) -> None:
    """A call that nobody waits for any more is not begun."""
    late = caller()
    late = type(late)(scope=late.scope, request_id=late.request_id, accounting=late.accounting, deadline=-1.0)
    error = await _refused(house.engine.complete(question(), late))
    assert (error.reason, error.metadata["field"]) == (Reason.INVALID_REQUEST, "deadline")


async def test_estimate_makes_no_call(house: Spine) -> None:
    """EstimateCost names the upper bound of each route and costs nothing."""
    quotes, cached = await house.engine.estimate(question(fallback_models=("two/model-2",)), caller())
    assert [quote.bound_nanos is not None for quote in quotes] == [True, True]
    assert not cached
    assert not house.one.calls
    await house.ask()
    assert (await house.engine.estimate(question(), caller()))[1]


async def test_first_call_never_costs_more_than_its_estimate(house: Spine) -> None:
    """The estimate is an upper bound of what the call then costs."""
    (quote,), _ = await house.engine.estimate(question(), caller())
    assert read(await house.ask()).cost_usd_nanos <= quote.bound_nanos


class TestRepeats:
    """The fast path answers bytes seen before, and nothing that could have changed."""

    async def _warm(self, house: Spine, **fields) -> None:
        await house.engine.complete(question(**fields), caller(), origin())
        await house.engine.complete(question(**fields), caller(), origin())

    def _repeat(self, house: Spine) -> pb.CompleteResponse | None:
        response = house.engine.answer_repeat(origin(), "local", "an-id", 0.0)
        return None if response is None else read(response)

    async def test_seen_bytes_are_answered_without_a_parse(self, house: Spine) -> None:
        """After a hit the same bytes are answered at once, with this call's own id."""
        await self._warm(house)
        response = self._repeat(house)
        assert response is not None
        slow = read(await house.ask())
        assert response.request_id == "an-id"
        for message in (response, slow):
            message.ClearField("request_id")
            message.ClearField("timings")
        assert response == slow

    async def test_repeats_are_counted(self, house: Spine) -> None:
        """A hit on the fast path is counted like any other."""
        await self._warm(house)
        self._repeat(house)
        assert (await house.stats()).totals.hit_count == 2

    async def test_another_account_goes_the_long_way_once(self, house: Spine) -> None:
        """Accounting that a record has not met is parsed first."""
        await self._warm(house)
        other = Origin(origin().digest, b"account")
        assert house.engine.answer_repeat(other, "local", "id", 0.0) is None
        await house.engine.complete(question(), caller(account=Accounting(session="s")), other)
        assert house.engine.answer_repeat(other, "local", "id", 0.0) is not None

    async def test_another_scope_is_not_answered(self, house: Spine) -> None:
        """Bytes of one caller's scope say nothing about another's."""
        await self._warm(house)
        assert house.engine.answer_repeat(origin(), "somebody else", "id", 0.0) is None

    async def test_clear_invalidates(self, house: Spine) -> None:
        """After a clear the bytes go the long way."""
        from aigend.cache.entry import CacheFilter

        await self._warm(house)
        await house.cache.clear("local", CacheFilter(), validate_only=False)
        assert self._repeat(house) is None

    async def test_new_settings_invalidate(self, house: Spine) -> None:
        """After a change of settings, catalog or prices the bytes go the long way."""
        await self._warm(house)
        house.engine.swap(house.snapshot)
        assert self._repeat(house) is None

    async def test_drain_invalidates(self, house: Spine) -> None:
        """While draining the bytes go the long way, where they are refused."""
        await self._warm(house)
        house.engine.drain()
        assert self._repeat(house) is None

    async def test_expiry_is_checked_on_each_hit(self, house: Spine) -> None:
        """An answer that expires in between is not served."""
        await self._warm(house, ttl_s=60.0)
        house.clock.advance(61)
        assert self._repeat(house) is None

    @pytest.mark.parametrize("mode", [CacheMode.ONLY_IF_CACHED, CacheMode.NO_STORE, CacheMode.REFRESH, CacheMode.BYPASS])
    async def test_other_modes_never_enter(self, house: Spine, mode: CacheMode) -> None:
        """Only DEFAULT and READ_ONLY take the fast path."""
        await self._warm(house)
        house.engine.swap(house.snapshot)
        await house.engine.complete(question(mode=mode), caller(), origin())
        assert self._repeat(house) is None

    async def test_several_routes_never_enter(self, house: Spine) -> None:
        """A request with several routes may be answered by another one next time."""
        await self._warm(house, fallback_models=("two/model-2",))
        assert self._repeat(house) is None

    async def test_index_can_be_switched_off(self, tmp_path: Path) -> None:
        """Without memory for it there is no fast path."""
        async with spine(tmp_path, limits={"repeat_index_bytes": 0}) as house:
            await self._warm(house)
            assert self._repeat(house) is None

    async def test_refreshed_answer_is_told_with_its_own_savings(self, house: Spine) -> None:
        """After a REFRESH the same bytes get the new answer and what that one saves."""
        house.one.will(fake_reply("short"), fake_reply("a much longer answer that costs more than the short one"))
        await self._warm(house)
        await house.ask(mode=CacheMode.REFRESH)
        response = self._repeat(house)
        slow = read(await house.ask())
        assert response is not None
        assert (response.text, response.saved_usd_nanos) == (slow.text, slow.saved_usd_nanos)
        totals = (await house.stats()).totals
        assert totals.savings[0].saved_nanos == 2 * slow.saved_usd_nanos + (10 * 1_000 + 1 * 10_000)

    async def _warm_during(self, house: Spine, monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
        """Answer a call from the disk, and let something change while it waits for the disk."""
        await house.engine.complete(question(), caller(), origin())
        await house.cache.write_kept()
        house.cache._memory.drop_where(lambda _: True)
        load = house.cache.load

        async def changing(keys):
            found = await load(keys)
            change()
            return found

        monkeypatch.setattr(house.cache, "load", changing)
        await house.engine.complete(question(), caller(), origin())

    async def test_call_under_way_while_settings_change_does_not_enter(self, house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a call was resolved to under old settings is not remembered for the new ones."""
        await self._warm_during(house, monkeypatch, lambda: house.engine.swap(make_snapshot(make_settings())))
        assert self._repeat(house) is None

    async def test_call_under_way_while_draining_begins_does_not_enter(self, house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
        """A hit that ends after drain opens no fast path into a daemon that admits nobody."""
        await self._warm_during(house, monkeypatch, house.engine.drain)
        assert self._repeat(house) is None

    async def test_call_from_the_disk_enters_where_nothing_changes(self, house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
        """Control: without a change the same call enters."""
        await self._warm_during(house, monkeypatch, lambda: None)
        assert self._repeat(house) is not None

    async def test_budget_threshold_invalidates(self, tmp_path: Path) -> None:
        """When spending passes a threshold of a budget, the bytes go the long way once more."""
        budget = {"name": "all", "period": "daily", "limit_usd": "0.0003", "action": "warn"}
        async with spine(tmp_path, budgets=[budget]) as house:
            await self._warm(house)
            assert self._repeat(house) is not None
            await house.ask("another question", model="two/model-2")
            assert self._repeat(house) is None

    async def test_spending_below_a_threshold_changes_nothing(self, tmp_path: Path) -> None:
        """Control: a paid call that passes no threshold leaves the fast path open."""
        budget = {"name": "all", "period": "daily", "limit_usd": "1000", "action": "warn"}
        async with spine(tmp_path, budgets=[budget]) as house:
            await self._warm(house)
            await house.ask("another question", model="two/model-2")
            assert self._repeat(house) is not None

    @pytest.mark.parametrize("change", ["swap", "drain", "clear"])
    async def test_without_the_generation_stale_records_would_answer(
        self, house: Spine, monkeypatch: pytest.MonkeyPatch, change: str
    ) -> None:
        """Control: were invalidating to do nothing, the same bytes would be answered after a swap or a drain."""
        from aigend.cache.entry import ALL

        await self._warm(house)
        monkeypatch.setattr(house.engine._free._repeats, "invalidate", lambda: None)
        house.cache.on_clear.clear()
        if change == "clear":
            monkeypatch.setattr(house.cache._memory, "drop_where", lambda _: None)
            await house.cache.clear("local", ALL)
        elif change == "swap":
            house.engine.swap(house.snapshot)
        else:
            house.engine.drain()
        assert self._repeat(house) is not None

    async def test_estimate_is_no_use_of_an_entry(self, house: Spine) -> None:
        """EstimateCost looks whether an answer is there and counts as no call that the entry answered."""
        from aigend.cache.entry import ALL

        await house.ask()
        await house.cache.write_kept()
        assert (await house.engine.estimate(question(), caller()))[1]
        house.cache._memory.drop_where(lambda _: True)
        assert (await house.engine.estimate(question(), caller()))[1]
        await house.ask()
        await house.cache._write_uses()
        (entry,) = (await house.cache.entries("local", ALL)).entries
        assert entry.hit_count == 1

    async def test_bytes_that_come_once_are_not_remembered(self, house: Spine) -> None:
        """A new spelling of a stored question takes no room in the index until it comes again."""
        await house.ask()
        for remembered in (False, True):
            await house.engine.complete(question(), caller(), origin())
            assert (self._repeat(house) is not None) is remembered

    async def test_index_is_bounded(self, tmp_path: Path) -> None:
        """More requests than fit push out the ones remembered longest ago; more accounts than fit go the long way again."""
        async with spine(tmp_path, limits={"repeat_index_bytes": 3_000}) as house:
            await house.ask()
            for number in range(5):
                for _ in range(2):  # bytes that come only once are not remembered
                    await house.engine.complete(question(), caller(), origin(f"bytes {number}"))
            known = [house.engine.answer_repeat(origin(f"bytes {n}"), "local", "id", 0.0) is not None for n in range(5)]
            assert known == [False, False, True, True, True]
            for number in range(20):
                other = Origin(origin("bytes 4").digest, b"%d" % number)
                await house.engine.complete(question(), caller(), other)
            assert len(house.engine._free._repeats.find("local", origin("bytes 4").digest).cells) <= 16
            assert len(house.engine._free._repeats) == 3
