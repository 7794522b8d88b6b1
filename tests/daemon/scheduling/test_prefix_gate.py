"""The prefix gate: who goes ahead, who follows when, and that nobody waits longer than the bound."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest
from aigend.scheduling.prompt_cache.prefix_gate import (
    FIRST_SETTLE_S,
    FUTILE_S,
    LONGEST_SETTLE_S,
    MOST_MISSES,
    NOTHING_SHARED,
    Approach,
    Passage,
    PrefixGate,
    Waited,
)
from aigend.scheduling.prompt_cache.prefixes import Prefix
from aigend.types import PartPlace, TokenUsage
from hypothesis import given
from hypothesis import strategies as st

from tests.fakes import FakeClock, settle

BOUND_S = 5.0
READ, MISSED = TokenUsage(input=10, cache_read=2_000), TokenUsage(input=2_010)


def approach(*names: str, owner: str = "local\0one/model-1", ttl_s: float = 300.0) -> Approach:
    """Return an approach with these prefixes, from the shortest to the longest."""
    prefixes = tuple(
        Prefix(digest=name.encode(), tokens=2_000 * (index + 1), place=PartPlace(None, index), blocks=index + 1)
        for index, name in enumerate(names)
    )
    return Approach(provider="one", owner=owner, prefixes=prefixes, ttl_s=ttl_s)


class House:
    """A gate on a clock that stands, and the calls at it."""

    def __init__(self, **more) -> None:
        self.clock = FakeClock()
        self.gate = PrefixGate(clock=self.clock, **more)
        self.order: list[str] = []

    async def _enter(self, name: str, brought: Approach, wait_s: float) -> Passage:
        passage = await self.gate.enter(brought, wait_s=wait_s)
        self.order.append(name)
        return passage

    async def call(
        self, name: str, *prefixes: str, wait_s: float = BOUND_S, owner: str = "local\0one/model-1"
    ) -> "asyncio.Task[Passage]":
        """Let a call come to the gate, and go as far as it can."""
        task = asyncio.create_task(self._enter(name, approach(*prefixes, owner=owner), wait_s))
        await settle()
        return task

    async def advance(self, seconds: float) -> None:
        """Let time pass and everybody act on it."""
        self.clock.advance(seconds)
        await settle()

    async def opened(self, *prefixes: str) -> list["asyncio.Task[Passage]"]:
        """Return a leader and one follower that has left because the leader began."""
        leader = await self.call("leader", *prefixes)
        follower = await self.call("follower", *prefixes)
        leader.result().began()
        await self.advance(self.gate.settle_s("one"))
        assert follower.done()
        return [leader, follower]


async def test_one_goes_ahead_and_the_others_follow_after_the_first_token() -> None:
    """Followers wait until the first token has come and the provider has had time to keep the prefix."""
    house = House()
    leader = await house.call("a", "p")
    others = [await house.call(name, "p") for name in "bcde"]
    assert (house.order, house.gate.waiting) == (["a"], 4)
    assert leader.result().awaited
    leader.result().began()
    await house.advance(FIRST_SETTLE_S - 0.01)
    assert house.order == ["a"]
    await house.advance(0.01)
    assert (house.order, house.gate.waiting) == (list("abcde"), 0)
    assert house.gate.waited == {Waited.OPENED: 4}
    assert not any(other.result().awaited for other in others)


async def test_control_without_patience_all_go_at_once() -> None:
    """Control: with a bound of nothing all five are sent together, and each would pay for the prefix."""
    house = House()
    for name in "abcde":
        await house.call(name, "p", wait_s=0.0)
    assert house.order == list("abcde")


async def test_calls_that_share_nothing_never_wait() -> None:
    """Another prefix, another owner, or none at all: nobody to follow."""
    house = House()
    await house.call("a", "p")
    await house.call("b", "q")
    await house.call("c", "p", owner="other\0one/model-1")
    free = await house.gate.enter(NOTHING_SHARED, wait_s=BOUND_S)
    assert (house.order, free.awaited) == (["a", "b", "c"], False)


async def test_nobody_waits_for_a_call_of_another_lane() -> None:
    """A call of a slow lane that is sending the prefix holds up none of a quick one; what it has brought is known to both."""
    house = House()
    slow = await house.gate.enter(replace(approach("p"), lane="flex"), wait_s=BOUND_S)
    quick = await house.call("quick", "p")
    assert quick.done()
    slow.ended(MISSED)
    assert (await house.call("late", "p")).done()
    assert quick.result().awaited is False


async def test_an_answer_that_came_whole_needs_no_settling() -> None:
    """Where no first token was seen, followers leave with the leader's answer, at once."""
    house = House()
    leader, follower = await house.call("a", "p"), await house.call("b", "p")
    await house.advance(1.0)
    leader.result().ended(MISSED)
    await settle()
    assert follower.done()


