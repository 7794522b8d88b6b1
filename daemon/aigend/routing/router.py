"""Which routes a request may take, and in which order."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aigend.errors import DomainError, Reason, invalid
from aigend.routing.catalog import Catalog, Model
from aigend.routing.needs import lack, needs
from aigend.routing.policy import Policies, ServicePolicy
from aigend.routing.strategy import (
    CostOf,
    LatencyOf,
    cheapest_first,
    no_cost,
    no_latency,
    providers_in_turn,
    quickest_first,
)
from aigend.types import Capability, CompletionRequest, ModelRoute, Route, Strategy

MAX_ROUTES = 4
BYTES_A_TOKEN_AT_MOST = 16  # prose needs 3 to 6; a prompt above this bound is too long whatever the tokenizer
MOST_RESOLVED = 4_096
_CHOOSING = (Strategy.COST_OPTIMIZED, Strategy.PERFORMANCE)
_Asked = tuple[str, str, str, Strategy | None, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What names alone decide: the candidates, and how they are put in order."""

    strategy: Strategy
    routes: tuple[ModelRoute, ...]
    named: bool  # the caller named each of them, so that none is passed by for a limit


class Router:
    """Finds the routes of requests in one catalog, under its services' policies; what names decide is remembered.

    Args:
        catalog: Resolves names to models.
        policies: What services may ask for.
        chance: Returns numbers from 0 to below 1, for the draw between quick routes.
    """

    def __init__(self, catalog: Catalog, policies: Policies | None = None, *, chance: Callable[[], float] = random.random) -> None:
        self.policies: Policies = policies or {}
        self._catalog = catalog
        self._chance = chance
        self._resolved: dict[_Asked, _Plan] = {}

    def allowed(
        self, request: CompletionRequest, *, cost_of: CostOf = no_cost, latency_of: LatencyOf = no_latency
    ) -> tuple[ModelRoute, ...]:
        """Return the routes that may answer, at most four, in the order in which they are tried.

        Args:
            request: What is asked.
            cost_of: What the request is expected to cost on a route.
            latency_of: How quick a route was lately.

        Raises:
            DomainError: UNKNOWN_MODEL, UNKNOWN_AGENT; MODEL_NOT_ALLOWED for a model outside the service's policy;
                CAPABILITY_MISSING where no candidate has what the request needs; INVALID_REQUEST for an output limit that a named
                route does not have.
        """
        plan = self._plan(request)
        routes = _large(request.max_output_tokens, _able(request, plan.routes), named=plan.named)
        if plan.strategy is Strategy.COST_OPTIMIZED:
            routes = cheapest_first(routes, cost_of)
        elif plan.strategy is Strategy.PERFORMANCE:
            # Which four take part must not hang on measurements: equal requests would have other keys each time.
            routes = quickest_first(routes[:MAX_ROUTES], latency_of, self._chance)
        return tuple(routes[:MAX_ROUTES])

    def asked(self, request: CompletionRequest, *, downgraded: bool) -> Route | None:
        """Return the model that a request asks for, where another one may answer it for its price; else None.

        Args:
            request: What is asked.
            downgraded: Whether a budget sent it elsewhere; else only strategy COST_OPTIMIZED chooses by price.
        """
        if not downgraded and self._plan(request).strategy is not Strategy.COST_OPTIMIZED:
            return None
        first = self._first(request, self.policies.get(request.service))
        return Route(first.provider, first.id) if self._catalog.available(first) else None

    def one(self, name: str, request: CompletionRequest) -> ModelRoute:
        """Return the route of a model that somebody else than the caller chose; policies are not asked.

        Raises:
            DomainError: The name is not known, or the model lacks what the request needs.
        """
        route = _route(self._catalog.find(name), self._catalog)
        return _large(request.max_output_tokens, _able(request, (route,)), named=True)[0]

    def _plan(self, request: CompletionRequest) -> _Plan:
        asked = (request.model, request.agent, request.service, request.strategy, request.fallback_models)
        plan = self._resolved.get(asked)
        if plan is None:
            plan = self._resolve(request)
            if len(self._resolved) >= MOST_RESOLVED:
                self._resolved.clear()
            self._resolved[asked] = plan
        return plan

    def _resolve(self, request: CompletionRequest) -> _Plan:
        policy = self.policies.get(request.service)
        strategy = _strategy(request, policy)
        models = [self._first(request, policy)]
        for name in request.fallback_models:
            if (model := self._catalog.resolve(name, "")) not in models:
                models.append(model)
        if policy is not None:
            policy.check(models[0], "model")
            for model in models[1:]:
                policy.check(model, "fallback_models")
        named = strategy not in _CHOOSING or bool(request.fallback_models)
        chosen = models if named else self._candidates(models[0], policy)
        return _Plan(strategy, tuple(_route(model, self._catalog) for model in chosen), named)

    def _first(self, request: CompletionRequest, policy: ServicePolicy | None) -> Model:
        if policy is not None and policy.default is not None and not (request.model or request.agent):
            return policy.default
        return self._catalog.resolve(request.model, request.agent)

    def _candidates(self, first: Model, policy: ServicePolicy | None) -> Sequence[Model]:
        """Models among which a strategy may choose where the caller named one alone: what the policy allows, else its tier."""
        if policy is not None and policy.restricted:
            others = policy.available
        else:
            others = tuple(filter(self._catalog.available, self._catalog.list(tier=first.tier) if first.tier else ()))
        usable = [model for model in others if model != first]
        if not usable or self._catalog.available(first):
            usable.insert(0, first)
        return providers_in_turn(usable)


