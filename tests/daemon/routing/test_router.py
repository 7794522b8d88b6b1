"""Which routes a request may take, and in which order."""

import pytest
from aigend.config import ModelSettings, Settings, SettingsSections
from aigend.errors import DomainError, Reason
from aigend.routing import router as routing
from aigend.routing.catalog import BundledModels, build_catalog
from aigend.routing.policy import build_policies
from aigend.routing.router import Router, check_context
from aigend.types import (
    Capability,
    CompletionRequest,
    Image,
    Message,
    ModelRoute,
    ModelTier,
    Part,
    Role,
    Route,
    Strategy,
    Text,
)


def _router() -> Router:
    small = ModelSettings(id="small", provider="one", max_output_tokens=100, capabilities=(Capability.SEARCH,))
    return Router(build_catalog(SettingsSections(models=(small,)), configured=("one", "two")))


def _request(**fields) -> CompletionRequest:
    messages = (Message(Role.USER, (Part(Text("a question")),)),)
    return CompletionRequest(**({"messages": messages, "model": "one/small"} | fields))


def _refusal(**fields) -> DomainError:
    with pytest.raises(DomainError) as refused:
        _router().allowed(_request(**fields))
    return refused.value


def test_primary_is_the_model_alone() -> None:
    """Without fallbacks the model asked for is the only route, with what a call needs to know of it."""
    (route,) = _router().allowed(_request())
    assert (route.route, route.max_output_tokens, route.default_max_output_tokens) == (Route("one", "small"), 100, 100)
    assert route.searches


@pytest.mark.parametrize("strategy", [None, Strategy.FALLBACK])
def test_fallbacks_come_after_it_in_their_order_each_once(strategy: Strategy | None) -> None:
    """FALLBACK is what an unset strategy means where fallbacks are given; a model named twice is one route."""
    routes = _router().allowed(_request(strategy=strategy, fallback_models=("two/b", "one/small", "two/a", "two/b")))
    assert [route.route.model for route in routes] == ["small", "b", "a"]


def test_at_most_four_routes_are_allowed() -> None:
    """The first four in the strategy's order are kept."""
    routes = _router().allowed(_request(fallback_models=tuple(f"two/{n}" for n in range(9))))
    assert [route.route.model for route in routes] == ["small", "0", "1", "2"]


def test_primary_with_fallbacks_is_refused() -> None:
    """PRIMARY is the model alone; fallbacks beside it are named."""
    error = _refusal(strategy=Strategy.PRIMARY, fallback_models=("two/a",))
    assert (error.reason, error.metadata["field"]) == (Reason.INVALID_REQUEST, "fallback_models")


def test_unknown_fallback_is_refused() -> None:
    """A fallback that nothing is called is UNKNOWN_MODEL, before the first route is tried."""
    assert _refusal(fallback_models=("nothing",)).reason is Reason.UNKNOWN_MODEL


@pytest.mark.parametrize(("wanted", "allowed"), [(100, True), (101, False)])
def test_output_limit_must_fit_every_route(wanted: int, allowed) -> None:
    """More output than a route can give is refused by name, at the bound exactly."""
    if allowed:
        assert _router().allowed(_request(max_output_tokens=wanted))
    else:
        assert _refusal(max_output_tokens=wanted).metadata["field"] == "max_output_tokens"


def test_model_of_unknown_size_takes_any_output_limit() -> None:
    """Where the most output is not known nothing is refused."""
    assert _router().allowed(_request(model="two/any", max_output_tokens=900_000))


