"""The ledger's door: every call is reserved, then settled, released or unknown, each in one durable commit.

Rows are `store`'s, windows `windows`'; here is what crosses between the event loop, the writer's thread and the files.
"""

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import structlog

from aigend.clock import Clock
from aigend.config import LedgerSettings
from aigend.errors import DomainError
from aigend.ledger import footprint, journal, mark, recovery, replies, schema, store, upkeep
from aigend.ledger.budgets import windows
from aigend.ledger.budgets.book import BudgetBook
from aigend.ledger.budgets.desk import BudgetDesk
from aigend.ledger.correcting import Book, Corrected, Costs
from aigend.ledger.entries import AttemptState, BudgetState, Intent, KnownOperation, Reservation, Settled, Settlement
from aigend.ledger.journal import Tail
from aigend.ledger.known import KnownOperations
from aigend.ledger.recovery import OpenReport
from aigend.ledger.statistics import hit_rows
from aigend.ledger.statistics.hits import HitCounters
from aigend.ledger.store import Change, Moment
from aigend.storage.failure import StorageFailure
from aigend.storage.files import EXIT_IO, StorageRefused
from aigend.storage.group_commit import GroupCommitWriter
from aigend.storage.promise import Promise

T = TypeVar("T")

FLUSH_S = 0.1  # at most this much of hit counts is lost by a kill
MARK_S = 1.0
SWEEP_S = 10.0
SEAL_ROWS = 1_000  # journal rows that a start has to count again at most, about

_log = structlog.get_logger(__name__)


