"""What paid calls ask of their provider's prompt cache, through the whole spine."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from pathlib import Path

import pytest
from aigen.v1 import completion_pb2 as pb
from aigend.completion.prompt_cache.plans import longest_ttl_s
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.ledger.prices.catalog import PriceCatalog
from aigend.ledger.prices.estimate import upper_bound_nanos
from aigend.ledger.prices.file import parse_prices
from aigend.ledger.prices.pricing import cost_nanos
from aigend.types import (
    CacheMark,
    CacheMode,
    CompletionRequest,
    Message,
    Part,
    PartPlace,
    PromptCachePlan,
    PromptCaching,
    Role,
    Route,
    SavingsCause,
    Stability,
    Text,
    TokenUsage,
)

from tests.fakes import fake_reply
from tests.spine import NoPublishedPrices, Spine, caller, question, read, spine

MODELS = (
    {"id": "model-1", "provider": "one", "min_cacheable_tokens": 1_024},
    {"id": "model-2", "provider": "two"},
)
PROVIDERS = {
    "one": ProviderSettings(adapter="anthropic", base_url="http://127.0.0.1:9"),
    "two": ProviderSettings(adapter="openai", base_url="http://127.0.0.1:9"),
}
SECOND_SIGHT = {"decision": "second_sight"}
SYSTEM = Part(Text("s" * 8_000))  # 2,000 tokens
SYSTEM_END, TURN_END = PartPlace(None, 0), PartPlace(0, 0)
SHORT = Part(Text("s" * 400))


def house_with(folder: Path, **changes) -> AbstractAsyncContextManager[Spine]:
    """Run a spine whose first provider takes marks and whose second has none."""
    folder.mkdir(exist_ok=True)
    return spine(folder, **({"providers": PROVIDERS, "models": MODELS, "features": {"cache": False}} | changes))


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[Spine]:
    """A spine with the default settings, the response cache aside."""
    async with house_with(tmp_path) as made:
        yield made


async def ask(house: Spine, text: str = "a question", *, system: Part = SYSTEM, **fields) -> pb.CompleteResponse:
    """Ask a question under a system prompt."""
    return read(await house.ask(text, **({"system": (system,)} | fields)))


def plans(house: Spine) -> list[PromptCachePlan]:
    """Return what provider one was asked of its cache, call by call."""
    return [call.prompt_cache for call in house.one.calls]


def marked(plan: PromptCachePlan) -> list[PartPlace]:
    """Return where the marks stand."""
    return [mark.place for mark in plan.marks]


async def test_second_sight_marks_on_the_second_call(tmp_path: Path) -> None:
    """The second call marks what the first one began with, for 5 minutes."""
    async with house_with(tmp_path, prompt_caching=SECOND_SIGHT) as house:
        await ask(house, "first")
        await ask(house, "second")
        assert [marked(plan) for plan in plans(house)] == [[], [SYSTEM_END]]
        assert plans(house)[1].marks == (CacheMark(place=SYSTEM_END, ttl_s=300),)


async def test_unasked_marking_begins_once_it_is_known_to_pay(tmp_path: Path) -> None:
    """By default nothing is marked at first; what comes again every minute is marked before long, and the rows say why."""
    known = PriceCatalog(user=parse_prices(SONNET, name="test"), published=NoPublishedPrices())
    async with house_with(tmp_path) as house:
        house.engine.swap(replace(house.snapshot, prices=known))
        for number in range(40):
            await ask(house, f"question {number}")
            house.clock.advance(60)
        found = [bool(marked(plan)) for plan in plans(house)]
        assert not any(found[:2])
        assert all(found[20:])
        assert plans(house)[-1].marks[-1] == CacheMark(place=SYSTEM_END, ttl_s=300)
        rows = list(house.prompts.decisions.latest("local"))
        assert len(rows) == 40
        assert rows[0].decision == "adaptive"
        assert (rows[0].mark_count, rows[0].ttl_s, rows[-1].mark_count, rows[-1].ttl_s) == (1, 300, 0, 0)
        assert all(row.reason for row in rows)
        assert house.prompts.decisions.of("local", request_id=rows[5].request_id) == rows[5]


async def test_hits_mark_and_remember_nothing(tmp_path: Path) -> None:
    """An answer of the response cache is no sight of its prefix."""
    async with house_with(tmp_path, features={}) as house:
        await ask(house)
        house.clock.advance(200)
        await ask(house)
        house.clock.advance(200)
        await ask(house, "another")
        assert [marked(plan) for plan in plans(house)] == [[], []]


@pytest.mark.parametrize(
    ("settings", "fields", "places"),
    [
        ({}, {}, [SYSTEM_END, TURN_END]),
        ({}, {"prompt_caching": PromptCaching(enabled=False)}, []),
        ({}, {"service": "off"}, []),
        ({}, {"service": "off", "prompt_caching": PromptCaching(enabled=True)}, [SYSTEM_END, TURN_END]),
        ({}, {"service": "never"}, []),
        ({"features": {"cache": False, "prompt_caching": False}}, {}, []),
        (
            {"features": {"cache": False, "prompt_caching": False}},
            {"prompt_caching": PromptCaching(enabled=True)},
            [],
        ),
        ({"prompt_caching": {"decision": "never"}}, {}, []),
        ({"prompt_caching": {"decision": "never"}}, {"service": "always"}, [SYSTEM_END, TURN_END]),
    ],
)
async def test_switches_of_settings_service_and_request(
    tmp_path: Path, settings: dict, fields: dict, places: list[PartPlace]
) -> None:
    """The request wins over its service, the service over the settings, and the feature's switch over all."""
    services = {
        "off": {"prompt_caching": {"enabled": False}},
        "never": {"prompt_caching": {"decision": "never"}},
        "always": {"prompt_caching": {"decision": "always"}},
    }
    async with house_with(tmp_path, **({"prompt_caching": {"decision": "always"}, "services": services} | settings)) as house:
        await ask(house, **fields)
        assert marked(plans(house)[0]) == places


