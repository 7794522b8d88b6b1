"""The right to make one call to a provider: a slot, and what was taken of the provider's rates."""

from collections.abc import Callable
from typing import Protocol

from aigend.rate_facts import RateFacts
from aigend.scheduling.dispatch.ask import Ask
from aigend.scheduling.dispatch.rates import Taken
from aigend.types import TokenUsage


class GrantKeeper(Protocol):
    """Who takes a grant back and learns from it; the part of a provider's line that a grant knows."""

    def heard(self, grant: "Grant", key: int, facts: RateFacts) -> None:
        """Learn what an answer said of the rates."""
        ...

    def answered(self, grant: "Grant", usage: TokenUsage) -> None:
        """Learn from an answer."""
        ...

    def refused(self, grant: "Grant") -> None:
        """Learn that the provider has too many calls."""
        ...


class Grant:
    """A slot while it is held; used as a block, which gives it back.

    Args:
        ask: What it was given for.
        keeper: Learns from it.
        close: Takes it back, once.
        taken: What it took of the rates.
        granted_at: Monotonic clock.
        batch: Number of the batch that it left with.

    Attributes:
        sent: Whether anything may have been sent.
    """

    __slots__ = ("_close", "_keeper", "ask", "batch", "granted_at", "sent", "taken")

    def __init__(
        self,
        ask: Ask,
        *,
        keeper: GrantKeeper,
        close: "Callable[[Grant], None]",
        taken: Taken,
        granted_at: float,
        batch: int,
    ) -> None:
        self.ask = ask
        self.taken = taken
        self.granted_at = granted_at
        self.batch = batch
        self.sent = False
        self._keeper = keeper
        self._close: Callable[[Grant], None] | None = close

    def heard(self, key: int, facts: RateFacts) -> None:
        """Tell what an answer said of the provider's rates; `key` is the one that was used."""
        self._keeper.heard(self, key, facts)

    def answered(self, usage: TokenUsage) -> None:
        """Tell that the provider answered, and what it used."""
        self._keeper.answered(self, usage)

    def refused(self) -> None:
        """Tell that the provider refused the call because it has too many."""
        self._keeper.refused(self)

    def close(self) -> None:
        """Give the slot back; only the first time counts."""
        close, self._close = self._close, None
        if close is not None:
            close(self)

    def __enter__(self) -> "Grant":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
