"""Repeated and respelled cached calls beside the echo, cells interleaved, ratios taken round by round."""

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aigen

from benchmarks import processes
from benchmarks.load import Cell, Figures, resident_mb
from benchmarks.questions import account, prompt, request, respelled

MODEL = "openai/gpt-4o-mini"
CONCURRENCIES = (1, 16, 64)


@dataclass(slots=True)
class Cells:
    """All rounds of the three cells, by concurrency."""

    rounds: dict[str, dict[int, list[Figures]]] = field(default_factory=dict)
    rss_idle_mb: float = 0.0
    rss_after_mb: float = 0.0
    ready_s: float = 0.0
    calls: int = 0  # sent to the daemon
    failed: int = 0
    ledger_calls: int = 0  # counted by its ledger

    def median(self, cell: str, concurrency: int, figure: str) -> float:
        """Return the median of one figure over all rounds."""
        return statistics.median(getattr(figures, figure) for figures in self.rounds[cell][concurrency])

    def ratio(self, cell: str, concurrency: int) -> float:
        """Return the median over the rounds of a cell's rate by the echo's in the same round."""
        pairs = zip(self.rounds[cell][concurrency], self.rounds["echo"][concurrency], strict=True)
        return statistics.median(mine.rps / theirs.rps for mine, theirs in pairs)


async def measure(folder: Path, base_url: str, *, rounds: int, seconds: float) -> Cells:
    """Return the figures of the echo, of repeated bytes and of new bytes with a known key."""
    result = Cells()
    with processes.daemon(folder / "idle", base_url=None) as idle:
        result.rss_idle_mb, result.ready_s = resident_mb(idle.pid), idle.ready_s
    with processes.echo(folder) as echo, processes.daemon(folder / "hot", base_url=base_url) as daemon:
        text = prompt()
        cells = {
            "echo": _cell(echo, itertools.repeat(request(text, model=MODEL))),
            "repeat": _cell(daemon, itertools.repeat(request(text, model=MODEL))),
            "new_bytes": _cell(daemon, respelled(text, model=MODEL)),
        }
        await cells["repeat"].once()
        await cells["repeat"].once()
        with processes.placed(echo.pid, daemon.pid):
            for cell in cells.values():
                await cell.run(concurrency=16, seconds=seconds)
            await _interleave(cells, result, rounds=rounds, seconds=seconds)
        result.rss_after_mb = resident_mb(daemon.pid)
        result.calls = cells["repeat"].calls + cells["new_bytes"].calls
        result.failed = sum(cell.failed for cell in cells.values())
        result.ledger_calls = await counted_calls(daemon.socket)
        for cell in cells.values():
            await cell.close()
    return result


def _cell(running: processes.Running, requests: Iterator[bytes]) -> Cell:
    return Cell(socket=running.socket, pid=running.pid, requests=requests, account=account())


async def _interleave(cells: dict[str, Cell], result: Cells, *, rounds: int, seconds: float) -> None:
    for concurrency in CONCURRENCIES:
        for _ in range(rounds):
            for name, cell in cells.items():
                figures = await cell.run(concurrency=concurrency, seconds=seconds)
                result.rounds.setdefault(name, {}).setdefault(concurrency, []).append(figures)


async def counted_calls(socket: str) -> int:
    """Return how many calls the daemon's ledger has counted."""
    async with aigen.AsyncClient(socket=socket) as client:
        return (await client.stats()).totals.call_count
