"""What a call is expected to cost on a route, before one is chosen.

An expectation ranks routes and is shown to nobody; the bound that a budget holds is the matter of `quotes`.
"""

from collections.abc import Callable

from aigend.clock import Clock
from aigend.completion.quotes import priced
from aigend.completion.snapshot import Snapshot
from aigend.ledger.prices.estimate import estimate_input_tokens, searches_at_most
from aigend.ledger.prices.pricing import cost_nanos
from aigend.types import CompletionRequest, Image, ModelRoute, Route, TokenUsage

BYTES_A_TOKEN = 4  # of prose, in the middle of what tokenizers make of it
USUAL_OUTPUT_TOKENS = 500  # of an answer whose limit leaves it room

ReadsOf = Callable[[CompletionRequest, Route], int]
"""Tells how many input tokens of a request a route is expected to read from its provider's prompt cache."""


def no_reads(request: CompletionRequest, route: Route) -> int:
    """Expect nothing to be read."""
    del request, route
    return 0


def nothing_read(scope: str) -> ReadsOf:
    """Expect nothing to be read of any request of a scope."""
    del scope
    return no_reads


class ExpectedCost:
    """Tells what one request is expected to cost on a route, in nano-dollars; costs nothing until it is asked.

    Args:
        request: What is asked.
        snapshot: Prices in force.
        clock: Dates the prices.
        reads_of: What each route is expected to read from its provider's prompt cache.
    """

    __slots__ = ("_clock", "_input_by_model", "_reads_of", "_request", "_snapshot")

    def __init__(self, request: CompletionRequest, snapshot: Snapshot, *, clock: Clock, reads_of: ReadsOf = no_reads) -> None:
        self._request = request
        self._snapshot = snapshot
        self._clock = clock
        self._reads_of = reads_of
        self._input_by_model: dict[str, int] | None = None

    def __call__(self, route: ModelRoute, /) -> int | None:
        """Return nano-dollars; None where no price is known or loaded, and where the prompt is not likely to fit the context."""
        price = priced(self._snapshot, route.route, self._clock)
        if price is None:
            return None
        tokens = self._input_tokens(route.route.model)
        if 0 < route.context_tokens < tokens:
            return None
        read = min(self._reads_of(self._request, route.route), tokens)
        usage = TokenUsage(
            input=tokens - read,
            cache_read=read,
            output=self._output_tokens(route),
            searches=min(searches_at_most(self._request, searching=route.searches), 1),
        )
        return cost_nanos(usage, price)

    def _input_tokens(self, model: str) -> int:
        """Expected input; only pictures count differently from model to model, so that without them it is computed once."""
        if self._input_by_model is None:
            self._input_by_model = {} if _has_pictures(self._request) else {"": self._estimate("")}
        known = self._input_by_model.get("") or self._input_by_model.get(model)
        if known is None:
            known = self._input_by_model[model] = self._estimate(model)
        return known

    def _estimate(self, model: str) -> int:
        return estimate_input_tokens(self._request, model=model) // BYTES_A_TOKEN

    def _output_tokens(self, route: ModelRoute) -> int:
        limits = (self._request.max_output_tokens or route.default_max_output_tokens, route.max_output_tokens)
        return min(USUAL_OUTPUT_TOKENS, *(limit for limit in limits if limit))


def _has_pictures(request: CompletionRequest) -> bool:
    return any(isinstance(part.content, Image) for message in request.messages for part in message.parts)
