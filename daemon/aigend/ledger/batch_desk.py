"""The ledger's desk for batch lines: what the lane DEFERRED has written, each in one durable commit, with memory following it.

Rows are `batch_rows`', handles of callers `batch_jobs`'.
"""

import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import TypeVar

from aigend.clock import Clock
from aigend.errors import DomainError
from aigend.ledger import batch_rows
from aigend.ledger.batch_rows import LineEnd, LineFacts, LineRow, UploadRow
from aigend.ledger.correcting import Book, Corrected
from aigend.ledger.entries import AttemptState, Intent, Reservation, StateConflict
from aigend.ledger.footprint import PAGE_BYTES, settling
from aigend.ledger.ledger import Ledger
from aigend.ledger.store import Change
from aigend.storage.group_commit import OPERATION_BYTES

LINE_BYTES = 8 * PAGE_BYTES  # of the log, for each line of an upload that is submitted
T = TypeVar("T")


class BatchDesk:
    """Books batch lines in one ledger.

    Args:
        ledger: The ledger.
        clock: Tells the time.
    """

    def __init__(self, ledger: Ledger, *, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def collect(self, intent: Intent, facts: LineFacts, *, allow_repeat: bool) -> Reservation:
        """Hold what a line costs at most and keep its request; it may wait from then on, and survives a restart.

        Raises:
            AlreadyKnown: The id is under way, settled, or unknown without `allow_repeat`.
            DomainError: BUDGET_EXCEEDED, BUDGET_PAUSED, PRICE_UNKNOWN, REQUEST_ID_REUSED, STORAGE_FULL or STORAGE_DAMAGED.
        """
        budgets = self._ledger.budgets
        claims = budgets.book.matching(intent, now=self._clock.time())

        def work(connection: sqlite3.Connection, book: Book) -> Corrected[Reservation]:
            change = batch_rows.collect(
                connection,
                intent=intent,
                facts=facts,
                claims=claims,
                budgets=book.budgets,
                allow_repeat=allow_repeat,
                moment=book.moment,
            )
            return Corrected(value=change.reservation(intent), changes=((intent, AttemptState.RESERVED, change),))

        try:
            return await self._ledger.correct(work, size=OPERATION_BYTES + 2 * len(facts.request))
        except DomainError as refusal:
            raise await budgets.refused(refusal, claims, intent) from refusal

    async def submit(self, upload: UploadRow, attempt_ids: Sequence[int]) -> UploadRow:
        """Write an upload and SUBMITTED of its lines, and return it with its number; once this returns, its first byte may leave.

        Raises:
            StateConflict: A line is not RESERVED any more; nothing was written.
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """

        def work(connection: sqlite3.Connection, book: Book) -> Corrected[UploadRow]:
            row, changes = batch_rows.submit(connection, upload, attempt_ids, moment=book.moment)
            return Corrected(value=row, changes=changes)

        return await self._ledger.correct(work, size=OPERATION_BYTES + LINE_BYTES * len(attempt_ids))

    async def name(self, upload_id: int, provider_job_id: str) -> None:
        """Store the provider's id of an upload, once.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        await self._ledger.write(partial(batch_rows.name_upload, upload_id=upload_id, provider_job_id=provider_job_id))

    async def cancel(self, upload_id: int) -> None:
        """Remember that an upload shall be stopped.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        await self._ledger.write(partial(batch_rows.cancel_upload, upload_id=upload_id))

    async def end_line(self, end: LineEnd) -> Change | None:
        """Book how a line ended; None where it had ended before, and nothing was counted.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """

        def work(connection: sqlite3.Connection, book: Book) -> Corrected[Change]:
            ended = batch_rows.end_line(connection, end, book=book)
            return Corrected(value=ended[2], changes=(ended,))

        size = OPERATION_BYTES if end.settlement is None else settling(end.settlement)
        try:
            return await self._ledger.correct(work, size=size)
        except StateConflict:
            return None

    async def end_upload(self, upload_id: int, *, outcome: str) -> None:
        """Close an upload whose lines have all ended.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        now_us = int(self._clock.time() * 1e6)
        await self._ledger.write(partial(batch_rows.end_upload, upload_id=upload_id, outcome=outcome, now_us=now_us))

    async def fetched(self, scope: str, request_id: str, *, keep_s: float) -> None:
        """Keep a reply that its caller has got for so long only.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        expire_us = int((self._clock.time() + keep_s) * 1e6)
        await self._ledger.write(partial(batch_rows.fetched, scope=scope, request_id=request_id, expire_us=expire_us))

    async def open_work(self) -> tuple[list[LineRow], list[UploadRow]]:
        """Return the lines and uploads that have not ended."""
        return await self._ledger.read(lambda c: (batch_rows.open_lines(c), batch_rows.open_uploads(c)), fresh=False)
