"""Anthropic's Message Batches: a job is made in one request, and known again by what it holds.

The API keeps no name of ours beside a job, and shows the names of its lines only in the results of one that has ended. A job whose
id was never stored is therefore looked for among those made since, of the same length: what still runs can't be told apart.

Source:
    Types of the anthropic SDK 2.11 (message batches); Anthropic, "Batch processing": 100,000 requests or 256 MB, 24 hours, what
    is not billed. Read 2026-11.
"""

import asyncio
import contextlib
import json
from collections import OrderedDict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import httpx2
from anthropic import AsyncAnthropic

from aigend.config import ProviderSettings
from aigend.errors import capability_missing
from aigend.providers.anthropic.answer import reply_from
from aigend.providers.anthropic.blocks import ADAPTER
from aigend.providers.anthropic.faults import CALL_ERRORS, fault_from
from aigend.providers.anthropic.messages import BASE_URL, call_body, sdk_client
from aigend.providers.anthropic.request import check_request
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
    results_of,
    spelled,
    without_lane,
)
from aigend.providers.batch_port import BatchLimits, BatchLine, BatchProgress, BatchResult, BatchSearch, BatchState, Found
from aigend.providers.calling import reporting
from aigend.providers.connection import Sending
from aigend.providers.faults import unreadable
from aigend.providers.port import ProviderFault
from aigend.providers.request_parts import json_object
from aigend.types import CompletionRequest

