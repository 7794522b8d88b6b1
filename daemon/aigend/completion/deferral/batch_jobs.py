"""Batch jobs: handles over requests that can wait, each made under its own request id, however often the daemon is restarted.

A job's requests are durable before it is acknowledged. From then on each is asked of the spine until it has an answer or an error
of its own; asking again after a restart is harmless, because its request id tells the ledger that it is the same call.
"""

import asyncio
import contextlib
import hashlib
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import structlog

from aigend.clock import Clock
from aigend.completion.call import Reply
from aigend.completion.deferral.places import check_on
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, Reason
from aigend.ledger import batch_jobs as rows
from aigend.ledger.batch_jobs import ItemRow, ItemState, JobRow, NewJob
from aigend.ledger.correcting import Corrected
from aigend.ledger.ledger import Ledger
from aigend.storage.group_commit import OPERATION_BYTES
from aigend.types import Caller, CompletionRequest

PAGE = 200  # results read at once
SWEEP_S = 3_600.0
LATER = frozenset((Reason.OVERLOADED, Reason.STORAGE_FULL, Reason.STORAGE_DAMAGED))  # what a request waits out
LATER_S = 30.0
LOOKS_AFTER_CANCEL = 3
AT_ONCE = 64  # requests given up together: one durable commit serves them
_log = structlog.get_logger("aigend.completion")

Complete = Callable[[CompletionRequest, Caller], Awaitable[Reply]]
CancelLine = Callable[[str, str], Awaitable[None]]  # by scope and request id


@dataclass(slots=True, eq=False)
class _Running:
    """A job that has not ended: its open requests and who waits for them."""

    row: JobRow
    size: int = 0  # bytes of its open requests
    tasks: dict[int, "asyncio.Task[None]"] = field(default_factory=dict)  # by position
    ended: list[int] = field(default_factory=list)  # positions, as they ended in this life of the daemon
    cancelled: asyncio.Event = field(default_factory=asyncio.Event)
    news: asyncio.Event = field(default_factory=asyncio.Event)


