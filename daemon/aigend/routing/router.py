"""Which routes a request may take, and in which order."""

from aigend.errors import DomainError, Reason, capability_missing, invalid
from aigend.routing.catalog import Catalog, Model
from aigend.types import Capability, CompletionRequest, ModelRoute, Route, Strategy

MAX_ROUTES = 4
BYTES_A_TOKEN_AT_MOST = 16  # prose needs 3 to 6; a prompt above this bound is too long whatever the tokenizer
_BUILT = (Strategy.PRIMARY, Strategy.FALLBACK)


def allowed_routes(request: CompletionRequest, catalog: Catalog) -> tuple[ModelRoute, ...]:
    """Return the routes that may answer, at most four, in the order in which they are tried.

    Raises:
        DomainError: UNKNOWN_MODEL, UNKNOWN_AGENT, CAPABILITY_MISSING for a strategy that is not built, INVALID_REQUEST for an
            output limit that no route has.
    """
    names = _names(request)
    models: list[Model] = [catalog.resolve(request.model, request.agent)]
    models += [model for name in names if (model := catalog.resolve(name, "")) not in models]
    for model in models:
        _check_output_limit(request, model)
    return tuple(_route(model, catalog) for model in models[:MAX_ROUTES])


def _names(request: CompletionRequest) -> tuple[str, ...]:
    strategy = request.strategy or (Strategy.FALLBACK if request.fallback_models else Strategy.PRIMARY)
    if strategy not in _BUILT:
        raise capability_missing("strategy", strategy.upper(), "allowed: PRIMARY, FALLBACK")
    if strategy is Strategy.PRIMARY and request.fallback_models:
        raise invalid("fallback_models", ", ".join(request.fallback_models), "empty with strategy PRIMARY")
    return request.fallback_models


def _check_output_limit(request: CompletionRequest, model: Model) -> None:
    wanted, most = request.max_output_tokens, model.max_output_tokens
    if wanted is not None and most and wanted > most:
        raise invalid("max_output_tokens", wanted, f"1 to {most} for {model.provider}/{model.id}")


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
