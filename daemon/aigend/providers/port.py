"""What the spine asks of a provider, whatever its wire format, and the ways in which a provider fails."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from aigend.types import CompletionRequest, FinishReason, Part, Processing, PromptCachePlan, TokenUsage, ToolCall

NO_PLAN = PromptCachePlan()


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCall:
    """One attempt at a completion."""

    request: CompletionRequest
    model: str  # the provider's own identifier
    max_output_tokens: int  # what is sent and was reserved
    timeout_s: float  # for the whole call, from connecting to the last byte
    request_id: str  # sent along, so that a provider's records can be compared with ours
    attempt: int = 1  # among all attempts of the request, from 1
    prompt_cache: PromptCachePlan = NO_PLAN


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderReply:
    """A whole answer, in neutral words, as the provider gave and counted it."""

    parts: tuple[Part, ...]
    finish_reason: FinishReason
    resolved_model: str
    usage: TokenUsage | None  # as reported, unchecked; None where the provider said nothing usable
    provider_usage_json: str = ""  # as reported, spelled by the provider
    reported_cost_nanos: int | None = None  # the provider's own figure
    processing: Processing = Processing.STANDARD  # which of its prices applies: what the provider really did, not what was asked


@dataclass(frozen=True, slots=True)
class TextDelta:
    """The next piece of the answer's text."""

    text: str


@dataclass(frozen=True, slots=True)
class ThinkingDelta:
    """The next piece of the model's reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class ToolCallDone:
    """A tool call, whole."""

    call: ToolCall


StreamEvent = TextDelta | ThinkingDelta | ToolCallDone | ProviderReply


class Provider(Protocol):
    """An account with a provider; `adapter` names the wire format."""

    name: str
    adapter: str

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole.

        Raises:
            DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field that this adapter can't send.
        """
        ...

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return the whole answer.

        Raises:
            ProviderFault: There is none.
        """
        ...

    def stream(self, call: ProviderCall) -> AsyncGenerator[StreamEvent, None]:
        """Yield the answer as it comes; the last event is the ProviderReply.

        Raises:
            ProviderFault: It did not come whole.
        """
        ...

    async def aclose(self) -> None:
        """Close the connections."""
        ...


class FaultKind(StrEnum):
    """What is known about a call that gave no answer."""

    UNREACHABLE = "unreachable"  # connecting, DNS or TLS failed: not a byte of the request left
    REJECTED = "rejected"  # 400, 404, 413, 422 in the provider's own words
    AUTH = "auth"  # 401, 402, 403, or a used-up account, likewise
    RATE_LIMITED = "rate_limited"  # 429, likewise
    SERVER_ERROR = "server_error"  # 5xx, likewise
    TIMEOUT = "timeout"  # our patience ended after the request had left
    RESET = "reset"  # the connection ended after the request had left
    CUT = "cut"  # a stream ended before its end
    BAD_ANSWER = "bad_answer"  # a 2xx that can't be read, any other status, or an error not in the provider's words
    TOO_LARGE = "too_large"  # the answer passed limits.answer_bytes and was cut off


class ProviderFault(Exception):  # noqa: N818 - a fault of the provider, as the design calls it
    """A call that gave no answer.

    Args:
        kind: What is known.
        message: A sentence that is safe to log: no key, no prompt, none of the provider's free text.
        provider: Whose fault; empty where it is not known.
        status: HTTP status; None where none arrived.
        code: The provider's own error code; empty where it has none.
        provider_message: What the provider said, for the caller's eyes only: it may quote the prompt.
        retry_after_s: How long the provider wants to be left alone, in seconds; None where it did not say.
        partial_text_len: UTF-8 bytes of text and reasoning that had come.
    """

    def __init__(
        self,
        kind: FaultKind,
        message: str,
        /,
        *,
        provider: str = "",
        status: int | None = None,
        code: str = "",
        provider_message: str = "",
        retry_after_s: float | None = None,
        partial_text_len: int = 0,
    ) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.provider = provider
        self.status = status
        self.code = code
        self.provider_message = provider_message
        self.retry_after_s = retry_after_s
        self.partial_text_len = partial_text_len