class Ledger:
    """The usage ledger of one state directory; its methods run on the event loop.

    Args:
        path: The database file; its mark lies beside it. The caller holds the lock on the directory.
        clock: Tells the time.
        settings: How long replies are kept and how large they may be together.
        budgets: What limits hold.
        on_fault: Called on the event loop with a sentence that an operator must read: lost tail, corrected counter, failed storage.

    Attributes:
        budgets: What is done with budgets.
        on_threshold: Called on the event loop when spending has passed a threshold, or a budget begins to act otherwise.
        corrected_nanos: What corrections added to the cost of settled calls since the start, by route, in nano-dollars.
    """

    def __init__(
        self,
        *,
        path: Path,
        clock: Clock,
        settings: LedgerSettings,
        budgets: BudgetBook,
        on_fault: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.hits = HitCounters()
        self.epoch = 0
        self.corrected_nanos = Costs()
        self.budgets = BudgetDesk(budgets, doors=self, clock=clock)
        self.on_threshold = self.budgets.on_change
        self._clock = clock
        self._keep = replies.Keep(ttl_us=int(settings.reply_ttl_s * 1e6), max_bytes=settings.reply_max_bytes)
        self._on_fault = on_fault
        self._known = KnownOperations(ttl_s=settings.reply_ttl_s)
        self._totals = self.budgets.totals
        self._tail = Tail()
        self._marked = Tail()
        self._sealed_seq = 0
        self._writer = GroupCommitWriter(
            lambda: schema.open_writer(path),
            name="ledger",
            on_failure=self._failed_in_thread,
            promise_bytes=footprint.PROMISE_BYTES,
        )
        self._side = ThreadPoolExecutor(max_workers=1, thread_name_prefix="ledger-reader")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._beside: asyncio.Future[tuple[None, None]] | None = None
        self._flushing = asyncio.Lock()

    @property
    def failure(self) -> str:
        """Why paid calls are refused; empty while they are not."""
        return "" if self._writer.failed is None else f"paid calls are refused: {self._writer.failed}"

    @property
    def failed(self) -> bool:
        """Whether nothing can be written, so that no paid call may be made."""
        return self._writer.failed is not None

    @property
    def sequence(self) -> int:
        """Last sequence number of the journal."""
        return self._tail.seq

    def use_budgets(self, budgets: BudgetBook) -> None:
        """Hold calls to these budgets from now on; reservations under way settle where they were made."""
        self.budgets.use(budgets)

    async def open(self) -> OpenReport:
        """Examine, recover and begin to serve.

        Raises:
            LedgerRefused: The ledger can't be trusted; it was left as it is.
            StorageRefused: Its file can't be used, or can't be written.
        """
        self._loop = asyncio.get_running_loop()
        marked = mark.read_mark(mark.mark_path(self.path))
        created = await asyncio.to_thread(recovery.prepare, self.path)
        await asyncio.to_thread(self._writer.start)
        try:
            report = await self._writer.submit(lambda connection: self._recover(connection, marked, created=created))
        except BaseException as error:
            await self._stop_threads()
            if isinstance(error, StorageFailure):
                text = f"ledger {self.path}: {error.text}; allowed: a disk with room that this user may write to"
                raise StorageRefused(text, path=self.path, exit_code=EXIT_IO) from error
            raise
        self.epoch = report.epoch
        await self._write_mark()
        for alarm in report.alarms:
            self._fault(alarm)
        self._beside = asyncio.gather(self._tick(), upkeep.compare(self.read, self._writer.submit, report.later, say=self._fault))
        return report

    async def close(self) -> None:
        """Write what waits, seal, checkpoint and close; more than once is harmless."""
        if self._beside is None:
            return
        self._beside.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._beside
        self._beside = None
        self.budgets.alerts.close()
        await self.budgets.alerts.finish()
        with contextlib.suppress(StorageFailure):
            await self.flush()
            await self._writer.submit(windows.seal)
            await self._write_mark()
        await self._stop_threads()

    def known(self, scope: str, request_id: str) -> KnownOperation | None:
        """Return what memory knows of a request id, without waiting; `reserve` has the final word."""
        return self._known.get(scope, request_id, self._clock.time())

    async def reserve(self, intent: Intent, *, allow_repeat: bool = False) -> Reservation:
        """Hold what a call costs at most and record it as sent; once this returns, its request may leave.

        The disk has room for its end from then on, whatever else fills it. A caller that is cancelled meanwhile has sent nothing:
        what was held for it is given back.

        Args:
            intent: The call.
            allow_repeat: Whether an id whose outcome is unknown may be tried again.

        Raises:
            AlreadyKnown: The id is under way, settled, or unknown without `allow_repeat`.
            DomainError: BUDGET_EXCEEDED, BUDGET_PAUSED, PRICE_UNKNOWN, REQUEST_ID_REUSED, STORAGE_FULL or STORAGE_DAMAGED.
        """
        moment = self._moment()
        claims = self.budgets.book.matching(intent, now=moment.now_us / 1e6)
        reserve = partial(store.reserve, intent=intent, claims=claims, budgets=self.budgets.book, allow_repeat=allow_repeat)
        left, durable = False, None

        def applied(change: Change) -> None:
            nonlocal durable
            durable = change
            self._apply(intent, AttemptState.SENT, change)
            if left:
                self._give_back(intent, change)

        future = self._writer.submit(partial(reserve, moment=moment), promise=Promise.MADE, applied=applied)
        try:
            change = await future
        except asyncio.CancelledError:
            left = True
            if durable is not None:
                self._give_back(intent, durable)
            raise
        except DomainError as refusal:
            raise await self.budgets.refused(refusal, claims, intent) from refusal
        return change.reservation(intent)

    async def settle(self, reservation: Reservation, settlement: Settlement) -> Settled:
        """Book what a call cost and keep its reply, durably; the answer may be given once this returns.

        It is done even where the caller is cancelled meanwhile. A limit never stops it. Where the disk has room for no more than
        was promised, a reply that is larger is not kept.

        Raises:
            StateConflict: The attempt has ended already; nothing was counted.
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        book = partial(
            store.settle, attempt_id=reservation.attempt_id, budgets=self.budgets.book, keep=self._keep, moment=self._moment()
        )
        future = self._writer.submit(
            partial(book, settlement=settlement),
            promise=Promise.KEPT,
            size=footprint.settling(settlement),
            lean=lambda connection: book(connection, settlement=dataclasses.replace(settlement, reply=b"")),
            applied=partial(self._apply, reservation.intent, AttemptState.SETTLED),
        )
        change = await future
        if change.over_reservation:
            _log.warning("ledger_over_reservation", entry_id=reservation.entry_id, model=reservation.intent.route.model)
        return Settled(warnings=change.warnings, over_reservation=change.over_reservation)

    async def release(self, reservation: Reservation, *, reason: str) -> None:
        """Give back what an attempt held: it was certainly not charged.

        Raises:
            StateConflict: The attempt has ended already; nothing was counted.
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        release = partial(store.release, attempt_id=reservation.attempt_id, reason=reason, moment=self._moment())
        applied = partial(self._apply, reservation.intent, AttemptState.RELEASED)
        await self._writer.submit(release, promise=Promise.KEPT, applied=applied)

    async def mark_unknown(
        self, reservation: Reservation, *, low_nanos: int | None = None, high_nanos: int | None = None, reason: str
    ) -> None:
        """Book the upper bound of an attempt of which nobody knows whether it was charged.

        Args:
            reservation: The attempt.
            low_nanos: What was charged at least, in nano-dollars; None: nothing is certain.
            high_nanos: What was charged at most; None: all that was held.
            reason: Why it is not known.

        Raises:
            StateConflict: The attempt has ended already; nothing was counted.
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        bounds = partial(store.mark_unknown, low_nanos=low_nanos, high_nanos=high_nanos, reason=reason)
        book = partial(bounds, attempt_id=reservation.attempt_id, moment=self._moment(), budgets=self.budgets.book)
        applied = partial(self._apply, reservation.intent, AttemptState.UNKNOWN)
        await self._writer.submit(book, promise=Promise.KEPT, applied=applied)

    async def reply(self, scope: str, request_id: str) -> bytes | None:
        """Return the answer kept for a request id; None where there is none or it has expired."""
        now_us = self._moment().now_us
        return await self.read(lambda connection: replies.find(connection, scope, request_id, now_us=now_us), fresh=False)

    async def read(self, question: Callable[[sqlite3.Connection], T], *, fresh: bool = True) -> T:
        """Return the answer to a question put to a read-only connection of its own, in the reader's thread.

        Args:
            question: Reads rows; must be short.
            fresh: Whether hits counted until now must be in the rows.

        Raises:
            StorageFailure: The file can't be read.
        """
        if fresh:
            with contextlib.suppress(StorageFailure):
                await self.flush()
        return await asyncio.get_running_loop().run_in_executor(self._side, self._ask, question)

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Return what a change returns that touches no attempt, once it is durable; it is done even where the caller leaves.

        Raises:
            DomainError: What the change raises; STORAGE_FULL or STORAGE_DAMAGED.
        """
        return await asyncio.shield(self._writer.submit(work))

    async def flush(self) -> None:
        """Write the hits counted until now; those that could not be written are kept for the next time."""
        async with self._flushing:
            taken = self.hits.take()
            if not taken:
                return
            try:
                size = footprint.counting(len(taken))
                await asyncio.shield(self._writer.submit(partial(hit_rows.write, taken=taken), size=size))
            except DomainError:
                for (key, minute), counted in taken.items():
                    self.hits.keep(key, minute, counted)
                raise

    async def correct(self, work: Callable[[sqlite3.Connection, Book], Corrected[T]], *, size: int) -> T:
        """Change what is booked already in one durable commit, bring memory up to it, and return what the work returns.

        Args:
            work: Runs in the writer's thread, in a transaction of its own.
            size: Bytes that it writes at most, about.

        Raises:
            DomainError: What the work raises; STORAGE_FULL or STORAGE_DAMAGED.
        """
        book = Book(moment=self._moment(), budgets=self.budgets.book, keep=self._keep)
        return (await self._writer.submit(lambda connection: work(connection, book), size=size, applied=self._corrected)).value

    def budget_status(self, now: float) -> list[BudgetState]:
        """Return every budget in its running windows, from memory."""
        return self._totals.states(self.budgets.book, now)

    def _moment(self) -> Moment:
        return Moment(epoch=self.epoch, now_us=int(self._clock.time() * 1e6))

    def _corrected(self, corrected: Corrected[Any]) -> None:
        for intent, state, change in corrected.changes:
            self._apply(intent, state, change)
        self.corrected_nanos.update(corrected.costs)

    def _apply(self, intent: Intent, state: AttemptState, change: Change) -> None:
        self._tail = max(self._tail, change.tail, key=lambda tail: tail.seq)
        self.budgets.noticed(change.windows, told=bool(change.warnings))
        self._known.update(intent, state, change, now=self._clock.time())

    def _give_back(self, intent: Intent, change: Change) -> None:
        """Release an attempt whose caller was cancelled before it could send anything."""
        reason, moment = "the caller left before it was sent", self._moment()
        release = partial(store.release, attempt_id=change.attempt_id, reason=reason, moment=moment)
        applied = partial(self._apply, intent, AttemptState.RELEASED)
        self._writer.submit(release, promise=Promise.KEPT, applied=applied)

    def _recover(self, connection: sqlite3.Connection, marked: Tail | None, *, created: bool) -> OpenReport:
        """Recover in the writer's thread, before anybody else uses what it fills."""
        now = self._clock.time()
        report = recovery.recover(connection, self.path, mark=marked, created=created, now_us=int(now * 1e6))
        self._tail = journal.tail(connection)
        self._sealed_seq = self._tail.seq
        self.budgets.load(connection, now_us=int(now * 1e6))
        self._known.load(connection, now=now)
        return report

    async def _tick(self) -> None:
        """Write hits every 100 ms, the mark every second, drop expired replies and seal now and then."""
        swept = marked = self._clock.monotonic()
        while True:
            await self._clock.sleep(FLUSH_S)
            now = self._clock.monotonic()
            with contextlib.suppress(StorageFailure):
                await self._upkeep(sweep=now - swept >= SWEEP_S)
            swept = now if now - swept >= SWEEP_S else swept
            if now - marked >= MARK_S and self._tail != self._marked and not self.failed:
                marked = now
                await self._write_mark()

    async def _upkeep(self, *, sweep: bool) -> None:
        if self.failed:  # a failure that may pass, such as a full disk, is found to have passed here
            await self._writer.submit(store.probe, size=footprint.CALL_BYTES)
            _log.warning("ledger_writes_again", text="paid calls go on")
        await self.flush()
        if self._tail.seq - self._sealed_seq >= SEAL_ROWS:
            self._sealed_seq = self._tail.seq
            await self._writer.submit(windows.seal)
        if sweep:
            await upkeep.sweep(self.read, self._writer.submit, now=self._clock.time())

    async def _write_mark(self) -> None:
        """Write where the journal ends; a mark that can't be written is said, and no reason to stop."""
        tail = self._tail
        try:
            await asyncio.get_running_loop().run_in_executor(self._side, mark.write_mark, mark.mark_path(self.path), tail)
        except OSError as error:
            self._fault(f"the ledger's mark can't be written: {error}")
        self._marked = tail

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with contextlib.closing(schema.connect_reader(self.path)) as connection:
                return question(connection)
        except sqlite3.DatabaseError as error:
            raise StorageFailure("ledger", error) from error

    def _failed_in_thread(self, failure: BaseException) -> None:
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop was closed: nobody is left to tell
                self._loop.call_soon_threadsafe(lambda: _log.error("ledger_fault", text=f"paid calls are refused: {failure}"))

    def _fault(self, text: str) -> None:
        _log.error("ledger_fault", text=text)
        if self._on_fault is not None:
            self._on_fault(text)

    async def _stop_threads(self) -> None:
        await asyncio.to_thread(self._side.shutdown, wait=True)
        await asyncio.to_thread(self._writer.stop)  # after all who read: it closes the files that their locks are on
