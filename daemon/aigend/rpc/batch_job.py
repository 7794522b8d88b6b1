"""BatchJobService: jobs of requests that can wait."""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import grpc
from aigen.v1 import batch_job_pb2 as pb
from aigen.v1 import completion_pb2

from aigend.clock import Clock, utc_text
from aigend.completion.admission import check_built
from aigend.completion.deferral.batch_jobs import BatchJobs, unpack_error
from aigend.completion.snapshot import Snapshot
from aigend.errors import DomainError, invalid
from aigend.ledger.batch_jobs import ItemRow, ItemState, JobRow, NewItem, NewJob, digest_of
from aigend.rpc.caller import LOCAL_SCOPE, MAX_REQUEST_ID, Sender, check_request_id, read_metadata, unpack_accounting
from aigend.rpc.completion import request_digest, request_wire
from aigend.rpc.content import refuse_unknown
from aigend.rpc.paging import check_page_size, pack_number, unpack_number
from aigend.rpc.request import check_size, unpack_request
from aigend.rpc.status import status_proto
from aigend.rpc.times import moment_of, timestamp
from aigend.types import Lane

MOST_ITEMS = 10_000
AT_ONCE = 20  # items that are read without a break
Context = grpc.aio.ServicerContext[bytes, bytes]


class BatchJobServicer:
    """Hands jobs to those who work on them.

    Args:
        jobs: Takes jobs.
        snapshot: Returns the settings in force.
        clock: Tells what lies ahead.
    """

    def __init__(self, jobs: BatchJobs, snapshot: Callable[[], Snapshot], *, clock: Clock) -> None:
        self._jobs = jobs
        self._snapshot = snapshot
        self._clock = clock

    async def create_batch_job(self, data: bytes, context: Context) -> bytes:
        """Take a job."""
        check_size(len(data), self._snapshot().settings.limits.request_bytes)
        request = pb.CreateBatchJobRequest.FromString(data)
        refuse_unknown(request, "request")
        sender = read_metadata(context.invocation_metadata())  # type: ignore[arg-type]
        row = await self._jobs.create(await self._unpack(request, sender))
        return pb.CreateBatchJobResponse(job=_pack(row)).SerializeToString()

    async def get_batch_job(self, request: pb.GetBatchJobRequest) -> pb.GetBatchJobResponse:
        """Tell how far a job is."""
        return pb.GetBatchJobResponse(job=_pack(await self._jobs.find(LOCAL_SCOPE, request.job_id)))

    async def list_batch_jobs(self, request: pb.ListBatchJobsRequest) -> pb.ListBatchJobsResponse:
        """List jobs, newest first."""
        size, before = check_page_size(request.page_size), unpack_number(request.page_token)
        rows = await self._jobs.newest(LOCAL_SCOPE, before=before, limit=size + 1)
        token = pack_number(rows[size - 1].id) if len(rows) > size else ""
        return pb.ListBatchJobsResponse(jobs=[_pack(row) for row in rows[:size]], next_page_token=token)

    async def cancel_batch_job(self, request: pb.CancelBatchJobRequest) -> pb.CancelBatchJobResponse:
        """End a job."""
        return pb.CancelBatchJobResponse(job=_pack(await self._jobs.cancel(LOCAL_SCOPE, request.job_id)))

    async def stream_batch_job_results(self, data: bytes, _: Context) -> AsyncGenerator[bytes, None]:
        """Send a job's results."""
        request = pb.StreamBatchJobResultsRequest.FromString(data)
        async with aclosing(self._jobs.results(LOCAL_SCOPE, request.job_id, wait=request.wait)) as items:
            async for item in items:
                yield _pack_result(item).SerializeToString()

    async def _unpack(self, request: pb.CreateBatchJobRequest, sender: Sender) -> NewJob:
        if not 1 <= len(request.items) <= MOST_ITEMS:
            raise invalid("items", f"{len(request.items)} requests", f"1 to {MOST_ITEMS}")
        name = check_request_id(sender.request_id)
        by = moment_of("complete_by", request.complete_by) if request.HasField("complete_by") else None
        if by is not None and by <= self._clock.time():
            raise invalid("complete_by", utc_text(by), f"a time to come; now is {utc_text(self._clock.time())}")
        items = []
        for place, item in enumerate(request.items):
            items.append(self._item(item, f"{name}/{place}", place, request))
            if place % AT_ONCE == AT_ONCE - 1:
                await asyncio.sleep(0)  # other calls have their turns in between
        _check_ids([item.request_id for item in items])
        return NewJob(
            scope=LOCAL_SCOPE,
            name=name,
            request_digest=digest_of(items),
            accounting=unpack_accounting(sender.account),
            items=items,
            complete_by=by,
        )

    def _item(self, item: pb.BatchJobItem, name: str, place: int, job: pb.CreateBatchJobRequest) -> NewItem:
        """Return one request under its id, with the job's lane and latest time in it."""
        if not item.HasField("completion"):
            raise invalid(f"items[{place}].completion", "unset", "a CompleteRequest")
        message = completion_pb2.CompleteRequest()
        message.CopyFrom(item.completion)
        message.lane = message.lane or completion_pb2.LANE_DEFERRED
        if job.HasField("complete_by") and not message.HasField("complete_by"):
            message.complete_by.CopyFrom(job.complete_by)
        try:
            request = unpack_request(message)
            if request.lane is not Lane.DEFERRED:
                raise invalid("lane", request.lane.upper(), "unset or DEFERRED, because requests of a job are always deferred")
            check_built(request)
            self._snapshot().router.allowed(request)
        except DomainError as error:
            raise _in_item(error, place) from error
        if len(item.request_id) > MAX_REQUEST_ID or not item.request_id.isprintable():
            raise invalid(f"items[{place}].request_id", item.request_id, f"at most {MAX_REQUEST_ID} printable characters")
        return NewItem(request_id=item.request_id or name, body=request_wire(message), digest=request_digest(message))


