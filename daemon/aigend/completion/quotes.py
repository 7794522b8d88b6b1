"""What a call may cost before it is made, and what it did cost afterwards."""

from collections.abc import Mapping
from dataclasses import dataclass

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.completion.prompt_cache.plans import NOTHING_ASKED, PromptPlan, longest_ttl_s
from aigend.completion.snapshot import Snapshot
from aigend.ledger.prices.estimate import estimate_input_tokens, searches_at_most, upper_bound_nanos
from aigend.ledger.prices.pricing import PriceEntry, cost_nanos, cost_of, entry_id_of, price_of
from aigend.ledger.prices.usage_check import checked_usage
from aigend.ledger.savings import routing_saving, savings_of, write_premium
from aigend.providers.port import ProviderReply
from aigend.routing.router import check_context
from aigend.types import Cost, Lane, ModelRoute, Processing, Route, SavingsCause, Text, TokenUsage

_LONGEST_TOKENS = 8  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """Upper bound of one call on one route."""

    route: ModelRoute
    price: PriceEntry | None
    input_tokens: int  # estimated, with a margin upwards
    max_output_tokens: int  # what is sent as the limit and what is reserved are the same
    bound_nanos: int | None  # None where no price is known
    asked: PriceEntry | None = None  # of the model that was asked for, where this one was chosen for its price
    prompt: PromptPlan = NOTHING_ASKED
    warnings: tuple[str, ...] = ()
    processing: Processing = Processing.STANDARD  # at which of its prices the bound is held

    @property
    def price_entry_id(self) -> str:
        """The price entry that the bound stands on. Its name tells how the call is to be run, even where no price is known."""
        return entry_id_of(self.price, self.processing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bill:
    """What one answered call cost and saved."""

    usage: TokenUsage
    cost: Cost
    savings: Mapping[SavingsCause, int]
    flags: tuple[str, ...]
    warnings: tuple[str, ...] = ()
    write_premium_nanos: int | None = None  # what writes to the prompt cache cost above ordinary input


def quote(call: Call, route: ModelRoute, *, clock: Clock, prompt: PromptPlan | None = None) -> Quote:
    """Return the upper bound of a call on a route, at the price in force now.

    Args:
        call: The call.
        route: One of its routes.
        clock: Dates the price.
        prompt: What is asked of the provider's prompt cache; None: whatever may be asked is reckoned with.

    Raises:
        DomainError: CONTEXT_TOO_LONG for a prompt that can't fit the route's context.
    """
    price = priced(call.snapshot, route.route, clock)
    processing = Processing.BATCH if call.request.lane is Lane.DEFERRED else Processing.STANDARD
    needed = estimate_input_tokens(call.request, model=route.route.model)
    check_context(needed, route)
    input_tokens = min(needed, route.context_tokens) if route.context_tokens else needed
    max_output = call.request.max_output_tokens or route.default_max_output_tokens
    if route.max_output_tokens:
        max_output = min(max_output, route.max_output_tokens)
    bound = upper_bound_nanos(
        input_tokens=input_tokens,
        max_output_tokens=max_output,
        price=price_of(price, processing),
        searches=searches_at_most(call.request, searching=route.searches),
        cache_ttl_s=longest_ttl_s(call, route) if prompt is None else prompt.marked_ttl_s,
    )
    prompt = prompt or NOTHING_ASKED
    return Quote(
        route=route,
        price=price,
        input_tokens=input_tokens,
        max_output_tokens=max_output,
        bound_nanos=bound,
        asked=_price_asked(call, route, clock),
        prompt=prompt,
        warnings=(*call.snapshot.prices.stale(price, clock.time()), *prompt.warnings),
        processing=processing,
    )


def priced(snapshot: Snapshot, route: Route, clock: Clock) -> PriceEntry | None:
    """Return the price of a route now."""
    return snapshot.prices.lookup(snapshot.priced_as(route), route.model, clock.time())


def _price_asked(call: Call, route: ModelRoute, clock: Clock) -> PriceEntry | None:
    """Return the price of the model that the caller asked for; None where it is this one, or was not left for its price."""
    asked = call.snapshot.router.asked(call.request, downgraded=bool(call.warnings))
    return None if asked is None or asked == route.route else priced(call.snapshot, asked, clock)


def seen_nanos(quoted: Quote, visible_bytes: int) -> int | None:
    """Return the least that a cut stream may have cost: its prompt, read from the prompt cache, and what of the answer was seen.

    Source:
        Tokenizers of the four providers take 2 to 6 bytes a token for prose; 8 stays below them all.
    """
    if quoted.price is None:
        return None
    seen = TokenUsage(cache_read=quoted.input_tokens // _LONGEST_TOKENS, output=visible_bytes // _LONGEST_TOKENS)
    return cost_nanos(seen, quoted.price)


def bill(quoted: Quote, reply: ProviderReply) -> Bill:
    """Return what an answer cost, from the usage that the provider reported, checked."""
    text_bytes = sum(len(part.content.text.encode()) for part in reply.parts if isinstance(part.content, Text))
    usage, flags = checked_usage(
        reply.usage,
        estimated_input=quoted.input_tokens,
        max_output=quoted.max_output_tokens,
        output_text_len=text_bytes,
    )
    # what is reserved is the ordinary price: which tier serves is known now
    cost = cost_of(usage, quoted.price, reply.reported_cost_nanos, processing=reply.processing, estimated=bool(flags))
    unheeded = quoted.prompt.unheeded(usage) if not flags else ()
    savings = savings_of(usage, quoted.price, reply.processing)
    if (routed := routing_saving(usage, quoted.price, quoted.asked)) is not None:
        savings[SavingsCause.ROUTING] = routed
    premium = write_premium(usage, quoted.price)
    return Bill(usage=usage, cost=cost, savings=savings, flags=flags, warnings=unheeded, write_premium_nanos=premium)
