"""Token buckets: by the settings, and as providers tell them."""

import pytest
from aigend.config import ProviderSettings
from aigend.rate_facts import RateFact, RateFacts
from aigend.scheduling.dispatch import rates as rates_module
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.rates import Bucket, ProviderRates
from aigend.types import TokenUsage
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.scheduling.asks import ask, dispatcher, limits, sent, start, taken
from tests.fakes import FakeClock, settle


def provider_rates(*, requests: int | None = None, tokens: int | None = None) -> ProviderRates:
    """Return rates by the settings."""
    return ProviderRates(requests_per_minute=requests, tokens_per_minute=tokens, now=0.0)


def told(limit: int, remaining: int, reset_s: float | None = None) -> RateFact:
    """Return one limit as a provider tells it."""
    return RateFact(limit=limit, remaining=remaining, reset_s=reset_s)


def hear(rates: ProviderRates, facts: RateFacts, *, of: Ask | None = None, key: int = 1, now: float = 0.0) -> None:
    """Let a call be made whose answer says this."""
    of = of or ask()
    rates.hear(of, key, facts, taken=rates.take(of, now), now=now)


@given(
    per_minute=st.integers(1, 1_000),
    calls=st.lists(st.tuples(st.floats(0, 30), st.floats(0, 200)), max_size=30),
)
def test_bucket_gives_no_more_than_it_gets(per_minute: int, calls: list[tuple[float, float]]) -> None:
    """Whoever waits as he is told finds what he needs, and over any time no more goes out than was in it and came in."""
    bucket, now, out = Bucket(per_minute, 0.0), 0.0, 0.0
    for pause, amount in calls:
        now += pause
        now += bucket.wait_s(amount, now)
        assert bucket.wait_s(amount, now) < 1e-3
        bucket.take(amount, now)
        out += min(amount, per_minute)
        assert out <= per_minute * (1 + now / 60.0) + 1e-3


def test_bucket_reckons_with_those_ahead() -> None:
    """Who comes after others waits for what they take as well."""
    bucket = Bucket(60, 0.0)
    bucket.take(60, 0.0)
    assert [bucket.wait_s(1.0, 0.0, ahead=ahead) for ahead in (0, 9)] == [1.0, 10.0]
    assert bucket.wait_s(1_000.0, 0.0) == 60.0  # more than fits: a full bucket


def test_tokens_are_put_right_when_the_answer_is_known() -> None:
    """A call is let go at what it may use at most, and pays what it used."""
    rates = provider_rates(tokens=10_000)
    call = ask(input_tokens=1_000, max_output_tokens=8_000)
    taken_tokens = rates.take(call, 0.0)
    assert rates.own_wait_s(call, 0.0) == pytest.approx(48.0)
    rates.used(call, TokenUsage(input=900, output=100), taken=taken_tokens, now=0.0)
    assert rates.own_wait_s(call, 0.0) == 0.0


def test_what_calls_really_use_is_learned() -> None:
    """After many short answers a call counts as what they used, not as the longest that it may be."""
    rates = provider_rates(tokens=10_000)
    call = ask(model="m", input_tokens=1_000, max_output_tokens=8_000)
    for _ in range(50):
        rates.used(call, TokenUsage(input=500, output=80), taken=rates.take(call, 0.0), now=0.0)
    assert rates.take(call, 10_000.0).tokens == pytest.approx(580, rel=0.05)
    assert rates.take(ask(model="other", input_tokens=1_000, max_output_tokens=8_000), 10_000.0).tokens == 9_000


def test_call_that_was_not_sent_gives_back() -> None:
    """What was taken for a call that never left is there for the next one."""
    rates = provider_rates(requests=1, tokens=1_000)
    call = ask(input_tokens=1_000)
    for _ in range(3):
        assert rates.own_wait_s(call, 0.0) == 0.0
        rates.give_back(rates.take(call, 0.0), 0.0, sent=False)
    rates.give_back(rates.take(call, 0.0), 0.0, sent=True)
    assert rates.own_wait_s(call, 0.0) == 60.0


def test_provider_is_believed() -> None:
    """Nothing left of 60 a minute: the next call goes in a second, and later ones as the provider fills up."""
    rates = provider_rates()
    hear(rates, RateFacts(requests=told(60, 0, 60.0)))
    assert [rates.told_wait_s(ask(), now) for now in (0.0, 0.5, 1.0)] == [pytest.approx(1.0), pytest.approx(0.5), 0.0]


def test_longer_windows_show_in_the_reset() -> None:
    """An account with 200 requests a day fills up by one in seven minutes, not by three in a second."""
    rates = provider_rates()
    hear(rates, RateFacts(requests=told(200, 0, 86_400.0)))
    assert rates.told_wait_s(ask(), 0.0) == pytest.approx(432.0)


def test_coarse_resets_are_not_computed_with() -> None:
    """A reset told in whole seconds that is almost now says nothing of the window."""
    rates = provider_rates()
    hear(rates, RateFacts(requests=told(60, 0, 1.0)))
    assert rates.told_wait_s(ask(), 0.0) == pytest.approx(1.0)


def test_refusal_lets_the_model_rest() -> None:
    """After a refusal with a wait nobody asks for the same model until it is over; other models are asked."""
    rates = provider_rates()
    hear(rates, RateFacts(retry_after_s=7.0), of=ask(model="m"))
    assert rates.told_wait_s(ask(model="m"), 2.0) == pytest.approx(5.0)
    assert rates.told_wait_s(ask(model="n"), 2.0) == 0.0
    hear(rates, RateFacts(retry_after_s=1e9), of=ask(model="m"))
    assert rates.told_wait_s(ask(model="m"), 0.0) == rates_module.LONGEST_REST_S


