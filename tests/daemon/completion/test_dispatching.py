"""How calls on their way through the spine come to the dispatcher, and what it learns from their ends."""

import asyncio
from pathlib import Path

import pytest
from aigend.completion.batch import complete_many, item_caller
from aigend.completion.call import Reply
from aigend.config import LimitSettings, ProviderSettings
from aigend.errors import DomainError, Reason, invalid
from aigend.providers.port import FaultKind, ProviderFault
from aigend.rate_facts import RateFact, RateFacts
from aigend.scheduling.dispatch.ask import Ask
from aigend.types import Lane, Message, Part, Role, Stability, Text

from tests.fakes import settle
from tests.spine import Spine, caller, eventually, question, read, spine

WIDE = LimitSettings(total=10, per_provider=5)


def batch(house: Spine, items: list) -> "asyncio.Task[list[Reply | BaseException]]":
    """Begin to answer many requests in one call."""
    callers = [item_caller(caller("the-batch"), index, lambda: b"d" * 32, bytes) for index in range(len(items))]
    return asyncio.create_task(complete_many(house.engine, items, callers))


def sizes(house: Spine, provider: str = "one") -> dict[int, int]:
    """Return how many batches of which size left for a provider."""
    return {size: count for size, count in house.dispatcher.line(provider).counts.sizes().items() if count}


async def test_an_ask_says_what_a_call_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Service, lane, prefix, tokens and keys of a call reach the dispatcher."""
    async with spine(tmp_path, key_count=2) as house:
        asked: list[Ask] = []
        acquire = house.dispatcher.acquire
        monkeypatch.setattr(house.dispatcher, "acquire", lambda ask: asked.append(ask) or acquire(ask))
        system = (Part(Text("a long text that stays " * 400), stability=Stability.STABLE),)
        await house.ask(service="pipeline", system=system, max_output_tokens=77)
        await house.ask("short")
    long, short = asked
    assert (long.provider, long.model, long.scope, long.service, long.lane) == (
        "one",
        "model-1",
        "local",
        "pipeline",
        Lane.INTERACTIVE,
    )
    assert (len(long.prefix), long.max_output_tokens, long.key_count, long.sibling) == (16, 77, 2, None)
    assert long.input_tokens > 2_000
    assert (short.prefix, short.deadline) == (b"", None)


async def test_requests_of_a_batch_leave_together(tmp_path: Path) -> None:
    """The requests of a BatchComplete are one batch for each provider; answers stay in order, failures are of the item."""
    async with spine(tmp_path, limits=WIDE) as house:
        house.two.will(ProviderFault(FaultKind.REJECTED, "no"))
        items = [question("a"), invalid("model", "x", "y"), question("b"), question("c", model="two/model-2"), question("d")]
        ends = await batch(house, items)
        assert [read(end).text for end in (ends[0], ends[2], ends[4])] == ["answer to: a", "answer to: b", "answer to: d"]
        assert isinstance(ends[1], DomainError)
        assert isinstance(ends[3], DomainError)
        assert (sizes(house), sizes(house, "two")) == ({3: 1}, {1: 1})
        assert house.clock.monotonic() == 0.0


async def test_batch_does_not_wait_for_what_needs_no_call(tmp_path: Path) -> None:
    """Requests that are cached, or equal to another of the batch, are not waited for."""
    async with spine(tmp_path, limits=WIDE) as house:
        await house.ask("cached")
        ends = await batch(house, [question("cached"), question("a"), question("a"), question("b")])
        assert [read(end).text for end in ends] == ["answer to: cached", "answer to: a", "answer to: a", "answer to: b"]
        assert sizes(house) == {1: 1, 2: 1}
        assert house.clock.monotonic() == 0.0


async def test_batch_whose_prefix_is_new_is_not_held_twice(tmp_path: Path) -> None:
    """Requests that wait at the prefix gate are not waited for: the one that goes ahead leaves at once."""
    async with spine(tmp_path, limits=WIDE) as house:
        system = (Part(Text("a long text that stays " * 400), stability=Stability.STABLE),)
        house.one.hold()
        work = batch(house, [question(text, system=system) for text in "abc"])
        await eventually(lambda: house.one.calls)
        assert house.clock.monotonic() == 0.0
        house.one.release()
        while not work.done():
            await settle()
            house.clock.advance(0.1)
            await asyncio.sleep(0.001)
        assert [read(end).text for end in await work] == ["answer to: a", "answer to: b", "answer to: c"]


async def test_what_answers_say_of_rates_holds_up_the_next(tmp_path: Path) -> None:
    """A provider that says that nothing is left is asked again when something is."""
    async with spine(tmp_path, limits=WIDE) as house:
        house.one.rates = RateFacts(requests=RateFact(limit=60, remaining=0, reset_s=60.0))
        await house.ask("first")
        waiting = house.start("second")
        await eventually(lambda: house.dispatcher.queued == 1)
        assert len(house.one.calls) == 1
        house.clock.advance(1.0)
        await waiting
        assert len(house.one.calls) == 2


async def test_refusals_take_slots_away_for_a_while(tmp_path: Path) -> None:
    """A provider that says it has too many calls is asked with fewer at once."""
    async with spine(tmp_path, limits=WIDE, jitter=0.0) as house:
        house.one.will(ProviderFault(FaultKind.RATE_LIMITED, "too many", status=429))
        house.clock.advance(1.0)
        work = house.start("a")
        await eventually(lambda: house.dispatcher.line("one").concurrency.value == 2)
        house.clock.advance(1.0)
        await work
        assert len(house.one.calls) == 2


@pytest.mark.parametrize("status", [500, 503])
async def test_only_overload_takes_slots_away(tmp_path: Path, status: int) -> None:
    """A server error that says nothing of load leaves the slots."""
    async with spine(tmp_path, limits=WIDE, jitter=0.0) as house:
        house.one.will(ProviderFault(FaultKind.SERVER_ERROR, "oh", status=status))
        house.clock.advance(1.0)
        await house.ask("a")
        assert (house.dispatcher.line("one").concurrency.value < 5) == (status == 503)


async def test_exhausted_route_is_passed_by(tmp_path: Path) -> None:
    """A call whose deadline comes before its provider's rate allows it goes to the next route; without one it is RATE_LIMITED."""
    providers = {
        "one": ProviderSettings(base_url="http://127.0.0.1:9", requests_per_minute=1),
        "two": ProviderSettings(base_url="http://127.0.0.1:9"),
    }
    async with spine(tmp_path, providers=providers) as house:
        await house.ask("first")
        hurried = caller("", None)
        hurried = type(hurried)(scope="local", request_id="hurried", accounting=hurried.accounting, deadline=10.0)
        with pytest.raises(DomainError) as refused:
            await house.engine.complete(question("second"), hurried)
        assert refused.value.reason is Reason.RATE_LIMITED
        assert refused.value.retry_after_s == pytest.approx(60.0)
        reply = await house.engine.complete(question("second", fallback_models=("two/model-2",)), hurried)
        assert read(reply).provider == "two"