async def test_nobody_waits_longer_than_the_bound() -> None:
    """A leader that never begins holds up nobody beyond the bound, and the first token's settling neither."""
    house = House()
    leader = await house.call("a", "p")
    slow = await house.call("b", "p")
    await house.advance(BOUND_S - 0.05)
    leader.result().began()
    await settle()
    assert not slow.done()
    await house.advance(0.05)
    assert slow.done()
    assert house.gate.waited == {Waited.TOO_LONG: 1}


async def test_control_without_a_bound_a_silent_leader_holds_everybody() -> None:
    """Control: with an hour of patience a leader that never begins still holds up the other after the usual bound."""
    house = House()
    await house.call("a", "p")
    patient = await house.call("b", "p", wait_s=3_600.0)
    await house.advance(BOUND_S)
    assert not patient.done()
    patient.cancel()
    await settle()


async def test_a_failed_leader_is_followed_by_one_new_leader() -> None:
    """Where a leader leaves without an answer the first who waits leads, and the others wait for that one: no stampede."""
    house = House()
    first = await house.call("a", "p")
    second, third = await house.call("b", "p"), await house.call("c", "p")
    with first.result():
        pass
    await settle()
    assert house.order == ["a", "b"]
    assert second.result().awaited
    second.result().began()
    await house.advance(FIRST_SETTLE_S)
    assert third.done()


async def test_a_leader_that_fails_after_its_first_token_opens_the_gate() -> None:
    """The provider has the prefix as soon as it speaks, whatever becomes of the rest of the answer."""
    house = House()
    leader, follower = await house.call("a", "p"), await house.call("b", "p")
    with leader.result() as passage:
        passage.began()
    await house.advance(FIRST_SETTLE_S)
    assert follower.done()
    assert (await house.call("c", "p")).done()


async def test_the_rest_of_the_bound_counts_after_a_failed_leader() -> None:
    """Following two leaders in turn takes no longer than the bound in all."""
    house = House()
    first = await house.call("a", "p")
    await house.call("b", "p")
    third = await house.call("c", "p")
    await house.advance(3.0)
    with first.result():
        pass
    await house.advance(2.0)
    assert third.done()


async def test_a_follower_that_goes_away_leaves_nothing_behind() -> None:
    """A cancelled follower no longer counts, and the next one is not disturbed."""
    house = House()
    leader, gone, stays = await house.call("a", "p"), await house.call("b", "p"), await house.call("c", "p")
    gone.cancel()
    await settle()
    assert (gone.cancelled(), house.gate.waiting, leader.result().awaited) == (True, 1, True)
    leader.result().ended(READ)
    await settle()
    assert stays.done()
    assert (house.gate.waiting, house.gate.under_way) == (0, 0)


async def test_a_prefix_that_is_kept_holds_up_nobody_until_it_ends() -> None:
    """While the provider keeps a prefix calls pass; each answer renews it; afterwards one leads again."""
    house = House()
    (await house.call("a", "p")).result().ended(MISSED)
    await house.advance(299.0)
    again = [await house.call(name, "p") for name in "bc"]
    assert all(task.done() for task in again)
    again[0].result().ended(READ)
    await house.advance(299.0)
    assert (await house.call("d", "p")).done()
    await house.advance(1.0)
    assert (await house.call("e", "p")).done()
    assert not (await house.call("f", "p")).done()


async def test_the_longest_shared_prefix_is_followed() -> None:
    """A call that shares only the beginning follows as well, and then leads with what is its own."""
    house = House()
    leader = await house.call("a", "system", "system, document one")
    same, other = await house.call("b", "system", "system, document one"), await house.call("c", "system", "system, document two")
    assert house.gate.waiting == 2
    leader.result().began()
    await house.advance(FIRST_SETTLE_S)
    assert same.done()
    assert other.done()
    late = await house.call("d", "system", "system, document two")
    assert not late.done()
    other.result().ended(READ)
    await settle()
    assert late.done()


async def test_one_that_has_the_longer_prefix_waits_for_no_shorter_one() -> None:
    """Where a longer prefix is kept, nothing that it begins with is worth a wait."""
    house = House()
    (await house.call("a", "long")).result().ended(READ)
    await house.call("b", "short")
    assert (await house.call("c", "short", "long")).done()


async def test_settling_grows_where_followers_came_too_early() -> None:
    """A follower that read nothing came too early: the next ones leave later, up to a bound; those that read let it shrink."""
    house = House()
    _, follower = await house.opened("p0")
    follower.result().ended(MISSED)
    assert house.gate.settle_s("one") == pytest.approx(2 * FIRST_SETTLE_S + 0.05)
    _, follower = await house.opened("p1")
    follower.result().ended(READ)
    assert house.gate.settle_s("one") == pytest.approx((2 * FIRST_SETTLE_S + 0.05) * 0.98)
    for number in range(2, 12):
        _, follower = await house.opened(f"p{number}")
        follower.result().ended(MISSED if number % 3 else READ)
    assert house.gate.settle_s("one") <= LONGEST_SETTLE_S
    assert house.gate.settle_s("another") == FIRST_SETTLE_S