@pytest.mark.parametrize(
    ("fields", "ttl_s"),
    [
        ({}, 300),
        ({"service": "long"}, 3_600),
        ({"service": "long", "prompt_caching": PromptCaching(ttl_s=300)}, 300),
        ({"prompt_caching": PromptCaching(ttl_s=3_600)}, 3_600),
    ],
)
async def test_lifetime_of_request_service_and_settings(tmp_path: Path, fields: dict, ttl_s: int) -> None:
    """The request's lifetime wins over the service's, and that over the settings'."""
    services = {"long": {"prompt_caching": {"ttl_s": 3_600}}}
    async with house_with(tmp_path, prompt_caching={"decision": "always"}, services=services) as house:
        await ask(house, **fields)
        assert {mark.ttl_s for mark in plans(house)[0].marks} == {ttl_s}


async def test_marks_of_the_caller_always_win(tmp_path: Path) -> None:
    """Where the caller marked parts nothing else is marked; 0 is the shortest time, and `never` does not touch them."""
    own = Part(Text("doc"), prompt_cache_mark_s=0)
    for decision in ("always", "never"):
        async with house_with(tmp_path / decision, prompt_caching={"decision": decision}) as house:
            await house.engine.complete(
                CompletionRequest(messages=(Message(Role.USER, (own, Part(Text("q")))),), system=(SYSTEM,), model="one/model-1"),
                caller(),
            )
            assert plans(house)[0].marks == (CacheMark(place=PartPlace(0, 0), ttl_s=300),)


async def test_marks_in_an_order_that_providers_refuse_are_refused_before_anything_is_sent(house: Spine) -> None:
    """An hour behind five minutes is INVALID_REQUEST that names the mark."""
    with pytest.raises(DomainError) as refused:
        await house.engine.complete(
            CompletionRequest(
                system=(Part(Text("s"), prompt_cache_mark_s=0),),
                messages=(Message(Role.USER, (Part(Text("q"), prompt_cache_mark_s=3_600),)),),
                model="one/model-1",
            ),
            caller(),
        )
    assert refused.value.reason is Reason.INVALID_REQUEST
    assert refused.value.metadata["field"] == "messages[0].parts[0].prompt_cache_mark.ttl_seconds"
    assert house.one.calls == []


async def test_an_order_that_providers_take_is_sent(house: Spine) -> None:
    """An hour before five minutes goes out as it is."""
    hour, minutes = Part(Text("s"), prompt_cache_mark_s=3_600), Part(Text("q"), prompt_cache_mark_s=300)
    request = CompletionRequest(system=(hour,), messages=(Message(Role.USER, (minutes,)),), model="one/model-1")
    await house.engine.complete(request, caller())
    assert [mark.ttl_s for mark in plans(house)[0].marks] == [3_600, 300]


async def test_at_most_four_marks_are_set(tmp_path: Path) -> None:
    """The longest prefixes keep their marks."""
    own = tuple(Part(Text(f"part {number}"), prompt_cache_mark_s=0) for number in range(6))
    async with house_with(tmp_path) as house:
        await house.engine.complete(CompletionRequest(messages=(Message(Role.USER, own),), model="one/model-1"), caller())
        assert marked(plans(house)[0]) == [PartPlace(0, number) for number in (2, 3, 4, 5)]