def _strategy(request: CompletionRequest, policy: ServicePolicy | None) -> Strategy:
    """The request's strategy, else its policy's; fallbacks that are named are never dropped for a policy's PRIMARY."""
    if request.strategy is Strategy.PRIMARY and request.fallback_models:
        raise invalid("fallback_models", ", ".join(request.fallback_models), "empty with strategy PRIMARY")
    wanted = request.strategy or (policy.strategy if policy is not None else None)
    if wanted in _CHOOSING or not request.fallback_models:
        return wanted or Strategy.PRIMARY
    return Strategy.FALLBACK


def _able(request: CompletionRequest, routes: Sequence[ModelRoute]) -> Sequence[ModelRoute]:
    """Routes that are not known to lack what the request needs; where none is left, the first one's refusal is raised."""
    wanted = needs(request)
    if not wanted:
        return routes
    missing = [lack(route, wanted) for route in routes]
    able = [route for route, refusal in zip(routes, missing, strict=True) if refusal is None]
    if not able and missing[0] is not None:
        raise missing[0]
    return able


def _large(most: int | None, routes: Sequence[ModelRoute], *, named: bool) -> Sequence[ModelRoute]:
    """Routes that can give that much output; one that the caller named is not passed by for it but refused."""
    if most is None:
        return routes
    large = [route for route in routes if not route.max_output_tokens or most <= route.max_output_tokens]
    if len(large) < len(routes) and (named or not large):
        small = next(route for route in routes if route not in large)
        allowed = f"1 to {small.max_output_tokens} for {small.route.provider}/{small.route.model}"
        raise invalid("max_output_tokens", most, allowed)
    return large


def _route(model: Model, catalog: Catalog) -> ModelRoute:
    return ModelRoute(
        route=Route(model.provider, model.id),
        position=catalog.position(model),
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        default_max_output_tokens=model.default_max_output_tokens,
        searches=Capability.SEARCH in model.capabilities,
        tier=model.tier,
        capabilities=model.capabilities,
        min_cacheable_tokens=model.min_cacheable_tokens,
    )


def check_context(input_bytes: int, route: ModelRoute) -> None:
    """Refuse a prompt that can't fit a route's context, whatever its tokenizer.

    Raises:
        DomainError: CONTEXT_TOO_LONG.
    """
    if route.context_tokens and input_bytes > route.context_tokens * BYTES_A_TOKEN_AT_MOST:
        raise DomainError(
            Reason.CONTEXT_TOO_LONG,
            f"messages hold {input_bytes} bytes; {route.route.provider}/{route.route.model} takes {route.context_tokens} tokens",
            field="messages",
            input_bytes=input_bytes,
            context_tokens=route.context_tokens,
        )
