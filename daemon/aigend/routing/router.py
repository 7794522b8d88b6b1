"""Which routes a request may take, and in which order."""

from aigend.errors import DomainError, Reason, capability_missing, invalid
from aigend.routing.catalog import Catalog, Model
from aigend.types import Capability, CompletionRequest, ModelRoute, Route, Strategy

MAX_ROUTES = 4
BYTES_A_TOKEN_AT_MOST = 16  # prose needs 3 to 6; a prompt above this bound is too long whatever the tokenizer
MOST_RESOLVED = 4_096
_BUILT = (Strategy.PRIMARY, Strategy.FALLBACK)
_Asked = tuple[str, str, Strategy | None, tuple[str, ...]]


class Router:
    """Finds the routes of requests in one catalog; what was resolved once is remembered.

    Args:
        catalog: Resolves names to models.
    """

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._resolved: dict[_Asked, tuple[ModelRoute, ...]] = {}

    def allowed(self, request: CompletionRequest) -> tuple[ModelRoute, ...]:
        """Return the routes that may answer, at most four, in the order in which they are tried.

        Raises:
            DomainError: UNKNOWN_MODEL, UNKNOWN_AGENT, CAPABILITY_MISSING for a strategy that is not built, INVALID_REQUEST for
                an output limit that a route does not have.
        """
        asked = (request.model, request.agent, request.strategy, request.fallback_models)
        routes = self._resolved.get(asked)
        if routes is None:
            routes = self._resolve(request)
            if len(self._resolved) >= MOST_RESOLVED:
                self._resolved.clear()
            self._resolved[asked] = routes
        if request.max_output_tokens is not None:
            for route in routes:
                _check_output_limit(request.max_output_tokens, route)
        return routes

    def _resolve(self, request: CompletionRequest) -> tuple[ModelRoute, ...]:
        models: list[Model] = [self._catalog.resolve(request.model, request.agent)]
        for name in _fallbacks(request):
            if (model := self._catalog.resolve(name, "")) not in models:
                models.append(model)
        return tuple(_route(model, self._catalog) for model in models[:MAX_ROUTES])


def _fallbacks(request: CompletionRequest) -> tuple[str, ...]:
    strategy = request.strategy or (Strategy.FALLBACK if request.fallback_models else Strategy.PRIMARY)
    if strategy not in _BUILT:
        raise capability_missing("strategy", strategy.upper(), "allowed: PRIMARY, FALLBACK")
    if strategy is Strategy.PRIMARY and request.fallback_models:
        raise invalid("fallback_models", ", ".join(request.fallback_models), "empty with strategy PRIMARY")
    return request.fallback_models


def _check_output_limit(wanted: int, route: ModelRoute) -> None:
    most = route.max_output_tokens
    if most and wanted > most:
        raise invalid("max_output_tokens", wanted, f"1 to {most} for {route.route.provider}/{route.route.model}")


def _route(model: Model, catalog: Catalog) -> ModelRoute:
    return ModelRoute(
        route=Route(model.provider, model.id),
        position=catalog.position(model),
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        default_max_output_tokens=model.default_max_output_tokens,
        searches=Capability.SEARCH in model.capabilities,
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
