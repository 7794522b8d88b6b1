"""The dispatcher under random arrivals, announcements, cancellations, faults, rates and changes of its limits; and a long queue."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from aigend.config import ProviderSettings
from aigend.enums import Lane
from aigend.errors import DomainError
from aigend.rate_facts import RateFact, RateFacts
from aigend.scheduling.dispatch import fair_queue
from aigend.scheduling.dispatch.dispatcher import Dispatcher
from aigend.scheduling.dispatch.grant import Grant
from aigend.scheduling.dispatch.siblings import Siblings, current_sibling
from aigend.scheduling.dispatch.waiting import Waiting
from aigend.types import TokenUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.daemon.scheduling.asks import ask, limits, start
from tests.fakes import FakeClock, settle

MAX_WAIT_S = 2.0
BATCH = 3

ASK = st.fixed_dictionaries(
    {
        "provider": st.sampled_from("ab"),
        "service": st.sampled_from("xyz"),
        "lane": st.sampled_from([Lane.INTERACTIVE, Lane.INTERACTIVE, Lane.FLEX]),
        "prefix": st.sampled_from([b"", b"p", b"q"]),
        "model": st.sampled_from("mn"),
        "input_tokens": st.sampled_from([0, 100, 20_000]),
        "max_output_tokens": st.sampled_from([0, 500]),
    }
)
STEP = st.one_of(
    st.tuples(st.just("arrive"), ASK, st.sampled_from([None, 1.0, 30.0])),
    st.tuples(st.just("announce"), st.lists(st.one_of(st.none(), ASK), min_size=1, max_size=5), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 20)),
    st.tuples(st.just("finish"), st.integers(0, 20), st.sampled_from(["answered", "refused", "unsent", "limited"])),
    st.tuples(st.just("finish and cancel"), st.integers(0, 20), st.integers(0, 20)),
    st.tuples(st.just("advance"), st.sampled_from([0.01, 0.5, 2.5, 40.0])),
    st.tuples(st.just("resize"), st.integers(1, 4), st.integers(1, 3), st.integers(0, 6)),
)


class Random:
    """Does what a random step says, and knows what must be true afterwards."""

    def __init__(self, *, rates: dict[str, int], make: Callable[..., Dispatcher] = Dispatcher) -> None:
        self.clock = FakeClock()
        self.rates = {name: ProviderSettings(**rates) for name in "ab"}
        self.total, self.per_provider, self.queue = 3, 2, 5
        self.house = make(self._limits(), clock=self.clock, providers=self.rates, adaptive=True)
        self.tasks: list[asyncio.Task[Grant | None]] = []
        self.open: dict[Grant, None] = {}
        self.batches: dict[int, list[Grant]] = {}
        self.missing: list[asyncio.Event] = []

    def _limits(self):
        return limits(
            total=self.total, per_provider=self.per_provider, queue=self.queue, max_batch_size=BATCH, max_wait_s=MAX_WAIT_S
        )

    async def do(self, step: tuple[Any, ...]) -> None:
        """Do one step and see what came of it."""
        await getattr(self, "_" + step[0].replace(" ", "_"))(*step[1:])
        await settle(12)
        self._collect()

    async def _arrive(self, fields: dict[str, Any], patience_s: float | None) -> None:
        deadline = None if patience_s is None else self.clock.monotonic() + patience_s
        self.tasks.append(start(self.house, **fields, deadline=deadline))

    async def _announce(self, items: list[dict[str, Any] | None], one_is_missing: bool) -> None:  # noqa: FBT001 - a drawn step
        siblings, missing = Siblings(len(items) + one_is_missing), asyncio.Event()

        async def one(fields: dict[str, Any] | None) -> Grant | None:
            with siblings.next_one():
                return None if fields is None else await self.house.acquire(ask(**fields, sibling=current_sibling()))

        async def never() -> None:
            with siblings.next_one():
                await missing.wait()

        self.tasks += [asyncio.create_task(one(fields)) for fields in items]
        if one_is_missing:
            self.tasks.append(asyncio.create_task(never()))
            self.missing.append(missing)

    async def _cancel(self, number: int) -> None:
        if self.tasks:
            self.tasks[number % len(self.tasks)].cancel()

    async def _finish(self, number: int, how: str) -> None:
        if not self.open:
            return
        grant = list(self.open)[number % len(self.open)]
        del self.open[grant]
        with grant:
            grant.sent = how != "unsent"
            if how == "answered":
                grant.heard(1, RateFacts(requests=RateFact(limit=10, remaining=7, reset_s=18.0)))
                grant.answered(TokenUsage(input=50, output=20))
            elif how == "refused":
                grant.heard(1, RateFacts(retry_after_s=2.0))
                grant.refused()
            elif how == "limited":
                grant.heard(1, RateFacts(requests=RateFact(limit=10, remaining=0, reset_s=60.0)))

    async def _finish_and_cancel(self, number: int, other: int) -> None:
        """A slot comes free in the moment in which somebody leaves."""
        await self._finish(number, "answered")
        await self._cancel(other)

    async def _advance(self, seconds: float) -> None:
        self.clock.advance(seconds)

    async def _resize(self, total: int, per_provider: int, queue: int) -> None:
        self.total, self.per_provider, self.queue = total, per_provider, queue
        self.house.use(self._limits(), providers=self.rates, adaptive=True)

    def _collect(self) -> None:
        for task in [task for task in self.tasks if task.done()]:
            self.tasks.remove(task)
            if task.cancelled():
                continue
            if (error := task.exception()) is not None:
                assert isinstance(error, DomainError)
                assert error.retry_after_s is not None
            elif (grant := task.result()) is not None:
                self.open[grant] = None
                self.batches.setdefault(grant.batch, []).append(grant)

    def check(self) -> None:
        """Compare the dispatcher with what was let go and what waits."""
        house, now = self.house, self.clock.monotonic()
        assert house.in_flight == len(self.open)
        for provider in "ab":
            assert house.line(provider).in_flight == sum(grant.ask.provider == provider for grant in self.open)
        waiting = [one for lanes in house._roster._services.values() for lane in lanes for one in lane]
        assert house.queued == len(waiting) <= len(self.tasks)
        for grants in self.batches.values():
            assert len(grants) <= BATCH
            assert len({(grant.ask.provider, grant.ask.prefix) for grant in grants}) == 1
        windows = [window for groups in house._windows._open.values() for window in groups.values()]
        assert all(window.closes_at >= now - 0.01 for window in windows)
        self._check_nobody_waits_in_vain()

    def _check_nobody_waits_in_vain(self) -> None:
        """Whoever stands in a line whose slots are free waits for its rates, and is woken when they allow it."""
        if self.house.in_flight >= self.total:
            return
        now = self.clock.monotonic()
        for line in self.house.lines:
            if line.lanes and line.free:
                assert line.ready_at > now
                assert self.clock.sleeper_count > 0

    async def end(self) -> None:
        """Let everything end: all who wait go, all slots come back, nothing is left."""
        for missing in self.missing:
            missing.set()
        for _ in range(500):
            await settle(6)
            self._collect()
            if not self.tasks:
                break
            if self.open:
                await self._finish(0, "answered")
            else:
                self.clock.advance(10.0)
        for grant in list(self.open):
            grant.close()
        await settle()
        assert not self.tasks
        assert (self.house.in_flight, self.house.queued, bool(self.house._windows)) == (0, 0, False)
        assert all(line.in_flight == 0 and not line.lanes for line in self.house.lines)
        assert self.clock.sleeper_count == 0


def play(steps: list[tuple[Any, ...]], *, rates: dict[str, int], make: Callable[..., Dispatcher] = Dispatcher) -> None:
    """Run steps one after the other, checking after each, and then to the end."""

    async def run() -> None:
        game = Random(rates=rates, make=make)
        for step in steps:
            await game.do(step)
            game.check()
        await game.end()

    asyncio.run(run())


@given(
    steps=st.lists(STEP, max_size=25),
    rates=st.sampled_from([{}, {"requests_per_minute": 6}, {"requests_per_minute": 20, "tokens_per_minute": 30_000}]),
)
@settings(max_examples=120, deadline=None)
def test_slots_batches_and_waits_hold(steps: list[tuple[Any, ...]], rates: dict[str, int]) -> None:
    """Slots are neither lost nor given twice, batches are of one kind and size, nobody waits in vain, and everybody's wait ends."""
    play(steps, rates=rates)


