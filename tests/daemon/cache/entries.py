"""Entries and requests that the cache's tests are made of."""

import dataclasses
import hashlib
from typing import Any

from aigend.cache.entry import CacheEntry
from aigend.types import (
    Answer,
    CompletionRequest,
    Cost,
    CostBasis,
    FinishReason,
    Message,
    Part,
    Role,
    Route,
    Text,
    TokenUsage,
)

NOW = 1_767_225_600.0  # where the fake clock begins
DAY = 86_400.0


def answer(text: str = "Forty-two.", *, nanos: int | None = 1_500) -> Answer:
    """Return an answer with a text."""
    return Answer(
        parts=(Part(Text(text)),),
        finish_reason=FinishReason.STOP,
        route=Route("openai", "gpt-4o"),
        resolved_model="gpt-4o-2026-01-01",
        usage=TokenUsage(input=12, output=3),
        cost=Cost(nanos=nanos, basis=CostBasis.PRICED, price_entry_id="p1"),
        provider_usage_json='{"prompt_tokens": 12}',
    )


def key(name: str) -> bytes:
    """Return a key for a name."""
    return hashlib.sha256(name.encode()).digest()


def entry(name: str = "one", *, text: str = "Forty-two.", ttl_s: float = DAY, **changes: Any) -> CacheEntry:
    """Return an entry under the key of a name."""
    plain = CacheEntry(
        key=key(name),
        scope="local",
        namespace="default",
        route=Route("openai", "gpt-4o"),
        agent="claude",
        phase="1",
        service="plans",
        create_time=NOW,
        expire_time=NOW + ttl_s,
        answer=answer(text),
    )
    return dataclasses.replace(plain, **changes)


def request(text: str = "What is C++?", **fields: Any) -> CompletionRequest:
    """Return a request with one user message, unless the fields say otherwise."""
    return CompletionRequest(**{"messages": (Message(Role.USER, (Part(Text(text)),)),)} | fields)


class TextEncoder:
    """A `WireEncoder` whose wire is the answer's text."""

    def encode_answer(self, answer: Answer, cache_key: bytes) -> bytes:
        """Return the text behind the first byte of the key."""
        return cache_key[:1] + answer.text.encode()
