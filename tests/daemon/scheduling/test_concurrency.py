"""The adaptive limit: it finds what a provider bears, and backs off."""

import pytest
from aigend.scheduling.dispatch import concurrency as concurrency_module
from aigend.scheduling.dispatch.concurrency import AdaptiveLimit, Pace
from aigend.types import TokenUsage
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.scheduling.asks import dispatcher, limits, start, taken
from tests.fakes import FakeClock, settle


class Load:
    """A provider that is always asked for as much as the limit allows.

    Args:
        bears: Calls that it takes at once; more are refused.
    """

    def __init__(self, limit: AdaptiveLimit, *, bears: int) -> None:
        self.limit = limit
        self.bears = bears
        self.now = 0.0

    def round(self, *, duration_s: float = 2.0, output_tokens: int = 100) -> int:
        """Send as many calls as the limit allows and return how many."""
        granted_at, asked = self.now, self.limit.value
        self.now += duration_s
        for number in range(asked):
            if number >= self.bears:
                self.limit.refused(granted_at=granted_at, now=self.now)
                continue
            self.limit.answered(
                "m",
                duration_s=duration_s,
                output_tokens=output_tokens,
                in_flight=asked - number,
                granted_at=granted_at,
                now=self.now,
            )
        return asked


def test_limit_is_the_configured_one_where_nothing_is_wrong() -> None:
    """A provider that answers gets all slots from the first call on."""
    load = Load(AdaptiveLimit(5, enabled=True), bears=100)
    assert {load.round() for _ in range(50)} == {5}


@pytest.mark.parametrize("bears", [1, 2, 8, 20])
def test_limit_is_found(bears: int) -> None:
    """Against a provider that bears so many, the limit stays about there: seldom more, never far less."""
    load = Load(AdaptiveLimit(32, enabled=True), bears=bears)
    asked = [load.round() for _ in range(300)][100:]
    assert max(asked) <= bears + 1
    assert min(asked) >= max(1, bears // 2)
    assert sum(asked) / len(asked) >= bears * 0.6


def test_one_trouble_counts_once() -> None:
    """Ten calls refused in one moment halve the limit once."""
    limit = AdaptiveLimit(16, enabled=True)
    for _ in range(10):
        limit.refused(granted_at=1.0, now=2.0)
    assert limit.value == 8
    limit.refused(granted_at=3.0, now=4.0)
    assert limit.value == 4


def test_limit_recovers() -> None:
    """When a provider bears everything again, the limit grows back to the configured one."""
    load = Load(AdaptiveLimit(16, enabled=True), bears=2)
    for _ in range(20):
        load.round()
    load.bears = 100
    assert [load.round() for _ in range(40)][-1] == 16


def test_slow_answers_lower_the_limit() -> None:
    """Answers that take four times as long as usual lower the limit; as they become usual, it comes back."""
    load = Load(AdaptiveLimit(16, enabled=True), bears=100)
    for _ in range(20):
        load.round(duration_s=2.0)
    slow = [load.round(duration_s=8.0) for _ in range(10)]
    assert min(slow) <= 13
    assert [load.round(duration_s=2.0) for _ in range(60)][-1] == 16


def test_longer_answers_are_not_slow() -> None:
    """Ten times the tokens in ten times the time is the same pace."""
    load = Load(AdaptiveLimit(16, enabled=True), bears=100)
    for _ in range(20):
        load.round(duration_s=2.0, output_tokens=100)
    assert {load.round(duration_s=20.0, output_tokens=1_900) for _ in range(10)} == {16}


def test_less_than_a_second_is_not_slow() -> None:
    """A provider that takes 400 ms instead of 40 is left all its slots."""
    load = Load(AdaptiveLimit(16, enabled=True), bears=100)
    for _ in range(20):
        load.round(duration_s=0.04)
    assert {load.round(duration_s=0.4) for _ in range(10)} == {16}


def test_few_calls_under_way_are_not_the_reason() -> None:
    """With few of its slots in use a slow provider is slow for another reason, and keeps them."""
    limit = AdaptiveLimit(16, enabled=True)
    for number in range(60):
        limit.answered(
            "m", duration_s=2.0 if number < 40 else 20.0, output_tokens=10, in_flight=2, granted_at=float(number), now=number + 0.5
        )
    assert limit.value == 16


def test_pace_drifts_back_after_a_slow_time() -> None:
    """A long slow time does not hide the next one for long."""
    pace = Pace()
    for _ in range(300):
        pace.note(20.0, 100)
    for _ in range(60):
        pace.note(1.0, 100)
    assert pace.usually < 2.5 * pace.lately


def test_switched_off_it_is_the_configured_limit() -> None:
    """The control: without the feature refusals change nothing, and switching it off gives all slots back."""
    limit = AdaptiveLimit(8, enabled=False)
    limit.refused(granted_at=1.0, now=2.0)
    assert limit.value == 8
    limit.use(8, enabled=True)
    limit.refused(granted_at=3.0, now=4.0)
    assert limit.value == 4
    limit.use(8, enabled=False)
    assert limit.value == 8


def test_other_settings_keep_what_was_found() -> None:
    """A higher maximum is used at once where nothing was found, and grown into where something was; a lower one holds."""
    fresh, found = AdaptiveLimit(8, enabled=True), AdaptiveLimit(8, enabled=True)
    found.refused(granted_at=1.0, now=2.0)
    for limit in (fresh, found):
        limit.use(16, enabled=True)
    assert (fresh.value, found.value) == (16, 4)
    found.use(2, enabled=True)
    assert found.value == 2


def test_models_that_are_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pace of the model that was used longest ago is forgotten."""
    monkeypatch.setattr(concurrency_module, "MOST_MODELS", 2)
    limit = AdaptiveLimit(2, enabled=True)
    for model in "abac":
        limit.answered(model, duration_s=1.0, output_tokens=1, in_flight=1, granted_at=0.0, now=1.0)
    assert list(limit._paces) == ["a", "c"]


@given(
    most=st.integers(1, 100),
    events=st.lists(st.tuples(st.booleans(), st.floats(0.001, 600), st.integers(0, 10_000), st.integers(1, 100)), max_size=60),
)
def test_limit_stays_within_its_bounds(most: int, events: list[tuple[bool, float, int, int]]) -> None:
    """Whatever a provider does, between one call and the configured number may be under way."""
    limit, now = AdaptiveLimit(most, enabled=True), 0.0
    for refused, duration_s, tokens, in_flight in events:
        now += duration_s
        if refused:
            limit.refused(granted_at=now - duration_s, now=now)
        else:
            limit.answered(
                "m", duration_s=duration_s, output_tokens=tokens, in_flight=in_flight, granted_at=now - duration_s, now=now
            )
        assert 1 <= limit.value <= most


async def test_refused_calls_take_slots_away() -> None:
    """A provider that refuses calls because it has too many gets fewer at once, and more again when it answers."""
    clock = FakeClock()
    house = dispatcher(clock, total=10, per_provider=4, queue=10, adaptive=True)
    first = [await taken(house) for _ in range(4)]
    clock.advance(1.0)
    for grant in first:
        grant.sent = True
        grant.refused()
        grant.close()
    assert house.line("a").concurrency.value == 2
    tasks = [start(house) for _ in range(3)]
    await settle()
    assert [task.done() for task in tasks] == [True, True, False]
    clock.advance(1.0)
    for task in tasks[:2]:
        task.result().answered(TokenUsage(input=1, output=1))
        task.result().close()
    await tasks[2]
    house.use(limits(total=10, per_provider=4), providers={}, adaptive=False)
    assert house.line("a").concurrency.value == 4
