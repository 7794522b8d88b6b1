"""What a provider's answers say about its rate limits, in neutral words: providers read it, the dispatcher goes by it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFact:
    """One limit: how much it allows, what is left of it, and when all of it will be there again."""

    limit: int  # a window's worth, at least 1
    remaining: int  # 0 or more
    reset_s: float | None  # seconds; None where it was not told


@dataclass(frozen=True, slots=True, kw_only=True)
class RateFacts:
    """What one answer says; None where it does not."""

    requests: RateFact | None = None
    tokens: RateFact | None = None  # in and out together
    input_tokens: RateFact | None = None
    output_tokens: RateFact | None = None
    retry_after_s: float | None = None  # of a refusal: how long the provider wants to be left alone
