"""Uploads: how jobs at the providers' batch APIs are handed in once, followed, and their lines settled once.

An upload's rows are durable as SUBMITTED, with our own mark, before its first byte leaves. From then on it may exist at the
provider whether or not its id came back: it is looked for by its mark, and handed in again only once the provider has been certain
for a while that it has no such job.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field, replace

import structlog

from aigend.clock import Clock
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
from aigend.completion.lines import Line, LineBooks
from aigend.completion.snapshot import Snapshot
from aigend.completion.watch import Watch
from aigend.errors import DomainError, Reason
from aigend.ledger.batch_desk import BatchDesk
from aigend.ledger.batch_rows import UploadRow
from aigend.ledger.entries import AttemptState
from aigend.providers.batch_port import (
    BatchProgress,
    BatchProvider,
    BatchResult,
    BatchState,
    Found,
    may_be_accepted,
)
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply
from aigend.scheduling.single_flight import LeaderLeftError

AT_ONCE = 32  # lines settled together: one durable commit serves them
CLOCK_MARGIN_S = 300.0  # by which a provider's clock may differ from ours
GIVE_UP_S = 86_400.0  # after the window's end: what the provider has not told by then it will not tell
_REFUSED = frozenset((FaultKind.REJECTED, FaultKind.AUTH))
_GONE = 404
_log = structlog.get_logger("aigend.completion")

BatchOf = Callable[[str, int], Awaitable[BatchProvider]]  # the batch API of a provider's account


@dataclass(slots=True, eq=False)
class Upload:
    """A job at a provider's batch API that has not ended, with the lines in it that have not."""

    row: UploadRow
    lines: dict[str, Line]  # by custom id
    doubted_at: float | None = None  # wall clock; since when the job may or may not exist
    stop_asked: bool = False  # whether the provider was asked to stop it
    news: asyncio.Event = field(default_factory=asyncio.Event)  # somebody wants it looked at now
    progress: BatchProgress | None = None


