"""Google's batch jobs: a file of requests is uploaded, a job made of it under our own name, and its answers lie in another file.

Requests could stand in the job itself, but the answers to those come without their names; in files each keeps its key.

Source:
    The google-genai SDK 3.4 (batches, files: paths, names of fields, resumable uploads); Google, "Batch API": one model a job, 2 GB
    a file, 24 hours aimed at and 48 at most, half the price. Read 2026-11.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from google.genai._api_client import BaseApiClient, HttpRequest, HttpResponse

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
from aigend.providers.faults import unreadable
from aigend.providers.gemini.answer import BrokenOffError, Collected
from aigend.providers.gemini.faults import CALL_ERRORS, fault_from
from aigend.providers.gemini.provider import VERSION, close, model_path, on_google, read_body, sdk_client, whole_body
from aigend.providers.gemini.request import check_request
from aigend.providers.port import ProviderFault, ProviderReply
from aigend.types import CompletionRequest

_LIMITS = BatchLimits(max_lines=50_000, max_bytes=200_000_000, window_s=172_800)  # below theirs: a file is made in memory here
_PAGE = 100
_MOST_PAGES = 100
_STATES = {  # without what they begin with, BATCH_STATE_ or JOB_STATE_
    "SUCCEEDED": BatchState.ENDED,
    "PARTIALLY_SUCCEEDED": BatchState.ENDED,
    "FAILED": BatchState.FAILED,
    "CANCELLED": BatchState.CANCELLED,
    "EXPIRED": BatchState.EXPIRED,
}
_CANCELLED = 1  # google.rpc.Code
_STATUSES = {3: 400, 4: 504, 5: 404, 7: 403, 8: 429, 9: 400, 11: 400, 14: 503, 16: 401}  # of google.rpc.Code; others are 500


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "GeminiBatch | None":
    """Return the batch API that the settings describe; None where the server has none.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read, a line.
    """
    if not (on_google(settings) if settings.batch_api == "auto" else settings.batch_api == "use"):
        return None
    client, http = sdk_client(settings, answer_bytes=answer_bytes)
    return GeminiBatch(name, client, http, answer_bytes=answer_bytes)


class GeminiBatch:
    """The batch API of an account with Google.

    Args:
        name: The account's name.
        client: The SDK's lower half, with retries off.
        http: What it sends through; the SDK does not close it.
        answer_bytes: Longest answer that is read, a line.
    """

    limits = _LIMITS

    def __init__(self, name: str, client: BaseApiClient, http: httpx2.AsyncClient, *, answer_bytes: int) -> None:
        self.name = name
        self._client = client
        self._http = http
        self._answer_bytes = answer_bytes

    def check(self, request: CompletionRequest) -> None:
        """Return if a line can hold the whole request: it holds what a call can."""
        check_request(without_lane(request))

    def size_of(self, line: BatchLine) -> int:
        """Return a line's length as uploaded, in bytes."""
        return len(encoded(_line(line)))

    async def submit(self, lines: Sequence[BatchLine], *, mark: str) -> str:
        """Upload the lines, make a job of them and return its id."""
        model = same_model(lines, provider=self.name)
        try:
            file = await self._upload(b"".join(await spelled(lines, _line)), mark)
        except ProviderFault as fault:
            raise not_created(fault) from fault
        body = {"batch": {"displayName": mark, "inputConfig": {"fileName": file}}}
        return self._named(await self._ask("post", f"{model_path(model)}:batchGenerateContent", body))

    async def find(self, mark: str, custom_ids: Collection[str], *, since: float) -> BatchSearch:  # noqa: ARG002 - the mark does
        """Return the job that bears the mark, looking through the list, the latest first."""
        token = ""
        for _ in range(_MOST_PAGES):
            page = await self._ask("get", f"batches?pageSize={_PAGE}" + (f"&pageToken={quote(token)}" if token else ""))
            jobs = [job for job in page.get("operations") or () if isinstance(job, dict)]
            for job in jobs:
                if _about(job).get("displayName") == mark:
                    return BatchSearch(found=Found.FOUND, job_id=self._named(job))
            # a page may be empty and yet have a next one
            past = bool(jobs) and all(_time(_about(job).get("createTime")) < since - SEARCH_MARGIN_S for job in jobs)
            token = str(page.get("nextPageToken") or "")
            if past or not token:
                return BatchSearch(found=Found.ABSENT)
        return BatchSearch(found=Found.UNDECIDED)

    async def progress(self, job_id: str) -> BatchProgress:
        """Return how far a job is."""
        job = await self._ask("get", _path(job_id))
        about = _about(job)
        stats = about.get("batchStats") or {}
        done, failed = _number(stats, "successfulRequestCount"), _number(stats, "failedRequestCount")
        created = _time(about.get("createTime"))
        return BatchProgress(
            state=_state(job, done),
            total=_number(stats, "requestCount"),
            done=done,
            failed=failed,
            expire_time=created + self.limits.window_s if created else None,
            message=_why_failed(job),
        )

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield what became of each line; a job that was cancelled or has expired may have no file."""
        job = await self._ask("get", _path(job_id))
        output = job.get("response") or _about(job).get("output") or {}
        file = output.get("responsesFile")
        if not file:
            return
        async with contextlib.aclosing(results_of(self._lines(str(file)), parse=self._result, provider=self.name)) as results:
            async for result in results:
                yield result

    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop a job; one that has ended is left as it is."""
        try:
            await self._ask("post", f"{_path(job_id)}:cancel", {})
        except ProviderFault as fault:
            if not may_have_ended(fault) or (await self.progress(job_id)).state is BatchState.RUNNING:
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()
        self._client.close()

    def _result(self, told: Any) -> BatchResult:
        name = str(told["key"])
        if "response" in told:
            return BatchResult(custom_id=name, outcome=self._answer(told["response"]))
        code = told["error"].get("code")
        if code == _CANCELLED:
            return BatchResult(custom_id=name, outcome=None)
        status = code if isinstance(code, int) and code >= 400 else _STATUSES.get(code, 500)
        return BatchResult(custom_id=name, outcome=error_fault(self.name, status, {"error": told["error"]}))

    def _answer(self, body: Any) -> ProviderReply | ProviderFault:
        collected = Collected()
        try:
            for _ in collected.take(body):
                pass
        except (ValueError, BrokenOffError) as error:
            return unreadable(self.name, str(error))
        return batched(collected.reply())

    def _named(self, job: Mapping[str, Any]) -> str:
        if not isinstance(job.get("name"), str) or not job["name"]:
            raise unreadable(self.name, "name is missing")
        return str(job["name"])

    async def _upload(self, content: bytes, mark: str) -> str:
        """Upload a file in the two steps that the API has for it, and return its name."""
        begin = self._request("post", "files", {"file": {"displayName": mark, "mimeType": "application/jsonl"}}, place="upload/")
        begin.headers |= {
            "X-Goog-Upload-Protocol": "resumable",
            "X-Goog-Upload-Command": "start",
            "X-Goog-Upload-Header-Content-Length": str(len(content)),
            "X-Goog-Upload-Header-Content-Type": "application/jsonl",
        }
        headers, _ = await self._send(begin)
        address = urlsplit(headers.get("x-goog-upload-url", ""))
        if not address.path:
            raise unreadable(self.name, "x-goog-upload-url is missing")
        finish = self._request("post", "files", {}, place="upload/")
        host = urlsplit(finish.url)
        finish.url = address._replace(scheme=host.scheme, netloc=host.netloc).geturl()  # the key goes nowhere else
        finish.headers |= {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
        finish.data = content  # bytes go as they are
        _, body = await self._send(finish, patience_s=UPLOAD_PATIENCE_S)
        return self._named(self._object(body).get("file") or {})

    async def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the object that the provider answers with. Raises ProviderFault where it gives none."""
        _, content = await self._send(self._request(method, path, body or {}))
        return self._object(content)

    def _request(self, method: str, path: str, body: dict[str, Any], *, place: str = "") -> HttpRequest:
        """Return a request to an address of the API; files are handed over at a place beside it, before its version."""
        request = self._client._build_request(method, path, body)
        if place:
            parts = urlsplit(request.url)
            root = VERSION.sub("", parts.path.removesuffix(f"/{path}"))
            version = parts.path.removesuffix(f"/{path}").removeprefix(root)
            request.url = parts._replace(path=f"{root}/{place.rstrip('/')}{version}/{path}").geturl()
        return request

    async def _send(self, request: HttpRequest, *, patience_s: float = PATIENCE_S) -> tuple[Mapping[str, str], bytes]:
        sending = Sending()
        try:
            async with asyncio.timeout(patience_s):
                with reporting(sending):
                    answer = await self._client._async_request_once(request, stream=True)
                return answer.headers, await read_body(answer)
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error

    async def _lines(self, file: str) -> AsyncGenerator[RawLine, None]:
        request = self._request("get", f"{quote(file)}:download", {}, place="download/")
        request.url += "?alt=media"
        sending = Sending()
        answer: HttpResponse | None = None
        try:
            async with asyncio.timeout(PATIENCE_S):
                with reporting(sending), by_line():
                    answer = await self._client._async_request_once(request, stream=True)
            response: Any = answer.response_stream
            async for line in lines_of(in_time(response.aiter_bytes()), limit=self._answer_bytes):
                yield line
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending, streamed=answer is not None) from error
        finally:
            if answer is not None:
                await close(answer)

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            told = json.loads(content)
        except ValueError as error:
            raise unreadable(self.name, "it is no JSON") from error
        if not isinstance(told, dict):
            raise unreadable(self.name, "it is no object")
        return told

    def _fault(self, error: BaseException, sending: Sending, *, streamed: bool = False) -> ProviderFault:
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed)
        fault.provider_message = fault.provider_message.replace(str(self._client.api_key), "***")
        return fault


def _line(line: BatchLine) -> dict[str, Any]:
    body = whole_body(line.call)
    body.pop("serviceTier", None)  # a job has its own price
    return {"key": line.custom_id, "request": body}


def _path(job_id: str) -> str:
    """Return a job's place in an address.

    Example:
        >>> _path("batches/b1"), _path("b1")
        ('batches/b1', 'batches/b1')
    """
    return f"batches/{quote(job_id.removeprefix('batches/'), safe='')}"


def _about(job: Mapping[str, Any]) -> dict[str, Any]:
    about = job.get("metadata")
    return about if isinstance(about, dict) else {}


def _state(job: Mapping[str, Any], done: int) -> BatchState:
    name = str(_about(job).get("state")).partition("_STATE_")[2]
    if name == "FAILED" and done:
        return BatchState.ENDED  # some of it was run, and is charged
    return _STATES.get(name, BatchState.FAILED if job.get("done") and job.get("error") else BatchState.RUNNING)


def _why_failed(job: Mapping[str, Any]) -> str:
    """Return why a job failed, by the provider's code alone: its sentence may quote a prompt."""
    error = job.get("error")
    return f"error {error.get('code')}" if isinstance(error, dict) else ""


def _number(stats: Mapping[str, Any], name: str) -> int:
    """Return a count, which Google spells as a string."""
    value = str(stats.get(name) or 0)
    return int(value) if value.isdecimal() else 0


def _time(told: Any) -> float:
    """Return a moment as unix seconds; 0 where none is told. Fractions beyond microseconds are cut."""
    try:
        return datetime.fromisoformat(told).timestamp()
    except (TypeError, ValueError):
        return 0.0
