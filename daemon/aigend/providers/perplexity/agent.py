"""Perplexity's Agent API, at the address under which it accepts OpenAI's Responses."""

from collections.abc import Iterator
from typing import Any

from aigend.config import ProviderSettings
from aigend.providers.openai.provider import OpenAIProvider, sdk_client
from aigend.providers.openai.responses_answer import Collected, item_parts, reply_from
from aigend.providers.openai.usage import mapping
from aigend.providers.perplexity.request import SEAL, check_request, request_body
from aigend.providers.perplexity.sources import source_parts
from aigend.providers.port import ProviderCall, ProviderReply
from aigend.types import CompletionRequest, Part, Thinking

BASE_URL = "https://api.perplexity.ai/v1"
_SOURCES = ("results", "contents")  # where an item of results lists them


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> OpenAIProvider:
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read.
    """
    client = sdk_client(settings, base_url=settings.base_url or BASE_URL, answer_bytes=answer_bytes)
    return OpenAIProvider(name, client, form=AgentFormat())


class AgentFormat:
    """The Agent API's variety of Responses."""

    adapter = "perplexity"
    path = "/responses"

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        check_request(request)

    def body(self, call: ProviderCall, *, stream: bool) -> dict[str, Any]:
        """Return the body to send."""
        return request_body(call, stream=stream)

    def reply(self, body: Any) -> ProviderReply:
        """Return the answer that a whole body holds."""
        return reply_from(body, parts_of=agent_parts)

    def collecting(self) -> Collected:
        """Return where the events of a stream come together."""
        return Collected(parts_of=agent_parts)


def agent_parts(item: dict[str, Any]) -> Iterator[Part]:
    """Yield the parts of an item: the sources of results, the signature of a signed tool call before it, else as in Responses."""
    if str(item.get("type")).endswith("results"):
        for name in _SOURCES:
            yield from source_parts(item.get(name))
        return
    signature = mapping(item).get("thought_signature")
    if item.get("type") == "function_call" and isinstance(signature, str) and signature:
        yield Part(Thinking(signature=SEAL + signature))
    yield from item_parts(item)
