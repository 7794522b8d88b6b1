"""What a call does when a provider fails: which key and route it goes to, how often, and who is not asked at all."""

import asyncio
from pathlib import Path

import pytest
from aigend.errors import DomainError, Reason
from aigend.ledger.entries import AttemptState
from aigend.providers.port import FaultKind, ProviderFault
from aigend.types import Route

from tests.fakes import FakeProvider, fake_reply, settle
from tests.spine import Spine, caller, eventually, question, read, spine

BOTH = {"fallback_models": ("two/model-2",)}
OPENS_AT_ONCE = {"breaker": {"consecutive_failures": 1, "cool_down_s": 15}}


def fault(kind: str, status: int | None = None, **more) -> ProviderFault:
    """Return a fault of provider one."""
    return ProviderFault(FaultKind(kind), "told", provider="one", status=status, **more)


def calls(*providers: FakeProvider) -> list[int]:
    """Return how often each was called."""
    return [len(provider.calls) for provider in providers]


async def through(house: Spine, **fields):
    """Ask and let time pass until there is an answer or an error."""
    task = house.start(**fields)
    while not task.done():
        await asyncio.sleep(0.001)
        house.clock.advance(0.1)
    return read(task.result()) if task.exception() is None else task.exception()


@pytest.mark.parametrize(
    ("met", "at_one", "provider"),
    [
        (fault("unreachable"), 1, "two"),
        (fault("rejected", 404, code="model_not_found"), 1, "two"),
        (fault("auth", 401), 1, "two"),
        (fault("auth", 402), 1, "two"),
        (fault("auth", 403), 1, "two"),
        (fault("timeout"), 1, "two"),
        (fault("reset"), 1, "two"),
        (fault("bad_answer", 200), 1, "two"),
        (fault("rate_limited", 429), 2, "one"),
        (fault("server_error", 503), 2, "one"),
    ],
    ids=lambda value: str(value),
)
async def test_each_class_of_fault_goes_its_way(tmp_path: Path, met: ProviderFault, at_one: int, provider: str) -> None:
    """After one such fault the same route answers where waiting helps, the next route where it does not."""
    async with spine(tmp_path) as house:
        house.one.will(met)
        assert (await through(house, **BOTH)).provider == provider
        assert calls(house.one, house.two) == [at_one, int(provider == "two")]


@pytest.mark.parametrize("status", [400, 422])
async def test_a_rejected_request_stops(tmp_path: Path, status: int) -> None:
    """What one provider calls a bad request is not sent to the next, and costs nothing."""
    async with spine(tmp_path) as house:
        house.one.will(fault("rejected", status))
        error = await through(house, **BOTH)
        assert error.reason is Reason.PROVIDER_REFUSED
        assert calls(house.one, house.two) == [1, 0]


async def test_the_next_route_answers_at_once_where_the_first_is_not_there(tmp_path: Path) -> None:
    """No time passes between a refused connection and the next route."""
    async with spine(tmp_path) as house:
        house.one.will(fault("unreachable"))
        assert read(await house.ask(**BOTH)).provider == "two"
        assert house.clock.monotonic() == 0


async def test_the_only_route_is_tried_again_where_it_is_not_there(tmp_path: Path) -> None:
    """With nobody else to ask, a server that restarts gets the usual retries."""
    async with spine(tmp_path) as house:
        house.one.will(fault("unreachable"), fault("unreachable"), fake_reply("back again"))
        assert (await through(house)).text == "back again"
        assert calls(house.one) == [3]


async def test_waits_are_random_parts_of_a_doubling_time(tmp_path: Path) -> None:
    """With chance at a half the waits are half of 0.25 and of 0.5 seconds: nothing is sent before they are over."""
    async with spine(tmp_path, jitter=0.5) as house:
        house.one.will(*[fault("server_error", 503)] * 2)
        task = house.start(request_id="id")
        for attempt, wait_s in ((1, 0.125), (2, 0.25)):
            await house.one.arrived(attempt)
            await eventually(lambda: house.ledger.known("local", "id").state is AttemptState.RELEASED)
            await settle()
            house.clock.advance(wait_s - 0.01)
            await settle()
            assert calls(house.one) == [attempt]
            house.clock.advance(0.01)
        await task
        assert calls(house.one) == [3]


