"""What a call brings to the prefix gate, and how long it may wait there: plan, settings and deadline together."""

from collections.abc import Callable

from aigend.completion.call import Call
from aigend.completion.prompt_cache.plans import MARKING_ADAPTERS, SHORTEST_KEYED_TOKENS, SHORTEST_TTL_S, PromptPlan
from aigend.completion.turn import Turn
from aigend.scheduling.prompt_cache.prefix_gate import NOTHING_SHARED, Approach
from aigend.scheduling.prompt_cache.prefixes import Prefix


def approach_of(turn: Turn) -> Approach:
    """Return the prefixes that the provider will keep of a call: what is marked, or what it keeps by itself."""
    plan, provider = turn.quoted.prompt, turn.on.provider
    marks = turn.call.snapshot.providers[provider].adapter in MARKING_ADAPTERS
    prefixes = _long_enough(plan) if plan.marked else () if marks else _kept_unasked(plan)
    if not prefixes:
        return NOTHING_SHARED
    ttl_s = plan.marked_ttl_s or SHORTEST_TTL_S
    return Approach(provider=provider, owner=plan.owner, prefixes=prefixes, ttl_s=ttl_s, lane=turn.call.request.lane)


def patience_s(call: Call, *, waited_s: float, now: Callable[[], float]) -> float:
    """Return how long a call may wait for another's prefix: not at all where its deadline is nearer than the bound.

    Args:
        call: The call.
        waited_s: How long it has waited there before, on earlier attempts.
        now: Monotonic clock, in seconds.
    """
    bound_s = call.snapshot.settings.prompt_caching.gate_wait_s
    deadline = call.caller.deadline
    if deadline is not None and deadline - now() < bound_s:
        return 0.0
    return max(0.0, bound_s - waited_s)


def _long_enough(plan: PromptPlan) -> tuple[Prefix, ...]:
    return tuple(prefix for prefix in plan.marked if prefix.tokens >= plan.minimum)


def _kept_unasked(plan: PromptPlan) -> tuple[Prefix, ...]:
    """Return the stable prefixes that are worth a key to providers that keep whatever is sent."""
    if not plan.wire.prefix_key:
        return ()
    shortest = max(plan.minimum, SHORTEST_KEYED_TOKENS)
    return tuple(prefix for prefix in plan.prefixes.stable if prefix.tokens >= shortest)
