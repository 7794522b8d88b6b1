"""Anthropic's Message Batches: a job made in one request, listed without names, its results in lines when it has ended.

Source:
    Types of the anthropic SDK 2.11 (message batches); Anthropic, "Batch processing". Read 2026-11.
"""

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from aigen_emulator.batches import Batches, Job, Line
from aigen_emulator.wire.anthropic import AnthropicWire
from aigen_emulator.wire.anthropic_request import refuse
from aigen_emulator.wire.batch_port import Asked, Told

FAMILY = "anthropic"
_MOST_LINES = 100_000
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PLACES = (
    ("POST", re.compile(r"/v1/messages/batches()"), "create"),
    ("GET", re.compile(r"/v1/messages/batches()"), "list"),
    ("GET", re.compile(r"/v1/messages/batches/([^/]+)"), "retrieve"),
    ("GET", re.compile(r"/v1/messages/batches/([^/]+)/results"), "results"),
    ("POST", re.compile(r"/v1/messages/batches/([^/]+)/cancel"), "cancel"),
)

Body = dict[str, Any]


class AnthropicBatches:
    """The batch API.

    Args:
        batches: The jobs.
    """

    manners = AnthropicWire()

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def place(self, method: str, path: str) -> tuple[str, str] | None:
        """Return the operation and the id that an address names."""
        found = ((operation, place.fullmatch(path)) for verb, place, operation in _PLACES if verb == method)
        return next(((operation, match[1]) for operation, match in found if match), None)

    async def answer(self, asked: Asked) -> Told:
        """Do what is asked."""
        if asked.operation == "create":
            return _json(self._told(self._create(asked), asked))
        if asked.operation == "list":
            return _json(await self._list(asked))
        job = await self._batches.find(FAMILY, asked.provider, asked.target)
        if job is None:
            raise refuse(f"Message batch {asked.target} not found.", status=404, kind="not_found_error")
        if asked.operation == "results":
            return self._results(job)
        if asked.operation == "cancel" and not self._batches.cancel(job):
            raise refuse("Cannot cancel a batch that has ended.")
        return _json(self._told(job, asked))

    def _create(self, asked: Asked) -> Job:
        lines = _lines(asked.body)
        job_id = f"msgbatch_{self._batches.number():024x}"
        return self._batches.add(job_id, provider=asked.provider, family=FAMILY, lines=lines, about={})

    async def _list(self, asked: Asked) -> Body:
        jobs = await self._batches.listed(FAMILY, asked.provider)
        ids = [job.id for job in jobs]
        begin = ids.index(asked.query["after_id"]) + 1 if asked.query.get("after_id") in ids else 0
        limit = int(asked.query.get("limit", 20))
        page = [self._told(job, asked) for job in jobs[begin : begin + limit]]
        ends = {"first_id": page[0]["id"] if page else None, "last_id": page[-1]["id"] if page else None}
        return {"data": page, "has_more": begin + limit < len(jobs)} | ends

    def _results(self, job: Job) -> Told:
        if self._batches.state(job) == "running":
            raise refuse(f"Message batch {job.id} has not ended.", status=404, kind="not_found_error")
        body = b"".join(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for line in self._lines(job))
        return Told(body=body, content_type=b"application/x-jsonl")

    def _lines(self, job: Job) -> Iterator[Body]:
        """Yield the results, the last line first: their order means nothing there."""
        state = self._batches.state(job)
        for line in reversed(job.rest):
            yield {"custom_id": line.name, "result": {"type": "canceled" if state == "cancelled" else state}}
        for name, outcome in reversed(job.outcomes.items()):
            if outcome.status < 400:
                message = outcome.body | {"usage": outcome.body.get("usage", {}) | {"service_tier": "batch"}}
                yield {"custom_id": name, "result": {"type": "succeeded", "message": message}}
            else:
                yield {"custom_id": name, "result": {"type": "errored", "error": outcome.body}}

    def _told(self, job: Job, asked: Asked) -> Body:
        state = self._batches.state(job)
        ended = state != "running"
        counts = {
            "processing": 0 if ended else len(job.lines),  # they move only when the whole job has ended
            "succeeded": job.succeeded if ended else 0,
            "errored": job.errored if ended else 0,
            "canceled": len(job.rest) if state == "cancelled" else 0,
            "expired": len(job.rest) if state == "expired" else 0,
        }
        started = job.cancelled is not None
        return {
            "id": job.id,
            "type": "message_batch",
            "processing_status": "ended" if ended else "in_progress",
            "request_counts": counts,
            "ended_at": _spelled(job.created_wall + job.delay_s) if ended else None,
            "created_at": _spelled(job.created_wall),
            "expires_at": _spelled(job.created_wall + job.window_s),
            "archived_at": None,
            "cancel_initiated_at": _spelled(job.created_wall) if started else None,
            "results_url": f"{asked.base_url}/v1/messages/batches/{job.id}/results" if ended else None,
        }


def _lines(body: bytes) -> tuple[Line, ...]:
    try:
        requests = json.loads(body)["requests"]
        lines = {
            item["custom_id"]: Line(item["custom_id"], "/v1/messages", json.dumps(item["params"]).encode()) for item in requests
        }
    except (ValueError, LookupError, TypeError) as error:
        raise refuse("requests: Field required") from error
    if not 0 < len(lines) <= _MOST_LINES or len(lines) != len(requests):
        raise refuse("requests: 1 to 100000 requests with custom_ids of their own are allowed")
    for name in lines:
        if not _NAME.fullmatch(name):
            raise refuse("requests.0.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'")
    return tuple(lines.values())


def _spelled(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat()


def _json(body: Body) -> Told:
    return Told(body=json.dumps(body).encode())
