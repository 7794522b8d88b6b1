"""Closed sets of words that cross rooms; one spelling in Python, SQL, JSON and metrics."""

from enum import StrEnum


class Role(StrEnum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Stability(StrEnum):
    """How a part behaves from call to call; VOLATILE parts are sent but not in the cache key."""

    STABLE = "stable"
    DYNAMIC = "dynamic"
    VOLATILE = "volatile"


class ToolChoiceMode(StrEnum):
    """Whether and which tool the model must call."""

    AUTO = "auto"
    NONE = "none"
    REQUIRED = "required"
    NAMED = "named"


class ResponseFormatType(StrEnum):
    """Form of the answer's text."""

    TEXT = "text"
    JSON = "json"
    JSON_SCHEMA = "json_schema"


class ReasoningEffort(StrEnum):
    """How long a reasoning model may think."""

    NONE = "none"
    MINIMAL = "minimal"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class FinishReason(StrEnum):
    """Why the model stopped."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"
    OTHER = "other"


class Strategy(StrEnum):
    """How routes are ordered."""

    PRIMARY = "primary"
    COST_OPTIMIZED = "cost_optimized"
    PERFORMANCE = "performance"
    FALLBACK = "fallback"


class Lane(StrEnum):
    """How urgent a request is."""

    INTERACTIVE = "interactive"
    FLEX = "flex"
    DEFERRED = "deferred"


class Processing(StrEnum):
    """At which of a provider's prices a call was run, where it has several."""

    STANDARD = "standard"
    FLEX = "flex"  # at once, when the provider has room
    BATCH = "batch"  # through its batch API


class CacheMode(StrEnum):
    """How the response cache takes part in a call."""

    DEFAULT = "default"
    READ_ONLY = "read_only"
    ONLY_IF_CACHED = "only_if_cached"
    REFRESH = "refresh"
    NO_STORE = "no_store"
    BYPASS = "bypass"

    @property
    def looks_up(self) -> bool:
        """Whether a stored answer may serve."""
        return self not in (CacheMode.REFRESH, CacheMode.BYPASS)

    @property
    def joins(self) -> bool:
        """Whether a call in flight may serve."""
        return self in (CacheMode.DEFAULT, CacheMode.READ_ONLY, CacheMode.REFRESH)

    @property
    def stores(self) -> bool:
        """Whether the answer is kept."""
        return self in (CacheMode.DEFAULT, CacheMode.REFRESH)


class Normalization(StrEnum):
    """Which differences in user text do not change the cache key."""

    EXACT = "exact"
    WHITESPACE = "whitespace"
    FOLD = "fold"


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


class ModelTier(StrEnum):
    """Power and price class of a model."""

    MINI = "mini"
    STANDARD = "standard"
    ADVANCED = "advanced"
    PREMIUM = "premium"


class Capability(StrEnum):
    """What a model can do."""

    CHAT = "chat"
    CODE_GENERATION = "code_generation"
    ANALYSIS = "analysis"
    REASONING = "reasoning"
    VISION = "vision"
    FUNCTION_CALLING = "function_calling"
    SEARCH = "search"
    JSON_SCHEMA = "json_schema"
    RAG = "rag"
