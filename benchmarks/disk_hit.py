"""A hit that only the disk holds, among 100,000 entries: the memory tier is switched off."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from aigen.v1 import completion_pb2
from aigend.cache.entry import CacheEntry
from aigend.cache.key import keys_for
from aigend.cache.manager import CacheManager
from aigend.cache.memory import MemoryTier
from aigend.cache.stores.sqlite import SqliteStore
from aigend.clock import SystemClock
from aigend.config import CacheSettings
from aigend.rpc.answer_codec import WireCodec
from aigend.types import (
    Answer,
    CompletionRequest,
    Cost,
    CostBasis,
    FinishReason,
    Message,
    Normalization,
    Part,
    Role,
    Route,
    Text,
    TokenUsage,
)

from benchmarks import processes
from benchmarks.load import Cell
from benchmarks.questions import account

ROUTE = Route("openai", "gpt-4o-mini")
SETTINGS = {"cache": {"memory_size_bytes": 0}}
ANSWER = Answer(
    parts=(Part(Text("An answer of about one kilobyte, as plans have them. " * 20)),),
    finish_reason=FinishReason.STOP,
    route=ROUTE,
    resolved_model="gpt-4o-mini",
    usage=TokenUsage(input=100, output=250),
    cost=Cost(nanos=165_000, basis=CostBasis.PRICED),
)


def question(number: int) -> str:
    """Return the text of one question."""
    return f"what does plan number {number} say about bread"


def entries(count: int) -> Iterator[CacheEntry]:
    """Yield stored answers to the first `count` questions."""
    now = time.time()
    for number in range(count):
        request = CompletionRequest(messages=(Message(Role.USER, (Part(Text(question(number))),)),))
        (key,) = keys_for(request, (ROUTE,), scope="local", normalization=Normalization.FOLD)
        yield CacheEntry(
            key=key,
            scope="local",
            namespace="default",
            route=ROUTE,
            agent="",
            phase="",
            service="",
            create_time=now,
            expire_time=now + 86_400,
            answer=ANSWER,
        )


async def measure(folder: Path, base_url: str, *, count: int = 100_000, calls: int = 2_000) -> float:
    """Return the median time of a hit from the disk, in microseconds, as a caller over the socket sees it."""
    home = folder / "disk"
    home.mkdir(mode=0o700)
    await _fill(home / "cache", count)
    with processes.daemon(home, base_url=base_url, settings=SETTINGS) as daemon:
        numbers = itertools.cycle(range(0, count, 37))
        cell = Cell(socket=daemon.socket, pid=daemon.pid, requests=(_asked(number) for number in numbers), account=account())
        latencies = []
        for _ in range(calls):
            began = time.perf_counter()
            answer = await cell.once()
            latencies.append(time.perf_counter() - began)
            if not _is_hit(answer):
                raise RuntimeError("a stored answer was not found")
        await cell.close()
    return statistics.median(latencies) * 1e6


def _asked(number: int) -> bytes:
    return completion_pb2.CompleteRequest(prompt=question(number), model="openai/gpt-4o-mini").SerializeToString()


def _is_hit(answer: bytes) -> bool:
    return completion_pb2.CompleteResponse.FromString(answer).cache_outcome == completion_pb2.CACHE_OUTCOME_HIT


async def _fill(folder: Path, count: int) -> None:
    """Store answers to `count` questions, as the daemon would have."""
    folder.mkdir(mode=0o700)
    clock, settings = SystemClock(), CacheSettings()
    cache = CacheManager(
        store=SqliteStore(path=folder / "cache.db", clock=clock, settings=settings),
        memory=MemoryTier(max_bytes=0),
        clock=clock,
        encoder=WireCodec(),
        settings=settings,
    )
    await cache.open()
    for batch in _batched(entries(count), 1_000):
        kept = [cache.keep(entry, generation=cache.generation("local", "default")) for entry in batch]
        await asyncio.gather(*(cache.persist(entry, generation=0) for entry in kept if entry is not None))
    await cache.close()


def _batched(items: Iterator[CacheEntry], size: int) -> Iterator[list[CacheEntry]]:
    while batch := list(itertools.islice(items, size)):
        yield batch
