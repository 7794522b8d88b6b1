"""The asyncio client's methods about batch jobs; short, like those of `aio.py`."""
# ruff: noqa: ASYNC109 - both clients take the same arguments; the timeout is the deadline that travels to the daemon

from collections.abc import AsyncIterator, Iterable, Sequence
from typing import Unpack
from uuid import UUID

from aigen import _call, _convert_jobs, _queries
from aigen._aio_transport import AsyncTransport
from aigen.jobs import BatchJob, BatchJobResult
from aigen.types import CompletionOptions, Prompt


class AsyncJobs(AsyncTransport):
    """Hands in batch jobs and fetches their results."""

    async def create_batch_job(
        self,
        requests: Iterable[Prompt],
        /,
        *,
        job_id: str | UUID | None = None,
        request_ids: Sequence[str] | None = None,
        allow_repeat: bool = False,
        timeout: float | None = None,
        **options: Unpack[CompletionOptions],
    ) -> BatchJob:
        """Hand in requests that can wait, and return their job at once; it is durable by then, and goes on across restarts.

        Args:
            requests: 1 to 10,000 prompts, conversations or `CompletionRequest`, whose options win over those given here.
            job_id: Id of the job, under which it is made at most once, whatever its `complete_by`; None: a new UUID.
            request_ids: Under which id each request is made; None or an empty one: `<job id>/<position>`.
            allow_repeat: Allows second paid calls where the first outcome is unknown.
            timeout: Patience of this call in seconds; None: the client's.
            options: What shapes all answers; see `CompletionOptions`. The lane is "deferred" for all of them. Requests whose
                `complete_by` is nearer than batch jobs promise are sent at once, at the ordinary price.

        Raises:
            InvalidRequest: A request can't be made, or the id stands for another job; the error names it, and nothing was begun.
        """
        context = self._context(requests, options)
        payload = _convert_jobs.create_bytes(requests, options, context, self._service, request_ids=request_ids)
        key = self._request_id(job_id)
        metadata = _call.call_metadata(key, context, allow_repeat=allow_repeat)
        return await self._send(_call.CREATE_JOB, payload, timeout, metadata=metadata, request_id=key)

    async def batch_job(self, job_id: str, /, *, timeout: float | None = None) -> BatchJob:
        """Return how far a batch job is.

        Raises:
            NotFound: There is no such job, or it ended long ago.
        """
        return await self._send(_call.JOB, _convert_jobs.get_bytes(job_id), timeout)

    def batch_jobs(self, *, page_size: int = 0, timeout: float | None = None) -> AsyncIterator[BatchJob]:
        """Return an iterator over batch jobs, newest first; further pages are fetched as it is read."""
        return self._pages(_call.JOBS, _queries.job_page(page_size=page_size), timeout)

    async def cancel_batch_job(self, job_id: str, /, *, timeout: float | None = None) -> BatchJob:
        """End a batch job and return it: what has not left is given up, uncharged; what was run keeps its result.

        Raises:
            NotFound: There is no such job.
        """
        return await self._send(_call.CANCEL_JOB, _convert_jobs.cancel_bytes(job_id), timeout)

    def batch_job_results(
        self, job_id: str, /, *, wait: bool = False, timeout: float | None = None
    ) -> AsyncIterator[BatchJobResult]:
        """Return an iterator over a batch job's results, each once: those that are there in order, then others as they come.

        Args:
            job_id: Id of the job.
            wait: Whether to stay until the last request has ended; False: what is there now.
            timeout: Patience for all of it in seconds; None: the client's; infinity: without end.

        Raises:
            NotFound: There is no such job.
        """
        return self._streamed(_call.JOB_RESULTS, _convert_jobs.results_bytes(job_id, wait=wait), timeout)
