"""One set of connections for all keys of a provider: each key has an SDK client of its own, and the servers are the same."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

Connections = TypeVar("Connections")

_POOL: ContextVar[dict[tuple[type, str], Any] | None] = ContextVar("pool", default=None)


@contextmanager
def one_pool() -> Iterator[None]:
    """Let everything that is built inside the block and asks for connections to the same address get the same ones."""
    token = _POOL.set({})
    try:
        yield
    finally:
        _POOL.reset(token)


def pooled(kind: type[Connections], address: str, make: Callable[[], Connections]) -> Connections:
    """Return connections to an address: those of the block's first client where there is a block, else new ones.

    Args:
        kind: What they are.
        address: Base URL.
        make: Makes them.
    """
    pool = _POOL.get()
    if pool is None:
        return make()
    if (kind, address) not in pool:
        pool[kind, address] = make()
    connections: Connections = pool[kind, address]
    return connections
