"""Requests about batch jobs as bytes, and answers about them as the values of `jobs.py`; what a request holds is `_requests.py`."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any

from aigen import _convert, _requests, jobs, types
from aigen._fields import NOT_TAKEN, Within, refused, set_timestamp
from aigen._session import Context, checked
from aigen.errors import from_status, invalid
from aigen.v1 import batch_job_pb2

MAX_ITEMS = 10_000
MAX_ID = 128
_STATE = _convert.table(batch_job_pb2.BatchJobState, "BATCH_JOB_STATE_", jobs.BatchJobState)


def create_bytes(
    requests: Iterable[types.Prompt],
    options: Mapping[str, Any],
    context: Context,
    service: str,
    *,
    request_ids: Sequence[str] | None,
) -> bytes:
    """Return the serialized CreateBatchJobRequest of many prompts that share options."""
    message = batch_job_pb2.CreateBatchJobRequest()
    if isinstance(requests, str | types.CompletionRequest | types.Message):
        raise invalid("requests", f"one {type(requests).__name__}", "a list of prompts or CompletionRequest")
    for index, prompt in enumerate(requests):
        with Within(f"requests[{index}]."):
            _requests.fill(message.items.add().completion, prompt, options, context, service)
    if not 1 <= len(message.items) <= MAX_ITEMS:
        raise invalid("requests", f"{len(message.items)} long", f"1 to {MAX_ITEMS:,} requests")
    if request_ids is not None:
        _set_ids(message, request_ids)
    if (complete_by := options.get("complete_by")) is not None:
        try:
            set_timestamp(message.complete_by, complete_by)
        except NOT_TAKEN as error:
            raise refused("complete_by", complete_by, error) from None
    return _requests.serialize(message)


def _set_ids(message: batch_job_pb2.CreateBatchJobRequest, request_ids: Sequence[str]) -> None:
    if len(request_ids) != len(message.items):
        raise invalid("request_ids", f"{len(request_ids)} long", f"one for each of {len(message.items)} requests")
    for index, (item, request_id) in enumerate(zip(message.items, request_ids, strict=True)):
        item.request_id = checked(f"request_ids[{index}]", request_id, MAX_ID) or ""


def get_bytes(job_id: str) -> bytes:
    """Return the request for one job."""
    return batch_job_pb2.GetBatchJobRequest(job_id=checked("job_id", job_id, MAX_ID)).SerializeToString()


def cancel_bytes(job_id: str) -> bytes:
    """Return the request to end a job."""
    return batch_job_pb2.CancelBatchJobRequest(job_id=checked("job_id", job_id, MAX_ID)).SerializeToString()


def results_bytes(job_id: str, *, wait: bool) -> bytes:
    """Return the request for a job's results."""
    return batch_job_pb2.StreamBatchJobResultsRequest(job_id=checked("job_id", job_id, MAX_ID), wait=wait).SerializeToString()


def created_of(payload: bytes) -> jobs.BatchJob:
    """Return the job that was created."""
    return _job(batch_job_pb2.CreateBatchJobResponse.FromString(payload).job)


def job_of(payload: bytes) -> jobs.BatchJob:
    """Return a job."""
    return _job(batch_job_pb2.GetBatchJobResponse.FromString(payload).job)


def cancelled_of(payload: bytes) -> jobs.BatchJob:
    """Return a job that was cancelled."""
    return _job(batch_job_pb2.CancelBatchJobResponse.FromString(payload).job)


def page_of(payload: bytes) -> tuple[list[jobs.BatchJob], str]:
    """Return a page of jobs and where the next begins."""
    message = batch_job_pb2.ListBatchJobsResponse.FromString(payload)
    return [_job(job) for job in message.jobs], message.next_page_token


def results_of(payload: bytes) -> list[jobs.BatchJobResult]:
    """Return the result of one message."""
    message = batch_job_pb2.StreamBatchJobResultsResponse.FromString(payload)
    answered = message.WhichOneof("result") == "response"
    return [
        jobs.BatchJobResult(
            index=message.index,
            request_id=message.request_id,
            completion=_convert.completion(message.response) if answered else None,
            error=None if answered else from_status(message.status, request_id=message.request_id),
        )
    ]


def _job(message: batch_job_pb2.BatchJob) -> jobs.BatchJob:
    counts = "item_count waiting_count submitted_count answered_count failed_count cost_usd_nanos saved_usd_nanos"
    return jobs.BatchJob(
        state=_STATE.get(message.state),
        create_time=message.create_time.ToDatetime(tzinfo=UTC),
        end_time=_convert.moment(message, "end_time"),
        complete_by=_convert.moment(message, "complete_by"),
        labels=dict(message.labels),
        **_convert.same(message, f"id session task {counts}"),
    )
