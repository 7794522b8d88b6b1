"""Who is not let in: fair shares of the queue, and deadlines that can't be met."""

import pytest
from aigend.enums import Lane
from aigend.errors import DomainError, Reason

from tests.daemon.scheduling.asks import dispatcher, sent, start, taken
from tests.fakes import FakeClock, settle


async def refusal(awaitable) -> DomainError:
    """Return what a call was refused with."""
    with pytest.raises(DomainError) as refused:
        await awaitable
    assert refused.value.retry_after_s is not None
    return refused.value


async def test_full_queue_is_refused_with_retry_info() -> None:
    """One call more than the queue holds gets OVERLOADED and is told when to come again."""
    house = dispatcher(queue=1)
    await taken(house)
    waiting = start(house)
    await settle()
    error = await refusal(taken(house))
    assert error.reason is Reason.OVERLOADED
    assert error.metadata == {"queued": "1", "limit": "1"}
    assert house.line("a").counts.refused == {"queue": 1}
    waiting.cancel()


async def test_without_a_queue_nobody_waits() -> None:
    """A queue of 0 lets calls go at once or not at all."""
    house = dispatcher(queue=0)
    await taken(house)
    assert (await refusal(taken(house))).reason is Reason.OVERLOADED


async def test_greedy_service_makes_room_for_others() -> None:
    """A full queue lets in a service that has less than its share: the newest call of the greediest one is refused instead."""
    house = dispatcher(queue=4)
    await taken(house)
    greedy = [start(house, service="greedy") for _ in range(4)]
    await settle()
    modest = [start(house, service="modest") for _ in range(2)]
    await settle()
    assert [task.done() for task in greedy] == [False, False, True, True]
    assert (await refusal(greedy[3])).reason is Reason.OVERLOADED
    assert (await refusal(greedy[2])).metadata == {"queued": "4", "limit": "4"}
    assert not any(task.done() for task in modest)
    assert (await refusal(taken(house, service="modest"))).reason is Reason.OVERLOADED  # it has its half now
    assert house.line("a").counts.refused == {"displaced": 2, "queue": 1}
    assert (house.queued, house.queued_at("a"), house.queued_at("b")) == (4, 4, 0)
    for task in (*greedy[:2], *modest):
        task.cancel()


async def test_without_shares_a_greedy_service_keeps_others_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: if nobody had a share, whoever fills the queue first would keep all others out."""
    monkeypatch.setattr("aigend.scheduling.dispatch.roster.Roster.within_share", lambda *_, **__: False)
    house = dispatcher(queue=4)
    await taken(house)
    greedy = [start(house, service="greedy") for _ in range(4)]
    await settle()
    assert (await refusal(taken(house, service="modest"))).reason is Reason.OVERLOADED
    for task in greedy:
        task.cancel()


async def test_last_lane_makes_room_first() -> None:
    """Of a service's calls those that can wait longest are given up first, though others came later."""
    house = dispatcher(queue=2)
    await taken(house)
    flex = start(house, service="greedy", lane=Lane.FLEX)
    await settle()
    interactive = start(house, service="greedy")
    await settle()
    modest = start(house, service="modest")
    await settle()
    assert (flex.done(), interactive.done(), modest.done()) == (True, False, False)
    assert (await refusal(flex)).reason is Reason.OVERLOADED
    for task in (interactive, modest):
        task.cancel()


async def test_scopes_share_the_queue_too() -> None:
    """Services of one name in two scopes are two."""
    house = dispatcher(queue=2)
    await taken(house)
    greedy = [start(house, scope="one") for _ in range(2)]
    await settle()
    other = start(house, scope="two")
    await settle()
    assert greedy[1].done()
    assert not other.done()
    await refusal(greedy[1])
    for task in (greedy[0], other):
        task.cancel()


async def test_whoever_is_leaving_can_make_room() -> None:
    """The newest call of the greediest service may be on its way out already; nothing is lost."""
    house = dispatcher(queue=2)
    slot = await taken(house)
    greedy = [start(house, service="greedy") for _ in range(2)]
    await settle()
    greedy[1].cancel()
    modest = start(house, service="modest")
    await settle()
    assert house.queued == 2
    slot.close()
    (await greedy[0]).close()
    (await modest).close()
    await settle()
    assert (house.in_flight, house.queued) == (0, 0)


async def test_deadline_that_cant_be_met_is_refused_at_the_door() -> None:
    """Slots are held for 10 s on average: who has 5 s is told so at once, who has 30 s waits."""
    clock = FakeClock()
    house = dispatcher(clock)
    first = await taken(house)
    first.sent = True
    clock.advance(10.0)
    first.close()
    await taken(house)
    now = clock.monotonic()
    error = await refusal(taken(house, deadline=now + 5.0))
    assert (error.reason, error.retry_after_s, error.metadata["wait_ms"]) == (Reason.OVERLOADED, 10.0, "10000")
    assert house.line("a").counts.refused == {"deadline": 1}
    patient = start(house, deadline=now + 30.0)
    await settle()
    assert not patient.done()
    patient.cancel()


async def test_queue_counts_for_the_deadline() -> None:
    """What goes before a call adds to its wait: its own service's calls, and as many of others."""
    clock = FakeClock()
    house = dispatcher(clock, queue=10)
    first = await taken(house)
    first.sent = True
    clock.advance(10.0)
    first.close()
    await taken(house)
    queue = [start(house, service=name) for name in ("x", "x", "y")]
    await settle()
    now = clock.monotonic()
    assert (await refusal(taken(house, service="x", deadline=now + 35.0))).metadata["wait_ms"] == "40000"
    fresh = start(house, service="z", deadline=now + 35.0)  # one of x and one of y go before it
    await settle()
    assert not fresh.done()
    for task in (*queue, fresh):
        task.cancel()


async def test_deadline_before_the_rate_is_refused_at_the_door() -> None:
    """Where the rate is the reason, the call gets RATE_LIMITED and the time at which there is a place."""
    clock = FakeClock()
    house = dispatcher(clock, rates={"a": {"requests_per_minute": 2}}, per_provider=2)
    await sent(house)
    await sent(house)
    error = await refusal(taken(house, deadline=clock.monotonic() + 20.0))
    assert (error.reason, error.retry_after_s) == (Reason.RATE_LIMITED, pytest.approx(30.0))
    assert (error.metadata["provider"], error.metadata["wait_ms"]) == ("a", "30000")
    waiting = start(house, deadline=clock.monotonic() + 40.0)
    await settle()
    error = await refusal(taken(house, deadline=clock.monotonic() + 40.0))  # one goes before it
    assert error.retry_after_s == pytest.approx(60.0)
    clock.advance(30.0)
    await waiting


async def test_without_a_deadline_the_queue_of_the_rate_is_waited_for() -> None:
    """Calls without a deadline wait for the rate, however many go before."""
    clock = FakeClock()
    house = dispatcher(clock, rates={"a": {"requests_per_minute": 1}}, per_provider=2)
    await sent(house)
    waiting = [start(house) for _ in range(3)]
    for done in (1, 2):
        await settle()
        clock.advance(60.0)
        await settle()
        assert sum(task.done() for task in waiting) == done
        waiting[done - 1].result().sent = True
        waiting[done - 1].result().close()
    waiting[2].cancel()
