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
from aigend.completion.deferral.lines import GivenUpError, Line, LineBooks
from aigend.completion.deferral.places import HeldBatch
from aigend.completion.failpoints import NO_FAILPOINTS, Failpoints
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

AT_ONCE = 32  # lines settled together: one durable commit serves them
CLOCK_MARGIN_S = 300.0  # by which a provider's clock may differ from ours
GIVE_UP_S = 86_400.0  # after the window's end: what the provider has not told by then it will not tell
LONGEST_WINDOW_S = 172_800.0  # of a provider that settings do not know any more
LEAST_TRY_S = 3_600.0  # a clock that was put forward alone gives nothing up
_OURS = frozenset((Reason.STORAGE_FULL, Reason.STORAGE_DAMAGED))  # troubles that say nothing of the provider
_REFUSED = frozenset((FaultKind.REJECTED, FaultKind.AUTH))
_GONE = 404
_log = structlog.get_logger("aigend.completion")

BatchOf = Callable[[UploadRow], Awaitable[HeldBatch]]  # the batch API that an upload was made with


@dataclass(slots=True, eq=False)
class Upload:
    """A job at a provider's batch API that has not ended, with the lines in it that have not."""

    row: UploadRow
    lines: dict[str, Line]  # by custom id
    doubted_at: float | None = None  # monotonic clock; since when the job may or may not exist
    failing_since: float | None = None  # monotonic clock; since when nothing more was learned of it
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
            upload.doubted_at = self._clock.monotonic()
        for line in upload.lines.values():
            line.upload = upload
        task = asyncio.create_task(self._run(upload), name=f"upload {row.mark}")
        self._open[upload] = task
        task.add_done_callback(lambda done: self._ended(upload, done))

    async def stop_unwanted(self, line: Line) -> None:
        """Stop the upload that a line lies in, where nobody wants any line of it any more.

        Raises:
            DomainError: STORAGE_FULL or STORAGE_DAMAGED.
        """
        upload = line.upload
        if not isinstance(upload, Upload) or upload.row.cancelled or not all(one.cancelled for one in upload.lines.values()):
            return
        upload.row = replace(upload.row, cancelled=True)  # before it is written, so that it is written once
        upload.news.set()
        await self._desk.cancel(upload.row.id)

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
            pause_s = delay_s
            try:
                if await self._step(upload):
                    return
                upload.failing_since = None
            except Exception as error:  # noqa: BLE001 - a defect met once must not leave lines behind that nobody follows
                if await self._over(upload, error):
                    return
                self._tell(upload, error)
                pause_s = max(delay_s, (error.retry_after_s or 0.0) if isinstance(error, ProviderFault) else 0.0)
            await self._pause(upload, pause_s)
            delay_s = min(delay_s * 2, settings.poll_max_s)

    def _tell(self, upload: Upload, error: Exception) -> None:
        facts = {"mark": upload.row.mark, "provider": upload.row.provider}
        if isinstance(error, ProviderFault):
            _log.warning("batch_job_waits", fault=error.kind, **facts)
        elif isinstance(error, DomainError):
            _log.warning("batch_job_waits", reason=error.reason, **facts)
        else:
            _log.error("batch_job_waits", exc_info=error, **facts)

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
        held = await self._batch_of(upload.row)
        batch = held.batch
        if not upload.row.provider_job_id and not await self._hand_in(upload, held):
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

    async def _hand_in(self, upload: Upload, held: HeldBatch) -> bool:
        """Make sure that the job exists at the provider, once, and store its id; False where that is not yet certain."""
        if upload.doubted_at is not None and not await self._found_or_absent(upload, held):
            return False
        if upload.row.provider_job_id:
            return True
        if upload.row.cancelled:
            await self._end_rest(upload, lambda line: self._release(line, "cancelled", GivenUpError()))
            await self._close_upload(upload, "cancelled")
            return False
        batch = held.batch
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
            upload.doubted_at = self._clock.monotonic() if may_be_accepted(fault) else None
            raise
        except BaseException:
            upload.doubted_at = self._clock.monotonic()
            raise
        finally:
            self._handing_in.discard(upload)
        return True

    async def _found_or_absent(self, upload: Upload, held: HeldBatch) -> bool:
        """Look for a job that may exist; True where it was found, or is certain not to be there."""
        since = upload.row.create_time - CLOCK_MARGIN_S
        search = await held.batch.find(upload.row.mark, list(upload.lines), since=since)
        if search.found is Found.FOUND:
            await self._name(upload, search.job_id)
            return True
        grace_s = self.snapshot.settings.deferred.absent_grace_s
        doubted_s = self._clock.monotonic() - (upload.doubted_at or 0.0)
        if search.found is Found.ABSENT and held.same and doubted_s >= grace_s:  # another account does not see what this one has
            upload.doubted_at = None
            return True
        if self._too_late(upload, held.batch.limits.window_s) and doubted_s >= LEAST_TRY_S:
            await self._lose(upload, "the provider has not told whether it has the job")
        return False

    async def _name(self, upload: Upload, job_id: str) -> None:
        await self._desk.name(upload.row.id, job_id)
        upload.row = replace(upload.row, provider_job_id=job_id)
        upload.doubted_at = None

    async def _fetch(self, upload: Upload, batch: BatchProvider, progress: BatchProgress) -> None:
        """Book every line by its result; one without a result was not run."""
        told: set[str] = set()
        if progress.state is not BatchState.FAILED:
            group: list[BatchResult] = []
            async with contextlib.aclosing(batch.results(upload.row.provider_job_id)) as results:
                async for result in results:
                    told.add(result.custom_id)
                    group.append(result)
                    if len(group) >= AT_ONCE or self._failpoints.armed("mid_results"):
                        await self._book_all(upload, group)
                        group = []
            await self._book_all(upload, group)
        if len(told) < progress.done:
            text = f"{progress.done} lines were answered, the results of provider {upload.row.provider} hold {len(told)}"
            raise ProviderFault(FaultKind.BAD_ANSWER, text, provider=upload.row.provider)
        not_run = _not_run(progress, upload.row)
        await self._end_rest(
            upload, lambda line: self._release(line, progress.state, GivenUpError() if line.cancelled else not_run)
        )
        await self._close_upload(upload, progress.state)

    async def _book_all(self, upload: Upload, results: list[BatchResult]) -> None:
        first: dict[str, BatchResult] = {}
        for result in results:
            first.setdefault(result.custom_id, result)  # told twice: the first counts
        found = [(line, result) for name, result in first.items() if (line := upload.lines.get(name)) is not None]
        await _all(self._book(upload, line, result) for line, result in found)
        if found:
            self._failpoints.passing("mid_results")

    async def _end_rest(self, upload: Upload, booking: Callable[[Line], Awaitable[None]]) -> None:
        """Book an end for every line that has none, some at a time."""
        lines = list(upload.lines.values())
        for start in range(0, len(lines), AT_ONCE):
            await _all(self._end(upload, line, booking(line)) for line in lines[start : start + AT_ONCE])

    async def _release(self, line: Line, reason: str, error: Exception) -> None:
        await self._books.end(line, error, state=AttemptState.RELEASED, reason=reason)

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
        if upload.lines.pop(line.facts.custom_id, None) is not None:
            self.on_end(line)

    async def _refused(self, upload: Upload, fault: ProviderFault) -> None:
        """Nothing was accepted, and asking again would be refused again: the lines end, uncharged."""
        await self._end_rest(upload, lambda line: self._books.fail(line, fault, self.snapshot))
        await self._close_upload(upload, "refused")

    async def _over(self, upload: Upload, error: Exception) -> bool:
        """Return whether nothing more is to be learned of an upload after an error; its lines may have been charged then."""
        if isinstance(error, DomainError) and error.reason in _OURS:
            return False
        now = self._clock.monotonic()
        upload.failing_since = now if upload.failing_since is None else upload.failing_since
        why = await self._why_over(upload, error, tried_s=now - upload.failing_since)
        if why:
            with contextlib.suppress(DomainError):
                await self._lose(upload, why)
                return True
        return False

    async def _why_over(self, upload: Upload, error: Exception, *, tried_s: float) -> str:
        """Return why there is nothing more to wait for; empty where there is."""
        held: HeldBatch | None = None
        with contextlib.suppress(DomainError):
            held = await self._batch_of(upload.row)
        gone = isinstance(error, ProviderFault) and error.kind is FaultKind.REJECTED and error.status == _GONE
        gone = gone and upload.row.provider_job_id != "" and held is not None and held.same
        if gone and tried_s >= self.snapshot.settings.deferred.absent_grace_s:  # lists and copies of theirs may lag behind
            return "the provider does not know the job any more"
        window_s = LONGEST_WINDOW_S if held is None else held.batch.limits.window_s
        if tried_s >= LEAST_TRY_S and self._too_late(upload, window_s):
            return "the provider has not told how the job ended"
        return ""

    def _too_late(self, upload: Upload, window_s: float) -> bool:
        return self._clock.time() > upload.row.create_time + window_s + GIVE_UP_S

    async def _lose(self, upload: Upload, why: str) -> None:
        await self._end_rest(upload, lambda line: self._unknown(upload, line, why))
        await self._close_upload(upload, "lost")

    async def _unknown(self, upload: Upload, line: Line, why: str) -> None:
        error = DomainError(
            Reason.OUTCOME_UNKNOWN,
            f"{why}; this call may have been charged",
            request_id=line.reservation.intent.request_id,
            provider=upload.row.provider,
        )
        await self._books.end(line, error, state=AttemptState.UNKNOWN, reason=why)

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


async def _all(works: Iterable[Awaitable[None]]) -> None:
    """Wait for all, and only then raise the first error: none goes on unseen."""
    for error in await asyncio.gather(*works, return_exceptions=True):
        if error is not None:
            raise error


def _nothing(_: Line) -> None:
    """Take no note."""
