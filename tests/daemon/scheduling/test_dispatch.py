"""The dispatcher: slots, their order, and that none is ever lost."""

import asyncio

import pytest
from aigend.config import ProviderSettings
from aigend.enums import Lane
from aigend.errors import DomainError, Reason

from tests.daemon.scheduling.asks import ask, at_once, dispatcher, limits, sent, start, taken
from tests.fakes import FakeClock, settle


async def test_free_slot_is_granted_without_a_wait() -> None:
    """A call that finds a free slot leaves in the same step: no task, no timer, no turn of the loop."""
    clock = FakeClock()
    house = dispatcher(clock, queue=0)
    await at_once(house, "a")
    await at_once(house, "b")
    assert (house.in_flight, house.line("a").in_flight, house.queued, clock.sleeper_count) == (2, 1, 0, 0)


async def test_full_provider_holds_up_nobody_else() -> None:
    """Calls to another provider pass those who wait for a full one."""
    house = dispatcher(total=3)
    first = await taken(house)
    waiting = start(house)
    await settle()
    await at_once(house, "b")
    assert not waiting.done()
    first.close()
    await waiting
    assert house.line("a").in_flight == 1


async def test_slots_go_to_whoever_waited_longest() -> None:
    """Calls of one service are let go in the order in which they came."""
    house = dispatcher()
    first = await taken(house)
    order: list[int] = []

    async def caller(number: int) -> None:
        with await taken(house):
            order.append(number)

    tasks = [asyncio.create_task(caller(number)) for number in range(4)]
    await settle()
    first.close()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_newcomer_does_not_pass_those_who_wait() -> None:
    """A slot that came free for somebody is not taken by who just arrives."""
    house = dispatcher()
    first = await taken(house)
    waiting = start(house)
    await settle()
    first.close()
    newcomer = start(house)
    await settle()
    assert waiting.done()
    assert not newcomer.done()
    newcomer.cancel()


async def test_whoever_leaves_the_queue_holds_nothing() -> None:
    """A caller that leaves while it waits holds no place, no slot and no timer."""
    clock = FakeClock()
    house = dispatcher(clock, queue=1)
    first = await taken(house)
    waiting = start(house)
    await settle()
    waiting.cancel()
    await settle()
    assert house.queued == 0
    first.close()
    assert (house.in_flight, clock.sleeper_count) == (0, 0)


async def test_slot_granted_in_the_moment_of_leaving_is_given_back() -> None:
    """A caller that is cancelled after its slot was granted, and before it could run, keeps none."""
    house = dispatcher()
    first = await taken(house)
    leaver, next_one = start(house), start(house)
    await settle()
    first.close()
    leaver.cancel()
    assert (await next_one).ask.provider == "a"
    assert (house.in_flight, house.queued) == (1, 0)


async def test_whoever_is_leaving_is_passed_by() -> None:
    """A slot that comes free in the moment in which a caller is cancelled goes to the next one."""
    house = dispatcher()
    first = await taken(house)
    leaver, stayer = start(house), start(house)
    await settle()
    leaver.cancel()
    first.close()  # before the leaver could run
    await stayer
    await settle()
    assert (house.in_flight, house.queued) == (1, 0)


async def test_a_slot_comes_back_once() -> None:
    """Closing a grant twice gives one slot back."""
    house = dispatcher()
    grant = await taken(house)
    with grant:
        grant.close()
    assert house.in_flight == 0


async def test_higher_limit_lets_those_in_who_wait() -> None:
    """Raising the limits lets calls go; lowering them stops nobody who is under way."""
    house = dispatcher()
    first = await taken(house)
    waiting = start(house)
    await settle()
    house.use(limits(per_provider=2), providers={}, adaptive=False)
    second = await waiting
    house.use(limits(per_provider=1), providers={}, adaptive=False)
    third = start(house)
    first.close()
    await settle()
    assert (house.in_flight, third.done()) == (1, False)
    second.close()
    await third


async def test_full_house_serves_providers_in_turn() -> None:
    """Where all slots in all are taken, a provider with many waiting does not keep the others from their turn."""
    house = dispatcher(total=1, per_provider=1, queue=10)
    slot = await taken(house)
    many = [start(house, "a") for _ in range(3)]
    await settle()
    one = start(house, "b")
    await settle()
    slot.close()
    await settle()
    (await many[0]).close()
    await settle()
    assert one.done()
    assert not many[1].done()
    for task in many:
        task.cancel()


