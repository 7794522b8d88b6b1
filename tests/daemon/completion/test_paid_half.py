"""The paid half under stress: what is sent once is never sent again unawares, and what was held is always booked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2 as pb
from aigend.errors import DomainError, Reason
from aigend.ledger.entries import AttemptState
from aigend.providers.port import FaultKind, ProviderFault, TextDelta
from aigend.storage.failure import StorageFailure
from aigend.types import Accounting, CacheMode, CacheOutcome

from tests.fakes import fake_reply, settle
from tests.spine import Spine, caller, eventually, question, read, spine

ONE_IS_SPENT = {"name": "one", "selector": {"provider": "one"}, "period": "daily", "limit_usd": "0.000000001"}
TWO_IS_SPENT = ONE_IS_SPENT | {"name": "two", "selector": {"provider": "two"}}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A running spine."""
    async with spine(tmp_path) as running:
        yield running


async def _refused(awaitable) -> DomainError:
    with pytest.raises(DomainError) as refused:
        await awaitable
    return refused.value


async def _ticking(house: Spine, *calls: asyncio.Task) -> None:
    """Let the clock run until the calls are done: the ledger's own thread decides when a retry begins to wait."""

    def tick() -> bool:
        house.clock.advance(0.1)
        return all(call.done() for call in calls)

    await eventually(tick)


async def _booked(house: Spine, request_id: str, state: AttemptState) -> None:
    """Wait until the last attempt of an id is booked so, and what follows from it has begun."""
    await eventually(lambda: (known := house.ledger.known("local", request_id)) is not None and known.state is state)
    await settle()


def _state(house: Spine, request_id: str) -> AttemptState:
    known = house.ledger.known("local", request_id)
    assert known is not None
    return known.state


def _reset() -> ProviderFault:
    return ProviderFault(FaultKind.RESET, "reset", provider="one")


def _busy() -> ProviderFault:
    return ProviderFault(FaultKind.SERVER_ERROR, "busy", provider="one", status=503)


async def test_route_without_budget_is_passed_by(tmp_path: Path) -> None:
    """A route whose budget is spent is no allowed route: the next one answers, and only its call is counted."""
    async with spine(tmp_path, budgets=[ONE_IS_SPENT]) as house:
        response = read(await house.ask(fallback_models=("two/model-2",)))
        assert (response.provider, response.attempt_count) == ("two", 1)
        assert not house.one.calls


async def test_last_route_without_budget_says_so(tmp_path: Path) -> None:
    """Where no route's budget allows the call, the first refusal is what its caller sees."""
    async with spine(tmp_path, budgets=[ONE_IS_SPENT, TWO_IS_SPENT]) as house:
        error = await _refused(house.ask(fallback_models=("two/model-2",)))
        assert (error.reason, error.metadata["budget"]) == (Reason.BUDGET_EXCEEDED, "one")


async def test_refused_second_route_does_not_hide_an_unknown_first(tmp_path: Path) -> None:
    """A budget that stops the next route leaves the unknown outcome of the first as the word for all: nothing is sent again."""
    async with spine(tmp_path, budgets=[TWO_IS_SPENT]) as house:
        house.one.hold()
        house.one.will(_reset())
        calls = [house.start(fallback_models=("two/model-2",)) for _ in range(3)]
        await house.one.arrived(1)
        await house.boarded(3)
        house.one.release()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {error.reason for error in errors} == {Reason.OUTCOME_UNKNOWN}
        assert len(house.one.calls) == 1


async def test_full_queue_after_an_unknown_attempt_sends_nothing_again(tmp_path: Path) -> None:
    """A second route that is overloaded leaves the first one's verdict for all."""
    async with spine(tmp_path, limits={"per_provider": 1, "queue": 0}) as house:
        house.two.hold()
        other = house.start("other", model="two/model-2")
        await house.two.arrived(1)
        house.one.hold()
        house.one.will(_reset())
        calls = [house.start(fallback_models=("two/model-2",)) for _ in range(2)]
        await house.one.arrived(1)
        await house.boarded(3)
        house.one.release()
        errors = await asyncio.gather(*calls, return_exceptions=True)
        assert {error.reason for error in errors} == {Reason.OUTCOME_UNKNOWN}
        assert len(house.one.calls) == 1
        house.two.release()
        await other


