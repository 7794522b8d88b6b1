"""In which order candidates are tried."""

import pytest
from aigend.routing.strategy import cheapest_first, no_cost, no_latency, quickest_first
from aigend.types import ModelRoute, Route

ROUTES = [ModelRoute(route=Route("p", name), position=index) for index, name in enumerate("abcd")]


def _names(routes: list[ModelRoute]) -> str:
    return "".join(route.route.model for route in routes)


def _draws(*numbers: float):
    return iter(numbers).__next__


def test_cheapest_goes_first_and_unknown_last() -> None:
    """Known costs rise, 0 is a cost, equals keep their order, and unknown ones come last in theirs."""
    costs = {"a": None, "b": 5, "c": 0, "d": None}
    assert _names(cheapest_first(ROUTES, lambda route: costs[route.route.model])) == "cbad"
    assert _names(cheapest_first(ROUTES, no_cost)) == "abcd"


@pytest.mark.parametrize(("draws", "first"), [((0.0, 0.0), "c"), ((0.99, 0.99), "a"), ((0.75, 0.0), "c"), ((0.5, 0.0), "a")])
def test_the_better_of_two_drawn_goes_first(draws: tuple[float, float], first: str) -> None:
    """Two different routes are drawn, the quicker one leads, and the rest follows by latency."""
    seconds = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 4.0}  # by latency: c b a d
    ordered = _names(quickest_first(ROUTES, lambda route: seconds[route.model], _draws(*draws)))
    assert ordered[0] == first
    assert ordered[1:] == "cbad".replace(first, "")


def test_the_slowest_of_several_never_leads() -> None:
    """However the draw falls, the slowest is never in front, and every other one is now and then."""
    seconds = {"a": 3.0, "b": 2.0, "c": 1.0, "d": 4.0}
    draws = [(first / 12, second / 12) for first in range(12) for second in range(12)]
    leaders = [_names(quickest_first(ROUTES, lambda route: seconds[route.model], _draws(*draw)))[0] for draw in draws]
    assert set(leaders) == {"a", "b", "c"}
    assert leaders.count("c") > leaders.count("b") > leaders.count("a")


def test_two_are_compared_without_a_draw() -> None:
    """Of two the quicker leads; a single one and none are left alone."""
    seconds = {"a": 2.0, "b": 1.0}
    assert _names(quickest_first(ROUTES[:2], lambda route: seconds[route.model], _draws())) == "ba"
    assert _names(quickest_first(ROUTES[:1], no_latency, _draws())) == "a"
    assert quickest_first([], no_latency, _draws()) == []


def test_a_route_without_a_measurement_gets_one() -> None:
    """What is not known counts as the quickest."""
    assert _names(quickest_first(ROUTES[:2], lambda route: 0.1 if route.model == "a" else None, _draws())) == "ba"