async def test_slots_and_tokens_come_back_when_nothing_was_sent(tmp_path: Path) -> None:
    """A call that gets its slot and is then not made gives back what it took of the rate."""
    providers = {"one": ProviderSettings(base_url="http://127.0.0.1:9", requests_per_minute=1), "two": ProviderSettings()}
    async with spine(tmp_path, providers=providers, limits=LimitSettings(total=1, per_provider=1)) as house:
        house.two.hold()
        holder = house.start("holder", model="two/model-2")
        await house.two.arrived(1)
        leaver = house.start("leaver")
        await eventually(lambda: house.dispatcher.queued == 1)
        leaver.cancel()
        house.two.release()
        await holder
        assert read(await house.ask("next")).text == "answer to: next"
        assert (house.dispatcher.in_flight, house.dispatcher.queued) == (0, 0)


async def test_messages_keep_their_order_in_a_queue(tmp_path: Path) -> None:
    """Queued calls of one service go to the provider in the order in which they came."""
    async with spine(tmp_path, limits=LimitSettings(total=1, per_provider=1)) as house:
        house.one.hold()
        work = []
        for number in range(4):
            work.append(house.start(f"question {number}"))
            await eventually(lambda count=number: house.dispatcher.in_flight + house.dispatcher.queued == count + 1)
        house.one.release()
        await asyncio.gather(*work)
        texts = [call.request.messages[-1] for call in house.one.calls]
        assert texts == [Message(Role.USER, (Part(Text(f"question {number}")),)) for number in range(4)]