async def test_one_opening_teaches_once() -> None:
    """Four followers that left together have seen one thing, not four."""
    house = House()
    leader = await house.call("leader", "p")
    followers = [await house.call(name, "p") for name in "abcd"]
    leader.result().began()
    await house.advance(FIRST_SETTLE_S)
    for follower in followers:
        follower.result().ended(MISSED)
    assert house.gate.settle_s("one") == pytest.approx(2 * FIRST_SETTLE_S + 0.05)


async def test_an_answer_that_came_whole_teaches_no_settling() -> None:
    """Who followed a whole answer can't have come too early: a miss has another cause."""
    house = House()
    leader, follower = await house.call("a", "p"), await house.call("b", "p")
    leader.result().ended(MISSED)
    await settle()
    follower.result().ended(MISSED)
    assert house.gate.settle_s("one") == FIRST_SETTLE_S


async def test_nobody_follows_where_following_brings_nothing() -> None:
    """After some openings in a row whose followers read nothing calls of that model pass for a while, and then are tried again."""
    house = House()
    for number in range(MOST_MISSES):
        _, follower = await house.opened(f"p{number}")
        follower.result().ended(MISSED)
    await house.call("a", "q")
    assert (await house.call("b", "q")).done()
    await house.call("c", "q", owner="another")
    assert not (await house.call("d", "q", owner="another")).done()
    await house.advance(FUTILE_S)
    await house.call("e", "r")
    assert not (await house.call("f", "r")).done()


async def test_what_is_remembered_is_bounded() -> None:
    """No more prefixes and owners are remembered than allowed, and no more calls wait."""
    house = House(most_known=8, most_waiting=2)
    for number in range(50):
        leader = await house.call("a", f"p{number}", owner=f"owner {number}")
        follower = await house.call("b", f"p{number}", owner=f"owner {number}")
        leader.result().ended(MISSED)
        await settle()
        follower.result().ended(READ)
    assert (len(house.gate._known), len(house.gate._misses), house.gate.under_way) == (8, 8, 0)
    await house.call("leader", "q")
    assert [(await house.call(name, "q")).done() for name in "xyz"] == [False, False, True]


@dataclass
class Caller:
    """A call of a random day: when it comes, which prefixes it brings, how long to its first token and end, and how it ends."""

    at_s: float
    prefixes: tuple[str, ...]
    first_token_s: float
    rest_s: float
    ends: str  # answered, failed, unary
    waited_s: float = field(default=-1.0)
    led: bool = False


CALLERS = st.lists(
    st.builds(
        Caller,
        at_s=st.floats(0, 10),
        prefixes=st.sampled_from([("s",), ("s", "s1"), ("s", "s2"), ("s", "s1", "s1x"), ("t",)]),
        first_token_s=st.floats(0, 8),
        rest_s=st.floats(0, 8),
        ends=st.sampled_from(["answered", "failed", "unary", "cut"]),
    ),
    max_size=14,
)


@given(callers=CALLERS, bound_s=st.sampled_from([0.0, 1.0, 5.0]))
async def test_over_any_day_nobody_waits_too_long_and_one_leads(callers: list[Caller], bound_s: float) -> None:
    """Whatever comes and fails: waits keep to the bound, all pass, a prefix has one leader, and nothing is left behind."""
    clock = FakeClock()
    gate = PrefixGate(clock=clock)
    leading: dict[tuple[str, bytes], Caller] = {}

    async def live(caller: Caller) -> None:
        await clock.sleep(caller.at_s)
        came = clock.monotonic()
        with await gate.enter(approach(*caller.prefixes), wait_s=bound_s) as passage:
            caller.waited_s = clock.monotonic() - came
            for key in passage._opening.keys if passage._opening else ():
                assert key not in leading
                leading[key] = caller
            mine = [key for key, leader in leading.items() if leader is caller]
            await clock.sleep(caller.first_token_s)
            if caller.ends in ("answered", "cut"):
                passage.began()
            await clock.sleep(caller.rest_s)
            for key in mine:
                del leading[key]
            if caller.ends in ("answered", "unary"):
                passage.ended(READ)

    tasks = [asyncio.create_task(live(caller)) for caller in callers]
    for _ in range(400):
        await settle(5)
        clock.advance(0.25)
    await settle()
    assert all(task.done() for task in tasks)
    for task in tasks:
        task.result()
    assert all(0 <= caller.waited_s <= bound_s + 0.26 for caller in callers)  # the clock goes by quarters of a second
    assert (gate.waiting, gate.under_way) == (0, 0)