async def test_unknown_id_is_not_paid_again_behind_a_refused_route(tmp_path: Path) -> None:
    """A refused reservation is no attempt: an id whose outcome is unknown stays so on the next route."""
    async with spine(tmp_path, budgets=[ONE_IS_SPENT]) as house:
        house.two.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="two"))
        await _refused(house.ask(request_id="id", model="two/model-2"))
        house.ledger._known._operations.clear()  # as after a long while: only the disk remembers
        error = await _refused(house.ask(request_id="id", fallback_models=("two/model-2",)))
        assert error.reason is Reason.OUTCOME_UNKNOWN
        assert len(house.two.calls) == 1


async def test_leader_that_leaves_after_an_unknown_attempt_does_not_start_it_again(tmp_path: Path) -> None:
    """Once an attempt is unknown its flight counts as sent, even while a later free attempt waits to be tried again."""
    async with spine(tmp_path) as house:
        house.one.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="one"))
        house.two.will(_busy())
        fields = {"fallback_models": ("two/model-2",)}
        leader = house.start(request_id="id", **fields)
        await house.two.arrived(1)
        follower = house.start(**fields)
        await _booked(house, "id", AttemptState.RELEASED)
        await house.boarded(2)
        leader.cancel()
        await settle()
        await _ticking(house, follower)
        assert follower.result().outcome is CacheOutcome.COALESCED
        assert len(house.one.calls) == 1


async def test_nobody_aboard_means_no_further_attempt(house: Spine) -> None:
    """A call whose caller left while it was under way is not paid for again after a free failure."""
    house.one.hold()
    house.one.will(_busy(), fake_reply("for nobody"))
    leaver = house.start()
    await house.one.arrived(1)
    leaver.cancel()
    await asyncio.gather(leaver, return_exceptions=True)
    house.one.release()
    await _ticking(house, asyncio.create_task(house.sharing.settled()))
    assert len(house.one.calls) == 1
    assert (await house.stats()).totals.call_count == 0


async def test_unreadable_answer_is_booked_unknown(house: Spine) -> None:
    """An answer that can't be spelled is a defect for its caller, and its money is booked, not held for ever."""
    house.one.will(fake_reply("half a pair: \ud83d"))
    with pytest.raises(UnicodeEncodeError):
        await house.ask(request_id="id")
    assert _state(house, "id") is AttemptState.UNKNOWN
    assert house.dispatcher.in_flight == 0


async def test_refusal_by_an_adapter_after_sent_is_everybodys(house: Spine) -> None:
    """An adapter that refuses only when it is called has perhaps sent: all aboard get its word, and it is booked."""
    house.one.hold()
    house.one.will(DomainError(Reason.CAPABILITY_MISSING, "too late", field="tools"))
    calls = [house.start(request_id=f"id-{number}") for number in range(2)]
    await house.one.arrived(1)
    await house.boarded(2)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.CAPABILITY_MISSING}
    assert (_state(house, "id-0"), len(house.one.calls)) == (AttemptState.UNKNOWN, 1)


async def test_cut_of_a_stream_books_what_was_seen(tmp_path: Path) -> None:
    """A call cut above the bound on orphans is charged at least for its prompt and what was seen, at most for its bound."""
    async with spine(tmp_path, limits={"detached": 0}) as house:
        hanging = asyncio.Event()

        async def some_text(call):
            house.one.calls.append(call)
            yield TextDelta("x" * 800)
            await hanging.wait()

        house.one.stream = some_text
        steps = house.engine.stream(question(), caller("id"))
        await anext(steps)
        await steps.aclose()
        await house.sharing.settled()
        low, high = await house.ledger.read(
            lambda connection: connection.execute("SELECT unknown_low_nanos, unknown_high_nanos FROM attempt").fetchone()
        )
        assert 800 // 8 * 10_000 <= low < high


async def test_defect_of_an_adapter_is_booked_unknown(house: Spine) -> None:
    """Whatever an adapter raises, its attempt does not stay SENT, and all aboard are told."""
    house.one.hold()
    house.one.will(RuntimeError("a defect"))
    calls = [house.start(request_id=f"id-{number}") for number in range(2)]
    await house.one.arrived(1)
    await house.boarded(2)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(error) for error in errors] == [RuntimeError] * 2
    assert _state(house, "id-0") is AttemptState.UNKNOWN


