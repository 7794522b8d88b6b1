"""One account that is called through the openai SDK, whichever of OpenAI's formats it speaks.

The SDK addresses, authenticates, sends, frames and raises; bodies and events are read without its models, which cost more than
the rest of a call together. What bodies mean is the formats'.
"""

import asyncio
import importlib
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from typing import Any, Protocol

import httpx2
from openai import AsyncOpenAI, AsyncStream

from aigend.config import ProviderSettings
from aigend.providers.calling import call_headers, next_event, reporting
from aigend.providers.connection import Sending, http_client, last_bytes
from aigend.providers.faults import unreadable
from aigend.providers.openai.answer import FailedAnswerError, UnreadableAnswerError
from aigend.providers.openai.faults import CALL_ERRORS, failure_fault, fault_from
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, StreamEvent
from aigend.types import CompletionRequest

NO_KEY = "none"  # sent to servers on loopback that want no key

with suppress(ImportError):
    # At each call the SDK looks whether httpx is loaded, and fails where a thread with another SDK is only importing it.
    importlib.import_module("httpx")


class Collecting(Protocol):
    """An answer of a stream as it comes together."""

    seen_bytes: int  # of text, reasoning and arguments
    event_count: int

    def take_event(self, body: Any) -> Iterator[StreamEvent]:
        """Yield what an event adds. Raises UnreadableAnswerError or FailedAnswerError."""
        ...

    def ended(self, tail: bytes) -> bool:
        """Return whether the answer came to its own end; `tail` is the last bytes of the stream."""
        ...

    def ending(self) -> Iterator[StreamEvent]:
        """Yield what ends the stream; the last event is the ProviderReply."""
        ...


class Format(Protocol):
    """One of the formats: its address, how a request is spelled in it, and how an answer is read."""

    adapter: str
    path: str

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole. Raises DomainError."""
        ...

    def body(self, call: ProviderCall, *, stream: bool) -> dict[str, Any]:
        """Return the body to send."""
        ...

    def reply(self, body: Any) -> ProviderReply:
        """Return the answer that a whole body holds. Raises UnreadableAnswerError or FailedAnswerError."""
        ...

    def collecting(self) -> Collecting:
        """Return where the events of a stream come together."""
        ...


def sdk_client(settings: ProviderSettings, *, base_url: str, answer_bytes: int) -> AsyncOpenAI:
    """Return the SDK, its retries off and deaf to the environment; no connection is made before the first call."""
    http = http_client(base_url=base_url, answer_bytes=answer_bytes)
    key = settings.api_key.get_secret_value() if settings.api_key else NO_KEY
    client = AsyncOpenAI(api_key=key, base_url=base_url, max_retries=0, http_client=http)
    client.organization = client.project = None  # the SDK's own look into the environment is not a setting of this provider
    return client


class OpenAIProvider:
    """An account with OpenAI, or with a server that speaks one of its formats.

    Args:
        name: The account's name.
        client: The SDK, with retries off.
        form: The format that is spoken.
    """

    def __init__(self, name: str, client: AsyncOpenAI, *, form: Format) -> None:
        self.name = name
        self.adapter = form.adapter
        self.form = form
        self._client = client

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        self.form.check(request)

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return the whole answer."""
        sending = Sending()
        try:
            async with asyncio.timeout(call.timeout_s):
                response = await self._send(call, sending)
            return self.form.reply(json.loads(response.content))
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error)) from error
        except FailedAnswerError as error:
            raise self._clean(failure_fault(error.told, provider=self.name, streamed=False, billed=error.billed)) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it comes; the last event is the ProviderReply."""
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        sending = Sending()
        collected = self.form.collecting()
        chunks: AsyncStream[Any] | None = None
        ending: list[StreamEvent] = []
        try:
            async with asyncio.timeout_at(deadline):
                chunks = await self._open(call, sending)
            while (chunk := await next_event(chunks, deadline)) is not None:
                for event in collected.take_event(chunk):
                    yield event
            self._check_whole(collected, last_bytes(chunks.response))
            ending += collected.ending()
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error), partial_text_len=collected.seen_bytes) from error
        except FailedAnswerError as error:
            raise self._failed(error, collected) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending, collected if chunks is not None else None) from error
        finally:
            if chunks is not None:
                await chunks.close()
        for event in ending:
            yield event

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    def _check_whole(self, collected: Collecting, tail: bytes) -> None:
        if collected.event_count == 0:
            raise unreadable(self.name, "it is no stream of events")
        if not collected.ended(tail):
            message = f"the stream of provider {self.name} ended before its end"
            raise ProviderFault(FaultKind.CUT, message, provider=self.name, partial_text_len=collected.seen_bytes)

    async def _send(self, call: ProviderCall, sending: Sending) -> httpx2.Response:
        body = self.form.body(call, stream=False)
        with reporting(sending):
            return await self._client.post(
                self.form.path, cast_to=httpx2.Response, body=body, options={"headers": call_headers(call)}
            )

    async def _open(self, call: ProviderCall, sending: Sending) -> AsyncStream[Any]:
        body = self.form.body(call, stream=True)
        with reporting(sending):
            return await self._client.post(
                self.form.path,
                cast_to=object,
                body=body,
                options={"headers": call_headers(call)},
                stream=True,
                stream_cls=AsyncStream[object],
            )

    def _fault(self, error: BaseException, sending: Sending, collected: Collecting | None = None) -> ProviderFault:
        """Return the fault that an error stands for; `collected` is what came of a stream."""
        seen = collected.seen_bytes if collected is not None else 0
        streamed = collected is not None
        return self._clean(fault_from(error, provider=self.name, sending=sending, streamed=streamed, partial_text_len=seen))

    def _failed(self, error: FailedAnswerError, collected: Collecting) -> ProviderFault:
        seen = collected.seen_bytes
        return self._clean(failure_fault(error.told, provider=self.name, streamed=True, billed=error.billed, partial_text_len=seen))

    def _clean(self, fault: ProviderFault) -> ProviderFault:
        """Return the fault free of our key."""
        fault.provider_message = fault.provider_message.replace(self._client.api_key, "***")
        return fault
