"""A paid call through the daemon beside the same SDK called directly; the emulator answers at once and writes no truth log."""

import asyncio
import itertools
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai

from benchmarks import processes
from benchmarks.load import Cell, Figures
from benchmarks.questions import account, prompt, request

MODEL = "gpt-4o-mini"
LIMITS = {"limits": {"total": 64, "per_provider": 64}}
MAX_TOKENS = 170


@dataclass(frozen=True, slots=True)
class Miss:
    """What the daemon adds to a paid call."""

    sdk_p50_us: float
    daemon_p50_us: float
    added_p50_us: float
    sdk_rps_64: float
    daemon_rps_64: float
    throughput_ratio: float
    emulator_rps_64: float


async def measure(folder: Path, *, rounds: int, seconds: float) -> Miss:
    """Return medians over interleaved rounds.

    One caller: the daemon has one core, load and emulator the other. 64 callers: all processes share all cores.
    """
    with (
        processes.emulator() as emulator,
        processes.daemon(folder / "miss", base_url=emulator.base_url, settings=LIMITS) as daemon,
    ):
        direct = _Direct(emulator.base_url)
        cell = Cell(socket=daemon.socket, pid=daemon.pid, requests=_unique(), account=account())
        await cell.run(concurrency=8, seconds=seconds / 2)
        await _closed_loop(direct.call, concurrency=8, seconds=seconds / 2)

        async def pair(concurrency: int) -> tuple[tuple[float, float], Figures]:
            sdk = await _closed_loop(direct.call, concurrency=concurrency, seconds=seconds)
            return sdk, await cell.run(concurrency=concurrency, seconds=seconds)

        with processes.placed(daemon.pid, beside_load=(emulator.pid,)):
            one = [await pair(1) for _ in range(rounds)]
        many = [await pair(64) for _ in range(rounds)]
        emulator_rps = (await _emulator_alone(emulator.base_url, seconds=seconds))[0]
        await cell.close()
        await direct.close()
    return Miss(
        sdk_p50_us=statistics.median(sdk[1] for sdk, _ in one),
        daemon_p50_us=statistics.median(mine.p50_us for _, mine in one),
        added_p50_us=statistics.median(mine.p50_us - sdk[1] for sdk, mine in one),
        sdk_rps_64=statistics.median(sdk[0] for sdk, _ in many),
        daemon_rps_64=statistics.median(mine.rps for _, mine in many),
        throughput_ratio=statistics.median(mine.rps / sdk[0] for sdk, mine in many),
        emulator_rps_64=emulator_rps,
    )


class _Direct:
    """The SDK as a program would use it without aigen."""

    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(base_url=base_url, api_key="not-a-secret", max_retries=0)
        self._numbers = itertools.count()
        self._prompt = prompt()

    async def call(self) -> None:
        """Make one call that no other call repeats."""
        text = f"{next(self._numbers)} direct {self._prompt}"
        await self._client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": text}], max_completion_tokens=MAX_TOKENS
        )

    async def close(self) -> None:
        await self._client.close()


def _unique() -> Iterator[bytes]:
    text = prompt()
    for number in itertools.count():
        yield request(f"{number} {text}", model=f"openai/{MODEL}", max_output_tokens=MAX_TOKENS)


async def _closed_loop(call: Callable[[], Awaitable[None]], *, concurrency: int, seconds: float) -> tuple[float, float]:
    """Return calls a second and the median latency in microseconds."""
    latencies: list[float] = []
    began = time.perf_counter()

    async def caller() -> None:
        last = began
        while last < began + seconds:
            await call()
            now = time.perf_counter()
            latencies.append(now - last)
            last = now

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    return len(latencies) / (time.perf_counter() - began), statistics.median(latencies) * 1e6


async def _emulator_alone(base_url: str, *, seconds: float) -> tuple[float, float]:
    """Return the emulator's own rate under a raw HTTP client, to show that it is not the bottleneck."""
    host, port = base_url.removeprefix("http://").split("/")[0].split(":")
    body = b'{"model":"gpt-4o-mini","max_completion_tokens":170,"messages":[{"role":"user","content":"%s"}]}' % prompt().encode()
    path = "/" + base_url.removeprefix("http://").partition("/")[2].strip("/") + "/chat/completions"
    head = f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    connections = [await asyncio.open_connection(host, int(port)) for _ in range(64)]
    free = list(connections)

    async def call() -> None:
        reader, writer = free.pop()
        writer.write(head + body)
        headers = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in headers.lower().split(b"\r\n") if line.startswith(b"content-length"))
        await reader.readexactly(length)
        free.append((reader, writer))

    figures = await _closed_loop(call, concurrency=64, seconds=seconds)
    for _, writer in connections:
        writer.close()
    return figures
