"""The prefix gate in the spine: who is sent when, how the leader's first token is seen, and who does not wait."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aigend.config.sections import PromptCachingSettings, ServiceSettings
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, StreamEvent
from aigend.scheduling.prompt_cache.prefix_gate import FIRST_SETTLE_S
from aigend.types import CacheOutcome, CompletionRequest, Part, Text

from tests.fakes import FakeProvider, settle
from tests.spine import Spine, caller, eventually, question, spine

SYSTEM = (Part(Text("what every call begins with. " * 200)),)  # above 1,024 tokens, so that providers keep it by themselves
WAIT_S = 5.0
HELD = 5  # slots of a provider


class Speaker(FakeProvider):
    """A provider whose streams stop after their first event until they may go on."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.streamed: list[ProviderCall] = []
        self.go_on = asyncio.Event()

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield the first event, and the others once that is allowed."""
        self.streamed.append(call)
        async for event in super().stream(call):
            yield event
            await self.go_on.wait()


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A spine that waits for prefixes."""
    async with spine(tmp_path, prompt_caching=PromptCachingSettings(gate_wait_s=WAIT_S)) as house:
        speak(house)
        yield house


def speak(house: Spine) -> Speaker:
    """Let provider one be a speaker."""
    house.keys[0] = house.one = Speaker("one")
    return house.one


def shared(number: int, **fields: object) -> CompletionRequest:
    """Return one of many questions over the same beginning."""
    return question(f"question {number}", **({"system": SYSTEM} | fields))


def ask(house: Spine, number: int, *, deadline: float | None = None) -> "asyncio.Task":
    """Begin to ask one of them."""
    who = caller()
    if deadline is not None:
        who = type(who)(
            scope=who.scope, request_id=who.request_id, accounting=who.accounting, digest_of=who.digest_of, deadline=deadline
        )
    return asyncio.create_task(house.engine.complete(shared(number), who))


def begun(house: Spine) -> bool:
    """Tell whether a leader's first token has been seen."""
    return any(opening.began_at is not None for opening in house.gate._openings.values())


async def waiting(house: Spine, count: int) -> None:
    """Wait until so many calls stand at the gate."""
    await eventually(lambda: house.gate.waiting == count)


async def test_four_follow_the_first_token_of_one(house: Spine) -> None:
    """Of five calls over one prefix one is sent; its first token lets the others go, before its answer is whole."""
    async with held_slots(house):
        tasks = [ask(house, number) for number in range(5)]
        await waiting(house, 4)
    await eventually(lambda: begun(house))
    assert (len(house.one.streamed), len(house.one.calls)) == (1, HELD + 1)
    await settle()
    house.clock.advance(FIRST_SETTLE_S)
    await house.one.arrived(HELD + 5)
    assert sum(task.done() for task in tasks) <= 4  # the leader still speaks
    house.one.go_on.set()
    assert {reply.outcome for reply in await asyncio.gather(*tasks)} == {CacheOutcome.MISS}
    assert (house.gate.waiting, house.gate.under_way) == (0, 0)


async def test_nobody_holds_a_slot_at_the_gate(house: Spine) -> None:
    """While calls wait for a prefix only their leader takes a slot, and another question is not held up."""
    house.one.hold()
    tasks = [ask(house, number) for number in range(5)]
    await house.one.arrived(1)
    await waiting(house, 4)
    other = house.start("something else")
    await house.one.arrived(2)
    assert (house.one.in_flight, house.gate.waiting) == (2, 4)
    house.one.go_on.set()
    house.one.release()
    await other
    await drained(house, tasks)


async def test_a_lone_call_is_not_streamed(house: Spine) -> None:
    """Nobody waits for the first token of a lone call, so it is made as it was asked for."""
    await ask(house, 1)
    assert house.one.streamed == []


async def test_a_leader_that_was_sent_whole_opens_with_its_answer(house: Spine) -> None:
    """Calls that come after the leader was sent wait for its answer, and then go without a further wait."""
    house.one.hold()
    first = ask(house, 1)
    await house.one.arrived(1)
    later = ask(house, 2)
    await waiting(house, 1)
    house.one.release()
    await asyncio.gather(first, later)
    assert house.one.streamed == []


