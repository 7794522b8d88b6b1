"""OpenAI's chat completions through the openai SDK, for OpenAI itself and for every server that speaks like it.

The SDK addresses, authenticates, sends, frames and raises; bodies and events are read here without its models, which cost
more than the rest of a call together.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from openai import AsyncOpenAI, AsyncStream

from aigend.config import ProviderSettings
from aigend.providers.connection import CURRENT_SENDING, Sending, http_client, last_bytes
from aigend.providers.faults import unreadable
from aigend.providers.openai_answer import Collected, UnreadableAnswerError, reply_from
from aigend.providers.openai_faults import CALL_ERRORS, fault_from
from aigend.providers.openai_request import check_request, request_body
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, StreamEvent
from aigend.types import CompletionRequest

BASE_URL = "https://api.openai.com/v1"
NO_KEY = "none"  # sent to servers on loopback that want no key
_PATH = "/chat/completions"
_DONE = b"[DONE]"  # some servers end with it and give no finish reason, others the reverse
_OWN_HOSTS = (".openai.com", ".openai.azure.com")
_HEADER_SAFE = "/:._-+=@"


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "OpenAIProvider":
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read.
    """
    base_url = settings.base_url or BASE_URL
    http = http_client(base_url=base_url, answer_bytes=answer_bytes)
    key = settings.api_key.get_secret_value() if settings.api_key else NO_KEY
    client = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http)
    client.organization = client.project = None  # the SDK's own look into the environment is not a setting of this provider
    return OpenAIProvider(name, client, limit_field=_limit_field(settings, base_url))


def _limit_field(settings: ProviderSettings, base_url: str) -> str:
    """Return what the server calls the answer's bound: OpenAI's newer models refuse the old name, others know only that."""
    if settings.max_tokens_field != "auto":
        return settings.max_tokens_field
    host = urlsplit(base_url).hostname or ""
    return "max_completion_tokens" if host.endswith(_OWN_HOSTS) else "max_tokens"


class OpenAIProvider:
    """An account with OpenAI or a server that speaks like it.

    Args:
        name: The account's name.
        client: The SDK, with retries off.
        limit_field: What the server calls the bound of an answer.
    """

    adapter = "openai"

    def __init__(self, name: str, client: AsyncOpenAI, *, limit_field: str) -> None:
        self.name = name
        self._client = client
        self._limit_field = limit_field

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        check_request(request)

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return the whole answer."""
        sending = Sending()
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await self._send(call, sending)
            return reply_from(json.loads(response.content))
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error)) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it comes; the last event is the ProviderReply."""
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        sending = Sending()
        collected = Collected()
        chunks: AsyncStream[Any] | None = None
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await self._open(call, sending)
            while (chunk := await _next_chunk(chunks, deadline)) is not None:
                for event in collected.take_event(chunk):
                    yield event
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error), partial_text_len=collected.seen_bytes) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending, collected if chunks is not None else None) from error
        finally:
            if chunks is not None:
                await chunks.close()
        if collected.event_count == 0:
            raise unreadable(self.name, "it is no stream of events")
        if collected.finish is None and not last_bytes(chunks.response).rstrip().endswith(_DONE):
            message = f"the stream of provider {self.name} ended before its end"
            raise ProviderFault(FaultKind.CUT, message, provider=self.name, partial_text_len=collected.seen_bytes)
        for event in collected.ending():
            yield event

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _send(self, call: ProviderCall, sending: Sending) -> httpx2.Response:
        with _reporting(sending):
            return await self._client.post(
                _PATH, cast_to=httpx2.Response, body=self._body(call, stream=False), options={"headers": _headers(call)}
            )

    async def _open(self, call: ProviderCall, sending: Sending) -> AsyncStream[Any]:
        with _reporting(sending):
            return await self._client.post(
                _PATH,
                cast_to=object,
                body=self._body(call, stream=True),
                options={"headers": _headers(call)},
                stream=True,
                stream_cls=AsyncStream[object],
            )

    def _fault(self, error: BaseException, sending: Sending, collected: Collected | None = None) -> ProviderFault:
        """Return the fault that an error stands for, free of our key; `collected` is what came of a stream."""
        seen = collected.seen_bytes if collected is not None else 0
        streamed = collected is not None
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed, partial_text_len=seen)
        fault.provider_message = fault.provider_message.replace(self._client.api_key, "***")
        return fault

    def _body(self, call: ProviderCall, *, stream: bool) -> dict[str, Any]:
        limit = call.max_output_tokens
        return request_body(call.request, model=call.model, max_output_tokens=limit, limit_field=self._limit_field, stream=stream)


async def _next_chunk(chunks: AsyncStream[Any], deadline: float) -> Any:
    """Return the next event's body, or None at the end of the stream."""
    async with asyncio.timeout_at(deadline):
        return await anext(chunks, None)


@contextlib.contextmanager
def _reporting(sending: Sending) -> Any:
    """Let requests sent inside the block report to `sending`."""
    token = CURRENT_SENDING.set(sending)
    try:
        yield
    finally:
        CURRENT_SENDING.reset(token)


def _headers(call: ProviderCall) -> dict[str, str]:
    return {"x-client-request-id": quote(call.request_id, safe=_HEADER_SAFE), "x-aigen-attempt": str(call.attempt)}
