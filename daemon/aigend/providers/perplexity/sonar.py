"""The chat format that Perplexity spoke until September 2026, for servers and recordings that still speak it.

It is OpenAI's chat completions with differences: every event of a stream repeats the usage so far, no [DONE] ends it, fees that
dwarf the tokens stand in `usage.cost`, and the sources stand beside the answer.

Source:
    Perplexity API reference, chat completions, read 2026-11.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aigend.config import ProviderSettings
from aigend.errors import capability_missing
from aigend.providers.openai.answer import Collected
from aigend.providers.openai.dialect import Dialect
from aigend.providers.openai.provider import OpenAIProvider, sdk_client
from aigend.providers.openai.request import check_request, request_body
from aigend.providers.openai.usage import chat_usage, count
from aigend.providers.perplexity.sources import source_parts, with_spelled_sources
from aigend.providers.port import ProviderCall, ProviderReply
from aigend.types import CompletionRequest, Document, Part, ReasoningEffort, ResponseFormatType, TokenUsage, ToolChoiceMode

BASE_URL = "https://api.perplexity.ai"
_ADAPTER = "the sonar adapter"
_DIALECT = Dialect(limit_field="max_tokens", cache_fields=False)


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> OpenAIProvider:
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read.
    """
    client = sdk_client(settings, base_url=settings.base_url or BASE_URL, answer_bytes=answer_bytes)
    return OpenAIProvider(name, client, form=SonarFormat())


class SonarFormat:
    """Chat completions as Perplexity spoke them."""

    adapter = "sonar"
    path = "/chat/completions"

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        _check_wishes(request)
        check_request(with_spelled_sources(request), _DIALECT)

    def body(self, call: ProviderCall, *, stream: bool) -> dict[str, Any]:
        """Return the body to send; usage comes with every event, asked for or not."""
        body = request_body(replace(call, request=with_spelled_sources(call.request)), _DIALECT, stream=stream)
        body.pop("stream_options", None)
        return body

    def reply(self, body: Any) -> ProviderReply:
        """Return the answer that a whole body holds."""
        collected = SonarCollected()
        collected.take_body(body)
        return collected.reply()

    def collecting(self) -> "SonarCollected":
        """Return where the events of a stream come together."""
        return SonarCollected()


class SonarCollected(Collected):
    """A chat completion with its sources, and with usage that stands outside OpenAI's fields."""

    def __init__(self) -> None:
        super().__init__()
        self._sources: tuple[Part, ...] = ()

    def take_envelope(self, body: dict[str, Any]) -> None:
        """Take model, usage and sources, which servers repeat or send last."""
        super().take_envelope(body)
        self._sources = tuple(_sources(body)) or self._sources

    def usage(self, told: Any) -> TokenUsage | None:
        """Return the usage in disjoint buckets: what a research model reads and thinks is counted beside prompt and completion."""
        usage = chat_usage(told)
        if usage is None:
            return None
        thought, read = count(told.get("reasoning_tokens")), count(told.get("citation_tokens"))
        return replace(usage, input=usage.input + read, output=usage.output + thought, reasoning=usage.reasoning + thought)

    def reply(self) -> ProviderReply:
        """Return the whole answer, its sources last."""
        reply = super().reply()
        return replace(reply, parts=(*reply.parts, *self._sources))


def _sources(body: dict[str, Any]) -> Iterator[Part]:
    """Yield the sources, with their titles where those are told."""
    return source_parts(body.get("search_results") or body.get("citations"))


def _check_wishes(request: CompletionRequest) -> None:
    """Refuse what chat completions have and this format has not."""
    if request.seed is not None:
        raise capability_missing("seed", request.seed, f"{_ADAPTER} has none")
    if request.tool_choice is not None and request.tool_choice.mode is ToolChoiceMode.NAMED:
        raise capability_missing(
            "tool_choice", request.tool_choice.name, f"{_ADAPTER} can't name a tool; allowed: auto, none, required"
        )
    if request.response_format is not None and request.response_format.type is ResponseFormatType.JSON:
        raise capability_missing("response_format.type", "json", f"{_ADAPTER} has JSON with a schema only; use json_schema")
    if request.reasoning_effort is ReasoningEffort.NONE:
        raise capability_missing("reasoning_effort", "none", f"{_ADAPTER} can't forbid reasoning; allowed: minimal to high")
    for index, message in enumerate(request.messages):
        for position, part in enumerate(message.parts):
            if isinstance(part.content, Document) and part.content.data:
                place = f"messages[{index}].parts[{position}].document"
                raise capability_missing(place, "", f"{_ADAPTER} can send texts and images")
