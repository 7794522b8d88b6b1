"""What a call says of itself when it asks to be let go: all that the dispatcher decides by.

Nothing here knows requests, prices or wire formats; what a call is worth to whom is read off it before.
"""

from dataclasses import dataclass

from aigend.enums import Lane
from aigend.scheduling.dispatch.siblings import Sibling

TOKENS_A_SHARE = 8_192
MOST_SHARES = 8  # that one call costs its service, so that the largest don't count as a hundred small ones

ServiceKey = tuple[str, str]  # scope and service: who shares the queue with whom


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One call that wants a slot at a provider."""

    provider: str
    model: str = ""  # providers' own rate limits hold for each model
    scope: str = ""
    service: str = ""
    lane: Lane = Lane.INTERACTIVE
    prefix: bytes = b""  # digest of the longest stable prefix; empty: it shares none
    deadline: float | None = None  # monotonic clock, seconds
    input_tokens: int = 0  # estimated, with a margin upwards
    max_output_tokens: int = 0
    key_count: int = 1  # keys that it may use: a provider limits each of them
    sibling: Sibling | None = None  # its place among the requests that were announced together

    @property
    def service_key(self) -> ServiceKey:
        """Whose share of the queue it takes."""
        return self.scope, self.service

    @property
    def group(self) -> tuple[str, str, bytes]:
        """With whom it may leave together: the same provider, model and prefix."""
        return self.provider, self.model if self.prefix else "", self.prefix

    @property
    def shares(self) -> int:
        """What its turn costs its service: one, and one more for every 8,192 tokens."""
        return min(MOST_SHARES, 1 + (self.input_tokens + self.max_output_tokens) // TOKENS_A_SHARE)
