"""Google's explicit caches: content that is stored once, named by later requests, and gone when its time is over.

Source:
    Types of the google-genai SDK 3.4 (CachedContent); Google, "Context caching": smallest sizes, one hour where no time is said.
    Read 2026-11.
"""

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aigen_emulator.prompt_cache import SHORT_TTL_S, CacheUse
from aigen_emulator.wire.gemini_errors import error_of, refuse
from aigen_emulator.wire.gemini_request import generation, parsed, tokens_held
from aigen_emulator.wire.port import RefusalError

PATH = re.compile(r"(?:/p/[^/]+)?/v1(?:alpha|beta)?/cachedContents(?:/.*)?")
_DEFAULT_TTL_S = 3_600.0
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)s")
_SMALLEST = (((4, 0), None), ((3, 0), 4_096), ((2, 0), 2_048), ((0, 0), 1_024))  # tokens by generation; None: it keeps none
_HELD = ("contents", "systemInstruction", "tools", "toolConfig", "model", "ttl", "displayName")

Body = dict[str, Any]


@dataclass(slots=True)
class _Cache:
    """One cache."""

    name: str
    model: str
    content: Body
    tokens: int
    ttl_s: float
    ends: float
    billed: bool = False


class CachedContents:
    """Keeps caches until they end.

    Args:
        now: Seconds that never go back.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self.created = 0
        self._now = now
        self._caches: dict[str, _Cache] = {}
        self._numbers = itertools.count(1)

    def create(self, asked: Body) -> Body:
        """Store content and return its description.

        Raises:
            RefusalError: It is too small, or the model keeps none.
        """
        for name in asked.keys() - set(_HELD):
            raise refuse(f"Invalid JSON payload received. Unknown name \"{name}\" at 'cached_content': Cannot find field.")
        model = str(asked.get("model", "")).removeprefix("models/")
        if not model:
            raise refuse("* CreateCachedContentRequest.cached_content.model: model is not specified")
        tokens = tokens_held(asked)
        smallest = next(least for since, least in _SMALLEST if generation(model) >= since)
        if smallest is None:
            raise refuse(f"models/{model} is not supported for createCachedContent.")
        if tokens < smallest:
            raise refuse(f"Cached content is too small. total_token_count={tokens}, min_total_token_count={smallest}")
        name = f"cachedContents/{next(self._numbers):012x}"
        ttl_s = _seconds(asked.get("ttl"))
        self._caches[name] = _Cache(name, model, asked, tokens, ttl_s, self._now() + ttl_s)
        self.created += 1
        return self._told(self._caches[name])

    def get(self, name: str) -> Body:
        """Return the description of a cache. Raises RefusalError where there is none."""
        return self._told(self._find(name))

    def all(self) -> Body:
        """Return the description of every cache."""
        return {"cachedContents": [self._told(cache) for cache in self._caches.values() if cache.ends > self._now()]}

    def extend(self, name: str, asked: Body) -> Body:
        """Let a cache live for so long from now. Raises RefusalError where there is none."""
        cache = self._find(name)
        cache.ttl_s = _seconds(asked.get("ttl"))
        cache.ends = self._now() + cache.ttl_s
        return self._told(cache)

    def delete(self, name: str) -> Body:
        """Remove a cache. Raises RefusalError where there is none."""
        del self._caches[self._find(name).name]
        return {}

    def held(self, name: str, model: str) -> Mapping[str, Any]:
        """Return what a cache holds. Raises RefusalError where there is none, or it is another model's."""
        cache = self._find(name)
        if cache.model != model:
            wanted, kept = f"models/{model}", f"models/{cache.model}"
            raise refuse(f"Model used by GenerateContent request ({wanted}) and CachedContent ({kept}) has to be the same.")
        return cache.content

    def look(self, name: str) -> CacheUse:
        """Return what a request that names a cache reads; the first that is billed pays for the cache's creation too."""
        cache = self._caches[name]
        written = 0 if cache.billed else cache.tokens
        if cache.ttl_s > SHORT_TTL_S:
            return CacheUse(read=cache.tokens, written_1h=written)
        return CacheUse(read=cache.tokens, written_5m=written)

    def bill(self, name: str) -> None:
        """Note that a cache's creation has been billed with an answer."""
        self._caches[name].billed = True

    def _find(self, name: str) -> _Cache:
        cache = self._caches.get(name)
        if cache is None or cache.ends <= self._now():
            raise refuse("CachedContent not found (or permission denied)", status=403)
        return cache

    def _told(self, cache: _Cache) -> Body:
        now = datetime.now(UTC)
        ends = now + timedelta(seconds=cache.ends - self._now())
        times = {"createTime": _spelled(now), "updateTime": _spelled(now), "expireTime": _spelled(ends)}
        usage = {"usageMetadata": {"totalTokenCount": cache.tokens}}
        return {"name": cache.name, "model": f"models/{cache.model}", "displayName": ""} | times | usage


def cached_contents_app(caches: CachedContents, *, api_key: str | None) -> Starlette:
    """Return the application for the addresses of the caches.

    Args:
        caches: The caches.
        api_key: The key that is demanded; None for none.
    """

    async def collection(request: Request) -> Response:
        return await _answer(request, lambda body: caches.create(body) if request.method == "POST" else caches.all())

    async def single(request: Request) -> Response:
        name = f"cachedContents/{request.path_params['id']}"
        doing: dict[str, Callable[[Body], Body]] = {
            "GET": lambda _: caches.get(name),
            "PATCH": lambda body: caches.extend(name, body),
            "DELETE": lambda _: caches.delete(name),
        }
        return await _answer(request, doing[request.method])

    async def _answer(request: Request, doing: Callable[[Body], Body]) -> Response:
        try:
            if api_key is not None and request.headers.get("x-goog-api-key") != api_key:
                raise refuse("API key not valid. Please pass a valid API key.", code="API_KEY_INVALID")
            return JSONResponse(doing(parsed(await request.body() or b"{}")))
        except RefusalError as refused:
            return JSONResponse(error_of(refused), status_code=refused.status)

    many, one = ["GET", "POST"], ["GET", "PATCH", "DELETE"]
    places = [f"{start}/{version}/cachedContents" for start in ("", "/p/{provider}") for version in ("v1", "v1alpha", "v1beta")]
    routes = [Route(place, collection, methods=many) for place in places]
    return Starlette(routes=routes + [Route(f"{place}/{{id}}", single, methods=one) for place in places])


def _seconds(ttl: Any) -> float:
    if ttl is None:
        return _DEFAULT_TTL_S
    found = _SECONDS.fullmatch(ttl) if isinstance(ttl, str) else None
    if found is None:
        raise refuse(f"Invalid value at 'cached_content.ttl' (type.googleapis.com/google.protobuf.Duration), {json.dumps(ttl)}")
    return float(found[1])


def _spelled(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
