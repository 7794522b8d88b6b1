"""What a completion brings back: the answer with its cost, stream events and estimates.

Frozen values without protobuf. Money is `..._usd_nanos`, an exact integer of nano-dollars, or None where it is unknown;
beside it stands the same amount as `Decimal` dollars. An enum value that this version does not know is None.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self, overload

from aigen.types import Message, Part, Role, ToolCall


@overload
def usd(nanos: int) -> Decimal: ...
@overload
def usd(nanos: int | None) -> Decimal | None: ...
def usd(nanos: int | None) -> Decimal | None:
    """Return nano-dollars as exact dollars; None, unknown, stays None.

    Example:
        >>> usd(6_000_000)
        Decimal('0.006000000')
    """
    if nanos is None:
        return None
    return Decimal(nanos).scaleb(-9) if nanos else Decimal(0)


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


class CacheOutcome(StrEnum):
    """Where an answer came from."""

    HIT = "hit"
    MISS = "miss"
    COALESCED = "coalesced"
    BYPASS = "bypass"
    REFRESH = "refresh"
    REPLAY = "replay"


class CostBasis(StrEnum):
    """How sure a cost is."""

    PROVIDER_REPORTED = "provider_reported"
    PRICED = "priced"
    ESTIMATED = "estimated"
    UNPRICED = "unpriced"


class SavingsCause(StrEnum):
    """Why a call cost less than it would have without aigen."""

    CACHE = "cache"
    SINGLE_FLIGHT = "single_flight"
    PROMPT_CACHE = "prompt_cache"
    BATCH = "batch"
    ROUTING = "routing"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens in disjoint buckets; `reasoning_tokens` alone are inside `output_tokens`."""

    input_tokens: int = 0  # neither read from nor written to the provider's prompt cache
    cache_read_tokens: int = 0  # read from the provider's prompt cache
    cache_write_5m_tokens: int = 0  # written to it for 5 minutes, or without a stated time
    cache_write_1h_tokens: int = 0  # written to it for 1 hour
    output_tokens: int = 0  # reasoning included
    reasoning_tokens: int = 0
    search_count: int = 0  # searches that the provider charges for

    @property
    def total_input_tokens(self) -> int:
        """All input tokens, cached or not."""
        return self.input_tokens + self.cache_read_tokens + self.cache_write_5m_tokens + self.cache_write_1h_tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of a call went, in microseconds."""

    queue_us: int = 0  # waiting for a free slot
    provider_us: int = 0  # with the provider
    total_us: int = 0  # whole time in the daemon


@dataclass(frozen=True, kw_only=True)
class Completion:
    """One answer: what the model said, where it came from and what it cost.

    An answer of the daemon is taken apart when the first field is read, not when it arrives: that is half of what a cached call
    costs in the client, and many callers never look.
    """

    text: str  # all text parts joined
    parts: tuple[Part, ...]
    finish_reason: FinishReason | None
    tool_calls: tuple[ToolCall, ...]
    requested_model: str
    resolved_model: str  # as the provider names it
    provider: str
    usage: TokenUsage  # of the call that produced the answer, also where a cached answer cost nothing
    request_id: str
    cache_outcome: CacheOutcome | None
    cache_key: str  # hexadecimal
    cost_usd_nanos: int | None  # nano-dollars; 0 where nothing was charged, None where unknown
    cost_basis: CostBasis | None  # None: nothing was charged
    price_entry_id: str
    saved_usd_nanos: int | None  # nano-dollars; None: unknown or nothing saved
    saved_cause: SavingsCause | None
    attempt_count: int  # provider calls made for this request
    timings: Timings
    ledger_entry_id: str  # empty where nothing was charged
    warnings: tuple[str, ...]

    @classmethod
    def read_by(cls, source: Callable[[], Mapping[str, Any]]) -> Self:
        """Return a completion whose fields are given by `source` when the first one is read."""
        completion = cls.__new__(cls)
        completion.__dict__["_source"] = source
        return completion

    if not TYPE_CHECKING:  # a type checker would take every misspelt field for one that exists

        def __getattr__(self, name: str) -> Any:
            source = self.__dict__.get("_source")
            if source is not None:
                self.__dict__.update(source())
                self.__dict__.pop("_source", None)
            if name in self.__dict__:
                return self.__dict__[name]
            raise AttributeError(f"Completion has no attribute {name!r}")

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def cost_usd(self) -> Decimal | None:
        """What this call cost, in dollars; None where unknown."""
        return usd(self.cost_usd_nanos)

    @property
    def saved_usd(self) -> Decimal | None:
        """What was saved, in dollars; None where unknown or nothing."""
        return usd(self.saved_usd_nanos)

    @property
    def message(self) -> Message:
        """The answer as the assistant's turn, to go on with the conversation."""
        return Message(Role.ASSISTANT, self.parts)


@dataclass(frozen=True, slots=True)
class TextDelta:
    """Text to append to what came before."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """Reasoning text to append to what came before."""

    text: str


StreamEvent = TextDelta | ThinkingDelta | ToolCall | Completion


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEstimate:
    """The upper bound of one route."""

    provider: str
    model: str
    input_tokens: int  # estimated with a margin upwards
    max_output_tokens: int
    max_cost_usd_nanos: int | None  # nano-dollars; None: no price is known
    price_entry_id: str

    @property
    def max_cost_usd(self) -> Decimal | None:
        """Upper bound in dollars; None where no price is known."""
        return usd(self.max_cost_usd_nanos)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a request would cost at most, by route in the order in which they would be tried."""

    routes: tuple[CostEstimate, ...]
    cached: bool  # the answer is in the cache now and would cost nothing