@pytest.mark.parametrize("fault", [RuntimeError("a defect"), _reset()])
async def test_booking_that_fails_after_sent_is_everybodys(house: Spine, monkeypatch: pytest.MonkeyPatch, fault: Exception) -> None:
    """Where a sent attempt can't be booked, all aboard hear of the storage and nobody sends it again."""

    async def full(*_, **__) -> None:
        raise StorageFailure("ledger", "no room")

    house.one.hold()
    house.one.will(fault)
    calls = [house.start() for _ in range(3)]
    await house.one.arrived(1)
    await house.boarded(3)
    monkeypatch.setattr(house.ledger, "mark_unknown", full)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.STORAGE_DAMAGED}
    assert len(house.one.calls) == 1


async def test_settling_that_fails_is_everybodys_and_caches_nothing(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a charge can't be made durable nobody gets the answer and nothing is cached."""

    async def full(*_, **__) -> None:
        raise StorageFailure("ledger", "no room")

    house.one.hold()
    calls = [house.start() for _ in range(2)]
    await house.one.arrived(1)
    await house.boarded(2)
    monkeypatch.setattr(house.ledger, "settle", full)
    house.one.release()
    errors = await asyncio.gather(*calls, return_exceptions=True)
    assert {error.reason for error in errors} == {Reason.STORAGE_DAMAGED}
    assert (await _refused(house.ask(mode=CacheMode.ONLY_IF_CACHED))).reason is Reason.NOT_CACHED


async def test_retry_waits_as_long_as_the_provider_says(house: Spine) -> None:
    """Retry-After is kept to: nothing is sent before it is over."""
    house.one.will(ProviderFault(FaultKind.RATE_LIMITED, "slow down", provider="one", status=429, retry_after_s=7.0))
    call = house.start(request_id="id")
    await _booked(house, "id", AttemptState.RELEASED)
    house.clock.advance(6.9)
    await settle()
    assert len(house.one.calls) == 1
    await _ticking(house, call)
    assert len(house.one.calls) == 2


async def test_longer_retry_after_ends_the_route(house: Spine) -> None:
    """A wait above retry.retry_after_cap_s is handed to the caller, with RetryInfo."""
    house.one.will(ProviderFault(FaultKind.RATE_LIMITED, "slow down", provider="one", status=429, retry_after_s=61.0))
    error = await _refused(house.ask())
    assert (error.reason, error.retry_after_s) == (Reason.RATE_LIMITED, 61.0)


async def _stream(house: Spine, request_id: str = "", **fields) -> list:
    return [step async for step in house.engine.stream(question(**fields), caller(request_id))]


async def test_no_retry_after_the_first_visible_text(house: Spine) -> None:
    """A stream that is cut after callers saw some of it ends: neither this route nor the next is tried."""
    house.one.will(ProviderFault(FaultKind.CUT, "cut", provider="one", partial_text_len=5))
    error = await _refused(_stream(house, "id", fallback_models=("two/model-2",)))
    assert error.reason is Reason.OUTCOME_UNKNOWN
    assert (len(house.one.calls), len(house.two.calls)) == (1, 0)
    assert _state(house, "id") is AttemptState.UNKNOWN


async def test_cut_before_any_text_goes_on_to_the_next_route(house: Spine) -> None:
    """Control: where nothing was seen the next route answers."""
    house.one.will(ProviderFault(FaultKind.CUT, "cut", provider="one"))
    steps = await _stream(house, fallback_models=("two/model-2",))
    assert read(steps[-1]).provider == "two"


async def test_stream_that_ends_without_its_reply_is_cut(house: Spine) -> None:
    """A provider whose stream stops without its last message has cut it."""

    async def nothing(call):
        house.one.calls.append(call)
        return
        yield

    house.one.stream = nothing
    assert (await _refused(_stream(house, "id"))).reason is Reason.OUTCOME_UNKNOWN
    assert _state(house, "id") is AttemptState.UNKNOWN


async def test_reader_that_stops_early_detaches(house: Spine) -> None:
    """A stream closed after its first text is read to its end, settled and cached."""
    house.one.will("several words come one by one")
    steps = house.engine.stream(question(), caller("id"))
    await anext(steps)
    await steps.aclose()
    await house.sharing.settled()
    assert _state(house, "id") is AttemptState.SETTLED
    assert (await house.ask()).outcome is CacheOutcome.HIT


async def test_replay_as_a_stream_is_the_stored_reply(house: Spine) -> None:
    """An id that was settled by a stream is answered with its reply, unary or streamed, and paid once."""
    steps = await _stream(house, "id", mode=CacheMode.BYPASS)
    again = await _stream(house, "id", mode=CacheMode.BYPASS)
    assert [again[0].response] == [step.response for step in steps[-1:]]
    assert (await house.ask(request_id="id", mode=CacheMode.BYPASS)).outcome is CacheOutcome.REPLAY
    assert len(house.one.calls) == 1


async def test_joiner_of_a_stream_reads_it_from_its_beginning(house: Spine) -> None:
    """A second reader of the same question gets all text, and is COALESCED."""
    house.one.hold()
    house.one.will("some words")
    readers = [asyncio.create_task(_stream(house)) for _ in range(2)]
    await house.one.arrived(1)
    await house.boarded(2)
    house.one.release()
    first, second = await asyncio.gather(*readers)
    assert [step.text for step in second[:-1]] == [step.text for step in first[:-1]] == ["some", " words"]
    assert [first[-1].outcome, second[-1].outcome] == [CacheOutcome.MISS, CacheOutcome.COALESCED]


async def test_known_ids_outlive_a_restart(tmp_path: Path) -> None:
    """After a restart a settled id is replayed and one with another request refused, from the disk alone too."""
    async with spine(tmp_path) as house:
        first = await house.ask(request_id="id", mode=CacheMode.BYPASS)
    async with spine(tmp_path) as house:
        again = await house.ask(request_id="id", mode=CacheMode.BYPASS)
        assert (again.outcome, again.response) == (CacheOutcome.REPLAY, first.response)
        house.ledger._known._operations.clear()
        again = await house.ask(request_id="id", mode=CacheMode.BYPASS)
        assert (again.outcome, again.response) == (CacheOutcome.REPLAY, first.response)
        house.ledger._known._operations.clear()
        other = house.engine.complete(question("another", mode=CacheMode.BYPASS), caller("id", digest=b"e" * 32))
        assert (await _refused(other)).reason is Reason.REQUEST_ID_REUSED
        assert not house.one.calls


async def test_id_left_sent_by_a_crash_is_unknown_after_the_restart(tmp_path: Path) -> None:
    """An id whose attempt was under way when the daemon died is OUTCOME_UNKNOWN, and paid again only on request."""
    async with spine(tmp_path) as house:
        house.one.hold()
        house.start(request_id="id").set_name("left behind")
        await house.one.arrived(1)
        await house.sharing.close()
    async with spine(tmp_path) as house:
        assert (await _refused(house.ask(request_id="id"))).reason is Reason.OUTCOME_UNKNOWN
        reply = await house.ask(request_id="id", account=Accounting(allow_repeat=True))
        assert read(reply).cache_outcome == pb.CACHE_OUTCOME_MISS


async def test_same_route_is_tried_again_where_the_service_says_so(tmp_path: Path) -> None:
    """With on_ambiguous same_route a timeout is asked again on its route, each attempt with its own reservation."""
    async with spine(tmp_path, services={"brave": {"on_ambiguous": "same_route"}}) as house:
        house.one.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="one"), fake_reply("at last"))
        call = house.start(service="brave")
        await _ticking(house, call)
        assert read(call.result()).attempt_count == 2
        totals = (await house.stats()).totals
        assert (totals.unknown_count, totals.miss_count, totals.call_count) == (1, 1, 1)


async def test_stop_ends_at_an_unknown_outcome(tmp_path: Path) -> None:
    """With on_ambiguous stop no other route is tried after a timeout."""
    async with spine(tmp_path, services={"careful": {"on_ambiguous": "stop"}}) as house:
        house.one.will(ProviderFault(FaultKind.TIMEOUT, "slow", provider="one"))
        error = await _refused(house.ask(service="careful", fallback_models=("two/model-2",)))
        assert error.reason is Reason.PROVIDER_TIMEOUT
        assert not house.two.calls


async def test_what_the_adapter_cannot_send_goes_to_the_next_route(house: Spine) -> None:
    """A route whose adapter refuses the request is passed by before any money is held."""
    house.one._refusal = lambda _: DomainError(Reason.CAPABILITY_MISSING, "no", field="tools")
    assert read(await house.ask(fallback_models=("two/model-2",))).provider == "two"
    assert (await _refused(house.ask("alone"))).reason is Reason.CAPABILITY_MISSING
