"""The last refusals, one by one, for whoever asks why a request was not answered. Nothing is held for them, so no row tells."""

from collections import deque
from dataclasses import dataclass

from aigend.clock import Clock
from aigend.completion.call import Call
from aigend.errors import DomainError, Reason

MOST_REFUSALS = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """One refusal."""

    time: float  # wall clock
    scope: str
    request_id: str
    reason: Reason
    text: str
    budget: str  # that refused; empty: none did


class Refusals:
    """Remembers refusals; the oldest go first.

    Args:
        clock: Dates them.
        most: How many are remembered.
    """

    def __init__(self, *, clock: Clock, most: int = MOST_REFUSALS) -> None:
        self._clock = clock
        self._last: deque[Refusal] = deque(maxlen=most)

    def note(self, call: Call, error: DomainError) -> None:
        """Remember that a call was refused."""
        refusal = Refusal(
            time=self._clock.time(),
            scope=call.caller.scope,
            request_id=call.caller.request_id,
            reason=error.reason,
            text=error.text,
            budget=error.metadata.get("budget", ""),
        )
        self._last.append(refusal)

    def of(self, scope: str, request_id: str) -> list[Refusal]:
        """Return what is remembered of a request id, oldest first."""
        return [refusal for refusal in self._last if (refusal.scope, refusal.request_id) == (scope, request_id)]