def test_calls_under_way_count_as_taken() -> None:
    """Of three that are left, three may be under way: what was let go is not yet in what the provider says."""
    rates = provider_rates()
    hear(rates, RateFacts(requests=told(60, 3)))
    under_way = []
    for _ in range(3):
        assert rates.told_wait_s(ask(), 0.0) == 0.0
        under_way.append(rates.take(ask(), 0.0))
    assert rates.told_wait_s(ask(), 0.0) == pytest.approx(1.0)
    rates.give_back(under_way[0], 0.0, sent=True)
    assert rates.told_wait_s(ask(), 0.0) == 0.0


def test_output_and_input_have_limits_of_their_own() -> None:
    """A call waits for whichever of the limits that its provider told is the tightest."""
    rates = provider_rates()
    call = ask(input_tokens=1_000, max_output_tokens=600)
    hear(rates, RateFacts(input_tokens=told(60_000, 5_000), output_tokens=told(6_000, 500)), of=call)
    assert rates.told_wait_s(call, 0.0) == pytest.approx(1.0)
    assert rates.told_wait_s(ask(input_tokens=6_000), 0.0) == pytest.approx(1.0)


def test_each_key_has_its_own_limits() -> None:
    """A call waits only if none of its keys can take it; one that was not heard of may be free."""
    rates = provider_rates()
    both = ask(key_count=2)
    hear(rates, RateFacts(requests=told(60, 0)), of=both, key=1)
    assert rates.told_wait_s(both, 0.0) == 0.0
    hear(rates, RateFacts(requests=told(60, 1)), of=both, key=2)
    assert rates.told_wait_s(both, 0.0) == 0.0
    hear(rates, RateFacts(requests=told(60, 0)), of=both, key=2)
    assert rates.told_wait_s(both, 0.0) == pytest.approx(1.0)


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The models that were heard of longest ago are forgotten."""
    monkeypatch.setattr(rates_module, "MOST_MODELS", 3)
    rates = provider_rates(tokens=1_000_000)
    for number in range(10):
        call = ask(model=f"m{number}")
        hear(rates, RateFacts(requests=told(60, 0)), of=call)
        rates.used(call, TokenUsage(input=1), taken=rates.take(call, 0.0), now=0.0)
    assert (len(rates._limits), len(rates._keys), len(rates._habits)) == (3, 3, 3)
    assert rates.told_wait_s(ask(model="m0"), 0.0) == 0.0
    assert rates.told_wait_s(ask(model="m9"), 0.0) > 0.0


def test_settings_that_stay_keep_their_level() -> None:
    """A reload of the settings does not fill a bucket."""
    rates = provider_rates(requests=1)
    rates.take(ask(), 0.0)
    rates.use(requests_per_minute=1, tokens_per_minute=None, now=0.0)
    assert rates.own_wait_s(ask(), 0.0) == 60.0
    rates.use(requests_per_minute=2, tokens_per_minute=None, now=0.0)
    assert rates.own_wait_s(ask(), 0.0) == 0.0
    rates.use(requests_per_minute=None, tokens_per_minute=None, now=0.0)
    assert rates.unbound


async def test_calls_leave_as_the_rate_allows() -> None:
    """With 60 a minute and all of them used up, one call goes each second though slots are free."""
    clock = FakeClock()
    house = dispatcher(clock, rates={"a": {"requests_per_minute": 60}}, per_provider=10, total=10, queue=10)
    for _ in range(60):
        await sent(house)
    tasks = [start(house) for _ in range(4)]
    for done in range(5):
        await settle()
        assert sum(task.done() for task in tasks) == min(4, done)
        clock.advance(1.0)


async def test_large_call_is_not_starved_by_small_ones() -> None:
    """Once a call waits for tokens, smaller ones to the same provider do not take them away before it goes."""
    clock = FakeClock()
    house = dispatcher(clock, rates={"a": {"tokens_per_minute": 6_000}}, per_provider=10, total=10, queue=10)
    await sent(house, input_tokens=6_000)
    large = start(house, model="m", service="x", input_tokens=3_000)
    await settle()
    small = [start(house, model="n", service="y", input_tokens=100) for _ in range(5)]
    await settle()
    clock.advance(29.0)
    await settle()
    assert not any(task.done() for task in (large, *small))
    clock.advance(1.0)
    await settle()
    assert large.done()
    for task in small:
        task.cancel()


async def test_exhausted_model_holds_up_no_other() -> None:
    """A model whose limit the provider told as used up waits; another model of the same provider does not."""
    clock = FakeClock()
    house = dispatcher(clock, per_provider=5, total=5)
    with await taken(house, model="m") as grant:
        grant.sent = True
        grant.heard(1, RateFacts(requests=told(60, 0)))
    waiting, other = start(house, model="m"), start(house, model="n")
    await settle()
    assert (waiting.done(), other.done()) == (False, True)
    clock.advance(1.0)
    await waiting


async def test_rates_of_the_settings_are_the_providers_own() -> None:
    """What is set for one provider holds up no other."""
    house = dispatcher(rates={"a": {"requests_per_minute": 1}}, per_provider=5, total=5)
    await sent(house)
    waiting = start(house)
    await sent(house, "b")
    await settle()
    assert not waiting.done()
    house.use(limits(), providers={"a": ProviderSettings(requests_per_minute=2)}, adaptive=False)
    await waiting
    assert house.queued == 0
