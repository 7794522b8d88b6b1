"""Calls that were announced together: they leave together, or singly when that can't be."""

import asyncio
from collections.abc import Sequence

from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.dispatch.siblings import Siblings, current_sibling, stand_aside

from tests.daemon.scheduling.asks import ask, dispatcher, taken
from tests.fakes import FakeClock, settle


def announced(house: Dispatcher, asks: Sequence[Ask | None]) -> list["asyncio.Task[Grant | None]"]:
    """Begin work on requests that were announced together; None ends without asking, and `...` never ends."""
    siblings = Siblings(len(asks))

    async def one(wanted: Ask | None) -> Grant | None:
        with siblings.next_one():
            if wanted is None:
                return None
            if wanted is ...:
                await asyncio.Event().wait()
            return await house.acquire(ask(**{name: getattr(wanted, name) for name in NAMES}, sibling=current_sibling()))

    return [asyncio.create_task(one(wanted)) for wanted in asks]


NAMES = ("provider", "prefix", "deadline", "service")


def wide(clock: FakeClock | None = None, **given) -> Dispatcher:
    """Return a dispatcher with many slots."""
    return dispatcher(clock, **({"total": 50, "per_provider": 10, "queue": 100} | given))


async def test_announced_calls_leave_together() -> None:
    """All slots are free, and yet the first waits for the last: one batch, and no timer is left."""
    clock = FakeClock()
    house = wide(clock)
    tasks = announced(house, [ask() for _ in range(4)])
    grants = await asyncio.gather(*tasks)
    assert len({grant.batch for grant in grants}) == 1
    assert (house.queued, house.line("a").counts.sizes()[4], house.line("a").counts.fallbacks) == (0, 1, 0)
    await settle()
    assert clock.sleeper_count == 0


async def test_members_of_a_batch_go_in_the_order_in_which_they_came() -> None:
    """The last one, with whom the batch is complete, does not run before the others."""
    house, order = wide(), []
    for number, task in enumerate(announced(house, [ask() for _ in range(3)])):
        task.add_done_callback(lambda _, number=number: order.append(number))
    await settle()
    assert order == [0, 1, 2]


async def test_last_member_can_leave_in_the_moment_of_its_grant() -> None:
    """A caller that is cancelled as its batch leaves gives its slot back."""
    house = wide()
    tasks = announced(house, [ask(), ask()])
    await asyncio.sleep(0)
    tasks[1].cancel()
    await settle()
    assert (tasks[0].done(), house.in_flight, house.queued) == (True, 1, 0)


async def test_batches_are_of_one_provider_and_one_prefix() -> None:
    """What was announced together is grouped by provider and prefix."""
    house = wide()
    asks = [ask("a", prefix=b"x"), ask("b"), ask("a", prefix=b"y"), ask("a", prefix=b"x"), ask("b")]
    grants = await asyncio.gather(*announced(house, asks))
    groups: dict[int, set[tuple[str, bytes]]] = {}
    for grant in grants:
        groups.setdefault(grant.batch, set()).add((grant.ask.provider, grant.ask.prefix))
    assert sorted(map(len, groups.values())) == [1, 1, 1]


async def test_full_batch_waits_for_nobody() -> None:
    """As soon as a batch is full it leaves, whatever else is still to come."""
    house = wide(max_batch_size=2)
    tasks = announced(house, [ask(), ask(), ask(), ...])
    await settle()
    assert [task.done() for task in tasks] == [True, True, False, False]
    tasks[3].cancel()  # will not come: the third waits for nobody
    await settle()
    assert tasks[2].done()


async def test_whoever_ends_without_a_call_is_not_awaited() -> None:
    """Requests that were answered from the cache, or refused, hold up nobody."""
    house = wide()
    tasks = announced(house, [None, ask(), None, ask(), None])
    grants = [grant for grant in await asyncio.gather(*tasks) if grant]
    assert grants[0].batch == grants[1].batch


