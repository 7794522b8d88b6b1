"""`python -m benchmarks`: all figures from one run; the last line is a JSON object."""

import argparse
import json
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from benchmarks import bookkeeping, client_cost, disk_hit, first_chunk, hot_path, miss_path, phase_two, processes
from benchmarks.bookkeeping import Bookkeeping
from benchmarks.client_cost import ClientMemory
from benchmarks.first_chunk import FirstChunk
from benchmarks.hot_path import CONCURRENCIES, Cells
from benchmarks.miss_path import Miss
from benchmarks.phase_two import PhaseTwo


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one run gave."""

    cells: Cells
    disk_us: float
    client_us: float
    memory: ClientMemory
    miss: Miss
    stream: FirstChunk
    phase_two: PhaseTwo
    books: Bookkeeping


async def measure(folder: Path, *, rounds: int, seconds: float) -> Measured:
    """Measure everything, printing what there is so far."""
    with processes.emulator() as emulator:
        base_url = emulator.base_url
        cells = await hot_path.measure(folder, base_url, rounds=rounds, seconds=seconds)
        print_cells(cells)
        disk_us = await disk_hit.measure(folder, base_url)
        client_us = await client_cost.added_us(folder, base_url, rounds=rounds)
        memory = client_cost.added_mb(folder, base_url)
    print(f"hit from disk, 100,000 entries: p50 {disk_us:.0f} us; AsyncClient adds {client_us:.0f} us")
    miss = await miss_path.measure(folder, rounds=rounds, seconds=seconds)
    print(
        f"paid call: SDK alone p50 {miss.sdk_p50_us:.0f} us, through aigend {miss.daemon_p50_us:.0f} us; at 64: SDK "
        f"{miss.sdk_rps_64:.0f}/s, aigend {miss.daemon_rps_64:.0f}/s, emulator alone {miss.emulator_rps_64:.0f}/s "
        f"({miss.emulator_rps_64 / miss.sdk_rps_64:.1f} x the SDK)"
    )
    stream = await first_chunk.measure(folder, rounds=rounds)
    print(f"first words of a stream: SDK alone p50 {stream.sdk_p50_us:.0f} us, through aigend {stream.daemon_p50_us:.0f} us")
    phase = await phase_two.measure(folder, rounds=rounds)
    print(
        f"phase two, {phase_two.RUNS} runs at once: one call after the other {phase.sequential_ms:.0f} ms, at once on the SDKs "
        f"{phase.gather_ms:.0f} ms, through aigend {phase.aigen_ms:.0f} ms ({phase.overhead_percent:+.1f} %); a lone call is held "
        f"for {phase.lone_queue_p50_us:.0f} us"
    )
    books = await bookkeeping.measure(folder / "books", calls=4_000)
    print(f"bookkeeping of a paid call, 8 callers: p50 {books.p50_us:.0f} us, p99 {books.p99_us:.0f} us")
    return Measured(
        cells=cells,
        disk_us=disk_us,
        client_us=client_us,
        memory=memory,
        miss=miss,
        stream=stream,
        phase_two=phase,
        books=books,
    )


def figures_of(run: Measured) -> dict[str, object]:
    """Return every figure of a run as the last line holds it; docs/performance.md lists the keys."""
    cells, miss, books = run.cells, run.miss, run.books
    return {
        **_hot(cells),
        "disk_hit_p50_us": round(run.disk_us),
        "client_added_us": round(run.client_us, 1),
        "miss": {"added_p50_us": round(miss.added_p50_us), "throughput_ratio": round(miss.throughput_ratio, 3)},
        "stream": {"added_p50_us": round(run.stream.added_p50_us)},
        "phase_two": {name: round(value, 1) for name, value in asdict(run.phase_two).items()},
        "bookkeeping_us": {"p50": round(books.p50_us), "p99": round(books.p99_us)},
        "rss_mb": {
            "idle": round(cells.rss_idle_mb, 1),
            "after_load": round(cells.rss_after_mb, 1),
            **{name: round(value, 1) for name, value in asdict(run.memory).items()},
        },
        "ready_s": round(cells.ready_s, 2),
        "ledger_calls": cells.ledger_calls,
        "sent_calls": cells.calls,
        "failed": cells.failed,
    }


def _hot(cells: Cells) -> dict[str, object]:
    def each(cell: str, figure: str) -> dict[str, float]:
        return {str(c): round(cells.median(cell, c, figure), 1) for c in CONCURRENCIES}

    names = ("echo", "repeat", "new_bytes")
    return {
        **{f"{name}_rps": each(name, "rps") for name in names},
        "ratio": {name: {str(c): round(cells.ratio(name, c), 3) for c in CONCURRENCIES} for name in names[1:]},
        "server_cpu_us": {name: round(cells.median(name, 16, "server_cpu_us"), 1) for name in names},
        "p50_us": {name: each(name, "p50_us") for name in names},
        "p99_us": {name: each(name, "p99_us") for name in names},
    }


def print_cells(cells: Cells) -> None:
    """Print the hot path as a table."""
    print(f"{'':>12}" + "".join(f"{f'rps at {c}':>12}{'p50 us':>9}{'p99 us':>9}{'ratio':>8}" for c in CONCURRENCIES))
    for name in ("echo", "repeat", "new_bytes"):
        row = f"{name:>12}"
        for c in CONCURRENCIES:
            ratio = 1.0 if name == "echo" else cells.ratio(name, c)
            row += f"{cells.median(name, c, 'rps'):>12.0f}{cells.median(name, c, 'p50_us'):>9.0f}"
            row += f"{cells.median(name, c, 'p99_us'):>9.0f}{ratio:>8.3f}"
        print(row)


def main() -> None:
    """Run all benchmarks and print their figures."""
    parser = argparse.ArgumentParser(prog="benchmarks", description="Measure aigen against references of the same run.")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds of each cell")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of one cell in one round")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="aigen-bench-"))
    try:
        run = uvloop.run(measure(folder, rounds=options.rounds, seconds=options.seconds))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(figures_of(run)))


if __name__ == "__main__":
    main()
