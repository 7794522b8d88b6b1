"""Google's generateContent through the google-genai SDK, for the Gemini API and for servers that speak like it.

The SDK addresses, authenticates, sends, frames and raises; requests and answers are built and read here without its models, which
cost three times the rest of a call. Only its lower half is used for that, and nothing it would read from the environment counts.
"""

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from google.genai._api_client import BaseApiClient, HttpResponse
from google.genai.errors import APIError
from google.genai.types import HttpOptions

from aigend.config import ProviderSettings
from aigend.providers.calling import call_headers, next_event, reporting
from aigend.providers.connection import Sending, http_client
from aigend.providers.faults import unreadable
from aigend.providers.gemini.answer import BrokenOffError, Collected, UnreadableAnswerError
from aigend.providers.gemini.caches import Creation, ExplicitCaches, Kept
from aigend.providers.gemini.faults import CALL_ERRORS, fault_from
from aigend.providers.gemini.prefix import Prefix, longest_prefix
from aigend.providers.gemini.request import check_request, request_body
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, StreamEvent
from aigend.types import CompletionRequest

BASE_URL = "https://generativelanguage.googleapis.com"
NO_KEY = "none"  # sent to servers on loopback that want no key
_USUAL_VERSION = "v1beta"  # the one that has all fields
VERSION = re.compile(r"/v\d+(?:(?:alpha|beta)\d*)?$")
_PATH_SAFE = "/:._-@"
_PERHAPS_THE_CACHE = frozenset((400, 403, 404))  # what is said of a named cache that is gone; none of them is billed
_LONGEST_CREATION_S = 30.0
_OWN_HOSTS = ".googleapis.com"
_TIER_HEADER = "x-gemini-service-tier"
# For two clients that the SDK makes and nothing of ours uses: each would read all trusted certificates, at 20 ms and 0.7 MB.
_TRUSTS_NOBODY = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "GeminiProvider":
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address, with or without the API's version, and key.
        answer_bytes: Longest answer that is read.
    """
    client, http = sdk_client(settings, answer_bytes=answer_bytes)
    tiers = on_google(settings) if settings.service_tiers == "auto" else settings.service_tiers == "send"
    return GeminiProvider(name, client, http, tiers=tiers)


def sdk_client(settings: ProviderSettings, *, answer_bytes: int) -> tuple[BaseApiClient, httpx2.AsyncClient]:
    """Return the SDK's lower half, its retries off, and what it sends through; no connection is made before the first call."""
    base_url = (settings.base_url or BASE_URL).rstrip("/")
    http = http_client(base_url=base_url, answer_bytes=answer_bytes)
    version = "" if VERSION.search(base_url) else _USUAL_VERSION
    options = HttpOptions(
        base_url=base_url,
        api_version=version,
        httpx_async_client=http,
        client_args={"verify": _TRUSTS_NOBODY},
        async_client_args={"ssl": _TRUSTS_NOBODY},
    )
    key = settings.api_key.get_secret_value() if settings.api_key else NO_KEY
    return BaseApiClient(vertexai=False, api_key=key, http_options=options), http


