"""In which order candidates are tried.

Blind to prices and measurements: what a route may cost and how quick it was lately are functions that the caller hands over.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import zip_longest
from typing import Protocol

from aigend.routing.catalog import Model
from aigend.types import ModelRoute, Route


class CostOf(Protocol):
    """Tells what this very request is expected to cost on a route."""

    def __call__(self, route: ModelRoute, /) -> int | None:
        """Return nano-dollars; None where nobody knows."""


class LatencyOf(Protocol):
    """Tells how quick a route was lately."""

    def __call__(self, route: Route, /) -> float | None:
        """Return seconds; None where nothing recent is known."""


def no_cost(route: ModelRoute, /) -> None:
    """Know no cost."""


def no_latency(route: Route, /) -> None:
    """Know no latency."""


def cheapest_first(routes: Sequence[ModelRoute], cost_of: CostOf) -> list[ModelRoute]:
    """Return routes by rising cost, those of unknown cost last; equals keep their order.

    Example:
        >>> a, b = (ModelRoute(route=Route("p", name), position=0) for name in "ab")
        >>> [route.route.model for route in cheapest_first([a, b], lambda route: None if route is a else 7)]
        ['b', 'a']
    """
    costs = [cost_of(route) for route in routes]
    order = sorted(range(len(routes)), key=lambda index: (costs[index] is None, costs[index] or 0))
    return [routes[index] for index in order]


def quickest_first(routes: Sequence[ModelRoute], latency_of: LatencyOf, chance: Callable[[], float]) -> list[ModelRoute]:
    """Return routes with the quicker of two drawn at random in front, the others behind it by rising latency.

    Two choices spread calls over routes that are about equally quick, and never put the slowest of several in front. A route
    without a recent measurement counts as the quickest, so that it gets one.

    Args:
        routes: The candidates.
        latency_of: How quick each was lately.
        chance: Returns numbers from 0 to below 1.
    """
    seconds = [latency_of(route.route) or 0.0 for route in routes]
    order = sorted(range(len(routes)), key=seconds.__getitem__)
    if len(order) > 2:  # of two, both are drawn
        first = int(chance() * len(order))
        second = (first + 1 + int(chance() * (len(order) - 1))) % len(order)
        order.insert(0, order.pop(min(first, second)))
    return [routes[index] for index in order]


def providers_in_turn(models: Iterable[Model]) -> list[Model]:
    """Return models with one of each provider in turn, in the given order within each.

    Example:
        >>> [m.full_name for m in providers_in_turn(Model(id=i, provider=p) for p, i in ("a1", "a2", "b1"))]
        ['a/1', 'b/1', 'a/2']
    """
    by_provider: dict[str, list[Model]] = {}
    for model in models:
        by_provider.setdefault(model.provider, []).append(model)
    return [model for rank in zip_longest(*by_provider.values()) for model in rank if model is not None]
