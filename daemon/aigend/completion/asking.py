"""What an attempt says to the dispatcher of itself."""

from aigend.completion.prompt_cache.plans import SHORTEST_KEYED_TOKENS
from aigend.completion.turn import Turn
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.siblings import current_sibling


def ask_of(turn: Turn) -> Ask:
    """Return what an attempt asks of the dispatcher before it is made."""
    call, quoted, on = turn.call, turn.quoted, turn.on
    stable = quoted.prompt.prefixes.stable
    return Ask(
        provider=on.provider,
        model=quoted.route.route.model,
        scope=call.caller.scope,
        service=call.request.service,
        lane=call.request.lane,
        prefix=stable[-1].digest if stable and stable[-1].tokens >= SHORTEST_KEYED_TOKENS else b"",
        deadline=call.caller.deadline,
        input_tokens=quoted.input_tokens,
        max_output_tokens=quoted.max_output_tokens,
        key_count=len(on.accounts) - len(on.spent),
        sibling=current_sibling(),
    )