class Jobs:
    """Follows uploads until each of their lines has ended.

    Args:
        desk: The ledger's desk for batch lines.
        books: Books lines.
        batch_of: Finds the batch API that an upload was made with.
        snapshot: Settings in force to begin with.
        watch: Tells telemetry what was answered.
        clock: Tells the time.
        failpoints: Where a test lets the process die.

    Attributes:
        on_end: Called with each line that has ended.
    """

    def __init__(
        self,
        *,
        desk: BatchDesk,
        books: LineBooks,
        batch_of: BatchOf,
        snapshot: Snapshot,
        watch: Watch,
        clock: Clock,
        failpoints: Failpoints = NO_FAILPOINTS,
    ) -> None:
        self.snapshot = snapshot
        self.on_end: Callable[[Line], None] = _nothing
        self._desk = desk
        self._books = books
        self._batch_of = batch_of
        self._watch = watch
        self._clock = clock
        self._failpoints = failpoints
        self._open: dict[Upload, asyncio.Task[None]] = {}
        self._handing_in: set[Upload] = set()

    @property
    def open(self) -> tuple[Upload, ...]:
        """The uploads that have not ended."""
        return tuple(self._open)

    def follow(self, row: UploadRow, lines: Iterable[Line], *, fresh: bool) -> None:
        """Follow an upload whose rows are durable; one that is not fresh may exist at the provider without our knowing its id."""
        upload = Upload(row, {line.facts.custom_id: line for line in lines})
        if not fresh:
            upload.doubted_at = self._clock.time()
        task = asyncio.create_task(self._run(upload), name=f"upload {row.mark}")
        self._open[upload] = task
        task.add_done_callback(lambda done: self._ended(upload, done))

    async def stop_unwanted(self, line: Line) -> None:
        """Stop the upload that a line lies in, where nobody wants any line of it any more.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        for upload in self.open:
            if line in upload.lines.values() and all(other.cancelled for other in upload.lines.values()):
                await self._desk.cancel(upload.row.id)
                upload.row = replace(upload.row, cancelled=True)
                upload.news.set()

    async def handed_in(self) -> None:
        """Wait until no job is being handed in."""
        while self._handing_in:
            await asyncio.wait([self._open[upload] for upload in self._handing_in], timeout=0.05)

    async def close(self) -> None:
        """Stop following; the next start goes on where this one was."""
        for task in self._open.values():
            task.cancel()
        await asyncio.gather(*self._open.values(), return_exceptions=True)

    def _ended(self, upload: Upload, task: "asyncio.Task[None]") -> None:
        del self._open[upload]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("batch_job_dropped", mark=upload.row.mark, exc_info=error)

    async def _run(self, upload: Upload) -> None:
        """Take an upload from wherever it stands to its end; what can't be done now is tried again, ever more patiently."""
        settings = self.snapshot.settings.deferred
        delay_s = settings.poll_min_s
        while True:
            try:
                if await self._step(upload):
                    return
                pause_s = delay_s
            except ProviderFault as fault:
                if await self._over(upload, fault):
                    return
                _log.warning("batch_job_waits", mark=upload.row.mark, provider=upload.row.provider, fault=fault.kind)
                pause_s = max(delay_s, fault.retry_after_s or 0.0)
            except DomainError as error:
                _log.warning("batch_job_waits", mark=upload.row.mark, provider=upload.row.provider, reason=error.reason)
                pause_s = delay_s
            await self._pause(upload, pause_s)
            delay_s = min(delay_s * 2, settings.poll_max_s)

    async def _pause(self, upload: Upload, seconds: float) -> None:
        upload.news.clear()
        waits = [asyncio.ensure_future(self._clock.sleep(seconds)), asyncio.ensure_future(upload.news.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _step(self, upload: Upload) -> bool:
        """Do what is next for an upload and return whether it has ended.

        Raises:
            ProviderFault: It can't be done now.
            DomainError: The account can't be used, or the ledger can't write.
        """
        if not upload.lines:
            await self._close_upload(upload, "ended")
            return True
        batch = await self._batch_of(upload.row.provider, upload.row.account)
        if not upload.row.provider_job_id and not await self._hand_in(upload, batch):
            return not upload.lines
        if upload.row.cancelled and not upload.stop_asked:
            await batch.cancel(upload.row.provider_job_id)
            upload.stop_asked = True
        upload.progress = progress = await batch.progress(upload.row.provider_job_id)
        self._failpoints.passing("while_polling")
        if progress.state is BatchState.RUNNING:
            return False
        await self._fetch(upload, batch, progress)
        return True

    async def _hand_in(self, upload: Upload, batch: BatchProvider) -> bool:
        """Make sure that the job exists at the provider, once, and store its id; False where that is not yet certain."""
        if upload.doubted_at is not None and not await self._found_or_absent(upload, batch):
            return False
        if upload.row.provider_job_id:
            return True
        self._failpoints.passing("before_upload")
        self._handing_in.add(upload)
        try:
            job_id = await batch.submit([line.batch_line for line in upload.lines.values()], mark=upload.row.mark)
            self._failpoints.passing("after_upload")
            await self._name(upload, job_id)
        except ProviderFault as fault:
            if not may_be_accepted(fault) and fault.kind in _REFUSED:
                await self._refused(upload, fault)
                return False
            upload.doubted_at = self._clock.time() if may_be_accepted(fault) else None
            raise
        except BaseException:
            upload.doubted_at = self._clock.time()
            raise
        finally:
            self._handing_in.discard(upload)
        return True

    async def _found_or_absent(self, upload: Upload, batch: BatchProvider) -> bool:
        """Look for a job that may exist; True where it was found, or is certain not to be there."""
        search = await batch.find(upload.row.mark, list(upload.lines), since=upload.row.create_time - CLOCK_MARGIN_S)
        if search.found is Found.FOUND:
            await self._name(upload, search.job_id)
            return True
        grace_s = self.snapshot.settings.deferred.absent_grace_s
        if search.found is Found.ABSENT and self._clock.time() - (upload.doubted_at or 0.0) >= grace_s:
            upload.doubted_at = None
            return True
        if await self._too_late(upload, batch):
            await self._lose(upload, "the provider has not told whether it has the job")
        return False

    async def _name(self, upload: Upload, job_id: str) -> None:
        await self._desk.name(upload.row.id, job_id)
        upload.row = replace(upload.row, provider_job_id=job_id)
        upload.doubted_at = None

    async def _fetch(self, upload: Upload, batch: BatchProvider, progress: BatchProgress) -> None:
        """Book every line by its result; one without a result was not run."""
        if progress.state is not BatchState.FAILED:
            group: list[BatchResult] = []
            async with contextlib.aclosing(batch.results(upload.row.provider_job_id)) as results:
                async for result in results:
                    group.append(result)
                    if len(group) >= AT_ONCE or self._failpoints.armed("mid_results"):
                        await self._book_all(upload, group)
                        group = []
            await self._book_all(upload, group)
        for line in list(upload.lines.values()):
            error = LeaderLeftError() if line.cancelled else _not_run(progress, upload.row)
            await self._end(upload, line, self._books.end(line, error, state=AttemptState.RELEASED, reason=progress.state))
        await self._close_upload(upload, progress.state)

    async def _book_all(self, upload: Upload, results: list[BatchResult]) -> None:
        found = [(line, result) for result in results if (line := upload.lines.get(result.custom_id)) is not None]
        await asyncio.gather(*(self._book(upload, line, result) for line, result in found))
        if found:
            self._failpoints.passing("mid_results")

    async def _book(self, upload: Upload, line: Line, result: BatchResult) -> None:
        outcome = result.outcome
        if isinstance(outcome, ProviderReply):
            await self._end(upload, line, self._settle(upload, line, outcome))
        elif isinstance(outcome, ProviderFault):
            await self._end(upload, line, self._books.fail(line, outcome, self.snapshot))

    async def _settle(self, upload: Upload, line: Line, reply: ProviderReply) -> None:
        landing = await self._books.settle(line, reply, self.snapshot, submit_time=upload.row.create_time)
        if landing is not None:
            self._watch.settled(None, landing)

    async def _end(self, upload: Upload, line: Line, booking: Awaitable[None]) -> None:
        await booking
        del upload.lines[line.facts.custom_id]
        self.on_end(line)

    async def _refused(self, upload: Upload, fault: ProviderFault) -> None:
        """Nothing was accepted, and asking again would be refused again: the lines end, uncharged."""
        for line in list(upload.lines.values()):
            await self._end(upload, line, self._books.fail(line, fault, self.snapshot))
        await self._close_upload(upload, "refused")

    async def _over(self, upload: Upload, fault: ProviderFault) -> bool:
        """Return whether nothing more is to be learned of an upload after a fault; its lines may have been charged then."""
        if upload.row.provider_job_id and fault.kind is FaultKind.REJECTED and fault.status == _GONE:
            await self._lose(upload, "the provider does not know the job any more")
            return True
        with contextlib.suppress(DomainError):
            if await self._too_late(upload, await self._batch_of(upload.row.provider, upload.row.account)):
                await self._lose(upload, "the provider has not told how the job ended")
                return True
        return False

    async def _too_late(self, upload: Upload, batch: BatchProvider) -> bool:
        return self._clock.time() > upload.row.create_time + batch.limits.window_s + GIVE_UP_S

    async def _lose(self, upload: Upload, why: str) -> None:
        for line in list(upload.lines.values()):
            intent = line.reservation.intent
            error = DomainError(
                Reason.OUTCOME_UNKNOWN,
                f"{why}; this call may have been charged",
                request_id=intent.request_id,
                provider=intent.route.provider,
            )
            await self._end(upload, line, self._books.end(line, error, state=AttemptState.UNKNOWN, reason=why))
        await self._close_upload(upload, "lost")

    async def _close_upload(self, upload: Upload, outcome: str) -> None:
        await self._desk.end_upload(upload.row.id, outcome=outcome)
        _log.info(
            "batch_job_ended", mark=upload.row.mark, provider=upload.row.provider, outcome=outcome, lines=upload.row.line_count
        )


def _not_run(progress: BatchProgress, row: UploadRow) -> DomainError:
    """Return why a line has no result: nothing was charged for it, and a new attempt may be made under its id."""
    reason, text = (
        Reason.PROVIDER_TIMEOUT,
        "the provider's batch job ended before this call was run; the same id may be asked again",
    )
    if progress.state is BatchState.CANCELLED:
        reason, text = Reason.JOB_CANCELLED, "the batch job was cancelled before this call was run"
    elif progress.state is BatchState.FAILED:
        reason, text = Reason.PROVIDER_REFUSED, f"the provider refused the batch job: {progress.message or 'no reason given'}"
    return DomainError(reason, f"{text}; nothing was charged", provider=row.provider, batch_job=row.provider_job_id)


def _nothing(_: Line) -> None:
    """Take no note."""
