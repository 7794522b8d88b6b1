"""Kills a process that makes paid calls, again and again, at random points, and compares its ledger with what was charged.

Run as `python -m tests.torture.ledger_torture --kills 200`. Each life is a fork with 8 tasks that reserve, are charged (a line of
the truth file, on disk before the task goes on) and settle against the real ledger. `--afterwards` is the control: it writes usage
down after the calls, in groups of 20, and loses. The last line of the output is a JSON object.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import structlog
from aigend.clock import SystemClock
from aigend.config import BudgetSettings, LedgerSettings
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import AlreadyKnown, Intent, Reservation, Settlement
from aigend.ledger.ledger import Ledger
from aigend.ledger.verify import verify
from aigend.types import Accounting, CacheOutcome, Cost, CostBasis, Route, TokenUsage

from tests.ledger_invariants import check_invariants

TASKS = 8
GROUP = 20  # calls a flush of the control
BUDGETS = (
    BudgetSettings(name="all", period="monthly", limit_usd="1000000"),
    BudgetSettings(name="each", each="session", period="daily", limit_usd="1000000", action="warn"),
)


class Life:
    """One life of the process: calls until it is killed."""

    def __init__(self, directory: Path, *, seed: int, afterwards: bool) -> None:
        self._dice = random.Random(seed)  # noqa: S311 - chooses when, guards nothing
        self._truth = os.open(directory / "truth", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._ledger = open_ledger(directory)
        self._seed = seed
        self._late: list[tuple[str, int]] | None = [] if afterwards else None

    async def run(self) -> None:
        """Make calls for ever."""
        await self._ledger.open()
        await asyncio.gather(*(self._caller(task) for task in range(TASKS)))

    async def _caller(self, task: int) -> None:
        number = 0
        while True:
            number += 1
            request_id = f"{self._seed}-{task}-{number}"
            if self._late is not None:
                await self._call_afterwards(request_id)
            else:
                await self._call(request_id)

    async def _call(self, request_id: str) -> None:
        fate = self._dice.random()
        reservation = await self._ledger.reserve(intent(request_id))
        if fate < 0.1:  # never sent: given back and tried again
            await self._ledger.release(reservation, reason="connect refused")
            reservation = await self._ledger.reserve(intent(request_id))
        await self._charge(request_id, reservation.attempt_number)
        if fate > 0.95:  # the answer never came: tried once more, both are booked
            await self._ledger.mark_unknown(reservation, reason="timeout")
            reservation = await self._ledger.reserve(intent(request_id), allow_repeat=True)
            await self._charge(request_id, reservation.attempt_number)
        await self._settle(reservation)
        if 0.1 < fate < 0.2:
            await self._repeat(request_id)

    async def _repeat(self, request_id: str) -> None:
        try:
            await self._ledger.reserve(intent(request_id))
        except AlreadyKnown:
            return
        raise AssertionError(f"{request_id} was sent twice")

    async def _settle(self, reservation: Reservation) -> None:
        cost = Cost(nanos=self._dice.randrange(1, 20_000), basis=CostBasis.PRICED)  # also above what was held
        await self._ledger.settle(reservation, Settlement(usage=TokenUsage(input=9, output=3), cost=cost, reply=b"answer" * 50))

    async def _charge(self, request_id: str, attempt: int) -> None:
        await asyncio.sleep(self._dice.random() * 0.002)
        line = json.dumps({"request_id": request_id, "attempt": attempt}).encode() + b"\n"
        await asyncio.to_thread(self._append, line)

    def _append(self, line: bytes) -> None:
        os.write(self._truth, line)
        os.fdatasync(self._truth)

    async def _call_afterwards(self, request_id: str) -> None:
        """The control: pay first, write down later."""
        assert self._late is not None
        await self._charge(request_id, 1)
        self._late.append((request_id, 1))
        if len(self._late) >= GROUP:
            group, self._late = self._late, []
            for late_id, _ in group:
                await self._settle(await self._ledger.reserve(intent(late_id)))


def open_ledger(directory: Path) -> Ledger:
    """Return the ledger of a directory, not yet opened."""
    book = BudgetBook(BUDGETS, time_zone="Asia/Seoul")
    return Ledger(path=directory / "ledger.db", clock=SystemClock(), settings=LedgerSettings(), budgets=book)


def intent(request_id: str) -> Intent:
    """Return a call that costs at most 10,000 nano-dollars."""
    return Intent(
        scope="torture",
        request_id=request_id,
        request_digest=request_id.encode(),
        accounting=Accounting(session=f"s{hash(request_id) % 3}"),
        agent="claude",
        service="",
        phase="1",
        requested_model="m",
        route=Route("p", "m"),
        outcome=CacheOutcome.MISS,
        upper_bound_nanos=10_000,
        price_entry_id="",
        create_time=time.time(),
    )


def live_and_die(directory: Path, *, seed: int, afterwards: bool, after_s: float) -> None:
    """Fork a life, let it work for a while, and kill it; the control is left until it has paid, else it could lose nothing."""
    truth = directory / "truth"
    paid = _size(truth)
    child = _fork(lambda: asyncio.run(Life(directory, seed=seed, afterwards=afterwards).run()))
    while afterwards and _size(truth) == paid:
        time.sleep(0.001)
    time.sleep(after_s)
    ended, status = os.waitpid(child, os.WNOHANG)
    if ended:
        raise RuntimeError(f"a life ended by itself: status {status}")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def examine(directory: Path) -> dict[str, object]:
    """Open the ledger once more and return what is wrong with it, and how long opening took; in a fork, as SQLite needs."""
    reader, writer = os.pipe()

    def work() -> None:
        os.write(writer, json.dumps(asyncio.run(_examined(directory))).encode())

    child = _fork(work)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found: dict[str, object] = json.loads(pipe.read())
    os.waitpid(child, 0)
    return found


async def _examined(directory: Path) -> dict[str, object]:
    truth_path = directory / "truth"
    truth = [json.loads(line) for line in truth_path.read_text().splitlines()] if truth_path.exists() else []
    ledger = open_ledger(directory)
    began = time.perf_counter()
    report = await ledger.open()
    opened_s = time.perf_counter() - began
    await ledger.close()
    breaches = check_invariants(ledger.path, truth)
    return {
        "charged": len(truth),
        "rows": report.sequence,
        "lost": sum(breach.startswith("I1 lost") for breach in breaches),
        "wrong": sum(not breach.startswith("I1 lost") for breach in breaches),
        "faults": [*verify(ledger.path), *report.alarms],
        "breaches": breaches[:5],
        "open_s": round(opened_s, 4),
    }


def torture(directory: Path, *, kills: int, seed: int, afterwards: bool) -> dict[str, object]:
    """Kill that often, then return what was found; every tenth kill is examined at once."""
    dice = random.Random(seed)  # noqa: S311 - chooses when, guards nothing
    began = time.perf_counter()
    found: dict[str, object] = {}
    for kill in range(1, kills + 1):
        live_and_die(directory, seed=seed * 100_000 + kill, afterwards=afterwards, after_s=dice.uniform(0.01, 0.25))
        if kill % 10 == 0 or kill == kills:
            found = examine(directory)
            if (found["lost"] or found["wrong"] or found["faults"]) and not afterwards:
                break
    return {"kills": kill, **found, "seconds": round(time.perf_counter() - began, 1)}


def _fork(work: Callable[[], None]) -> int:
    """Run something in a fork of this process, which has one thread and no database open."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        work()
        status = 0
    finally:
        os._exit(status)


def main(arguments: list[str]) -> int:
    """Return 0 where nothing was lost and nothing was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--afterwards", action="store_true", help="the control: write usage down after the calls")
    chosen = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="aigen-torture-") as directory:
        found = torture(Path(directory), kills=chosen.kills, seed=chosen.seed, afterwards=chosen.afterwards)
    sys.stdout.write(json.dumps(found) + "\n")
    return int(bool(found["lost"] or found["wrong"] or found["faults"]))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
