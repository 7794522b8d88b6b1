"""Who is told of alerts: the log at once, those who listen, and those who watch from wherever they left off.

Alerts are rows before anybody is told, so that nobody who is slow or away misses one; telling never delays a call.
"""

import asyncio
import sqlite3
from collections.abc import AsyncGenerator, Callable
from functools import partial
from typing import Protocol, TypeVar

import structlog

from aigend.errors import DomainError, Reason
from aigend.ledger.alerts import rows as alert_rows
from aigend.ledger.alerts.rows import NEWEST, Alert

T = TypeVar("T")
MOST_AT_ONCE = 200
_log = structlog.get_logger(__name__)


class Doors(Protocol):
    """What reads and writes the ledger's rows; the ledger is one."""

    async def read(self, question: Callable[[sqlite3.Connection], T], *, fresh: bool = True) -> T:
        """Return the answer to a question."""
        ...

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a change returns, once it is durable."""
        ...


class AlertDesk:
    """What budgets have told; its methods run on the event loop.

    Args:
        doors: Reads the ledger.

    Attributes:
        listeners: Called on the event loop with each alert, in order; they must neither wait nor fail.
    """

    def __init__(self, doors: Doors) -> None:
        self.listeners: list[Callable[[Alert], None]] = []
        self._doors = doors
        self._told = 0  # id of the last alert that listeners heard
        self._news = asyncio.Event()
        self._closed = False
        self._telling: asyncio.Task[None] | None = None

    def load(self, connection: sqlite3.Connection) -> None:
        """Begin after what was told in earlier lives."""
        self._told = alert_rows.newest_id(connection)

    def look(self) -> None:
        """Have everybody told of new rows, soon."""
        self._news.set()
        self._news = asyncio.Event()
        if self._telling is None or self._telling.done():
            self._telling = asyncio.get_running_loop().create_task(self._tell())

    async def page(self, *, before: int = NEWEST, budget: str = "", limit: int) -> list[Alert]:
        """Return alerts, newest first, older than one of them.

        Raises:
            DomainError: STORAGE_DAMAGED.
        """
        return await self._doors.read(partial(alert_rows.before, alert_id=before, budget=budget, limit=limit), fresh=False)

    async def watch(self, *, after: int | None = None, budget: str = "") -> AsyncGenerator[Alert, None]:
        """Yield alerts as they happen, none twice and none left out.

        Args:
            after: Id of the alert seen last; None: only what comes from now on.
            budget: Only of this budget; empty: any.

        Raises:
            DomainError: DRAINING once the daemon stops; STORAGE_DAMAGED.
        """
        seen = self._told if after is None else after
        while True:
            news = self._news  # taken before the rows are read, so that none is missed in between
            found = await self._doors.read(partial(alert_rows.after, alert_id=seen, budget=budget, limit=MOST_AT_ONCE), fresh=False)
            for alert in found:
                seen = alert.id
                yield alert
            if self._closed:
                raise DomainError(Reason.DRAINING, "aigend is stopping; watch again with the id seen last", retry_after_s=1.0)
            if len(found) < MOST_AT_ONCE:
                await news.wait()

    def close(self) -> None:
        """End all watching."""
        self._closed = True
        self._news.set()

    async def finish(self) -> None:
        """Wait until what was to be told is told."""
        while self._telling is not None and not self._telling.done():
            await asyncio.wait((self._telling,))

    async def _tell(self) -> None:
        while True:
            news = self._news
            try:
                found = await self._doors.read(partial(alert_rows.after, alert_id=self._told, limit=MOST_AT_ONCE), fresh=False)
            except DomainError as error:
                _log.warning("alerts_unread", text=str(error))
                return
            for alert in found:
                self._told = alert.id
                _log.warning("budget_alert", kind=str(alert.kind), budget=alert.budget, window=alert.window, text=alert.text)
                for listener in self.listeners:
                    listener(alert)
            if not found and news is self._news:
                return
