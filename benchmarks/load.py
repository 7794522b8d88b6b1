"""A closed loop of callers over bare grpc.aio stubs, the same for the echo and for every cell."""

import asyncio
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import grpc

COMPLETE = "/aigen.v1.CompletionService/Complete"
OPTIONS = [("grpc.max_receive_message_length", 34_603_008), ("grpc.max_send_message_length", 34_603_008)]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Figures:
    """What one cell gave: calls a second, percentiles in microseconds, server time a call in microseconds."""

    rps: float
    p50_us: float
    p99_us: float
    server_cpu_us: float
    calls: int
    failed: int


class RequestIds:
    """UUID-shaped ids, each used once in a run."""

    def __init__(self) -> None:
        self._prefix = os.urandom(8).hex()
        self._count = itertools.count()

    def next(self) -> str:
        """Return the next id, 36 characters."""
        text = f"{self._prefix}{next(self._count):016x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used, in seconds."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / CLOCK_TICKS


def resident_mb(pid: int) -> float:
    """Return a process's resident memory, in MB."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


class Cell:
    """One server under one kind of request, called through one channel.

    Args:
        socket: The server's socket.
        pid: The server's process.
        requests: Yields the bytes of each request.
        account: Accounting metadata.
    """

    def __init__(self, *, socket: str, pid: int, requests: Iterator[bytes], account: bytes) -> None:
        self._channel = grpc.aio.insecure_channel(f"unix:{socket}", options=OPTIONS)
        self._call = self._channel.unary_unary(COMPLETE)
        self._pid = pid
        self._requests = requests
        self._account = account
        self._ids = RequestIds()
        self.calls = 0
        self.failed = 0

    async def run(self, *, concurrency: int, seconds: float) -> Figures:
        """Return the figures of one closed loop."""
        latencies: list[float] = []
        failed_before = self.failed
        cpu, began = cpu_seconds(self._pid), time.perf_counter()
        await asyncio.gather(*(self._caller(latencies, began + seconds) for _ in range(concurrency)))
        elapsed, cpu = time.perf_counter() - began, cpu_seconds(self._pid) - cpu
        latencies.sort()
        self.calls += len(latencies)
        return Figures(
            rps=len(latencies) / elapsed,
            p50_us=latencies[len(latencies) // 2] * 1e6,
            p99_us=latencies[int(len(latencies) * 0.99)] * 1e6,
            server_cpu_us=cpu / len(latencies) * 1e6,
            calls=len(latencies),
            failed=self.failed - failed_before,
        )

    async def once(self) -> bytes:
        """Make one call."""
        self.calls += 1
        return await self._send()

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()

    async def _caller(self, latencies: list[float], until: float) -> None:
        clock: Callable[[], float] = time.perf_counter
        began = clock()
        while began < until:
            try:
                await self._send()
            except grpc.aio.AioRpcError:
                self.failed += 1
            now = clock()
            latencies.append(now - began)
            began = now

    async def _send(self) -> bytes:
        metadata = (("aigen-request-id", self._ids.next()), ("aigen-accounting-bin", self._account))
        answer: bytes = await self._call(next(self._requests), metadata=metadata)
        return answer