async def test_a_busy_provider_is_left_after_its_last_attempt(tmp_path: Path) -> None:
    """429 and 5xx get max_attempts tries on their route, then the next one."""
    async with spine(tmp_path) as house:
        house.one.will(fault("rate_limited", 429), fault("server_error", 500), fault("rate_limited", 429))
        assert (await through(house, **BOTH)).provider == "two"
        assert calls(house.one, house.two) == [3, 1]


async def test_used_up_retries_lead_to_the_next_route(tmp_path: Path) -> None:
    """A provider whose retry budget is empty is asked once, and alone gives its error at once."""
    async with spine(tmp_path, retry={"budget_ratio": 0, "budget_per_second": 0}) as house:
        house.one.will(*[fault("server_error", 503)] * 2)
        assert read(await house.ask(**BOTH)).provider == "two"
        with pytest.raises(DomainError) as met:
            await house.ask("another")
        assert met.value.reason is Reason.PROVIDER_UNAVAILABLE
        assert calls(house.one) == [2]
        assert house.retries.refused == {"one": 2}


@pytest.mark.parametrize(
    ("budget", "fewest", "most"),
    [({}, 110, 130), ({"budget_ratio": 1, "budget_per_second": 1_000}, 300, 300)],
    ids=["budget", "control: without one"],
)
async def test_many_failing_calls_make_few_retries(tmp_path: Path, budget: dict, fewest: int, most: int) -> None:
    """A provider that fails a hundred calls at once gets ten retries and those of a fifth of the calls, not two hundred."""
    settings = {"features": {"circuit_breaker": False}, "limits": {"per_provider": 100, "total": 100}}
    async with spine(tmp_path, retry=budget, jitter=0.0, **settings) as house:
        house.one.will(*[fault("server_error", 503)] * 300)
        ends = await asyncio.gather(*(house.ask(f"question {number}") for number in range(100)), return_exceptions=True)
        assert {error.reason for error in ends} == {Reason.PROVIDER_UNAVAILABLE}
        assert fewest <= calls(house.one)[0] <= most


@pytest.mark.parametrize("status", [401, 402, 403])
async def test_a_refused_key_is_replaced_by_the_next_at_once(tmp_path: Path, status: int) -> None:
    """The call goes on with another key of the same provider, without waiting and without the next route."""
    async with spine(tmp_path, key_count=3) as house:
        house.keys[0].will(fault("auth", status))
        house.keys[1].will(fault("auth", status))
        reply = read(await house.ask(**BOTH))
        assert (reply.provider, reply.attempt_count) == ("one", 3)
        assert calls(*house.keys, house.two) == [1, 1, 1, 0]


async def test_with_all_keys_refused_the_next_route_follows(tmp_path: Path) -> None:
    """Each key is asked once, then the next route; alone the provider's word is the error."""
    async with spine(tmp_path, key_count=2) as house:
        for key in house.keys:
            key.will(*[fault("auth", 403)] * 2)
        assert read(await house.ask(**BOTH)).provider == "two"
        with pytest.raises(DomainError) as met:
            await house.ask("another")
        assert (met.value.reason, met.value.metadata["status"]) == (Reason.PROVIDER_REFUSED, "403")
        assert calls(*house.keys) == [2, 2]


@pytest.mark.parametrize(("status", "again"), [(401, 0), (402, 0), (403, 1)])
async def test_a_key_that_is_out_is_not_asked_by_later_calls(tmp_path: Path, status: int, again: int) -> None:
    """401 and 402 are said of the key; 403 may be said of one model, so that other calls still use the key."""
    async with spine(tmp_path, key_count=2) as house:
        house.keys[0].will(fault("auth", status))
        await house.ask()
        before = calls(*house.keys)
        for number in range(2):
            await house.ask(f"later {number}")
        assert calls(*house.keys) == [before[0] + again, before[1] + 2 - again]


async def test_without_the_breaker_a_refused_key_is_asked_again(tmp_path: Path) -> None:
    """Control: switched off, later calls go to the key that was refused."""
    async with spine(tmp_path, key_count=2, features={"circuit_breaker": False}) as house:
        house.keys[0].will(*[fault("auth", 401)] * 3)
        for number in range(4):
            await house.ask(f"question {number}")
        assert calls(house.keys[0])[0] >= 2


