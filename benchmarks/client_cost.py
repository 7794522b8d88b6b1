"""What the client adds: to a call over a bare stub, and to a process's memory."""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import aigen

from benchmarks import processes
from benchmarks.load import Cell
from benchmarks.questions import account, prompt, request

MODEL = "openai/gpt-4o-mini"
_RESIDENT = """
import os, sys
if sys.argv[1] == "asyncio":
    import asyncio
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
import aigen
client = aigen.Client(socket="/nowhere.sock")
print((resident() - before) / 1e6)
"""


async def added_us(folder: Path, base_url: str, *, rounds: int, calls: int = 1_000) -> float:
    """Return what `AsyncClient.complete` takes longer than a bare stub, one call after another, in microseconds.

    Both make the same cached call in the same loop; the figure is the median over rounds of the difference of medians.
    """
    text = prompt()
    with processes.daemon(folder / "client", base_url=base_url) as daemon:
        cell = Cell(socket=daemon.socket, pid=daemon.pid, requests=itertools.repeat(request(text, model=MODEL)), account=account())
        async with aigen.AsyncClient(socket=daemon.socket) as client:

            async def full() -> object:
                return await client.complete(text, model=MODEL, max_output_tokens=170)

            await full()
            await _median_us(cell.once, calls)
            pairs = [(await _median_us(cell.once, calls), await _median_us(full, calls)) for _ in range(rounds)]
        await cell.close()
    return statistics.median(mine - bare for bare, mine in pairs)


def added_mb(baseline: str) -> float:
    """Return what importing the client and making one adds to a process's resident memory, in MB.

    Args:
        baseline: `asyncio` for a process that has imported it, as programs with concurrent calls have; `bare` for an empty one.
    """
    done = subprocess.run([sys.executable, "-c", _RESIDENT, baseline], check=True, capture_output=True, text=True)
    return float(done.stdout)


async def _median_us(call: Callable[[], Awaitable[object]], calls: int) -> float:
    latencies = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        latencies.append(time.perf_counter() - began)
    return statistics.median(latencies) * 1e6
