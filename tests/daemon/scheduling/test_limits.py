"""Dispatch limits: how many calls are under way at once."""

import asyncio

import pytest
from aigend.errors import DomainError, Reason
from aigend.scheduling.limits import DispatchLimits


async def _settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_free_slot_is_granted_at_once() -> None:
    """A caller that finds a free slot does not wait."""
    limits = DispatchLimits(total=2, per_provider=1, queue=0)
    await limits.acquire("a")
    await limits.acquire("b")
    assert (limits.in_flight, limits.in_flight_at("a"), limits.queued) == (2, 1, 0)


async def test_full_provider_holds_up_nobody_else() -> None:
    """Callers of another provider pass those who wait for a full one."""
    limits = DispatchLimits(total=3, per_provider=1, queue=5)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    await limits.acquire("b")
    assert not waiting.done()
    limits.release("a")
    await waiting
    assert limits.in_flight_at("a") == 1


async def test_slots_go_to_whoever_waited_longest() -> None:
    """Waiters of one provider are served in the order in which they came."""
    limits = DispatchLimits(total=1, per_provider=1, queue=5)
    await limits.acquire("a")
    order: list[int] = []

    async def caller(number: int) -> None:
        await limits.acquire("a")
        order.append(number)
        limits.release("a")

    tasks = [asyncio.create_task(caller(number)) for number in range(4)]
    await _settle()
    limits.release("a")
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_newcomer_does_not_pass_those_who_wait() -> None:
    """A slot that came free for a waiter is not taken by somebody who just arrives."""
    limits = DispatchLimits(total=1, per_provider=1, queue=5)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    limits.release("a")
    newcomer = asyncio.create_task(limits.acquire("a"))
    await _settle()
    assert waiting.done()
    assert not newcomer.done()
    newcomer.cancel()


async def test_full_queue_is_refused_with_retry_info() -> None:
    """One caller more than the queue holds gets OVERLOADED and is told when to come again."""
    limits = DispatchLimits(total=1, per_provider=1, queue=1)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    with pytest.raises(DomainError) as refused:
        await limits.acquire("a")
    assert refused.value.reason is Reason.OVERLOADED
    assert refused.value.retry_after_s is not None
    assert refused.value.metadata == {"queued": "1", "limit": "1"}
    waiting.cancel()


async def test_cancelled_waiter_leaves_the_queue() -> None:
    """A caller that leaves while waiting holds no place and no slot."""
    limits = DispatchLimits(total=1, per_provider=1, queue=1)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert limits.queued == 0
    limits.release("a")
    assert limits.in_flight == 0


async def test_slot_granted_while_leaving_is_given_back() -> None:
    """A caller that is cancelled in the moment in which its slot is granted does not keep it."""
    limits = DispatchLimits(total=1, per_provider=1, queue=1)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    limits.release("a")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert limits.in_flight == 0


async def test_higher_limit_lets_waiters_in() -> None:
    """Raising the limits admits those who wait."""
    limits = DispatchLimits(total=1, per_provider=1, queue=5)
    await limits.acquire("a")
    waiting = asyncio.create_task(limits.acquire("a"))
    await _settle()
    limits.resize(total=2, per_provider=2, queue=5)
    await waiting
    assert limits.in_flight == 2


async def test_waiter_that_is_leaving_is_passed_by() -> None:
    """A slot that comes free in the moment in which a waiter is cancelled goes to the next one, and nothing breaks."""
    limits = DispatchLimits(total=1, per_provider=1, queue=5)
    await limits.acquire("a")
    leaver, stayer = asyncio.create_task(limits.acquire("a")), asyncio.create_task(limits.acquire("a"))
    await _settle()
    leaver.cancel()
    limits.release("a")  # before the leaver could run
    await stayer
    assert (limits.in_flight, limits.queued) == (1, 0)


async def test_slot_granted_in_the_moment_of_leaving_is_given_back() -> None:
    """A waiter cancelled after it was let in keeps no slot."""
    limits = DispatchLimits(total=1, per_provider=1, queue=5)
    await limits.acquire("a")
    leaver = asyncio.create_task(limits.acquire("a"))
    await _settle()
    limits.release("a")
    leaver.cancel()
    await _settle()
    assert (limits.in_flight, limits.queued) == (0, 0)
    await limits.acquire("a")
