"""OpenAI's batch jobs: a file of requests is uploaded, a job made of it, and its answers lie in two files when it has ended.

Requests and answers are spelled as in calls of their own, by the same format.

Source:
    OpenAI API reference, batches and files; "Batch API" (50,000 requests, 200 MB, 24 hours, one model a file). Read 2026-11.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import httpx2
from openai import AsyncOpenAI

from aigend.config import ProviderSettings
from aigend.providers.batch_lines import (
    PATIENCE_S,
    SEARCH_MARGIN_S,
    UPLOAD_PATIENCE_S,
    RawLine,
    batched,
    by_line,
    encoded,
    error_fault,
    in_time,
    lines_of,
    listed,
    may_have_ended,
    not_created,
    results_of,
    same_model,
    spelled,
    without_lane,
)
from aigend.providers.batch_port import BatchLimits, BatchLine, BatchProgress, BatchResult, BatchSearch, BatchState, Found
from aigend.providers.calling import reporting
from aigend.providers.connection import Sending
from aigend.providers.faults import error_code, unreadable
from aigend.providers.openai import chat as openai
from aigend.providers.openai import responses
from aigend.providers.openai.answer import FailedAnswerError, UnreadableAnswerError
from aigend.providers.openai.dialect import dialect_of
from aigend.providers.openai.faults import CALL_ERRORS, failure_fault, fault_from
from aigend.providers.openai.provider import Format, sdk_client
from aigend.providers.openai.usage import count, mapping
from aigend.providers.port import ProviderFault
from aigend.types import CompletionRequest

_LIMITS = BatchLimits(max_lines=50_000, max_bytes=200_000_000, window_s=86_400)
_MARK = "aigen_mark"  # in the metadata of our jobs
_PAGE = 100
_MOST_PAGES = 100
_STATES = {
    "completed": BatchState.ENDED,
    "failed": BatchState.FAILED,
    "expired": BatchState.EXPIRED,
    "cancelled": BatchState.CANCELLED,
}
_NOT_RUN = frozenset(("batch_expired", "batch_cancelled"))
_STREAMED = {"X-Stainless-Raw-Response": "stream", "Accept": "application/binary"}  # tells the SDK not to read the body itself


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "OpenAIBatch | None":
    """Return the batch API that the settings describe; None where the server has none.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read, a line.
    """
    base_url = settings.base_url or openai.BASE_URL
    dialect = dialect_of(settings, base_url)
    if not dialect.batches:
        return None
    chat = settings.adapter == "openai"
    form: Format = openai.ChatFormat(dialect) if chat else responses.ResponsesFormat(dialect)
    client = sdk_client(settings, base_url=base_url, answer_bytes=answer_bytes)
    return OpenAIBatch(name, client, form=form, answer_bytes=answer_bytes)


class OpenAIBatch:
    """The batch API of an account with OpenAI, or with a server that has the same one.

    Args:
        name: The account's name.
        client: The SDK, with retries off.
        form: The format of the requests.
        answer_bytes: Longest answer that is read, a line.
    """

    limits = _LIMITS

    def __init__(self, name: str, client: AsyncOpenAI, *, form: Format, answer_bytes: int) -> None:
        self.name = name
        self._client = client
        self._form = form
        self._answer_bytes = answer_bytes

    def check(self, request: CompletionRequest) -> None:
        """Return if a line can hold the whole request: it holds what a call can."""
        self._form.check(without_lane(request))

    def size_of(self, line: BatchLine) -> int:
        """Return a line's length as uploaded, in bytes."""
        return len(encoded(self._line(line)))

    async def submit(self, lines: Sequence[BatchLine], *, mark: str) -> str:
        """Upload the lines, make a job of them and return its id."""
        same_model(lines, provider=self.name)
        try:
            file = await self._upload(b"".join(await spelled(lines, self._line)), mark)
        except ProviderFault as fault:
            raise not_created(fault) from fault
        body = {"input_file_id": file, "endpoint": self._endpoint, "completion_window": "24h", "metadata": {_MARK: mark}}
        return self._id(await self._ask("POST", "/batches", body))

    async def find(self, mark: str, custom_ids: Collection[str], *, since: float) -> BatchSearch:  # noqa: ARG002 - the mark does
        """Return the job that has the mark in its metadata, looking through the list, the latest first."""
        after = ""
        for _ in range(_MOST_PAGES):
            page = await self._ask("GET", f"/batches?limit={_PAGE}" + (f"&after={quote(after)}" if after else ""))
            jobs = listed(page, provider=self.name)
            for job in jobs:
                if mapping(job.get("metadata")).get(_MARK) == mark:
                    return BatchSearch(found=Found.FOUND, job_id=self._id(job))
            past = all(count(job.get("created_at")) < since - SEARCH_MARGIN_S for job in jobs)
            if past or not page.get("has_more"):
                return BatchSearch(found=Found.ABSENT)
            after = self._id(jobs[-1])
        return BatchSearch(found=Found.UNDECIDED)

    async def progress(self, job_id: str) -> BatchProgress:
        """Return how far a job is."""
        job = await self._ask("GET", _path(job_id))
        counts = mapping(job.get("request_counts"))
        expires = count(job.get("expires_at"))
        return BatchProgress(
            state=_STATES.get(str(job.get("status")), BatchState.RUNNING),
            total=count(counts.get("total")),
            done=count(counts.get("completed")),
            failed=count(counts.get("failed")),
            expire_time=float(expires) if expires else None,
            message=_why_failed(job),
        )

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield what became of each line: the answers from one file, the errors from another."""
        job = await self._ask("GET", _path(job_id))
        files = [str(job[name]) for name in ("output_file_id", "error_file_id") if job.get(name)]
        async with contextlib.aclosing(results_of(self._lines(files), parse=self._result, provider=self.name)) as results:
            async for result in results:
                yield result

    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop a job; one that has ended is left as it is."""
        try:
            await self._ask("POST", f"{_path(job_id)}/cancel", {})
        except ProviderFault as fault:
            if not may_have_ended(fault) or (await self.progress(job_id)).state is BatchState.RUNNING:
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    @property
    def _endpoint(self) -> str:
        return f"/v1{self._form.path}"

    def _line(self, line: BatchLine) -> Mapping[str, Any]:
        body = self._form.body(line.call, stream=False)
        body.pop("service_tier", None)  # a job has its own price
        return {"custom_id": line.custom_id, "method": "POST", "url": self._endpoint, "body": body}

    def _result(self, told: Any) -> BatchResult:
        """Return what a line of the results says. Raises ValueError where it is none."""
        name, response, error = str(told["custom_id"]), mapping(told.get("response")), mapping(told.get("error"))
        if error.get("code") in _NOT_RUN:
            return BatchResult(custom_id=name, outcome=None)
        status = count(response.get("status_code"))
        if response and 200 <= status < 300:
            return BatchResult(custom_id=name, outcome=self._answer(response.get("body")))
        body = response.get("body") if response else None
        return BatchResult(custom_id=name, outcome=error_fault(self.name, status or 500, body or {"error": error}))

    def _answer(self, body: Any) -> Any:
        try:
            return batched(self._form.reply(body))
        except UnreadableAnswerError as error:
            return unreadable(self.name, str(error))
        except FailedAnswerError as error:
            return failure_fault(error.told, provider=self.name, streamed=False, billed=error.billed)

    def _id(self, made: Mapping[str, Any]) -> str:
        if not isinstance(made.get("id"), str) or not made["id"]:
            raise unreadable(self.name, "id is missing")
        return str(made["id"])

    async def _upload(self, content: bytes, mark: str) -> str:
        file = (f"{mark}.jsonl", content, "application/jsonl")
        sending = Sending()
        try:
            async with asyncio.timeout(UPLOAD_PATIENCE_S):
                with reporting(sending):
                    answer = await self._client.files.with_raw_response.create(file=file, purpose="batch")
            return self._id(_object(self.name, answer.content))
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the object that the provider answers with. Raises ProviderFault where it gives none."""
        sending = Sending()
        try:
            async with asyncio.timeout(PATIENCE_S):
                with reporting(sending):
                    if method == "GET":
                        answer = await self._client.get(path, cast_to=httpx2.Response)
                    else:
                        answer = await self._client.post(path, cast_to=httpx2.Response, body=body)
            return _object(self.name, answer.content)
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def _lines(self, files: Sequence[str]) -> AsyncGenerator[RawLine, None]:
        for file in files:
            sending, begun = Sending(), False
            try:
                with reporting(sending), by_line():
                    answer = await self._open(file)
                begun = True
                async for line in lines_of(in_time(answer.aiter_bytes()), limit=self._answer_bytes):
                    yield line
            except (TimeoutError, *CALL_ERRORS) as error:
                raise self._fault(error, sending, streamed=begun) from error
            finally:
                if begun:
                    await answer.aclose()

    async def _open(self, file: str) -> httpx2.Response:
        async with asyncio.timeout(PATIENCE_S):
            path = f"/files/{quote(file, safe='')}/content"
            return await self._client.get(path, cast_to=httpx2.Response, options={"headers": _STREAMED})

    def _fault(self, error: BaseException, sending: Sending, *, streamed: bool = False) -> ProviderFault:
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed)
        fault.provider_message = fault.provider_message.replace(self._client.api_key, "***")
        return fault


def _path(job_id: str) -> str:
    return f"/batches/{quote(job_id, safe='')}"


def _object(provider: str, content: bytes) -> dict[str, Any]:
    told = json.loads(content)
    if not isinstance(told, dict):
        raise unreadable(provider, "it is no object")
    return told


def _why_failed(job: Mapping[str, Any]) -> str:
    """Return why a job failed, by the provider's codes alone: its sentences may quote a prompt."""
    errors = mapping(job.get("errors")).get("data")
    told = [error for error in errors if isinstance(error, dict)] if isinstance(errors, list) else []
    return ", ".join(f"{error_code(error)} in line {count(error.get('line'))}" for error in told[:3])
