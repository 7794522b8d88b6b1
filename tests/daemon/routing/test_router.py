"""Which routes a request may take, and in which order."""

import pytest
from aigend.config import ModelSettings, SettingsSections
from aigend.errors import DomainError, Reason
from aigend.routing import router as routing
from aigend.routing.catalog import build_catalog
from aigend.routing.router import Router, check_context
from aigend.types import Capability, CompletionRequest, Message, ModelRoute, Part, Role, Route, Strategy, Text


def _router() -> Router:
    small = ModelSettings(id="small", provider="one", max_output_tokens=100, capabilities=(Capability.SEARCH,))
    return Router(build_catalog(SettingsSections(models=(small,)), configured=("one", "two")))


def _request(**fields) -> CompletionRequest:
    messages = (Message(Role.USER, (Part(Text("a question")),)),)
    return CompletionRequest(messages=messages, **({"model": "one/small"} | fields))


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