TOO_SHORT = "prefix of about {} tokens is below the model's minimum of 1024: not cached"


@pytest.mark.parametrize(
    ("settings", "fields", "tokens"),
    [
        ({"prompt_caching": {"decision": "always"}}, {}, 102),
        ({}, {"prompt_caching": PromptCaching(enabled=True)}, 102),
        ({"services": {"s": {"prompt_caching": {"enabled": True}}}}, {"service": "s"}, 102),
        ({}, {}, None),
        ({"prompt_caching": {"decision": "always"}}, {"prompt_caching": PromptCaching(enabled=False)}, None),
    ],
)
async def test_prefix_below_the_minimum_is_not_marked_and_told(
    tmp_path: Path, settings: dict, fields: dict, tokens: int | None
) -> None:
    """Whoever wanted it cached learns why it is not; nobody else is told."""
    async with house_with(tmp_path, **settings) as house:
        answered = await ask(house, system=SHORT, **fields)
        assert marked(plans(house)[0]) == []
        assert list(answered.warnings) == ([TOO_SHORT.format(tokens)] if tokens else [])


async def test_short_prefix_that_comes_again_is_told(tmp_path: Path) -> None:
    """What second sight would have marked and is too short is said."""
    async with house_with(tmp_path, prompt_caching=SECOND_SIGHT) as house:
        await ask(house, "first", system=SHORT)
        assert list((await ask(house, "second", system=SHORT)).warnings) == [TOO_SHORT.format(100)]


async def test_short_beginning_of_a_long_prefix_is_not_told(tmp_path: Path) -> None:
    """Where something longer is cached, so is what it begins with."""
    async with house_with(tmp_path, prompt_caching={"decision": "always"}) as house:
        house.one.will(fake_reply(usage=TokenUsage(input=1, cache_write_5m=2_100, output=5)))
        answered = await ask(house, "q" * 8_000, system=SHORT)
        assert (marked(plans(house)[0]), list(answered.warnings)) == ([TURN_END], [])


async def test_routes_without_marks_are_told_only_on_request(house: Spine) -> None:
    """Of a provider that caches by itself nobody expects more, unless it was asked for in so many words."""
    models = {"model": "two/model-2"}
    for text in ("first", "second"):
        answered = await ask(house, text, **models)
        assert (list(answered.warnings), house.two.calls[-1].prompt_cache.marks) == ([], ())


async def test_marks_on_routes_without_them_are_left_to_the_adapter(tmp_path: Path) -> None:
    """Where prefixes are kept without marks, the plan holds none and the order does not matter; a prefix too short is told."""
    own = (Part(Text("s"), prompt_cache_mark_s=0), Part(Text("t"), prompt_cache_mark_s=3_600))
    models = ({"id": "model-2", "provider": "two", "min_cacheable_tokens": 1_024},)
    async with house_with(tmp_path, models=models, prompt_caching={"decision": "never"}) as house:
        answered = read(await house.ask(system=own, model="two/model-2"))
        assert house.two.calls[0].prompt_cache == PromptCachePlan()
        assert list(answered.warnings) == [TOO_SHORT.format(0)]


@pytest.mark.parametrize(
    ("fields", "places"),
    [
        ({}, []),
        ({"prompt_caching": PromptCaching(enabled=True)}, [SYSTEM_END, TURN_END]),
        ({"system": Part(SYSTEM.content, prompt_cache_mark_s=3_600)}, [SYSTEM_END]),
    ],
)
async def test_what_is_stored_at_a_price_is_marked_on_request_alone(tmp_path: Path, fields: dict, places: list[PartPlace]) -> None:
    """Where a kept prefix costs by the hour beside its tokens, no decision of ours sets a mark unasked."""
    providers = PROVIDERS | {"one": ProviderSettings(adapter="gemini", base_url="http://127.0.0.1:9")}
    async with house_with(tmp_path, providers=providers, prompt_caching={"decision": "always"}) as house:
        await ask(house, **fields)
        assert marked(plans(house)[0]) == places


async def test_marks_that_the_provider_passed_over_are_told(tmp_path: Path) -> None:
    """Neither read nor written: the provider kept nothing, whatever our estimate was."""
    own = Part(Text("doc"), prompt_cache_mark_s=0)
    async with house_with(tmp_path, prompt_caching={"decision": "always"}) as house:
        assert list((await ask(house)).warnings) == ["the provider did not cache the marked prefix of about 2002 tokens"]
        assert list((await ask(house, system=own)).warnings) == [TOO_SHORT.format(0)]
        house.one.will(fake_reply(usage=TokenUsage(input=5, cache_read=2_000, output=5)))
        assert list((await ask(house, "third")).warnings) == []