async def test_a_rate_limited_key_gives_way_to_the_next_one(tmp_path: Path) -> None:
    """429 of one key is answered by another without a wait, and later calls prefer the other while it lasts."""
    async with spine(tmp_path, key_count=2) as house:
        house.keys[0].will(fault("rate_limited", 429, retry_after_s=30.0))
        assert read(await house.ask(**BOTH)).provider == "one"
        assert house.clock.monotonic() == 0
        for number in range(4):
            await house.ask(f"later {number}")
        assert calls(*house.keys) == [1, 5]
        house.clock.advance(30)
        for number in range(4):
            await house.ask(f"much later {number}")
        assert calls(*house.keys) == [3, 7]


async def test_with_all_keys_rate_limited_the_call_backs_off(tmp_path: Path) -> None:
    """Once every key has said 429 the call waits, then tries again, and leaves for the next route in the end."""
    async with spine(tmp_path, key_count=2) as house:
        for key in house.keys:
            key.will(*[fault("rate_limited", 429)] * 3)
        assert (await through(house, **BOTH)).provider == "two"
        assert calls(*house.keys) == [3, 3]
        assert house.clock.monotonic() >= 0.25 + 0.5


async def test_an_open_circuit_costs_no_call(tmp_path: Path) -> None:
    """While the first route fails, calls go to the next one without asking it; after the cool-down exactly one tries it."""
    async with spine(tmp_path, breaker={"consecutive_failures": 3, "cool_down_s": 15}) as house:
        house.one.will(*[fault("unreachable")] * 4)
        for number in range(10):
            assert read(await house.ask(f"question {number}", **BOTH)).provider == "two"
        assert calls(house.one, house.two) == [3, 10]
        house.clock.advance(15)
        for number in range(10):
            assert read(await house.ask(f"later {number}", **BOTH)).provider == "two"
        assert calls(house.one, house.two) == [4, 20]
        house.clock.advance(30)
        assert {read(await house.ask(f"at last {number}", **BOTH)).provider for number in range(3)} == {"one"}
        assert [report.state for report in house.circuits] == ["open", "half_open", "open", "half_open", "closed"]
        assert house.health.passed_by == {"one": 7 + 9}


async def test_without_the_breaker_every_call_asks_the_dead_one(tmp_path: Path) -> None:
    """Control: switched off, each call finds out by itself."""
    async with spine(tmp_path, features={"circuit_breaker": False}) as house:
        house.one.will(*[fault("unreachable")] * 10)
        for number in range(10):
            assert read(await house.ask(f"question {number}", **BOTH)).provider == "two"
        assert calls(house.one, house.two) == [10, 10]


@pytest.mark.parametrize("kind", ["unreachable", "server_error", "timeout", "reset", "cut"])
async def test_what_opens_a_circuit(tmp_path: Path, kind: str) -> None:
    """Not reached, 5xx, no answer in time and a broken connection tell of the provider's health."""
    async with spine(tmp_path, retry={"max_attempts": 1}, **OPENS_AT_ONCE) as house:
        house.one.will(fault(kind))
        await house.ask(**BOTH)
        assert [report.state for report in house.circuits] == ["open"]


@pytest.mark.parametrize(
    "met", [fault("rejected", 404), fault("rate_limited", 429), fault("bad_answer", 200), fault("auth", 403)], ids=str
)
async def test_what_leaves_a_circuit_closed(tmp_path: Path, met: ProviderFault) -> None:
    """A provider that refuses, or says nonsense, is there."""
    async with spine(tmp_path, retry={"max_attempts": 1}, **OPENS_AT_ONCE) as house:
        house.one.will(met)
        await house.ask(**BOTH)
        assert house.circuits == []


async def test_a_server_error_in_a_proxys_words_opens_a_circuit(tmp_path: Path) -> None:
    """A 502 page of something in between is as good a sign as the provider's own."""
    async with spine(tmp_path, **OPENS_AT_ONCE) as house:
        house.one.will(fault("bad_answer", 502))
        await house.ask(**BOTH)
        assert [report.state for report in house.circuits] == ["open"]


