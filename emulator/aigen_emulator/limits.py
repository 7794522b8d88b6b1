"""How much the emulated provider takes at once and a minute, as its rate-limit headers say."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

WINDOW_S = 60.0
_UNLIMITED = 10_000


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of one limit."""

    limit: int  # a minute
    remaining: int
    reset_s: float  # until all is allowed again

    @property
    def reset_text(self) -> str:
        """The time to the reset as providers write durations, such as `1.500s` or `6ms`."""
        return f"{self.reset_s:.3f}s" if self.reset_s >= 1 else f"{self.reset_s * 1000:.0f}ms"


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left of the rate limits; the wire formats spell it in their headers."""

    requests: Left
    tokens: Left


_PLENTY_OF_REQUESTS = Left(_UNLIMITED, _UNLIMITED - 1, 0.006)
_PLENTY_OF_TOKENS = Left(2_000_000, 1_999_000, 0.030)
_PLENTY = Allowance(_PLENTY_OF_REQUESTS, _PLENTY_OF_TOKENS)


class LimitsError(ValueError):
    """Limits that can't be set; the text names field, value and what is allowed."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not taken now."""

    message: str
    retry_after_s: float


class Gate:
    """Counts requests in flight, and requests and tokens of the last minute, and refuses what is too much.

    Args:
        monotonic: Seconds that never go back.
        max_concurrent: Requests in flight; None for no bound.
        per_minute: Requests in any 60 seconds; None for no bound.
        tokens_per_minute: Tokens in any 60 seconds, of prompts and of what answers may have; None for no bound.
    """

    def __init__(
        self,
        monotonic: Callable[[], float],
        *,
        max_concurrent: int | None,
        per_minute: int | None,
        tokens_per_minute: int | None = None,
    ) -> None:
        self.in_flight = 0
        self.peak_in_flight = 0
        self.refused = 0
        self._monotonic = monotonic
        self._max_concurrent = max_concurrent
        self._per_minute = per_minute
        self._tokens_per_minute = tokens_per_minute
        self._admitted: deque[tuple[float, int]] = deque()  # when, and how many tokens
        self._tokens = 0  # of all that are admitted

    @property
    def limits(self) -> dict[str, int | None]:
        """The limits in force."""
        return {
            "max_concurrent": self._max_concurrent,
            "per_minute": self._per_minute,
            "tokens_per_minute": self._tokens_per_minute,
        }

    def limit(self, asked: Any) -> None:
        """Set limits; what is not named stays, null takes one away.

        Raises:
            LimitsError: It is no object with these names and whole numbers from 1.
        """
        if not isinstance(asked, dict) or (unknown := asked.keys() - self.limits.keys()):
            found = repr(asked) if not isinstance(asked, dict) else min(unknown)
            raise LimitsError(f"limits have {found}; allowed: an object with {', '.join(self.limits)}")
        for name, value in asked.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise LimitsError(f"{name} is {value!r}; allowed: a whole number >= 1, or null")
        chosen = self.limits | asked
        self._max_concurrent, self._per_minute, self._tokens_per_minute = chosen.values()

    def enter(self, *, tokens: int = 0) -> Refusal | None:
        """Take a request in, or say why not; what was taken must `leave`."""
        refusal = self._refusal(tokens)
        if refusal is not None:
            self.refused += 1
            return refusal
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)
        if self._per_minute is not None or self._tokens_per_minute is not None:
            self._admitted.append((self._monotonic(), tokens))
            self._tokens += tokens
        return None

    def leave(self) -> None:
        """Let a request out that `enter` took in."""
        self.in_flight -= 1

    def allowance(self) -> Allowance:
        """Return what a response that is sent now says about the rate limits."""
        if self._per_minute is None and self._tokens_per_minute is None:
            return _PLENTY
        reset_s = WINDOW_S - (self._monotonic() - self._admitted[0][0]) if self._admitted else 0.0
        requests, tokens = _PLENTY_OF_REQUESTS, _PLENTY_OF_TOKENS
        if self._per_minute is not None:
            requests = Left(self._per_minute, max(0, self._per_minute - len(self._admitted)), reset_s)
        if self._tokens_per_minute is not None:
            tokens = Left(self._tokens_per_minute, max(0, self._tokens_per_minute - self._tokens), reset_s)
        return Allowance(requests, tokens)

    def _refusal(self, tokens: int) -> Refusal | None:
        if self._max_concurrent is not None and self.in_flight >= self._max_concurrent:
            return Refusal(f"Too many concurrent requests: Limit {self._max_concurrent}, Used {self.in_flight}.", 1.0)
        self._forget_old()
        if self._per_minute is not None and len(self._admitted) >= self._per_minute:
            return self._too_many("requests", "RPM", self._per_minute, used=len(self._admitted), wanted=1)
        if self._tokens_per_minute is not None and self._tokens + tokens > self._tokens_per_minute:
            return self._too_many("tokens", "TPM", self._tokens_per_minute, used=self._tokens, wanted=tokens)
        return None

    def _forget_old(self) -> None:
        now = self._monotonic()
        while self._admitted and now - self._admitted[0][0] >= WINDOW_S:
            self._tokens -= self._admitted.popleft()[1]

    def _too_many(self, what: str, short: str, limit: int, *, used: int, wanted: int) -> Refusal:
        """Return the refusal; it lasts until so much is old that the rest fits, or a window for what never fits."""
        wait, freed = WINDOW_S, 0
        for moment, tokens in self._admitted:
            freed += tokens if what == "tokens" else 1
            if used - freed + wanted <= limit:
                wait = WINDOW_S - (self._monotonic() - moment)
                break
        said = f"Limit {limit}, Used {used}, Requested {wanted}"
        return Refusal(f"Rate limit reached on {what} per min ({short}): {said}. Please try again in {wait:.3f}s.", wait)
