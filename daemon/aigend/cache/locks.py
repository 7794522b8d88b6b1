"""Read-write locks of cache namespaces, for disk work that takes several steps; a memory hit takes none."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from aiorwlock import RWLock

Name = tuple[str, str]  # scope and namespace


class NamespaceLocks:
    """One lock for each namespace that is in use, and none for the others."""

    def __init__(self) -> None:
        self._locks: dict[Name, RWLock] = {}
        self._users: dict[Name, int] = {}

    def __len__(self) -> int:
        return len(self._locks)

    @asynccontextmanager
    async def reading(self, scope: str, namespace: str) -> AsyncIterator[None]:
        """Hold off whoever changes many entries of a namespace; others who hold it off may come, too."""
        async with self._using((scope, namespace)) as lock, lock.reader:
            yield

    @asynccontextmanager
    async def writing(self, scope: str, namespace: str) -> AsyncIterator[None]:
        """Have a namespace for oneself, or with an empty one all that are in use in the scope."""
        names = [(scope, namespace)] if namespace else sorted(name for name in self._locks if name[0] == scope)
        async with AsyncExitStack() as held:
            for name in names:
                lock = await held.enter_async_context(self._using(name))
                await lock.writer.acquire()
                held.callback(lock.writer.release)
            yield

    @asynccontextmanager
    async def _using(self, name: Name) -> AsyncIterator[RWLock]:
        lock = self._locks.setdefault(name, RWLock(fast=True))
        self._users[name] = self._users.get(name, 0) + 1
        try:
            yield lock
        finally:
            self._users[name] -= 1
            if not self._users[name]:
                del self._users[name], self._locks[name]
