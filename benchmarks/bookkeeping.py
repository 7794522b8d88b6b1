"""What the ledger takes of a paid call: reserve and settle, durable, with 8 callers at once, on a file of its own."""

import asyncio
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aigen._call import new_request_id
from aigend.clock import SystemClock
from aigend.config import LedgerSettings
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import Intent, Settlement
from aigend.ledger.ledger import Ledger
from aigend.types import Accounting, CacheOutcome, Cost, CostBasis, Route, TokenUsage

CALLERS = 8


@dataclass(frozen=True, slots=True)
class Bookkeeping:
    """Percentiles of reserve and settle together, in microseconds."""

    p50_us: float
    p99_us: float


async def measure(folder: Path, *, calls: int) -> Bookkeeping:
    """Return the time that reserve and settle take of one call."""
    folder.mkdir(mode=0o700, exist_ok=True)
    ledger = Ledger(path=folder / "ledger.db", clock=SystemClock(), settings=LedgerSettings(), budgets=BudgetBook(()))
    await ledger.open()
    latencies: list[float] = []

    async def caller(intents: Sequence[Intent]) -> None:
        for intent in intents:
            began = time.perf_counter()
            reservation = await ledger.reserve(intent)
            await ledger.settle(reservation, _SETTLEMENT)
            latencies.append(time.perf_counter() - began)

    try:
        everybody = [[_intent() for _ in range(calls // CALLERS)] for _ in range(CALLERS)]  # request ids are the client's to make
        await asyncio.gather(*(caller(intents) for intents in everybody))
    finally:
        await ledger.close()
    hundredths = statistics.quantiles(latencies, n=100)
    return Bookkeeping(p50_us=hundredths[49] * 1e6, p99_us=hundredths[98] * 1e6)


_SETTLEMENT = Settlement(
    usage=TokenUsage(input=500, output=170), cost=Cost(nanos=177_000, basis=CostBasis.PRICED), reply=b"x" * 1_024
)


def _intent() -> Intent:
    return Intent(
        scope="local",
        request_id=new_request_id(),
        request_digest=b"d" * 32,
        accounting=Accounting(session="bench"),
        agent="",
        service="",
        phase="",
        requested_model="gpt-4o-mini",
        route=Route("openai", "gpt-4o-mini"),
        outcome=CacheOutcome.MISS,
        upper_bound_nanos=5_000_000,
        price_entry_id="bench",
        create_time=time.time(),
    )
