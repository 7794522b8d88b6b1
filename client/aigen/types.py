"""What is said to a model: messages, their parts, tools, and the options of a completion.

Values only, frozen, without protobuf. What comes back stands in `results.py`; how both become bytes in `_requests.py` and
`_convert.py`. Wherever an enum is expected, its value as text does as well: `mode="refresh"` is `mode=CacheMode.REFRESH`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

if TYPE_CHECKING:
    from aigen.presets import Preset


class Role(StrEnum):
    """Who speaks in a message."""

    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Stability(StrEnum):
    """How a part behaves from call to call; VOLATILE parts are sent but are not in the cache key."""

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


class CacheMode(StrEnum):
    """How the response cache takes part in a call."""

    DEFAULT = "default"
    READ_ONLY = "read_only"
    ONLY_IF_CACHED = "only_if_cached"
    REFRESH = "refresh"
    NO_STORE = "no_store"
    BYPASS = "bypass"


class Normalization(StrEnum):
    """Which differences in user text do not change the cache key."""

    EXACT = "exact"
    WHITESPACE = "whitespace"
    FOLD = "fold"


@dataclass(frozen=True, slots=True)
class Text:
    """Plain text; not empty in a request."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture, by its bytes or by an https address; exactly one of the two is set."""

    data: bytes = b""
    url: str = ""
    media_type: str = ""  # IANA media type such as "image/png"; must be set with data


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A file, by its bytes or by an https address; exactly one of the two is set."""

    data: bytes = b""
    url: str = ""
    media_type: str = ""  # IANA media type such as "application/pdf"; must be set with data
    title: str = ""  # shown to the model


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCall:
    """The model's wish to run a tool."""

    id: str
    name: str
    arguments_json: str = ""  # exact text of a JSON object; empty: no arguments


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResult:
    """What a tool answered to a call."""

    tool_call_id: str
    text: str = ""
    is_error: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Thinking:
    """A model's reasoning with the provider's signature over it, handed back unchanged in later turns."""

    text: str = ""
    signature: str = ""


Content = Text | Image | Document | ToolCall | ToolResult | Thinking


@dataclass(frozen=True, slots=True)
class Part:
    """One piece of a message, of the system prompt or of an answer, with how it behaves from call to call."""

    content: Content
    stability: Stability | str | None = None  # None: STABLE for system parts and documents, DYNAMIC for the rest
    prompt_cache_mark_s: int | None = None  # seconds the provider shall keep the prefix that ends here: 300, 3600 or 0


PartLike = str | Content | Part


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of the conversation; its parts may be one text.

    Example:
        >>> Message("user", "How are you?")
        Message(role='user', parts='How are you?')
    """

    role: Role | str
    parts: PartLike | Sequence[PartLike]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may ask to be run."""

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | str = ""  # JSON Schema of the arguments, as an object or as its exact text
    strict: bool | None = None  # None: the provider's own default


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolChoice:
    """Whether and which tool must be called; `name` is set exactly with NAMED."""

    mode: ToolChoiceMode | str
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseFormat:
    """Form of the answer; `json_schema` is set exactly with JSON_SCHEMA."""

    type: ResponseFormatType | str
    json_schema: Mapping[str, Any] | str = ""  # as an object or as its exact text
    schema_name: str = ""  # empty: "response"


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCaching:
    """What the caller wants of the provider's prompt cache."""

    enabled: bool | None = None  # None: the service's setting
    ttl_s: int = 0  # 300 or 3600 seconds; 0: decided by aigend


class CompletionOptions(TypedDict, total=False):
    """The keyword arguments that shape an answer; one left out or None is not sent, so that the daemon's default holds."""

    preset: "Preset | str | None"  # a task's system prompt, models and limits; every other argument wins over it
    system: str | PartLike | Sequence[PartLike] | None  # system prompt, in order; text and document parts
    tools: Sequence[Tool] | None  # at most 128, names unique
    tool_choice: ToolChoice | ToolChoiceMode | str | None
    response_format: ResponseFormat | ResponseFormatType | str | None
    temperature: float | None  # 0 to 2
    top_p: float | None  # above 0 to 1
    max_output_tokens: int | None  # 1 to 1,000,000; None: the model's default
    stop_sequences: Sequence[str] | None  # at most 16, none empty
    seed: int | None
    reasoning_effort: ReasoningEffort | str | None
    provider_options: Mapping[str, Any] | str | None  # passed through to the provider, as an object or as its exact text
    sample_index: int | None  # 0 to 1,000,000: another index is another cache entry
    model: str | None  # id, alias, or "provider/model"
    agent: str | None  # named role that maps to a provider and model
    service: str | None  # whose policy applies; None: the session's, else the client's
    phase: str | int | None  # phase of the pipeline; None: the session's
    strategy: Strategy | str | None
    fallback_models: Sequence[str] | None  # at most 3, in order
    context_digest: bytes | None  # digest of context that is not sent; at most 64 bytes
    mode: CacheMode | str | None
    ttl: timedelta | float | None  # how long the answer may be kept, in seconds; above 0 to 366 days
    namespace: str | None  # 1 to 64 letters, digits, '.', '_' or '-'; None: "default"
    normalization: Normalization | str | None
    similarity: float | None  # above 0 to 1; None: off
    lane: Lane | str | None
    complete_by: datetime | None  # with its time zone
    prompt_caching: PromptCaching | None


class CompletionRequest:
    """One question with its options, for `complete_many()` or to be asked again later.

    Args:
        prompt_or_messages: The prompt, or the conversation, oldest message first.
        options: The keyword arguments of `Client.complete()` that shape the answer.

    Example:
        >>> CompletionRequest("Name a colour", agent="claude", seed=7)
        CompletionRequest('Name a colour', agent='claude', seed=7)
    """

    __slots__ = ("options", "prompt_or_messages")

    def __init__(self, prompt_or_messages: "str | Sequence[MessageLike]", /, **options: Unpack[CompletionOptions]) -> None:
        self.prompt_or_messages = prompt_or_messages
        self.options = options

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CompletionRequest):
            return NotImplemented
        return self.prompt_or_messages == other.prompt_or_messages and self.options == other.options

    __hash__ = None  # type: ignore[assignment]  # holds lists and mappings of the caller's

    def __repr__(self) -> str:
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"CompletionRequest({self.prompt_or_messages!r}{options})"


MessageLike = Message | Mapping[str, Any]
Prompt = str | Message | Sequence[MessageLike] | CompletionRequest
