"""Google's batches: a file uploaded in two steps, the job made of it as a long-running operation, the file of its answers.

Source:
    The google-genai SDK 3.4 (batches, files); Google, "Batch API" and its reference. Read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from aigen_emulator.batches import Batches, Job, Line
from aigen_emulator.wire.batch_port import Asked, Told
from aigen_emulator.wire.gemini_errors import refuse
from aigen_emulator.wire.port import Wire

FAMILY = "gemini"
_VERSION = r"/v1(?:alpha|beta)?"
_PLACES = (
    ("POST", re.compile(rf"/upload{_VERSION}/files()"), "upload"),
    ("POST", re.compile(rf"{_VERSION}/models/([^/:]+):batchGenerateContent"), "create"),
    ("GET", re.compile(rf"{_VERSION}/batches()"), "list"),
    ("GET", re.compile(rf"{_VERSION}/batches/([^/:]+)"), "retrieve"),
    ("POST", re.compile(rf"{_VERSION}/batches/([^/:]+):cancel"), "cancel"),
    ("GET", re.compile(rf"/download{_VERSION}/files/([^/:]+):download"), "results"),
)
_STATES = {"running": "RUNNING", "ended": "SUCCEEDED", "failed": "FAILED", "expired": "EXPIRED", "cancelled": "CANCELLED"}
_CODES = {400: 3, 401: 16, 403: 7, 404: 5, 429: 8, 500: 13, 503: 14, 504: 4}  # HTTP status -> google.rpc.Code
_INTERNAL = 13
_PAGE = 50

Body = dict[str, Any]


class GeminiBatches:
    """The batch API.

    Args:
        batches: The files and jobs.
        manners: How its headers, keys and errors are spelled.
    """

    def __init__(self, batches: Batches, manners: Wire) -> None:
        self.manners = manners
        self._batches = batches

    def place(self, method: str, path: str) -> tuple[str, str] | None:
        """Return the operation and the id that an address names."""
        found = ((operation, place.fullmatch(path)) for verb, place, operation in _PLACES if verb == method)
        return next(((operation, match[1]) for operation, match in found if match), None)

    async def answer(self, asked: Asked) -> Told:
        """Do what is asked."""
        if asked.operation == "upload":
            return self._upload(asked)
        if asked.operation == "create":
            return _json(self._told(self._create(asked)))
        if asked.operation == "list":
            return _json(await self._list(asked))
        if asked.operation == "results":
            return await self._download(asked)
        job = await self._batches.find(FAMILY, asked.provider, asked.target)
        if job is None:
            raise refuse(f"Batch batches/{asked.target} not found.", status=404)
        if asked.operation == "cancel":
            if not self._batches.cancel(job):
                raise refuse("The batch is in a terminal state and can't be cancelled.")
            return _json({})
        return _json(self._told(job))

    def _upload(self, asked: Asked) -> Told:
        """Begin an upload, which says where the bytes go, or take the bytes."""
        command = asked.headers.get(b"x-goog-upload-command", b"").decode("latin-1")
        if command == "start":
            number = self._batches.number()
            address = f"{asked.base_url}/upload/v1beta/files?upload_id={number:x}&upload_protocol=resumable"
            return Told(body=b"{}", headers={"x-goog-upload-url": address, "x-goog-upload-status": "active"})
        if "finalize" not in command or not asked.query.get("upload_id"):
            raise refuse("Invalid upload command.")
        name = f"files/{int(asked.query['upload_id'], 16):012x}"
        self._batches.files[name] = asked.body
        file = {"name": name, "mimeType": "application/jsonl", "sizeBytes": str(len(asked.body)), "state": "ACTIVE"}
        return Told(body=json.dumps({"file": file}).encode(), headers={"x-goog-upload-status": "final"})

    def _create(self, asked: Asked) -> Job:
        try:
            batch = json.loads(asked.body)["batch"]
            name, source = str(batch["displayName"]), batch["inputConfig"]
        except (ValueError, LookupError, TypeError) as error:
            raise refuse("Invalid JSON payload received: batch.displayName and batch.inputConfig are required.") from error
        content = self._batches.files.get(str(source.get("fileName")))
        if content is None:
            raise refuse(f"File {source.get('fileName')} not found.", status=404)
        lines = _lines(content, f"/v1beta/models/{asked.target}:generateContent")
        about = {"displayName": name, "model": f"models/{asked.target}"}
        job_id = f"{self._batches.number():012x}"
        return self._batches.add(job_id, provider=asked.provider, family=FAMILY, lines=lines, about=about, keeps_expired=False)

    async def _list(self, asked: Asked) -> Body:
        jobs = await self._batches.listed(FAMILY, asked.provider)
        begin, size = int(asked.query.get("pageToken") or 0), int(asked.query.get("pageSize") or _PAGE)
        page: Body = {"operations": [self._told(job) for job in jobs[begin : begin + size]]}
        return page | ({"nextPageToken": str(begin + size)} if begin + size < len(jobs) else {})

    async def _download(self, asked: Asked) -> Told:
        job = await self._batches.find(FAMILY, asked.provider, asked.target.removeprefix("batch-"))
        if job is None or self._batches.state(job) == "running" or not asked.target.startswith("batch-"):
            raise refuse(f"File {asked.target} not found.", status=404)
        body = b"".join(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for line in _results(job))
        return Told(body=body, content_type=b"application/octet-stream")

    def _told(self, job: Job) -> Body:
        state = self._batches.state(job)
        counts = {
            "requestCount": len(job.lines),
            "successfulRequestCount": job.succeeded,
            "failedRequestCount": job.errored,
            "pendingRequestCount": len(job.rest),
        }
        created = datetime.fromtimestamp(job.created_wall, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        about = dict(job.about) | {
            "name": f"batches/{job.id}",
            "state": f"BATCH_STATE_{_STATES[state]}",
            "createTime": created,
            "updateTime": created,
            "batchStats": {name: str(count) for name, count in counts.items() if count},
        }
        told: Body = {"name": f"batches/{job.id}", "metadata": about}
        if state == "running":
            return told
        if state == "ended" or (state == "cancelled" and job.outcomes):
            output = {"responsesFile": f"files/batch-{job.id}"}
            return told | {"done": True, "metadata": about | {"output": output}, "response": output}
        return told | {"done": True, "error": {"code": _INTERNAL if state == "failed" else 1, "message": f"The batch has {state}."}}


def _results(job: Job) -> Iterator[Body]:
    for name, outcome in job.outcomes.items():
        if outcome.status < 400:
            yield {"key": name, "response": outcome.body}
        else:
            told = outcome.body.get("error", {}) if isinstance(outcome.body, Mapping) else {}
            code = _CODES.get(outcome.status, _INTERNAL)
            yield {"key": name, "error": {"code": code, "message": told.get("message", "")}}


def _lines(content: bytes, path: str) -> tuple[Line, ...]:
    try:
        asked = [json.loads(line) for line in content.splitlines()]
        lines = {item["key"]: Line(item["key"], path, json.dumps(item["request"]).encode()) for item in asked}
    except (ValueError, LookupError, TypeError) as error:
        raise refuse("Failed to parse the input file: each line is an object with key and request.") from error
    if not lines or len(lines) != len(asked):
        raise refuse("The input file must hold requests with keys of their own.")
    return tuple(lines.values())


def _json(body: Body) -> Told:
    return Told(body=json.dumps(body).encode())
