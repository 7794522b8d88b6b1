"""One call through an SDK: the names it travels under, what notes that it left, and its next event within its time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote

from aigend.providers.connection import CURRENT_SENDING, Sending
from aigend.providers.port import ProviderCall

_HEADER_SAFE = "/:._-+=@"


def call_headers(call: ProviderCall) -> dict[str, str]:
    """Return the headers by which a provider's records can be compared with ours."""
    return {"x-client-request-id": quote(call.request_id, safe=_HEADER_SAFE), "x-aigen-attempt": str(call.attempt)}


@contextlib.contextmanager
def reporting(sending: Sending) -> Iterator[None]:
    """Let requests sent inside the block report to `sending`."""
    token = CURRENT_SENDING.set(sending)
    try:
        yield
    finally:
        CURRENT_SENDING.reset(token)


async def next_event(events: AsyncIterator[Any], deadline: float) -> Any:
    """Return the next event's body, or None at the end of the stream.

    Raises:
        TimeoutError: It did not come before `deadline`, a time of the running loop.
    """
    async with asyncio.timeout_at(deadline):
        return await anext(events, None)