def test_what_was_resolved_is_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question of routes is resolved once; names without end do not fill the memory."""
    monkeypatch.setattr(routing, "MOST_RESOLVED", 3)
    router = _router()
    assert router.allowed(_request()) is router.allowed(_request())
    for number in range(20):
        router.allowed(_request(model=f"two/{number}"))
    assert len(router._resolved) <= 3


def test_prompt_that_no_tokenizer_fits_is_too_long() -> None:
    """A prompt above 16 bytes a token of context is refused; an unknown context refuses nothing."""
    route = ModelRoute(route=Route("one", "m"), position=0, context_tokens=10)
    check_context(160, route)
    check_context(10_000, ModelRoute(route=Route("one", "m"), position=0))
    with pytest.raises(DomainError) as refused:
        check_context(161, route)
    assert refused.value.reason is Reason.CONTEXT_TOO_LONG
    assert refused.value.metadata["context_tokens"] == "10"


def _catalog_of(**services) -> Router:
    """Return a router over three configured providers and one that is not, with models of two tiers."""
    facts = {
        "one/small": ("mini", ("chat",)),
        "one/seeing": ("mini", ("chat", "vision")),
        "one/large": ("premium", ("chat", "vision")),
        "two/small-2": ("mini", ("chat", "vision")),
        "two/untold": ("mini", ()),
        "three/small-3": ("mini", ("chat",)),
        "away/small-4": ("mini", ("chat", "vision")),
    }
    models = tuple(
        ModelSettings(id=name.split("/")[1], provider=name.split("/")[0], tier=tier, capabilities=able, max_output_tokens=limit)
        for limit, (name, (tier, able)) in enumerate(facts.items(), 1_000)
    )
    settings = Settings(models=models, services=services)
    catalog = build_catalog(
        settings, configured=("one", "two", "three"), bundled=BundledModels(models=(), agents={}, default_model="")
    )
    return Router(catalog, build_policies(settings, catalog), chance=lambda: 0.0)


def _models(routes) -> list[str]:
    return [route.route.model for route in routes]


IMAGE = (Message(Role.USER, (Part(Image(url="https://e/i.png")),)),)
COSTS = {"small": 5, "seeing": 1, "large": 0, "small-2": 3, "untold": None, "small-3": 4, "small-4": 0}


def _cost_of(route: ModelRoute) -> int | None:
    return COSTS[route.route.model]


def test_a_route_that_lacks_what_is_needed_is_passed_by() -> None:
    """Of the named routes those that can't serve are left out; where none can, the first one's refusal is raised."""
    router = _catalog_of()
    routes = router.allowed(_request(messages=IMAGE, model="one/small", fallback_models=("three/small-3", "two/small-2")))
    assert _models(routes) == ["small-2"]
    with pytest.raises(DomainError) as refused:
        router.allowed(_request(messages=IMAGE, model="one/small", fallback_models=("three/small-3",)))
    assert (refused.value.reason, refused.value.metadata["model"]) == (Reason.CAPABILITY_MISSING, "one/small")
    assert _models(router.allowed(_request(messages=IMAGE, model="two/untold"))) == ["untold"]


def test_routes_tell_what_is_known_of_their_model() -> None:
    """Tier, capabilities and shortest cached prefix travel with a route."""
    catalog = build_catalog(Settings(), configured=("anthropic",))
    (route,) = Router(catalog).allowed(_request(model="claude-opus-4-5"))
    assert (route.tier, route.min_cacheable_tokens) == (ModelTier.PREMIUM, 4_096)
    assert Capability.VISION in route.capabilities


def test_cheapest_of_its_tier_goes_first() -> None:
    """COST_OPTIMIZED chooses among the tier of the model asked for, at configured providers, unknown costs last, at most four."""
    routes = _catalog_of().allowed(_request(model="one/small", strategy=Strategy.COST_OPTIMIZED), cost_of=_cost_of)
    assert _models(routes) == ["seeing", "small-2", "small-3", "small"]


def test_cheapest_is_chosen_among_those_that_can() -> None:
    """What the request needs is judged before the price, and so is its output limit."""
    router = _catalog_of()
    seeing = _request(messages=IMAGE, model="one/small", strategy=Strategy.COST_OPTIMIZED)
    assert _models(router.allowed(seeing, cost_of=_cost_of)) == ["seeing", "small-2", "untold"]
    long = _request(model="one/small", strategy=Strategy.COST_OPTIMIZED, max_output_tokens=1_003)
    assert _models(router.allowed(long, cost_of=_cost_of)) == ["small-2", "small-3", "untold"]
    with pytest.raises(DomainError) as refused:
        router.allowed(_request(model="one/small", strategy=Strategy.COST_OPTIMIZED, max_output_tokens=9_999), cost_of=_cost_of)
    assert refused.value.metadata["field"] == "max_output_tokens"


def test_named_fallbacks_are_the_only_candidates() -> None:
    """Who names fallback models has named all that may be chosen."""
    asked = _request(model="one/small", fallback_models=("one/large",), strategy=Strategy.COST_OPTIMIZED)
    assert _models(_catalog_of().allowed(asked, cost_of=_cost_of)) == ["large", "small"]


def test_a_policy_gives_the_candidates() -> None:
    """With a restricted service all that it allows takes part, other tiers included."""
    router = _catalog_of(s={"allowed_models": ["one/small", "one/large", "away/small-4"], "strategy": "cost_optimized"})
    assert _models(router.allowed(_request(model="one/small", service="s"), cost_of=_cost_of)) == ["large", "small"]


def test_a_model_without_tier_stands_alone() -> None:
    """A model of which nothing is known has no equals; one whose provider is missing is replaced by its tier."""
    router = _catalog_of()
    assert _models(router.allowed(_request(model="two/any", strategy=Strategy.COST_OPTIMIZED))) == ["any"]
    away = router.allowed(_request(model="away/small-4", strategy=Strategy.COST_OPTIMIZED), cost_of=_cost_of)
    assert "small-4" not in _models(away)
    assert len(away) == 4


def test_performance_keeps_its_four_routes_whatever_was_measured() -> None:
    """The quickest leads; which four take part does not change with it, and each provider is among them."""
    router = _catalog_of()
    asked = _request(model="one/small", strategy=Strategy.PERFORMANCE)
    seconds = {"small": 1.0, "seeing": 2.0, "small-2": 3.0, "small-3": 4.0, "untold": 0.5}
    first = _models(router.allowed(asked, latency_of=lambda route: seconds[route.model]))
    seconds = dict(zip(seconds, reversed(seconds.values()), strict=True))
    second = _models(router.allowed(asked, latency_of=lambda route: seconds[route.model]))
    assert first != second
    assert set(first) == set(second) == {"small", "small-2", "small-3", "seeing"}


def test_a_service_may_not_ask_for_what_its_policy_excludes() -> None:
    """The model, an agent's model and every fallback are held to the policy; other services and none are not."""
    router = _catalog_of(s={"allowed_models": ["one/small"]}, free={})
    assert router.allowed(_request(service="s"))
    for fields, field in (({"model": "one/large"}, "model"), ({"fallback_models": ("one/large",)}, "fallback_models")):
        with pytest.raises(DomainError) as refused:
            router.allowed(_request(service="s", **fields))
        assert (refused.value.reason, refused.value.metadata["field"]) == (Reason.MODEL_NOT_ALLOWED, field)
        assert router.allowed(_request(service="free", **fields))
        assert router.allowed(_request(service="unknown", **fields))


def test_a_policy_gives_the_default() -> None:
    """A request that names nothing gets the service's default model; one that names a model gets that."""
    router = _catalog_of(s={"default_model": "two/small-2"})
    assert _models(router.allowed(_request(model="", service="s"))) == ["small-2"]
    assert _models(router.allowed(_request(service="s"))) == ["small"]


@pytest.mark.parametrize(
    ("own", "fields", "models"),
    [
        ("cost_optimized", {}, "seeing"),
        ("cost_optimized", {"strategy": Strategy.PRIMARY}, "small"),
        ("primary", {}, "small"),
        ("primary", {"fallback_models": ("one/large",)}, "small"),
        ("fallback", {"strategy": Strategy.COST_OPTIMIZED}, "seeing"),
    ],
)
def test_a_request_wins_over_its_services_strategy(own: str, fields: dict, models: str) -> None:
    """The policy's strategy holds where the request names none; named fallbacks are kept under a policy's PRIMARY."""
    routes = _catalog_of(s={"strategy": own}).allowed(_request(service="s", **fields), cost_of=_cost_of)
    assert routes[0].route.model == models
    assert len(routes) >= 1 + len(fields.get("fallback_models", ()))
