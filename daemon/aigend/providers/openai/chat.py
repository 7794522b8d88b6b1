"""OpenAI's chat completions, for OpenAI itself and for every server that speaks like it."""

from typing import Any

from aigend.config import ProviderSettings
from aigend.providers.openai.answer import Collected, reply_from
from aigend.providers.openai.dialect import Dialect, dialect_of
from aigend.providers.openai.provider import OpenAIProvider, sdk_client
from aigend.providers.openai.request import check_request, request_body
from aigend.providers.port import ProviderCall, ProviderReply
from aigend.types import CompletionRequest

BASE_URL = "https://api.openai.com/v1"


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> OpenAIProvider:
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read.
    """
    base_url = settings.base_url or BASE_URL
    client = sdk_client(settings, base_url=base_url, answer_bytes=answer_bytes)
    return OpenAIProvider(name, client, form=ChatFormat(dialect_of(settings, base_url)))


class ChatFormat:
    """Chat completions.

    Args:
        dialect: What the server knows of them.
    """

    adapter = "openai"
    path = "/chat/completions"

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        check_request(request, self.dialect)

    def body(self, call: ProviderCall, *, stream: bool) -> dict[str, Any]:
        """Return the body to send."""
        return request_body(call, self.dialect, stream=stream)

    def reply(self, body: Any) -> ProviderReply:
        """Return the answer that a whole body holds."""
        return reply_from(body)

    def collecting(self) -> Collected:
        """Return where the events of a stream come together."""
        return Collected()
