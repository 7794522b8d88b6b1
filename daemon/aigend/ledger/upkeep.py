"""What a ledger does beside its calls: large roll-ups are compared, expired replies dropped, quarters that have passed folded."""

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Protocol

from aigend.errors import DomainError
from aigend.ledger import footprint, replies
from aigend.ledger.statistics import rollups

COMMITS = 20  # at once at most, so that hits need not wait long to be written


class Read(Protocol):
    """Puts a question to a read-only connection."""

    def __call__(self, question: Callable[[sqlite3.Connection], Any], *, fresh: bool) -> Awaitable[Any]:
        """Return the answer."""
        ...


class Submit(Protocol):
    """Hands an operation to the writer."""

    def __call__(self, operation: Callable[[sqlite3.Connection], Any], *, size: int) -> "asyncio.Future[Any]":
        """Return when it is durable."""
        ...


async def compare(read: Read, submit: Submit, quarters: Sequence[int], *, say: Callable[[str], None]) -> None:
    """Compare roll-ups that were too large to be compared before the ledger served; rows win, and what differed is said."""
    for quarter in quarters:
        with contextlib.suppress(DomainError):  # the storage failed, which is said elsewhere
            if await read(partial(rollups.differs, quarter=quarter), fresh=False):
                say(await submit(partial(rollups.sum_up_anew, quarter=quarter), size=footprint.counting(1_000)))


async def sweep(read: Read, submit: Submit, *, now: float) -> None:
    """Drop expired replies and fold roll-ups, as much as is due and does not keep calls waiting."""
    for _ in range(COMMITS):
        few = await read(partial(replies.expired, now_us=int(now * 1e6)), fresh=False)
        if not few.operation_ids:
            break
        await submit(partial(replies.sweep, few=few), size=footprint.dropping(few.sizes))
    for _ in range(COMMITS):
        due = await read(partial(rollups.next_fold, now=now), fresh=False)
        if due is None:
            break
        quarter, rows = due
        await submit(partial(rollups.fold, quarter=quarter), size=footprint.counting(rows))
