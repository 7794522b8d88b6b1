"""Made-up calls for tests of the ledger, and a ledger to make them in."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aigend.config import BudgetSettings, LedgerSettings
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.entries import Intent, Settlement
from aigend.ledger.ledger import Ledger
from aigend.types import Accounting, CacheOutcome, Cost, CostBasis, Route, TokenUsage

from tests.fakes import FakeClock

NOW = 1_767_225_600.0  # 2026-01-01T00:00:00Z


def intent(request_id: str = "r1", *, bound: int | None = 1_000, digest: bytes = b"digest", **fields: Any) -> Intent:
    """Return a call that costs at most `bound` nano-dollars."""
    account = {name: fields.pop(name) for name in ("session", "task", "labels") if name in fields}
    values = {
        "scope": "me",
        "request_id": request_id,
        "request_digest": digest,
        "accounting": Accounting(**account),
        "agent": "claude",
        "service": "",
        "phase": "1",
        "requested_model": "m",
        "route": Route("p", "m"),
        "outcome": CacheOutcome.MISS,
        "upper_bound_nanos": bound,
        "price_entry_id": "price",
        "create_time": NOW,
    }
    return Intent(**values | fields)


def settlement(nanos: int | None = 600, *, reply: bytes = b"answer", **fields: Any) -> Settlement:
    """Return how a call ended that cost `nanos`."""
    basis = CostBasis.UNPRICED if nanos is None else CostBasis.PRICED
    return Settlement(usage=TokenUsage(input=7, output=3), cost=Cost(nanos=nanos, basis=basis), reply=reply, **fields)


def budget(name: str = "all", limit_nanos: int = 10_000, **fields: Any) -> BudgetSettings:
    """Return a daily budget of that many nano-dollars."""
    limit = f"{limit_nanos // 10**9}.{limit_nanos % 10**9:09d}"
    return BudgetSettings(**{"name": name, "period": "daily", "limit_usd": limit} | fields)


@asynccontextmanager
async def opened(
    directory: Path,
    *budgets: BudgetSettings,
    clock: FakeClock | None = None,
    settings: LedgerSettings | None = None,
    on_fault: Callable[[str], None] | None = None,
    time_zone: str = "UTC",
) -> AsyncIterator[Ledger]:
    """Open the ledger of a directory, and close it at the end."""
    ledger = Ledger(
        path=directory / "ledger.db",
        clock=clock or FakeClock(NOW),
        settings=settings or LedgerSettings(),
        budgets=BudgetBook(budgets, time_zone=time_zone),
        on_fault=on_fault,
    )
    await ledger.open()
    try:
        yield ledger
    finally:
        await ledger.close()


async def rows(ledger: Ledger, statement: str) -> list[tuple[Any, ...]]:
    """Return what a SELECT finds."""
    return await ledger.read(lambda connection: connection.execute(statement).fetchall())