async def test_what_is_asked_for_and_switched_off_is_told(tmp_path: Path) -> None:
    """Marks that are left out, and a wish against `never`, are not passed over in silence."""
    own = Part(Text("doc"), prompt_cache_mark_s=0)
    wish = PromptCaching(enabled=True)
    async with house_with(tmp_path, features={"prompt_caching": False}) as house:
        off = "prompt caching is off: nothing was marked"
        assert list((await ask(house, "1", system=own)).warnings) == [off]
        assert list((await ask(house, "2", prompt_caching=wish)).warnings) == [off]
        assert list((await ask(house, "3")).warnings) == []
    async with house_with(tmp_path / "never", prompt_caching={"decision": "never"}) as house:
        told = (await ask(house, prompt_caching=wish)).warnings
        assert list(told) == ["prompt caching is asked for, and prompt_caching.decision is never: nothing was marked"]


async def test_stable_parts_after_dynamic_ones_are_told_and_not_moved(house: Spine) -> None:
    """The order of the request stays as it is."""
    system = (Part(Text("clock"), Stability.DYNAMIC), SYSTEM)
    answered = read(await house.ask(system=system))
    assert list(answered.warnings) == ["stable parts after dynamic ones can't be cached"]
    assert house.one.calls[0].request.system == system


async def test_prefix_key_is_the_same_for_a_shared_stable_prefix_alone(house: Spine) -> None:
    """Requests that share scope and a stable prefix of 1,024 tokens have the same key, others another or none."""
    await ask(house, "first", model="two/model-2")
    await ask(house, "second", model="two/model-2")
    await ask(house, "third", system=Part(Text("t" * 8_000)), model="two/model-2")
    await ask(house, "fourth", system=SHORT, model="two/model-2")
    await house.engine.complete(
        CompletionRequest(
            messages=(Message(Role.USER, (Part(Text("x")),)),), system=(SYSTEM,), model="two/model-2", mode=CacheMode.BYPASS
        ),
        replace(caller(), scope="another"),
    )
    first, second, third, fourth, elsewhere = (call.prompt_cache.prefix_key for call in house.two.calls)
    assert first == second
    assert fourth == ""
    assert len({first, third, elsewhere}) == 3
    assert all(len(key) == 32 for key in (first, third, elsewhere))


async def test_sights_of_one_scope_mark_nothing_for_another(house: Spine) -> None:
    """What one scope sent is not told to another by a mark."""
    await ask(house, "first")
    request = CompletionRequest(messages=(Message(Role.USER, (Part(Text("x")),)),), system=(SYSTEM,), model="one/model-1")
    await house.engine.complete(request, replace(caller(), scope="another"))
    assert marked(plans(house)[1]) == []


SONNET = """
version: 1
currency: USD
providers:
  one:
    model-1:
      {input: 3, output: 15, cache_read: 0.3, cache_write_5m: 3.75, cache_write_1h: 6, valid_from: 2020-01-01, source: test,
       checked_on: 2025-12-20}
"""
BARE = SONNET.replace("cache_read: 0.3, cache_write_5m: 3.75, cache_write_1h: 6, ", "")


