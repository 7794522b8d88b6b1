"""What the client adds: to a call over a bare stub, and to a process's memory."""

import itertools
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import aigen

from benchmarks import processes
from benchmarks.load import Cell
from benchmarks.questions import account, prompt, request

MODEL = "openai/gpt-4o-mini"
_RESIDENT = """
import os, sys
baseline, kind, socket, payload = sys.argv[1:]
if baseline == "asyncio":
    import asyncio
def resident():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident()
if kind == "aigen":
    import aigen
    client = aigen.Client(socket=socket or "/nowhere.sock")
    if socket:
        client.complete("Say hello", model="openai/gpt-4o-mini")
else:
    import grpc
    channel = grpc.insecure_channel("unix:" + socket)
    channel.unary_unary("/aigen.v1.CompletionService/Complete")(bytes.fromhex(payload))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientMemory:
    """What the client adds to a process's resident memory, in MB: a process that has imported asyncio, or a bare one."""

    client_added: float  # to one with asyncio, as programs with concurrent calls have it, once a client is made
    client_added_bare: float
    client_added_call: float  # once the client has made a call, too
    client_added_bare_call: float
    grpc_bare_call: float  # the same call through gRPC alone


def added_mb(folder: Path, base_url: str) -> ClientMemory:
    """Return what importing the client, making one and calling with it adds to processes of their own."""
    with processes.daemon(folder / "memory", base_url=base_url) as daemon:
        return ClientMemory(
            client_added=_resident("asyncio", "aigen"),
            client_added_bare=_resident("bare", "aigen"),
            client_added_call=_resident("asyncio", "aigen", socket=daemon.socket),
            client_added_bare_call=_resident("bare", "aigen", socket=daemon.socket),
            grpc_bare_call=_resident("bare", "grpc", socket=daemon.socket),
        )


def _resident(baseline: str, kind: str, *, socket: str = "") -> float:
    payload = request("Say hello", model=MODEL).hex()
    command = [sys.executable, "-c", _RESIDENT, baseline, kind, socket, payload]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


async def _median_us(call: Callable[[], Awaitable[object]], calls: int) -> float:
    latencies = []
    for _ in range(calls):
        began = time.perf_counter()
        await call()
        latencies.append(time.perf_counter() - began)
    return statistics.median(latencies) * 1e6
