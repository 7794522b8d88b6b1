"""Words that cross rooms: the request, the answer, whose call it is, and what it cost.

Values only. No protobuf, no SQL, no provider's JSON; a decision belongs to the room of its noun.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from aigend.enums import (
    CacheMode,
    CacheOutcome,
    Capability,
    CostBasis,
    FinishReason,
    Lane,
    ModelTier,
    Normalization,
    Processing,
    ReasoningEffort,
    ResponseFormatType,
    Role,
    SavingsCause,
    Stability,
    Strategy,
    ToolChoiceMode,
)

__all__ = [
    "Accounting",
    "Answer",
    "CacheMark",
    "CacheMode",
    "CacheOutcome",
    "CallFacts",
    "Caller",
    "Capability",
    "CompletionRequest",
    "Content",
    "Cost",
    "CostBasis",
    "Document",
    "FinishReason",
    "Image",
    "Lane",
    "Message",
    "ModelRoute",
    "ModelTier",
    "Normalization",
    "Part",
    "PartPlace",
    "Processing",
    "PromptCachePlan",
    "PromptCaching",
    "ReasoningEffort",
    "ResponseFormat",
    "ResponseFormatType",
    "Role",
    "Route",
    "SavingsCause",
    "Stability",
    "Strategy",
    "Text",
    "Thinking",
    "Timings",
    "TokenUsage",
    "Tool",
    "ToolCall",
    "ToolChoice",
    "ToolChoiceMode",
    "ToolResult",
]


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture, by its bytes or by an https address (exactly one is set)."""

    data: bytes = b""
    url: str = ""
    media_type: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file, by its bytes or by an https address (exactly one is set)."""

    data: bytes = b""
    url: str = ""
    media_type: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """The model's wish to run a tool; `arguments_json` is the exact text of a JSON object."""

    id: str
    name: str
    arguments_json: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered."""

    tool_call_id: str
    text: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A model's reasoning with the provider's signature over it."""

    text: str = ""
    signature: str = ""


Content = Text | Image | Document | ToolCall | ToolResult | Thinking


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a message, of the system prompt or of an answer."""

    content: Content
    stability: Stability | None = None
    prompt_cache_mark_s: int | None = None  # seconds the provider shall keep the prefix that ends here; 0: its shortest


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask to be run."""

    name: str
    description: str = ""
    parameters_json_schema: str = ""
    strict: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and which tool must be called; `name` is set exactly with NAMED."""

    mode: ToolChoiceMode
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """Form of the answer; `json_schema` is set exactly with JSON_SCHEMA."""

    type: ResponseFormatType
    json_schema: str = ""
    schema_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCaching:
    """What the caller wants of the provider's prompt cache; None and 0 leave it to aigend."""

    enabled: bool | None = None
    ttl_s: int = 0


@dataclass(frozen=True, slots=True)
class PartPlace:
    """Where a part stands in a request: in the system prompt (message None) or in a message; part -1 is the end of the tools."""

    message: int | None
    part: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMark:
    """The end of a prefix that the provider's prompt cache shall keep, for 300 or 3,600 seconds."""

    place: PartPlace
    ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCachePlan:
    """What one call asks of the provider's prompt cache."""

    marks: tuple[CacheMark, ...] = ()  # in the order of the request: tools, system, messages; at most 4
    prefix_key: str = ""  # the same for requests that share a stable prefix; empty: there is none


@dataclass(frozen=True, kw_only=True)
class CompletionRequest:
    """All that determines an answer, checked: equal requests have equal answers.

    Without slots, so that `of` can leave unset fields to the class.
    """

    messages: tuple[Message, ...]
    system: tuple[Part, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    stop_sequences: tuple[str, ...] = ()
    seed: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    provider_options_json: str = ""
    sample_index: int | None = None
    model: str = ""
    agent: str = ""
    service: str = ""
    phase: str = ""
    strategy: Strategy | None = None
    fallback_models: tuple[str, ...] = ()
    context_digest: bytes = b""
    mode: CacheMode = CacheMode.DEFAULT
    ttl_s: float | None = None
    namespace: str = "default"
    normalization: Normalization | None = None
    similarity: float | None = None
    lane: Lane = Lane.INTERACTIVE
    complete_by: float | None = None  # wall clock, seconds since 1970
    prompt_caching: PromptCaching | None = None

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Self:
        """Return `CompletionRequest(**given)`, setting only what is given: few of many fields are, and every call makes one."""
        request = object.__new__(cls)
        request.__dict__.update(given)
        return request


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounting:
    """On whose account a call goes; never part of the question."""

    session: str = ""
    task: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    allow_repeat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Whose call it is, under which id, and for how long it is of use."""

    scope: str  # authenticated identity
    request_id: str
    accounting: Accounting
    digest_of: Callable[[], bytes] = bytes  # computes `request_digest`, which a hit does not need
    wire_of: Callable[[], bytes] = bytes  # spells the whole message, for what has to outlive a restart
    deadline: float | None = None  # monotonic clock, seconds
    traceparent: str = ""  # of the span that the call runs in; empty: not traced

    @property
    def request_digest(self) -> bytes:
        """SHA-256 of the whole message, deterministically serialized: tells whether an id comes with the same request."""
        return self.digest_of()


@dataclass(frozen=True, slots=True)
class Route:
    """A provider and one of its models, as the catalog names it."""

    provider: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRoute:
    """A route with what a call needs to know of its model; token counts of 0 are not known."""

    route: Route
    position: int  # in the catalog
    context_tokens: int = 0
    max_output_tokens: int = 0
    default_max_output_tokens: int = 8_192
    searches: bool = False  # by itself, at a fee
    tier: ModelTier | None = None
    capabilities: tuple[Capability, ...] = ()  # empty: nobody has told
    min_cacheable_tokens: int = 0  # shortest prefix that the provider's prompt cache keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUsage:
    """Tokens in disjoint buckets; `reasoning` alone is inside `output`. Every count >= 0."""

    input: int = 0
    cache_read: int = 0
    cache_write_5m: int = 0
    cache_write_1h: int = 0
    output: int = 0
    reasoning: int = 0
    searches: int = 0

    @property
    def total_input(self) -> int:
        """All input tokens, cached or not."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a call cost, in nano-dollars; `nanos` None means unknown, never 0."""

    nanos: int | None
    basis: CostBasis
    price_entry_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A provider's answer in our own words: the neutral record that the cache keeps."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    route: Route
    resolved_model: str
    usage: TokenUsage
    cost: Cost
    provider_usage_json: str = ""

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.content.text for part in self.parts if isinstance(part.content, Text))

    @property
    def tool_calls(self) -> tuple[ToolCall, ...]:
        """All tool calls, in order."""
        return tuple(part.content for part in self.parts if isinstance(part.content, ToolCall))

    @property
    def complete(self) -> bool:
        """Whether the model ended by itself; only such answers are cached."""
        return self.finish_reason in (FinishReason.STOP, FinishReason.TOOL_CALLS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of a call went, in microseconds."""

    queue_us: int = 0
    provider_us: int = 0
    total_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFacts:
    """What differs from call to call: it is appended to the stored answer, never part of it."""

    request_id: str
    requested_model: str
    outcome: CacheOutcome
    cost: Cost | None = None  # None: nothing was charged
    saved_nanos: int | None = None
    saved_cause: SavingsCause | None = None
    attempt_count: int = 0
    timings: Timings = Timings()
    ledger_entry_id: str = ""
    warnings: tuple[str, ...] = ()
