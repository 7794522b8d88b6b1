"""Turns of services, and that nobody starves."""

import asyncio
from collections import Counter

import pytest
from aigend.enums import Lane
from aigend.scheduling.dispatch import ask as ask_module
from aigend.scheduling.dispatch import fair_queue as fair_queue_module
from aigend.scheduling.dispatch import lanes as lanes_module
from aigend.scheduling.dispatch import waiting as waiting_module
from aigend.scheduling.dispatch.fair_queue import FairQueue
from aigend.scheduling.dispatch.lanes import Lanes
from aigend.scheduling.dispatch.waiting import Waiting
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.scheduling.asks import ask


def waiting(*, since: float = 0.0, **given) -> Waiting:
    """Return a call that waits."""
    return Waiting(ask(**given), since=since)


class Stand(FairQueue):
    """A queue that is a place by itself."""

    def push(self, waiting: Waiting) -> None:
        """Let a call wait."""
        waiting.place = self
        super().push(waiting)


def served(queue: Stand, count: int = 1_000) -> list[Waiting]:
    """Return who goes, in order."""
    return [one for _ in range(count) if (one := queue.pop(lambda _: True, set())) is not None]


async def test_services_take_turns() -> None:
    """However many calls one service has, the others' come every second and third time."""
    queue = Stand()
    for service, count in (("greedy", 6), ("modest", 2), ("third", 1)):
        for _ in range(count):
            queue.push(waiting(service=service))
    assert [one.ask.service for one in served(queue)] == [
        *("greedy", "modest", "third"),
        *("greedy", "modest"),
        *("greedy",) * 4,
    ]
    assert len(queue) == 0


async def test_dear_calls_cost_turns() -> None:
    """A service whose calls are four times as dear gets a fourth of the others' turns."""
    queue = Stand()
    for _ in range(40):
        queue.push(waiting(service="dear", input_tokens=3 * ask_module.TOKENS_A_SHARE))
        queue.push(waiting(service="cheap"))
    first = Counter(one.ask.service for one in served(queue, 25))
    assert first == {"cheap": 20, "dear": 5}


async def test_new_services_do_not_keep_others_from_their_turn() -> None:
    """A new service joins at the end of the round: a stream of them delays nobody by more than those who were there."""
    queue = Stand()
    queue.push(waiting(service="first"))
    queue.push(waiting(service="old"))
    queue.push(waiting(service="old"))
    order = []
    for number in range(6):
        queue.push(waiting(service=f"new {number}"))
        order += [one.ask.service for one in served(queue, 1)]
    assert order[:5] == ["first", "old", "new 0", "new 1", "old"]


async def test_model_that_is_not_ready_is_passed_by_whole() -> None:
    """Smaller calls to a model do not pass a larger one that waits for its rate; other models' calls do, and turns stay."""
    queue = Stand()
    large, small = waiting(service="x", model="m", input_tokens=9_000), waiting(service="y", model="m")
    other = waiting(service="y", model="n")
    for one in (large, small, other):
        queue.push(one)
    assert queue.pop(lambda one: one is not large, set()) is other
    assert queue.pop(lambda one: one is not large, set()) is None
    assert served(queue) == [large, small]


async def test_fellows_make_no_debt() -> None:
    """What goes along with others' turns costs a service what it has; its own turn comes as if it had not."""
    queue = Stand()
    head = waiting(service="x", prefix=b"p")
    fellows = [waiting(service="y", prefix=b"p") for _ in range(4)]
    own, others = waiting(service="y"), [waiting(service="x") for _ in range(2)]
    for one in (head, *fellows, own, *others):
        queue.push(one)
    assert served(queue, 1) == [head]
    assert queue.fellows(head, 3) == fellows[:3]
    for fellow in fellows:
        queue.take(fellow)
    assert own in served(queue, 2)


async def test_those_who_left_are_forgotten() -> None:
    """The places of calls that left are given back, however many leave while one waits."""
    queue = Stand()
    stayer = waiting(service="x", deadline=1.0)
    queue.push(stayer)
    for _ in range(1_000):
        leaver = waiting(service="x", prefix=b"p")
        queue.push(leaver)
        leaver.leave_place()
    backlog = queue._turns["", "x"]
    assert sum(map(len, backlog.heaps.values())) <= 2 + fair_queue_module.MOST_DEAD
    assert (len(queue), queue._fellows, served(queue)) == (1, {}, [stayer])


async def test_whoever_is_leaving_is_taken_out() -> None:
    """A call whose caller is going is neither let go nor counted any more."""
    queue = Stand()
    leaver, stayer = waiting(), waiting()
    queue.push(leaver)
    queue.push(stayer)
    leaver.granted.cancel()
    assert served(queue) == [stayer]
    assert leaver.place is None


