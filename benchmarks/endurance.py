"""`python -m benchmarks.endurance`: what a long life costs a ledger; the last line is a JSON object.

Bookkeeping of a paid call in a ledger of many entries, beside one of 10,000, both in turn; and how soon a daemon that was killed
under load is ready again, with many entries and with 100,000.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import os
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import uvloop
from aigend.ledger.verify import verify

from benchmarks import bookkeeping, bulk_ledger, processes
from benchmarks.load import Cell, resident_mb
from benchmarks.questions import account, prompt, request

SMALL, USUAL = 10_000, 100_000
RATIO_GOAL = 1.3
USUAL_READY_GOAL_S, LARGE_READY_GOAL_S = 1.0, 3.0
LOAD_S = 2.0  # before a kill
CALLERS = 8
MODEL = "openai/gpt-4o-mini"


def made(folder: Path, *, entries: int, days: float) -> Path:
    """Return the state directory of a daemon with so many entries, made if it is not there."""
    state = folder / str(entries) / "state"
    if not (state / "ledger.db").exists():
        state.mkdir(mode=0o700, parents=True)
        began = time.perf_counter()
        bulk_ledger.build(state / "ledger.db", entries=entries, end=time.time() - 60, days=days)
        size = (state / "ledger.db").stat().st_size / 1e6
        print(f"{entries:,} entries: made in {time.perf_counter() - began:.0f} s, {size:,.0f} MB", flush=True)
    return state


async def compare(small: Path, large: Path, *, rounds: int, calls: int) -> tuple[float, float]:
    """Return the median over interleaved rounds of the median bookkeeping in a small and in a large ledger, in microseconds.

    The small one is the same one in every round; the large one grows by what is measured.
    """
    figures: dict[Path, list[float]] = {small: [], large: []}
    for _ in range(rounds):
        fresh = small.with_name("fresh")
        shutil.copytree(small, fresh)
        for kept, used in ((small, fresh), (large, large)):
            figures[kept].append((await bookkeeping.measure(used, calls=calls)).p50_us)
        shutil.rmtree(fresh)
        print(f"bookkeeping p50: small {figures[small][-1]:.0f} us, large {figures[large][-1]:.0f} us", flush=True)
    return statistics.median(figures[small]), statistics.median(figures[large])


async def ready_after_kills(home: Path, *, base_url: str, kills: int) -> list[float]:
    """Return how long a daemon took to be ready each time after it had been killed under load, in seconds."""
    ready = []
    for number in range(kills + 1):
        (home / "aigend.sock").unlink(missing_ok=True)  # what a killed daemon leaves; it must appear anew
        with processes.daemon(home, base_url=base_url) as daemon:
            ready.append(daemon.ready_s)
            print(f"{home.name}: ready in {daemon.ready_s:.2f} s, {resident_mb(daemon.pid):.0f} MB", flush=True)
            if number < kills:
                await _kill_under_load(daemon)
    return ready[1:]


async def _kill_under_load(daemon: processes.Running) -> None:
    cell = Cell(socket=daemon.socket, pid=daemon.pid, requests=_unique(), account=account())
    callers = [asyncio.create_task(_call_until_it_fails(cell)) for _ in range(CALLERS)]
    await asyncio.sleep(LOAD_S)
    os.kill(daemon.pid, signal.SIGKILL)
    await asyncio.gather(*callers)
    print(f"killed, {cell.calls} paid calls begun", flush=True)
    await cell.close()


async def _call_until_it_fails(cell: Cell) -> None:
    with contextlib.suppress(grpc.aio.AioRpcError):
        while True:
            await cell.once()


def _unique() -> Iterator[bytes]:
    text, run = prompt(), os.urandom(8).hex()
    for number in itertools.count():
        yield request(f"{run} {number} {text}", model=MODEL)


async def run(folder: Path, *, entries: int, days: float, rounds: int, calls: int, kills: int) -> dict[str, object]:
    """Make the ledgers and measure; return what the last line holds."""
    small, usual, large = (made(folder, entries=count, days=days) for count in (SMALL, USUAL, entries))
    before, after = await compare(small, large, rounds=rounds, calls=calls)
    ready = {}
    with processes.emulator() as emulator:
        for count, state in ((USUAL, usual), (entries, large)):
            ready[count] = max(await ready_after_kills(state.parent, base_url=emulator.base_url, kills=kills))
    findings = verify(usual / "ledger.db")
    met = after <= RATIO_GOAL * before and ready[USUAL] <= USUAL_READY_GOAL_S and ready[entries] <= LARGE_READY_GOAL_S
    return {
        "entries": entries,
        "bookkeeping_p50_us": {str(SMALL): round(before), str(entries): round(after)},
        "ratio": round(after / before, 3),
        "ready_after_kill_s": {str(count): round(seconds, 2) for count, seconds in ready.items()},
        "findings": len(findings),
        "goals_met": met and not findings,
    }


def main() -> None:
    """Make ledgers, measure, and print the figures."""
    parser = argparse.ArgumentParser(prog="benchmarks.endurance", description="Measure a daemon on a very large ledger.")
    parser.add_argument("--entries", type=int, default=10_000_000, help="entries of the large ledger; 10 million take about 9 GB")
    parser.add_argument("--days", type=float, default=90.0, help="over which entries are spread")
    parser.add_argument("--rounds", type=int, default=7, help="interleaved rounds of bookkeeping")
    parser.add_argument("--calls", type=int, default=2_000, help="calls in a round")
    parser.add_argument("--kills", type=int, default=3, help="kills of each daemon")
    parser.add_argument("--folder", type=Path, help="where ledgers are kept and taken from; without it they are removed")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="aigen-bench-endurance-"))
    figures = {name: getattr(options, name) for name in ("entries", "days", "rounds", "calls", "kills")}
    try:
        result = uvloop.run(run(folder, **figures))
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