class TestReservations:
    """What is held for calls that write to a prompt cache."""

    @pytest.mark.parametrize("prices", [SONNET, BARE])
    @pytest.mark.parametrize(("ttl_s", "bucket"), [(300, "cache_write_5m"), (3_600, "cache_write_1h")])
    async def test_dearest_write_is_held(self, tmp_path: Path, ttl_s: int, bucket: str, prices: str) -> None:
        """A call whose whole input is written costs no more than what was held, also where the rate of a write is missing."""
        async with house_with(tmp_path, prompt_caching={"decision": "always", "ttl_s": ttl_s}) as house:
            known = PriceCatalog(user=parse_prices(prices, name="test"), published=NoPublishedPrices())
            house.engine.swap(replace(house.snapshot, prices=known))
            (estimated,), _ = await house.engine.estimate(question(system=(SYSTEM,)), caller())
            usage = TokenUsage(**{bucket: estimated.input_tokens}, output=estimated.max_output_tokens)
            house.one.will(fake_reply(usage=usage))
            answered = await ask(house)
            (held, flags) = await house.ledger.read(
                lambda connection: connection.execute("SELECT reserved_nanos, flags FROM attempt").fetchone()
            )
            assert answered.cost_usd_nanos == cost_nanos(usage, estimated.price)
            assert answered.cost_usd_nanos <= held <= estimated.bound_nanos
            assert flags == "[]"
            unmarked = upper_bound_nanos(
                input_tokens=estimated.input_tokens, max_output_tokens=estimated.max_output_tokens, price=estimated.price
            )
            dear = ttl_s > 300 or prices == BARE  # a write for 5 minutes is reckoned with wherever it has a rate
            assert (unmarked < answered.cost_usd_nanos) is dear  # control: without the marks too little would be held

    @pytest.mark.parametrize(
        ("settings", "fields", "marks"),
        [
            ({}, {}, True),
            ({"prompt_caching": {"decision": "never"}}, {}, False),
            ({"prompt_caching": {"decision": "never"}}, {"system": (Part(Text("s"), prompt_cache_mark_s=3_600),)}, True),
            ({"features": {"prompt_caching": False}}, {}, False),
            ({}, {"model": "two/model-2"}, False),
        ],
    )
    async def test_estimate_reckons_with_marks_wherever_there_may_be_some(
        self, tmp_path: Path, settings: dict, fields: dict, *, marks: bool
    ) -> None:
        """EstimateCost stays an upper bound of whatever will be decided, and decides nothing itself."""
        async with house_with(tmp_path, **settings) as house:
            call = house.engine._begin(question(**fields), caller())
            assert (longest_ttl_s(call, call.routes[0]) is not None) is marks


async def test_reads_and_writes_are_priced_and_saved_at_their_own_rates(house: Spine) -> None:
    """claude-sonnet-4-5: 3 uncached, 0.30 read, 3.75 and 6 written, 15 output; what was saved is net of write premiums."""
    known = PriceCatalog(user=parse_prices(SONNET, name="test"), published=NoPublishedPrices())
    house.engine.swap(replace(house.snapshot, prices=known))
    house.one.will(
        fake_reply(usage=TokenUsage(input=10, cache_write_5m=1_000, output=7)),
        fake_reply(usage=TokenUsage(input=10, cache_read=900, cache_write_1h=100, output=7)),
    )
    first, second = await ask(house, "first"), await ask(house, "second")
    assert first.cost_usd_nanos == 10 * 3_000 + 1_000 * 3_750 + 7 * 15_000
    assert second.cost_usd_nanos == 10 * 3_000 + 900 * 300 + 100 * 6_000 + 7 * 15_000
    assert (first.saved_usd_nanos, first.saved_cause) == (-1_000 * 750, pb.SAVINGS_CAUSE_PROMPT_CACHE)
    assert second.saved_usd_nanos == 900 * 2_700 - 100 * 3_000
    (saving,) = (await house.stats()).totals.savings
    assert (saving.cause, saving.saved_nanos) == (SavingsCause.PROMPT_CACHE, first.saved_usd_nanos + second.saved_usd_nanos)


async def test_reads_are_expected_of_what_was_written(house: Spine) -> None:
    """Once the provider wrote a prefix, a request of the same scope that begins with it is expected to read it, for its time."""
    asked, route = question(system=(SYSTEM,)), Route("one", "model-1")
    assert house.engine._reads_of("local")(asked, route) == 0
    house.one.will(fake_reply(), fake_reply(usage=TokenUsage(input=5, cache_write_5m=2_000, output=5)))
    await ask(house, "first")
    await ask(house, "second")
    assert house.engine._reads_of("local")(asked, route) == 2_000
    assert house.engine._reads_of("another")(asked, route) == 0
    assert house.engine._reads_of("local")(asked, Route("two", "model-2")) == 0
    house.clock.advance(301)
    assert house.engine._reads_of("local")(asked, route) == 0


async def test_an_answer_to_nothing_cacheable_teaches_nothing(house: Spine) -> None:
    """A request in which everything changes has no prefix at all."""
    changing = Message(Role.USER, (Part(Text("now"), Stability.DYNAMIC),))
    await house.engine.complete(CompletionRequest(messages=(changing,), model="one/model-1"), caller())
    assert plans(house) == [PromptCachePlan()]


async def test_second_sight_that_forgets_marks_nothing(house: Spine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Control: without the memory of what was sent, the second call has no marks."""
    monkeypatch.setattr("aigend.scheduling.prompt_cache.marking.Sights._put", lambda *_: None)
    await ask(house, "first")
    await ask(house, "second")
    assert [marked(plan) for plan in plans(house)] == [[], []]