class BatchJobs:
    """Takes jobs, works on them, and hands out what came of them.

    Args:
        ledger: Keeps them.
        complete: Answers one request; the spine's own door.
        cancel_line: Gives up a request that waits.
        read_request: Reads a request's bytes.
        snapshot: Returns the settings in force.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        complete: Complete,
        cancel_line: CancelLine,
        read_request: Callable[[bytes], CompletionRequest],
        snapshot: Callable[[], Snapshot],
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._complete = complete
        self._cancel_line = cancel_line
        self._read_request = read_request
        self._snapshot = snapshot
        self._clock = clock
        self._running: dict[int, _Running] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    @property
    def open(self) -> int:
        """Jobs that have not ended."""
        return len(self._running)

    async def start(self) -> None:
        """Go on with the jobs that earlier lives of the daemon left, and begin to drop old ones."""
        for job, open_items in await self._ledger.read(rows.running, fresh=False):
            self._go_on(job, open_items)
        self._begin(self._drop_old_often())

    async def create(self, job: NewJob) -> JobRow:
        """Take a job and begin with it; the same job under the same name is the one that is there.

        Raises:
            DomainError: OVERLOADED, REQUEST_ID_REUSED, CAPABILITY_MISSING, DRAINING, STORAGE_FULL or STORAGE_DAMAGED.
        """
        if self._closing:
            raise _stopping()
        check_on(self._snapshot())
        size = sum(len(item.body) for item in job.items)
        self._check_room(size)
        now_us = int(self._clock.time() * 1e6)
        write = partial(rows.create, job=job, now_us=now_us)
        job_id, created = await self._ledger.correct(lambda c, _: Corrected(value=write(c)), size=OPERATION_BYTES + 2 * size)
        row = await self.find(job.scope, job.name)
        if created and job_id not in self._running:
            open_items = [
                ItemRow(position=place, request_id=item.request_id, state=ItemState.OPEN, body=item.body, digest=item.digest)
                for place, item in enumerate(job.items)
            ]
            self._go_on(row, open_items)
        return row

    async def find(self, scope: str, name: str) -> JobRow:
        """Return a job as it stands.

        Raises:
            DomainError: NOT_FOUND.
        """
        row = await self._ledger.read(lambda connection: rows.find(connection, scope, name), fresh=False)
        if row is None:
            text = f"job_id is {name!r}: there is no batch job of that id; `aigenctl job list` shows those that are kept"
            raise DomainError(Reason.NOT_FOUND, text, field="job_id", job_id=name)
        return row

    async def newest(self, scope: str, *, before: int | None, limit: int) -> list[JobRow]:
        """Return jobs, newest first, those before a number."""
        return await self._ledger.read(lambda c: rows.newest(c, scope, before=before, limit=limit), fresh=False)

    async def cancel(self, scope: str, name: str) -> JobRow:
        """Give up what of a job has no result yet, and return it as it stands then.

        Raises:
            DomainError: NOT_FOUND, STORAGE_FULL or STORAGE_DAMAGED.
        """
        row = await self.find(scope, name)
        running = self._running.get(row.id)
        if running is not None:
            await self._ledger.write(partial(rows.cancel, job_id=row.id, now_us=int(self._clock.time() * 1e6)))
            running.row = replace(running.row, cancel_time=self._clock.time())
            running.cancelled.set()
            await self._cancel_open(running)
            self._begin(self._cancel_late(running))
        return await self.find(scope, name)

    async def results(self, scope: str, name: str, *, wait: bool) -> AsyncGenerator[ItemRow, None]:
        """Yield the results of a job, each once; those that are there in order, then, where asked to wait, as they come.

        Raises:
            DomainError: NOT_FOUND; DRAINING where the daemon stops meanwhile.
        """
        row = await self.find(scope, name)
        running = self._running.get(row.id)
        seen: set[int] = set()
        async for item in self._ended_items(row.id):
            seen.add(item.position)
            yield item
        while wait and running is not None:
            fresh = [position for position in running.ended if position not in seen]
            for position in fresh:
                seen.add(position)
                yield await self._item(row.id, position)
            if fresh:
                continue
            if row.id not in self._running:
                return
            if self._closing:
                raise _stopping()
            running.news.clear()
            await running.news.wait()

    def drain(self) -> None:
        """Take no more jobs and send those away who wait for results."""
        self._closing = True
        for running in self._running.values():
            running.news.set()

    async def close(self) -> None:
        """Stop; the next start goes on where this one was."""
        self.drain()
        tasks = [*self._tasks, *(task for running in self._running.values() for task in running.tasks.values())]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_room(self, size: int) -> None:
        most, held = self._snapshot().settings.deferred.max_size_bytes, sum(job.size for job in self._running.values())
        if held + size > most:
            text = f"requests of batch jobs take {held} bytes, and this job {size} more; allowed: {most} (deferred.max_size_bytes)"
            raise DomainError(Reason.OVERLOADED, text, retry_after_s=60.0)

    def _go_on(self, job: JobRow, open_items: list[ItemRow]) -> None:
        running = _Running(job, size=sum(len(item.body) for item in open_items))
        if job.cancel_time is not None:
            running.cancelled.set()
        self._running[job.id] = running
        self._begin(self._feed(running, open_items))

    async def _feed(self, running: _Running, open_items: list[ItemRow]) -> None:
        """Begin with one request after the other, so that other calls have their turns in between."""
        for item in open_items:
            task = asyncio.get_running_loop().create_task(self._work(running, item))
            running.tasks[item.position] = task
            task.add_done_callback(partial(self._worked, running, item))
            await asyncio.sleep(0)

    async def _work(self, running: _Running, item: ItemRow) -> None:
        """Ask for one request's answer until it has one, or an error of its own."""
        try:
            request, caller = self._read_request(item.body), _caller(running.row, item)
            while not running.cancelled.is_set() or await self._begun(running, item):
                try:
                    reply = await self._complete(request, caller)
                except DomainError as error:
                    if error.reason is Reason.DRAINING:
                        return  # it stays open, and the next start goes on with it
                    if error.reason not in LATER:
                        raise
                    await self._later(running, error.retry_after_s or LATER_S)
                else:
                    await self._end(running, item, reply)
                    return
            await self._end(running, item, _cancelled())
        except DomainError as error:
            await self._end(running, item, error)

    async def _begun(self, running: _Running, item: ItemRow) -> bool:
        """Return whether a request of a cancelled job may have been paid for; one that waits is given up before it leaves."""
        scope = running.row.scope
        await self._cancel_line(scope, item.request_id)
        known = await self._ledger.read(lambda connection: rows.is_begun(connection, scope, item.request_id), fresh=True)
        return bool(known)

    async def _later(self, running: _Running, seconds: float) -> None:
        """Wait, but no longer than the job is wanted."""
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(running.cancelled.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def _worked(self, running: _Running, item: ItemRow, task: "asyncio.Task[None]") -> None:
        running.tasks.pop(item.position, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("batch_item_dropped", job=running.row.name, position=item.position, exc_info=error)

    async def _end(self, running: _Running, item: ItemRow, end: Reply | DomainError) -> None:
        """Keep what became of a request; tried again until it can be written, because it may have been paid for."""
        state = ItemState.ANSWERED if isinstance(end, Reply) else ItemState.FAILED
        body = end.response if isinstance(end, Reply) else pack_error(end)
        now_us = int(self._clock.time() * 1e6)
        reused = isinstance(end, DomainError) and end.reason is Reason.REQUEST_ID_REUSED  # what was paid is another request's
        write = partial(
            rows.end_item, job_id=running.row.id, position=item.position, state=state, body=body, owns=not reused, now_us=now_us
        )
        while True:
            with contextlib.suppress(DomainError):
                await self._ledger.correct(lambda c, _: Corrected(value=write(c)), size=OPERATION_BYTES + len(body))
                break
            await self._clock.sleep(LATER_S)
        running.size -= len(item.body)
        running.ended.append(item.position)
        if len(running.ended) + running.row.answered_count + running.row.failed_count >= running.row.item_count:
            self._running.pop(running.row.id, None)
            _log.info("batch_job_done", job=running.row.name, items=running.row.item_count)
        running.news.set()

    async def _cancel_open(self, running: _Running) -> None:
        """Give up what waits; a request in a provider's job that goes on is waited for, because it is paid for."""
        names = await self._ledger.read(lambda c: rows.open_names(c, running.row.id), fresh=False)
        for start in range(0, len(names), AT_ONCE):
            group = names[start : start + AT_ONCE]
            await asyncio.gather(*(self._cancel_line(running.row.scope, name) for name in group))

    async def _cancel_late(self, running: _Running) -> None:
        """Give up what was on its way to be collected when its job was cancelled."""
        for _ in range(LOOKS_AFTER_CANCEL):
            await self._clock.sleep(1.0)
            with contextlib.suppress(DomainError):
                await self._cancel_open(running)

    async def _ended_items(self, job_id: int) -> AsyncGenerator[ItemRow, None]:
        after = -1
        while True:
            page = await self._ledger.read(partial(rows.items, job_id=job_id, after=after, limit=PAGE), fresh=False)
            for item in page:
                if item.state is not ItemState.OPEN:
                    yield item
            if len(page) < PAGE:
                return
            after = page[-1].position

    async def _item(self, job_id: int, position: int) -> ItemRow:
        return (await self._ledger.read(partial(rows.items, job_id=job_id, after=position - 1, limit=1), fresh=False))[0]

    async def _drop_old_often(self) -> None:
        while True:
            before = self._clock.time() - self._snapshot().settings.deferred.job_ttl_s
            with contextlib.suppress(DomainError):
                while await self._ledger.write(partial(rows.drop_old, before_us=int(before * 1e6))):
                    pass
            await self._clock.sleep(SWEEP_S)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _caller(job: JobRow, item: ItemRow) -> Caller:
    return Caller(
        scope=job.scope,
        request_id=item.request_id,
        accounting=job.accounting,
        digest_of=lambda: item.digest or hashlib.sha256(item.body).digest(),
        wire_of=lambda: item.body,
    )


def pack_error(error: DomainError) -> bytes:
    """Return an error as it is kept."""
    kept = {"reason": error.reason, "text": error.text, "retry_after_s": error.retry_after_s, "metadata": error.metadata}
    return json.dumps(kept, ensure_ascii=False).encode()


def unpack_error(body: bytes) -> DomainError:
    """Return an error that was kept.

    Example:
        >>> unpack_error(pack_error(DomainError(Reason.NOT_FOUND, "gone", job_id="j"))).metadata
        {'job_id': 'j'}
    """
    kept = json.loads(body)
    return DomainError(Reason(kept["reason"]), kept["text"], retry_after_s=kept["retry_after_s"], **kept["metadata"])


def _cancelled() -> DomainError:
    return DomainError(Reason.JOB_CANCELLED, "the batch job was cancelled before this call left; nothing was charged")


def _stopping() -> DomainError:
    return DomainError(Reason.DRAINING, "aigend is stopping; batch jobs go on when it serves again", retry_after_s=1.0)