async def test_a_failed_leader_is_followed_by_one(tmp_path: Path) -> None:
    """Where the leader fails the next one is sent, alone."""
    async with spine(tmp_path, prompt_caching=PromptCachingSettings(gate_wait_s=WAIT_S), key_count=1) as house:
        house.one.will(ProviderFault(FaultKind.REJECTED, "no", status=400))
        house.one.hold()
        tasks = [ask(house, number) for number in range(3)]
        await house.one.arrived(1)
        await waiting(house, 2)
        house.one.release()
        house.one.hold()
        await house.one.arrived(2)
        await settle()
        assert (len(house.one.calls), house.gate.waiting) == (2, 1)
        house.one.release()
        await drained(house, tasks)
        assert sum(task.exception() is not None for task in tasks) == 1


async def test_a_leader_whose_caller_goes_leaves_the_lead_to_the_next(house: Spine) -> None:
    """A caller that goes away before its call was sent takes the lead with it, and the next call leads."""
    async with held_slots(house):
        first = ask(house, 1)
        await eventually(lambda: house.gate.under_way == 1)
        second, third = ask(house, 2), ask(house, 3)
        await waiting(house, 2)
        first.cancel()
        await waiting(house, 1)
    house.one.go_on.set()
    await drained(house, [second, third])
    assert first.cancelled()


async def test_a_call_whose_deadline_is_nearer_than_the_bound_does_not_wait(house: Spine) -> None:
    """Who has less time than the bound is sent at once."""
    house.one.hold()
    first = ask(house, 1)
    await house.one.arrived(1)
    hurried = ask(house, 2, deadline=house.clock.monotonic() + WAIT_S - 0.1)
    await house.one.arrived(2)
    patient = ask(house, 3, deadline=house.clock.monotonic() + WAIT_S)
    await waiting(house, 1)
    assert (len(house.one.calls), patient.done()) == (2, False)
    house.one.release()
    await asyncio.gather(first, hurried, patient)


async def test_the_bound_lets_everybody_go(house: Spine) -> None:
    """A leader that says nothing holds up nobody beyond the bound."""
    house.one.hold()
    tasks = [ask(house, number) for number in range(3)]
    await house.one.arrived(1)
    await waiting(house, 2)
    house.clock.advance(WAIT_S)
    await house.one.arrived(3)
    assert (house.one.in_flight, house.gate.waiting) == (3, 0)
    house.one.release()
    house.one.go_on.set()
    await asyncio.gather(*tasks)


async def test_control_with_a_bound_of_nothing_all_are_sent(tmp_path: Path) -> None:
    """Control: switched off, all five are under way at once."""
    async with spine(tmp_path, prompt_caching=PromptCachingSettings(gate_wait_s=0)) as house:
        house.one.hold()
        tasks = [ask(house, number) for number in range(5)]
        await house.one.arrived(5)
        assert (house.one.in_flight, house.gate.waiting) == (5, 0)
        house.one.release()
        await asyncio.gather(*tasks)


async def test_hidden_words_of_a_leader_stop_no_retry(tmp_path: Path) -> None:
    """A leader that is streamed for its first token alone shows nobody a word: a cut is tried again, as its service says."""
    services = {"again": ServiceSettings(on_ambiguous="same_route")}
    async with spine(tmp_path, prompt_caching=PromptCachingSettings(gate_wait_s=WAIT_S), services=services, jitter=0.0) as house:
        speaker = speak(house)
        async with held_slots(house):
            first = house.start("question 1", system=SYSTEM, service="again")
            await eventually(lambda: house.gate.under_way == 1)
            second = house.start("question 2", system=SYSTEM, service="again")
            await waiting(house, 1)
            speaker.will(ProviderFault(FaultKind.CUT, "cut", partial_text_len=12))
        speaker.go_on.set()
        await drained(house, [first, second])
        assert len(speaker.streamed) == 1
        assert [task.exception() for task in (first, second)] == [None, None]


async def drained(house: Spine, tasks: "list[asyncio.Task]") -> None:
    """Let time pass until all tasks have ended."""
    house.one.release()
    while not all(task.done() for task in tasks):
        house.clock.advance(0.1)
        await asyncio.sleep(0.001)


class held_slots:  # noqa: N801 - used as a word in `async with`
    """All slots of provider one are taken inside the block."""

    def __init__(self, house: Spine) -> None:
        self._house = house

    async def __aenter__(self) -> None:
        self._house.one.hold()
        self._others = [self._house.start(f"other {number}") for number in range(HELD)]
        await self._house.one.arrived(HELD)

    async def __aexit__(self, *_: object) -> None:
        self._house.one.release()
        await asyncio.gather(*self._others)