_LIMITS = BatchLimits(max_lines=100_000, max_bytes=256_000_000, window_s=86_400)
_OWN_HOSTS = ".anthropic.com"
_PATH = "/v1/messages/batches"
_PAGE = 100
_MOST_PAGES = 100
_MOST_NAMES = 10_000
_COUNTS = ("processing", "succeeded", "errored", "canceled", "expired")
_STATUSES = {  # of the errors in results, which come without one
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_NOT_RUN = frozenset(("canceled", "expired"))
_STREAMED = {"X-Stainless-Raw-Response": "stream", "Accept": "application/binary"}  # tells the SDK not to read the body itself


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> "AnthropicBatch | None":
    """Return the batch API that the settings describe; None where the server has none.

    Args:
        name: The account's name.
        settings: Its address and key.
        answer_bytes: Longest answer that is read, a line.
    """
    own = (urlsplit(settings.base_url or BASE_URL).hostname or "").endswith(_OWN_HOSTS)
    if not (own if settings.batch_api == "auto" else settings.batch_api == "use"):
        return None
    return AnthropicBatch(name, sdk_client(settings, answer_bytes=answer_bytes), answer_bytes=answer_bytes)


class AnthropicBatch:
    """The batch API of an account with Anthropic.

    Args:
        name: The account's name.
        client: The SDK, with retries off.
        answer_bytes: Longest answer that is read, a line.
    """

    limits = _LIMITS

    def __init__(self, name: str, client: AsyncAnthropic, *, answer_bytes: int) -> None:
        self.name = name
        self._client = client
        self._answer_bytes = answer_bytes
        self._names: OrderedDict[str, str] = OrderedDict()  # of a line, by job

    def check(self, request: CompletionRequest) -> None:
        """Return if a line can hold the whole request."""
        check_request(without_lane(request))
        speed = json_object(request.provider_options_json, "provider_options").get("speed")
        if speed is not None:
            raise capability_missing("provider_options.speed", speed, f"{ADAPTER} can't choose the speed of a batch job")

    def size_of(self, line: BatchLine) -> int:
        """Return a line's length as uploaded, in bytes; the comma behind it counts."""
        return len(encoded(_line(line)))

    async def submit(self, lines: Sequence[BatchLine], *, mark: str) -> str:  # noqa: ARG002 - there is no place for a mark
        """Make a job of the lines and return its id."""
        body = b'{"requests":[' + b",".join(await spelled(lines, _line)) + b"]}"
        made = await self._ask("POST", _PATH, body, patience_s=UPLOAD_PATIENCE_S)
        return self._id(made)

    async def find(self, mark: str, custom_ids: Collection[str], *, since: float) -> BatchSearch:  # noqa: ARG002 - likewise
        """Return the job whose results name our lines; UNDECIDED while one that might be ours has not ended."""
        undecided, after = False, ""
        for _ in range(_MOST_PAGES):
            page = await self._ask("GET", f"{_PATH}?limit={_PAGE}" + (f"&after_id={quote(after)}" if after else ""))
            jobs = listed(page, provider=self.name)
            recent = [job for job in jobs if _time(job.get("created_at"), 0.0) >= since - SEARCH_MARGIN_S]
            for job in jobs:  # those too that seem too old: our clock may have been wrong
                ours = await self._is_ours(job, custom_ids)
                if ours:
                    return BatchSearch(found=Found.FOUND, job_id=self._id(job))
                undecided = undecided or ours is None
            if not recent or not page.get("has_more"):
                return BatchSearch(found=Found.UNDECIDED if undecided else Found.ABSENT)
            after = self._id(jobs[-1])
        return BatchSearch(found=Found.UNDECIDED)

    async def progress(self, job_id: str) -> BatchProgress:
        """Return how far a job is; its counts move only when it ends."""
        job = await self._ask("GET", f"{_PATH}/{quote(job_id, safe='')}")
        counts = _counts(job)
        expire_time = _time(job.get("expires_at"), None)
        return BatchProgress(
            state=_state(job, counts),
            total=sum(counts.values()),
            done=counts["succeeded"],
            failed=counts["errored"] + counts["canceled"] + counts["expired"],
            expire_time=expire_time,
        )

    async def results(self, job_id: str) -> AsyncGenerator[BatchResult, None]:
        """Yield what became of each line."""
        async with contextlib.aclosing(results_of(self._lines(job_id), parse=self._result, provider=self.name)) as results:
            async for result in results:
                yield result

    async def cancel(self, job_id: str) -> None:
        """Ask the provider to stop a job; one that has ended is left as it is."""
        try:
            await self._ask("POST", f"{_PATH}/{quote(job_id, safe='')}/cancel", b"{}")
        except ProviderFault as fault:
            if not may_have_ended(fault) or (await self.progress(job_id)).state is BatchState.RUNNING:
                raise

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _is_ours(self, job: Mapping[str, Any], custom_ids: Collection[str]) -> bool | None:
        """Return whether a job holds our lines; None where this can't be seen."""
        if sum(_counts(job).values()) != len(custom_ids):
            return False
        if job.get("processing_status") != "ended" or job.get("archived_at"):
            return None
        name = await self._name_in(self._id(job))
        return name in custom_ids if name else None

    async def _name_in(self, job_id: str) -> str:
        """Return the name of one line of a job that has ended; it is looked up once."""
        name = self._names.get(job_id, "")
        if not name:
            async with contextlib.aclosing(self.results(job_id)) as results:
                async for result in results:
                    name = self._names[job_id] = result.custom_id
                    break
            if len(self._names) > _MOST_NAMES:
                self._names.popitem(last=False)
        return name

    def _result(self, told: Any) -> BatchResult:
        """Return what a line of the results says. Raises ValueError where it is none."""
        name, result = str(told["custom_id"]), told["result"]
        kind = result["type"]
        if kind == "succeeded":
            return BatchResult(custom_id=name, outcome=batched(reply_from(result["message"])))
        if kind in _NOT_RUN:
            return BatchResult(custom_id=name, outcome=None)
        error = result["error"].get("error", result["error"])
        status = _STATUSES.get(str(error.get("type")), 500)
        return BatchResult(custom_id=name, outcome=error_fault(self.name, status, {"error": error}))

    def _id(self, made: Mapping[str, Any]) -> str:
        if not isinstance(made.get("id"), str) or not made["id"]:
            raise unreadable(self.name, "id is missing")
        return str(made["id"])

    async def _ask(self, method: str, path: str, content: bytes | None = None, *, patience_s: float = PATIENCE_S) -> dict[str, Any]:
        """Return the object that the provider answers with. Raises ProviderFault where it gives none."""
        sending = Sending()
        try:
            async with asyncio.timeout(patience_s):
                with reporting(sending):
                    if method == "GET":
                        answer = await self._client.get(path, cast_to=httpx2.Response)
                    else:
                        answer = await self._client.post(path, cast_to=httpx2.Response, content=content)
            told = json.loads(answer.content)
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending) from error
        if not isinstance(told, dict):
            raise unreadable(self.name, "it is no object")
        return told

    async def _lines(self, job_id: str) -> AsyncGenerator[RawLine, None]:
        sending, begun = Sending(), False
        try:
            with reporting(sending), by_line():
                answer = await self._open(f"{_PATH}/{quote(job_id, safe='')}/results")
            begun = True
            async for line in lines_of(in_time(answer.aiter_bytes()), limit=self._answer_bytes):
                yield line
        except (TimeoutError, *CALL_ERRORS) as error:
            raise self._fault(error, sending, streamed=begun) from error
        finally:
            if begun:
                await answer.aclose()

    async def _open(self, path: str) -> httpx2.Response:
        async with asyncio.timeout(PATIENCE_S):
            return await self._client.get(path, cast_to=httpx2.Response, options={"headers": _STREAMED})

    def _fault(self, error: BaseException, sending: Sending, *, streamed: bool = False) -> ProviderFault:
        fault = fault_from(error, provider=self.name, sending=sending, streamed=streamed)
        if self._client.api_key:
            fault.provider_message = fault.provider_message.replace(self._client.api_key, "***")
        return fault


def _line(line: BatchLine) -> dict[str, Any]:
    return {"custom_id": line.custom_id, "params": call_body(line.call, stream=False)}


def _counts(job: Mapping[str, Any]) -> dict[str, int]:
    told = job.get("request_counts")
    counts = told if isinstance(told, dict) else {}
    return {name: value if isinstance(value := counts.get(name), int) else 0 for name in _COUNTS}


def _state(job: Mapping[str, Any], counts: Mapping[str, int]) -> BatchState:
    if job.get("processing_status") != "ended":
        return BatchState.RUNNING
    if counts["canceled"]:
        return BatchState.CANCELLED
    return BatchState.EXPIRED if counts["expired"] else BatchState.ENDED


def _time(told: Any, otherwise: Any) -> Any:
    """Return a moment as unix seconds."""
    try:
        return datetime.fromisoformat(told).timestamp()
    except (TypeError, ValueError):
        return otherwise