LEAVING = [
    ("resize", 1, 1, 5),
    ("arrive", {"provider": "a"}, None),
    ("arrive", {"provider": "a"}, None),
    ("finish and cancel", 0, 0),
]
BLOCKED = [("arrive", {"provider": "a"}, None), ("finish", 0, "answered"), ("arrive", {"provider": "a"}, None)]


def test_slot_of_a_leaver_is_lost_without_giving_back() -> None:
    """The control: if a call that leaves in the moment of its grant gave nothing back, its slot would be lost."""

    class Forgetful(Dispatcher):
        def _leave(self, waiting: Waiting) -> None:
            self._roster.remove(waiting)
            waiting.leave_place()

    play(LEAVING, rates={})
    with pytest.raises(AssertionError):
        play(LEAVING, rates={}, make=Forgetful)


def test_rate_is_waited_for_in_vain_without_the_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the alarm nobody would let a call go that waits for its rate alone."""
    play(BLOCKED, rates={"requests_per_minute": 1})
    monkeypatch.setattr("aigend.scheduling.dispatch.alarm.Alarm.set", lambda _self, _at: None)
    with pytest.raises(AssertionError):
        play(BLOCKED, rates={"requests_per_minute": 1})


def test_stalled_window_stays_open_without_the_alarm(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the alarm announced calls would wait for a sibling that never comes."""
    steps = [("announce", [{"provider": "a"}], True), ("advance", 2.5)]
    play(steps, rates={})
    monkeypatch.setattr("aigend.scheduling.dispatch.alarm.Alarm.set", lambda _self, _at: None)
    with pytest.raises(AssertionError):
        play(steps, rates={})


async def test_ten_thousand_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 queued calls of 20 services to 4 providers all go, with work that grows like their number."""
    looks = 0
    first = fair_queue._Backlog.first

    def counted(backlog: fair_queue._Backlog, blocked: set[str]) -> Waiting | None:
        nonlocal looks
        looks += 1
        return first(backlog, blocked)

    monkeypatch.setattr(fair_queue._Backlog, "first", counted)
    house = Dispatcher(limits(total=20, per_provider=5, queue=10_000), clock=FakeClock())
    peak = served = 0

    async def call(number: int) -> None:
        nonlocal peak, served
        lane = Lane.FLEX if number % 7 == 0 else Lane.INTERACTIVE
        given = ask(f"p{number % 4}", service=f"s{number % 20}", lane=lane, prefix=b"p" * (number % 3), input_tokens=number)
        with await house.acquire(given) as grant:
            grant.sent = True
            peak = max(peak, house.in_flight)
            await asyncio.sleep(0)
            served += 1

    await asyncio.gather(*(call(number) for number in range(10_000)))
    assert (served, peak, house.in_flight, house.queued) == (10_000, 20, 0, 0)
    assert looks < 4 * 10_000