async def test_an_open_circuit_is_everybodys_error(tmp_path: Path) -> None:
    """Where no route is left, all who wait get PROVIDER_UNAVAILABLE with the time to come again, and nothing is booked."""
    async with spine(tmp_path, retry={"max_attempts": 1}, **OPENS_AT_ONCE) as house:
        house.one.will(fault("unreachable"))
        await asyncio.gather(house.ask("first"), return_exceptions=True)
        errors = await asyncio.gather(*(house.ask() for _ in range(5)), return_exceptions=True)
        assert {(error.reason, error.retry_after_s) for error in errors} == {(Reason.PROVIDER_UNAVAILABLE, 15.0)}
        assert calls(house.one) == [1]
        assert (await house.stats()).totals.call_count == 0


async def test_a_leaders_own_refusal_comes_before_a_circuit(tmp_path: Path) -> None:
    """Where one route is passed by and the leader's budget refuses the other, that is the leader's alone."""
    nothing_left = {"name": "two", "selector": {"provider": "two"}, "period": "daily", "limit_usd": "0.000001"}
    async with spine(tmp_path, retry={"max_attempts": 1}, budgets=[nothing_left], **OPENS_AT_ONCE) as house:
        house.one.will(fault("unreachable"))
        await asyncio.gather(house.ask("first"), return_exceptions=True)
        with pytest.raises(DomainError) as met:
            await house.ask(**BOTH)
        assert met.value.reason is Reason.BUDGET_EXCEEDED


async def test_who_waited_for_a_slot_does_not_ask_a_circuit_that_opened(tmp_path: Path) -> None:
    """Calls in the queue of a provider that dies leave for the next route when their turn comes."""
    async with spine(tmp_path, limits={"per_provider": 1}, **OPENS_AT_ONCE) as house:
        house.one.hold()
        house.one.will(fault("reset"))
        tasks = [house.start(f"question {number}", **BOTH) for number in range(5)]
        await house.one.arrived(1)
        await eventually(lambda: house.dispatcher.queued == 4)
        house.one.release()
        assert {read(reply).provider for reply in await asyncio.gather(*tasks)} == {"two"}
        assert calls(house.one) == [1]


async def test_a_probe_whose_caller_leaves_is_left_to_the_next_call(tmp_path: Path) -> None:
    """A probe that is cut says nothing of the provider: the next call probes at once."""
    async with spine(tmp_path, limits={"detached": 0}, retry={"max_attempts": 1}, **OPENS_AT_ONCE) as house:
        house.one.will(fault("unreachable"))
        await asyncio.gather(house.ask("first"), return_exceptions=True)
        house.clock.advance(15)
        house.one.hold()
        probe = house.start("second")
        await house.one.arrived(2)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await house.sharing.settled()
        house.one.release()
        assert read(await house.ask("third")).provider == "one"
        assert [report.state for report in house.circuits] == ["open", "half_open", "open", "half_open", "closed"]


async def test_nothing_is_tried_again_after_the_first_visible_text(tmp_path: Path) -> None:
    """A stream that broke after some text ends there, with several keys and routes as well."""
    async with spine(tmp_path, key_count=2) as house:
        house.one.will(fault("cut", partial_text_len=5))
        with pytest.raises(DomainError) as met:
            async for _ in house.engine.stream(question(**BOTH), caller()):
                pass
        assert met.value.reason is Reason.OUTCOME_UNKNOWN
        assert calls(*house.keys, house.two) == [1, 0, 0]


async def test_answered_calls_tell_how_quick_their_route_is(tmp_path: Path) -> None:
    """The time of a settled call is remembered for its route, that of a failed one is not."""
    async with spine(tmp_path) as house:
        house.one.hold()
        house.one.will(fault("reset"))
        task = house.start(**BOTH)
        await house.one.arrived(1)
        house.two.hold()
        house.one.release()
        await house.two.arrived(1)
        house.clock.advance(2.5)
        house.two.release()
        await task
        await settle()
        assert house.latencies.of(Route("two", "model-2")) == 2.5
        assert house.latencies.of(Route("one", "model-1")) is None