def on_google(settings: ProviderSettings) -> bool:
    """Return whether the settings lead to Google itself."""
    return (urlsplit(settings.base_url or BASE_URL).hostname or "").endswith(_OWN_HOSTS)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What one call sends, and the cache that stands for the beginning of it."""

    body: dict[str, Any]
    kept: Kept | None = None


class GeminiProvider:
    """An account with Google or a server that speaks like it.

    Args:
        name: The account's name.
        client: The SDK's lower half, with retries off.
        http: What it sends through; the SDK does not close it.
        tiers: Whether the server sells the same model at several prices.
    """

    adapter = "gemini"

    def __init__(self, name: str, client: BaseApiClient, http: httpx2.AsyncClient, *, tiers: bool = False) -> None:
        self.name = name
        self._tiers = tiers
        self._client = client
        self._http = http
        self._caches = ExplicitCaches(self._create_cache)

    def check(self, request: CompletionRequest) -> None:
        """Return if the request can be sent whole."""
        check_request(request, tiers=self._tiers)

    async def complete(self, call: ProviderCall) -> ProviderReply:
        """Return the whole answer."""
        sending, collected = Sending(), Collected()
        try:
            async with asyncio.timeout(call.timeout_s):
                answer, kept = await self._answer_to(call, sending, stream=False)
                collected.tier = _tier(answer)
                body = await read_body(answer)
            for _ in collected.take(json.loads(body)):
                pass
            return self._reply(collected, kept)
        except (UnreadableAnswerError, BrokenOffError) as error:
            raise unreadable(self.name, str(error)) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def stream(self, call: ProviderCall) -> AsyncIterator[StreamEvent]:
        """Yield the answer as it comes; the last event is the ProviderReply."""
        deadline = asyncio.get_running_loop().time() + call.timeout_s
        sending, collected = Sending(), Collected()
        answer: HttpResponse | None = None
        kept: Kept | None = None
        try:
            async with asyncio.timeout_at(deadline):
                answer, kept = await self._answer_to(call, sending, stream=True)
            collected.tier = _tier(answer)
            chunks = answer.async_segments()
            while (chunk := await next_event(chunks, deadline)) is not None:
                for event in collected.take(chunk):
                    yield event
        except UnreadableAnswerError as error:
            raise unreadable(self.name, str(error), partial_text_len=collected.seen_bytes) from error
        except BrokenOffError as error:
            raise self._cut(collected) from error
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending, collected if answer is not None else None) from error
        finally:
            if answer is not None:
                await close(answer)
        if collected.chunk_count == 0:
            raise unreadable(self.name, "it is no stream of events")
        if not collected.ended:
            raise self._cut(collected)
        for event in collected.rest():
            yield event
        yield self._reply(collected, kept)

    async def aclose(self) -> None:
        """Close the connections."""
        await self._caches.aclose()
        await self._http.aclose()
        self._client.close()

    async def _answer_to(self, call: ProviderCall, sending: Sending, *, stream: bool) -> tuple[HttpResponse, Kept | None]:
        """Return the response to a call, its body unread; a call whose cache is gone is sent once more, whole.

        What names a cache that is gone is refused before it costs anything. Which cache it is the provider does not say in a
        field, so it counts as gone if the whole request is taken where the shorter one was not.
        """
        asked = await self._asked(call)
        try:
            return await self._send(call, asked.body, sending, stream=stream), asked.kept
        except APIError as error:
            if asked.kept is None or error.code not in _PERHAPS_THE_CACHE:
                raise
        answer = await self._send(call, whole_body(call), sending, stream=stream)
        self._caches.forget(asked.kept)
        return answer, asked.kept

    async def _asked(self, call: ProviderCall) -> _Asked:
        """Return what is sent: whole, or without the beginning that a cache of the provider holds."""
        prefix = longest_prefix(call) if call.prompt_cache.marks else None
        if prefix is None:
            return _Asked(whole_body(call))
        patience_s = min(_LONGEST_CREATION_S, call.timeout_s / 2)
        kept = await self._caches.find(prefix.content, ttl_s=prefix.ttl_s, patience_s=patience_s)
        return _Asked(whole_body(call)) if kept is None else _Asked(_shorter_body(prefix, kept), kept)

    async def _send(self, call: ProviderCall, body: dict[str, Any], sending: Sending, *, stream: bool) -> HttpResponse:
        method = "streamGenerateContent?alt=sse" if stream else "generateContent"
        with reporting(sending):
            return await self._post(f"{model_path(call.model)}:{method}", body, call_headers(call))

    async def _post(self, path: str, body: dict[str, Any], headers: Mapping[str, str]) -> HttpResponse:
        """Return a response whose body is still to be read.

        The SDK's layer of retries is left out. A body that it reads itself it decodes without noticing broken characters.
        """
        request = self._client._build_request("post", path, body)
        request.headers.update(headers)
        return await self._client._async_request_once(request, stream=True)

    async def _create_cache(self, content: dict[str, Any], ttl_s: int) -> Kept | None:
        """Return a new cache of the provider; None where it makes none, whatever the reason: the call does without."""
        try:
            async with asyncio.timeout(_LONGEST_CREATION_S):
                answer = await self._post("cachedContents", content | {"ttl": f"{ttl_s}s"}, {})
                made = json.loads(await read_body(answer))
        except (TimeoutError, *CALL_ERRORS):
            return None
        name = made.get("name") if isinstance(made, dict) else None
        return Kept(name, Creation.of(made, ttl_s)) if isinstance(name, str) and name else None

    def _reply(self, collected: Collected, kept: Kept | None) -> ProviderReply:
        """Return the answer; the first that stands on a new cache is charged with its creation."""
        reply = collected.reply()
        creation = kept.creation if kept is not None and reply.usage is not None else None
        if kept is None or reply.usage is None or creation is None:
            return reply
        kept.creation = None
        native = json.dumps(json.loads(reply.provider_usage_json) | {"createdCachedContent": creation.told}, separators=(",", ":"))
        return replace(reply, usage=creation.added_to(reply.usage), provider_usage_json=native)

    def _cut(self, collected: Collected) -> ProviderFault:
        message = f"the stream of provider {self.name} ended before its end"
        return ProviderFault(FaultKind.CUT, message, provider=self.name, partial_text_len=collected.seen_bytes)

    def _fault(self, error: BaseException, sending: Sending, collected: Collected | None = None) -> ProviderFault:
        """Return the fault that an error stands for, free of our key; `collected` is what came of a stream."""
        seen = collected.seen_bytes if collected is not None else 0
        streamed = collected is not None
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed, partial_text_len=seen)
        fault.provider_message = fault.provider_message.replace(str(self._client.api_key), "***")
        return fault


def whole_body(call: ProviderCall) -> dict[str, Any]:
    """Return the body of a call, or of a line of a batch job, that no cache of the provider stands for."""
    return request_body(call.request, model=call.model, max_output_tokens=call.max_output_tokens)


def _shorter_body(prefix: Prefix, kept: Kept) -> dict[str, Any]:
    return prefix.rest | {"cachedContent": kept.name}


def model_path(model: str) -> str:
    """Return the model's place in an address.

    Example:
        >>> model_path("gemini-2.5-pro"), model_path("tunedModels/mine")
        ('models/gemini-2.5-pro', 'tunedModels/mine')
    """
    return quote(model if "/" in model else f"models/{model}", safe=_PATH_SAFE)


def _tier(answer: HttpResponse) -> str:
    headers: Any = answer.headers or {}
    return str(headers.get(_TIER_HEADER, ""))


async def read_body(answer: HttpResponse) -> bytes:
    """Return the body of a response, and give its connection back."""
    response: Any = answer.response_stream
    try:
        body: bytes = await response.aread()
    finally:
        await response.aclose()
    return body


async def close(answer: HttpResponse) -> None:
    """Give a response's connection back, or cut it where not all was read."""
    response: Any = answer.response_stream
    await response.aclose()