async def test_earliest_deadline_goes_first() -> None:
    """Within a service the call whose deadline comes first goes first, before those that have none."""
    house = dispatcher()
    slot = await taken(house)
    tasks = {name: start(house, deadline=at) for name, at in (("late", 50.0), ("none", None), ("soon", 5.0))}
    order: list[str] = []
    for name, task in tasks.items():
        task.add_done_callback(lambda done, name=name: (order.append(name), done.result().close()))
    await settle()
    slot.close()
    await settle(40)
    assert order == ["soon", "late", "none"]


async def test_interactive_goes_before_flex() -> None:
    """A call of a better lane passes those that came before it."""
    house = dispatcher()
    slot = await taken(house)
    flex = start(house, lane=Lane.FLEX)
    await settle()
    interactive = start(house)
    await settle()
    slot.close()
    await settle()
    assert (interactive.done(), flex.done()) == (True, False)
    flex.cancel()


@pytest.mark.parametrize(("lane", "age_s"), [(Lane.FLEX, 31.0), (Lane.DEFERRED, 301.0)])
async def test_whoever_has_waited_long_rises(lane: Lane, age_s: float) -> None:
    """A stream of interactive calls does not keep those of other lanes waiting for ever."""
    clock = FakeClock()
    house = dispatcher(clock)
    slot = await taken(house)
    old = start(house, lane=lane)
    await settle()
    clock.advance(age_s)
    fresh = start(house)
    await settle()
    slot.close()
    await settle()
    assert (old.done(), fresh.done()) == (True, False)
    fresh.cancel()


async def test_a_call_whose_deadline_has_passed_is_not_let_go() -> None:
    """A slot is not spent on a call that nobody waits for any more; it goes to the next one."""
    clock = FakeClock()
    house = dispatcher(clock)
    slot = await taken(house)
    late, patient = start(house, deadline=1.0), start(house)
    await settle()
    clock.advance(2.0)
    slot.close()
    with pytest.raises(DomainError) as refused:
        await late
    assert refused.value.reason is Reason.OVERLOADED
    assert (await patient).ask.deadline is None
    assert (house.in_flight, house.queued) == (1, 0)


async def test_waits_and_batches_are_counted() -> None:
    """Every call that was let go is one wait, and every batch has its size."""
    clock = FakeClock()
    house = dispatcher(clock)
    slot = await taken(house)
    waiting = start(house)
    await settle()
    clock.advance(0.25)
    slot.close()
    await waiting
    counts = house.line("a").counts
    assert (sum(counts.waits.counts), counts.waits.total_us, counts.sizes()) == (2, 250_000, {1: 2})


async def test_those_with_one_prefix_leave_together() -> None:
    """When several slots come free at once, a batch holds those with the prefix of whoever is next, however late they came."""
    house = dispatcher(total=5, per_provider=1, max_batch_size=3, queue=10)
    slot = await taken(house)
    prefixes = [b"x", b"y", b"x", b"x", b"y", b"x"]
    tasks = [start(house, prefix=prefix) for prefix in prefixes]
    await settle()
    house.use(limits(total=6, per_provider=6, max_batch_size=3, queue=10), providers={}, adaptive=False)
    await settle()
    batches: dict[int, list[int]] = {}
    for number, task in enumerate(tasks):
        if task.done():
            batches.setdefault(task.result().batch, []).append(number)
    assert list(batches.values()) == [[0, 2, 3], [1, 4]]
    slot.close()
    assert (await tasks[5]).batch not in batches
    assert house.line("a").counts.sizes() == {1: 2, 2: 1, 3: 1}


async def test_those_without_a_prefix_leave_in_order() -> None:
    """Calls that share no prefix are a batch where they leave in one moment, at most as large as the settings say."""
    house = dispatcher(total=5, per_provider=1, max_batch_size=2)
    await taken(house)
    tasks = [start(house) for _ in range(3)]
    await settle()
    house.use(limits(total=5, per_provider=5, max_batch_size=2), providers={}, adaptive=False)
    await settle()
    numbers = [task.result().batch for task in tasks]
    assert numbers[0] == numbers[1] != numbers[2]
    assert house.line("a").counts.sizes() == {1: 2, 2: 1}


async def test_settings_of_rates_change_while_it_runs() -> None:
    """A rate that was taken away holds up nobody, and one that was set counts from then on."""
    clock = FakeClock()
    house = dispatcher(clock, rates={"a": {"requests_per_minute": 1}}, per_provider=5, total=5)
    await sent(house)
    waiting = start(house)
    await settle()
    assert not waiting.done()
    house.use(house.limits, providers={"a": ProviderSettings()}, adaptive=False)
    await waiting
    house.use(house.limits, providers={"a": ProviderSettings(requests_per_minute=60)}, adaptive=False)
    assert house.line("a").rate_wait_s(ask(), clock.monotonic()) == 0