def _check_ids(request_ids: list[str]) -> None:
    seen: dict[str, int] = {}
    for place, request_id in enumerate(request_ids):
        if request_id in seen:
            raise invalid(f"items[{place}].request_id", request_id, f"another id than that of items[{seen[request_id]}]")
        if len(request_id) > MAX_REQUEST_ID:
            raise invalid("aigen-request-id", request_id, f"so short that <id>/<position> has at most {MAX_REQUEST_ID} characters")
        seen[request_id] = place


def _in_item(error: DomainError, place: int) -> DomainError:
    """Return an error that names the item beside the field."""
    facts: dict[str, str | int] = dict(error.metadata)
    if "field" in error.metadata:
        facts["field"] = f"items[{place}].completion.{error.metadata['field']}"
    return DomainError(error.reason, f"items[{place}]: {error.text}", retry_after_s=error.retry_after_s, **facts)


def _pack(row: JobRow) -> pb.BatchJob:
    state = pb.BATCH_JOB_STATE_RUNNING
    if row.end_time is not None:
        state = pb.BATCH_JOB_STATE_ENDED if row.cancel_time is None else pb.BATCH_JOB_STATE_CANCELLED
    return pb.BatchJob(
        id=row.name,
        state=state,
        create_time=timestamp(row.create_time),
        end_time=None if row.end_time is None else timestamp(row.end_time),
        complete_by=None if row.complete_by is None else timestamp(row.complete_by),
        item_count=row.item_count,
        waiting_count=max(0, row.open_count - row.submitted_count),
        submitted_count=min(row.submitted_count, row.open_count),
        answered_count=row.answered_count,
        failed_count=row.failed_count,
        cost_usd_nanos=row.cost_nanos,
        saved_usd_nanos=row.saved_nanos,
        session=row.accounting.session,
        task=row.accounting.task,
        labels=dict(row.accounting.labels),
    )


def _pack_result(item: ItemRow) -> pb.StreamBatchJobResultsResponse:
    result = pb.StreamBatchJobResultsResponse(index=item.position, request_id=item.request_id)
    if item.state is ItemState.ANSWERED:
        result.response.ParseFromString(item.body)
    else:
        result.status.CopyFrom(status_proto(unpack_error(item.body)))
    return result
