"""Locks of cache namespaces."""

import asyncio

from aigend.cache.locks import NamespaceLocks

from tests.fakes import settle


async def hold(locks: NamespaceLocks, names: tuple[str, str], log: list[str], until: asyncio.Event, *, writes: bool) -> None:
    """Take a lock, say so, and keep it until told."""
    context = locks.writing(*names) if writes else locks.reading(*names)
    async with context:
        log.append(("w:" if writes else "r:") + ":".join(names))
        await until.wait()


async def test_readers_share_and_a_writer_waits_for_them() -> None:
    """Two readers hold a namespace together; a writer gets it when both have gone, and then nothing is left over."""
    locks, log, readers, writer = NamespaceLocks(), [], asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(hold(locks, ("s", "a"), log, readers, writes=False)) for _ in range(2)]
    await settle()
    tasks.append(asyncio.create_task(hold(locks, ("s", "a"), log, writer, writes=True)))
    await settle()
    assert log == ["r:s:a", "r:s:a"]
    readers.set()
    await settle()
    assert log[2:] == ["w:s:a"]
    writer.set()
    await asyncio.gather(*tasks)
    assert len(locks) == 0


async def test_namespaces_do_not_wait_for_each_other() -> None:
    """A writer of one namespace holds up neither another one nor the same name of another scope."""
    locks, log, end = NamespaceLocks(), [], asyncio.Event()
    tasks = [asyncio.create_task(hold(locks, ("s", "a"), log, end, writes=True))]
    await settle()
    tasks += [asyncio.create_task(hold(locks, names, log, end, writes=False)) for names in (("s", "b"), ("t", "a"))]
    await settle()
    assert log == ["w:s:a", "r:s:b", "r:t:a"]
    end.set()
    await asyncio.gather(*tasks)


async def test_a_writer_of_all_waits_for_every_namespace_of_its_scope() -> None:
    """With no namespace named, a writer waits for all readers of the scope and for no other's."""
    locks, log, own, other, writer = NamespaceLocks(), [], asyncio.Event(), asyncio.Event(), asyncio.Event()
    tasks = [asyncio.create_task(hold(locks, ("s", name), log, own, writes=False)) for name in ("b", "a")]
    tasks.append(asyncio.create_task(hold(locks, ("t", "a"), log, other, writes=False)))
    await settle()
    tasks.append(asyncio.create_task(hold(locks, ("s", ""), log, writer, writes=True)))
    await settle()
    assert len(log) == 3
    own.set()
    await settle()
    assert log[3:] == ["w:s:"]
    writer.set()
    other.set()
    await asyncio.gather(*tasks)
    assert len(locks) == 0
