"""An answer as the response cache keeps it."""

from aigend.cache.entry import CacheEntry
from aigend.completion.snapshot import Snapshot
from aigend.types import Answer, CompletionRequest


def stores(request: CompletionRequest, snapshot: Snapshot) -> bool:
    """Return whether a request's answer is to be kept."""
    return request.mode.stores and snapshot.settings.features.cache


def entry_of(answer: Answer, request: CompletionRequest, *, scope: str, key: bytes, ttl_s: float, now: float) -> CacheEntry:
    """Return the cache's entry for an answer that was made just now.

    Args:
        answer: The answer.
        request: What it answers.
        scope: Whose it is.
        key: Of the route that gave it.
        ttl_s: How long it stays fresh, in seconds.
        now: Wall clock.
    """
    return CacheEntry(
        key=key,
        scope=scope,
        namespace=request.namespace,
        route=answer.route,
        agent=request.agent,
        phase=request.phase,
        service=request.service,
        create_time=now,
        expire_time=now + ttl_s,
        answer=answer,
    )