async def test_whoever_stands_aside_is_not_awaited() -> None:
    """A request that waits for another call is not waited for, and asks later like any other."""
    house, gate = wide(), asyncio.Event()
    siblings = Siblings(2)

    async def follower() -> Grant:
        with siblings.next_one():
            stand_aside()
            await gate.wait()
            return await house.acquire(ask(sibling=current_sibling()))

    async def leader() -> Grant:
        with siblings.next_one():
            return await house.acquire(ask(sibling=current_sibling()))

    tasks = [asyncio.create_task(leader()), asyncio.create_task(follower())]
    await settle()
    assert tasks[0].done()
    gate.set()
    assert (await tasks[1]).batch != tasks[0].result().batch


async def test_standing_aside_means_nothing_to_others() -> None:
    """Work that was not announced with other work stands aside without effect."""
    stand_aside()
    assert current_sibling() is None


async def test_stalled_batch_leaves_singly() -> None:
    """When a sibling does not come in time, those who came leave one by one, and that is counted."""
    clock = FakeClock()
    house = wide(clock)
    tasks = announced(house, [ask(prefix=b"x"), ask(prefix=b"x"), ...])
    await settle()
    assert house.queued == 2
    clock.advance(1.9)
    await settle()
    assert not tasks[0].done()
    clock.advance(0.2)
    await settle()
    counts = house.line("a").counts
    assert (counts.fallbacks, counts.sizes()) == (2, {1: 2})
    assert tasks[0].result().batch != tasks[1].result().batch
    assert counts.waits.total_us == 2 * 2_100_000
    tasks[2].cancel()


async def test_batch_that_does_not_fit_leaves_singly() -> None:
    """With two slots for a batch of three, the third goes when a slot comes free, and is counted."""
    house = wide(per_provider=2)
    tasks = announced(house, [ask() for _ in range(3)])
    await settle()
    assert [task.done() for task in tasks] == [True, True, False]
    assert house.line("a").counts.fallbacks == 1
    tasks[0].result().close()
    await tasks[2]


async def test_batch_that_the_rate_does_not_bear_leaves_singly() -> None:
    """With a rate for two of three, the third goes when the rate allows it."""
    clock = FakeClock()
    house = wide(clock, rates={"a": {"requests_per_minute": 2}})
    tasks = announced(house, [ask() for _ in range(3)])
    await settle()
    assert ([task.done() for task in tasks], house.line("a").counts.fallbacks) == ([True, True, False], 1)
    clock.advance(30.0)
    await tasks[2]


async def test_near_deadline_waits_for_no_siblings() -> None:
    """A call that has less time than the window leaves at once."""
    clock = FakeClock()
    house = wide(clock)
    tasks = announced(house, [ask(deadline=1.0), ...])
    await settle()
    assert tasks[0].done()
    tasks[1].cancel()


async def test_window_can_be_switched_off() -> None:
    """With a wait of 0, or batches of 1, announced calls leave at once."""
    for off in ({"max_wait_s": 0}, {"max_batch_size": 1}):
        house = wide(**off)
        tasks = announced(house, [ask(), ...])
        await settle()
        assert tasks[0].done()
        tasks[1].cancel()


async def test_last_one_alone_does_not_wait() -> None:
    """One call whose siblings all ended without one leaves without a wait."""
    house = wide()
    tasks = announced(house, [None, None, ask()])
    await settle()
    assert (tasks[2].done(), house.line("a").counts.waits.total_us) == (True, 0)


async def test_member_that_leaves_its_window_holds_nothing() -> None:
    """A caller that goes while its call waits for siblings leaves the others as they are."""
    house = wide()
    tasks = announced(house, [ask(), ask(), ...])
    await settle()
    tasks[0].cancel()
    await settle()
    assert house.queued == 1
    tasks[2].cancel()
    assert (await tasks[1]).ask.provider == "a"
    assert (house.in_flight, house.queued) == (1, 0)


async def test_full_queue_holds_nobody_for_siblings() -> None:
    """Where no place to wait is left, announced calls take free slots at once."""
    house = wide(queue=0)
    grants = await asyncio.gather(*announced(house, [ask(), ask()]))
    assert len({grant.batch for grant in grants}) == 2


async def test_others_do_not_wait_for_announced_calls() -> None:
    """A call that was not announced with those in a window passes them."""
    house = wide()
    tasks = announced(house, [ask(), ...])
    await settle()
    assert (await taken(house)).ask.provider == "a"
    assert not tasks[0].done()
    for task in tasks:
        task.cancel()