ARRIVAL = st.builds(
    dict,
    service=st.sampled_from("abcd"),
    lane=st.sampled_from([Lane.INTERACTIVE, Lane.INTERACTIVE, Lane.FLEX]),
    prefix=st.sampled_from([b"", b"x", b"y"]),
    urgency=st.sampled_from([None, 0.5, 5.0]),
    input_tokens=st.sampled_from([0, 20_000]),
)
# Two calls a second that come before a call's patience ends go before it: 120, and between two of them others have their turns.
LONG_ENOUGH = 2_500  # grants


def steps_until_served(target: dict, arrivals: list[list[dict]]) -> int | None:
    """Return after how many grants, one a second, a call goes that others overtake as they like; None if it does not."""

    async def run() -> int | None:
        lanes = Lanes()
        wanted = Waiting(ask(**target), since=0.0)
        lanes.push(Waiting(ask(service="before"), since=0.0))
        lanes.push(wanted)
        for step in range(LONG_ENOUGH):
            now = float(step)
            for arrival in arrivals[step % len(arrivals)]:
                fields = dict(arrival)
                urgency = fields.pop("urgency")
                lanes.push(Waiting(ask(**fields, deadline=None if urgency is None else now + urgency), since=now))
            head = lanes.pop(lambda _: True, now=now)
            fellows = lanes.fellows(head, 4) if head is not None and head.ask.prefix else []
            for fellow in fellows:
                lanes.take(fellow)
            if wanted is head or wanted in fellows:
                return step
        return None

    return asyncio.run(run())


@given(
    lane=st.sampled_from([Lane.INTERACTIVE, Lane.FLEX]),
    service=st.sampled_from("ae"),
    tokens=st.sampled_from([0, 500_000]),
    arrivals=st.lists(st.lists(ARRIVAL, min_size=1, max_size=2), min_size=1, max_size=6),
)
@settings(max_examples=40, deadline=None)
def test_nobody_starves(lane: Lane, service: str, tokens: int, arrivals: list[list[dict]]) -> None:
    """Whatever arrives, and however urgent, large or well connected it is: every call goes in the end."""
    assert steps_until_served({"service": service, "lane": lane, "input_tokens": tokens}, arrivals) is not None


INTERACTIVE_STREAM = [[{"service": "a", "lane": Lane.INTERACTIVE, "prefix": b"", "urgency": None, "input_tokens": 0}] * 2]
URGENT_STREAM = [[{"service": "a", "lane": Lane.INTERACTIVE, "prefix": b"", "urgency": 5.0, "input_tokens": 0}] * 2]


def test_fellows_do_not_use_up_the_turns_of_their_service() -> None:
    """Urgent calls that go along with another service's turns leave their own service its turn for what waits longer."""
    urgent = {"service": "a", "lane": Lane.INTERACTIVE, "prefix": b"x", "urgency": 0.5, "input_tokens": 0}
    other = {"service": "b", "lane": Lane.INTERACTIVE, "prefix": b"x", "urgency": None, "input_tokens": 0}
    assert steps_until_served({"service": "a", "lane": Lane.INTERACTIVE}, [[urgent, other]]) is not None


def test_without_rising_other_lanes_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: if nobody rose, a stream of interactive calls would keep a FLEX call waiting for ever."""
    flex = {"service": "e", "lane": Lane.FLEX}
    assert steps_until_served(flex, INTERACTIVE_STREAM) is not None
    monkeypatch.setattr(lanes_module, "RISE_AFTER_S", (0.0, float("inf"), float("inf")))
    assert steps_until_served(flex, INTERACTIVE_STREAM) is None


def test_without_patience_calls_without_a_deadline_starve(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: if calls without a deadline never became urgent, a stream of urgent ones would keep them waiting for ever."""
    calm = {"service": "a", "lane": Lane.INTERACTIVE}
    assert steps_until_served(calm, URGENT_STREAM) is not None
    monkeypatch.setattr(waiting_module, "PATIENCE_S", float("inf"))
    assert steps_until_served(calm, URGENT_STREAM) is None


def test_without_turns_a_greedy_service_starves_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: with one turn for all, a service with many urgent calls would keep the others waiting longer than its share."""
    calm = {"service": "e", "lane": Lane.INTERACTIVE}
    fair = steps_until_served(calm, URGENT_STREAM)
    monkeypatch.setattr(ask_module.Ask, "service_key", ("", "all"))
    unfair = steps_until_served(calm, URGENT_STREAM)
    assert fair is not None
    assert unfair is None or unfair > 10 * fair
