"""Anthropic's Messages through the anthropic SDK, for Anthropic itself and for whoever offers its models under that API.

The SDK addresses, authenticates, sends, frames and raises; bodies and events are read here without its models, which cost
more than the rest of a call together.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import httpx2
from anthropic import AsyncAnthropic, AsyncAnthropicBedrock, AsyncStream

from aigend.config import ProviderSettings
from aigend.providers.anthropic.answer import Collected, UnreadableAnswerError, reply_from
from aigend.providers.anthropic.faults import CALL_ERRORS, fault_from
from aigend.providers.anthropic.request import check_request, request_body
from aigend.providers.calling import call_headers, next_event, reporting
from aigend.providers.connection import Sending, http_client
from aigend.providers.faults import unreadable
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, StreamEvent
from aigend.types import CompletionRequest

Client = TypeVar("Client", AsyncAnthropic, AsyncAnthropicBedrock)

BASE_URL = "https://api.anthropic.com"
NO_KEY = "none"  # sent to servers on loopback that want no key
_PATH = "/v1/messages"
_VERSION_PATH = "/v1"  # part of the path there, and often of the address in people's settings


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "AnthropicProvider":
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address, with or without `/v1`, and key.
        answer_bytes: Longest answer that is read.
    """
    return AnthropicProvider(name, sdk_client(settings, answer_bytes=answer_bytes))


def sdk_client(settings: ProviderSettings, *, answer_bytes: int) -> AsyncAnthropic:
    """Return the SDK, its retries off and deaf to the environment; no connection is made before the first call."""
    base_url = (settings.base_url or BASE_URL).rstrip("/").removesuffix(_VERSION_PATH)
    http = http_client(base_url=base_url, answer_bytes=answer_bytes)
    key = settings.api_key.get_secret_value() if settings.api_key else NO_KEY
    client = AsyncAnthropic(api_key=key, base_url=base_url, max_retries=0, http_client=http, open_telemetry=False)
    return without_environment(client)


def without_environment(client: Client) -> Client:
    """Return the client without the headers that its SDK read from the environment: they are no setting of this provider."""
    client._custom_headers = {}
    return client


class AnthropicProvider:
    """An account with Anthropic or with somebody who runs its models.

    Args:
        name: The account's name.
        client: The SDK, with retries off.
        adapter: Name of the wire format.
        addresses: Whether the server fetches images and documents by their address.
        more_errors: What the client may raise beside its SDK's own errors.
    """

    def __init__(
        self,
        name: str,
        client: AsyncAnthropic | AsyncAnthropicBedrock,
        *,
        adapter: str = "anthropic",
        addresses: bool = True,
        more_errors: tuple[type[Exception], ...] = (),
    ) -> None:
        self.name = name
        self.adapter = adapter
        self._client = client
        self._addresses = addresses
        self._errors: tuple[type[BaseException], ...] = (TimeoutError, *CALL_ERRORS, *more_errors)

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        check_request(request, addresses=self._addresses)

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return the whole answer."""
        sending = Sending()
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await self._send(call, sending)
            return reply_from(json.loads(response.content))
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error)) from error
        except self._errors as error:
            raise self._fault(error, sending) from error

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it comes; the last event is the ProviderReply."""
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        sending = Sending()
        collected = Collected()
        events: AsyncStream[Any] | None = None
        try:
            async with asyncio.timeout_at(deadline):
                events = await self._open(call, sending)
            while (body := await next_event(events, deadline)) is not None:
                for event in collected.take_event(body):
                    yield event
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error), partial_text_len=collected.seen_bytes) from error
        except self._errors as error:
            raise self._fault(error, sending, collected if events is not None else None) from error
        finally:
            if events is not None:
                await events.close()
        yield self._whole(collected)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _whole(self, collected: Collected) -> ProviderReply:
        """Return the answer of a stream that ended in order, if it came to its own end before."""
        if collected.event_count == 0:
            raise unreadable(self.name, "it is no stream of events")
        if collected.finish is None:
            message = f"the stream of provider {self.name} ended before its end"
            raise ProviderFault(FaultKind.CUT, message, provider=self.name, partial_text_len=collected.seen_bytes)
        return collected.reply()

    async def _send(self, call: ProviderCall, sending: Sending) -> httpx2.Response:
        with reporting(sending):
            return await self._client.post(
                _PATH, cast_to=httpx2.Response, body=call_body(call, stream=False), options={"headers": call_headers(call)}
            )

    async def _open(self, call: ProviderCall, sending: Sending) -> AsyncStream[Any]:
        with reporting(sending):
            return await self._client.post(
                _PATH,
                cast_to=object,
                body=call_body(call, stream=True),
                options={"headers": call_headers(call)},
                stream=True,
                stream_cls=AsyncStream[object],
            )

    def _fault(self, error: BaseException, sending: Sending, collected: Collected | None = None) -> ProviderFault:
        """Return the fault that an error stands for, free of our key; `collected` is what came of a stream."""
        seen = collected.seen_bytes if collected is not None else 0
        streamed = collected is not None
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed, partial_text_len=seen)
        if self._client.api_key:
            fault.provider_message = fault.provider_message.replace(self._client.api_key, "***")
        return fault


def call_body(call: ProviderCall, *, stream: bool) -> dict[str, Any]:
    """Return the body of a call, or of a line of a batch job."""
    limit = call.max_output_tokens
    return request_body(call.request, model=call.model, max_output_tokens=limit, plan=call.prompt_cache, stream=stream)
