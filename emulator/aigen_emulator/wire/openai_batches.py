"""OpenAI's files and batches: an uploaded file of requests, the job made of it, its two files of results.

Source:
    Types of the openai SDK 3.52; OpenAI API reference, batches, files, and the forms of input and output lines. Read 2026-11.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from aigen_emulator.batches import Batches, Job, Line
from aigen_emulator.wire.batch_port import Asked, Told
from aigen_emulator.wire.openai import OpenAIWire
from aigen_emulator.wire.openai_errors import refuse

FAMILY = "openai"
_ENDPOINTS = ("/v1/chat/completions", "/v1/responses")
_MOST_LINES = 50_000
_PLACES = (
    ("POST", re.compile(r"/v1/files()"), "upload"),
    ("GET", re.compile(r"/v1/files/([^/]+)/content"), "results"),
    ("POST", re.compile(r"/v1/batches()"), "create"),
    ("GET", re.compile(r"/v1/batches()"), "list"),
    ("GET", re.compile(r"/v1/batches/([^/]+)"), "retrieve"),
    ("POST", re.compile(r"/v1/batches/([^/]+)/cancel"), "cancel"),
)
_STATUS = {"running": "in_progress", "ended": "completed", "failed": "failed", "expired": "expired", "cancelled": "cancelled"}
_NOT_RUN = {
    "expired": ("batch_expired", "This request could not be executed before the completion window expired."),
    "cancelled": ("batch_cancelled", "This request was not executed because the batch was cancelled."),
}

Body = dict[str, Any]


class OpenAIBatches:
    """The batch API.

    Args:
        batches: The files and jobs.
    """

    manners = OpenAIWire()

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def place(self, method: str, path: str) -> tuple[str, str] | None:
        """Return the operation and the id that an address names."""
        found = ((operation, place.fullmatch(path)) for verb, place, operation in _PLACES if verb == method)
        return next(((operation, match[1]) for operation, match in found if match), None)

    async def answer(self, asked: Asked) -> Told:
        """Do what is asked."""
        if asked.operation == "upload":
            return _json(self._upload(asked))
        if asked.operation == "results":
            return await self._content(asked)
        if asked.operation == "create":
            return _json(self._told(self._create(asked)))
        if asked.operation == "list":
            return _json(await self._list(asked))
        job = await self._find(asked)
        if asked.operation == "cancel" and not self._batches.cancel(job):
            status = _STATUS[self._batches.state(job)]
            raise refuse(f"Cannot cancel a batch with status '{status}'.", status=409)
        return _json(self._told(job))

    def _upload(self, asked: Asked) -> Body:
        fields = _multipart(asked.headers.get(b"content-type", b""), asked.body)
        if fields.get("purpose") != b"batch" or "file" not in fields:
            raise refuse("'purpose' must be 'batch' here, and 'file' is required.", param="purpose")
        name = f"file-{self._batches.number():024x}"
        self._batches.files[name] = fields["file"]
        size = len(fields["file"])
        return {"id": name, "object": "file", "bytes": size, "filename": "lines.jsonl", "purpose": "batch", "status": "processed"}

    def _create(self, asked: Asked) -> Job:
        body = _parsed(asked.body)
        if body.get("endpoint") not in _ENDPOINTS or body.get("completion_window") != "24h":
            raise refuse("Invalid endpoint or completion_window.", param="endpoint")
        content = self._batches.files.get(str(body.get("input_file_id")))
        if content is None:
            raise refuse(f"No such File object: {body.get('input_file_id')}", param="input_file_id")
        lines, problems = _lines(content, body["endpoint"])
        about = {name: body.get(name) for name in ("endpoint", "input_file_id", "metadata")}
        job_id = f"batch_{self._batches.number():024x}"
        return self._batches.add(job_id, provider=asked.provider, family=FAMILY, lines=lines, about=about, problems=tuple(problems))

    async def _list(self, asked: Asked) -> Body:
        jobs = await self._batches.listed(FAMILY, asked.provider)
        ids = [job.id for job in jobs]
        begin = ids.index(asked.query["after"]) + 1 if asked.query.get("after") in ids else 0
        limit = int(asked.query.get("limit", 20))
        page = [self._told(job) for job in jobs[begin : begin + limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        return {"object": "list", "data": page, "has_more": begin + limit < len(jobs)} | ends

    async def _content(self, asked: Asked) -> Told:
        kind, _, job_id = asked.target.partition("-of-")
        job = await self._batches.find(FAMILY, asked.provider, job_id)
        if job is None or kind not in ("file-output", "file-error"):
            raise refuse(f"No such File object: {asked.target}", param="id", status=404)
        lines = self._output(job) if kind == "file-output" else self._errors(job)
        body = b"".join(json.dumps(line, ensure_ascii=False).encode("utf-8", "surrogatepass") + b"\n" for line in lines)
        return Told(body=body, content_type=b"application/octet-stream")

    async def _find(self, asked: Asked) -> Job:
        job = await self._batches.find(FAMILY, asked.provider, asked.target)
        if job is None:
            raise refuse(f"No batch found with id '{asked.target}'.", status=404)
        return job

    def _output(self, job: Job) -> Iterator[Body]:
        for number, (name, outcome) in enumerate(job.outcomes.items()):
            if outcome.status < 400:
                yield _line(number, name, {"status_code": outcome.status, "request_id": f"req_{number}", "body": outcome.body})

    def _errors(self, job: Job) -> Iterator[Body]:
        for number, (name, outcome) in enumerate(job.outcomes.items()):
            if outcome.status >= 400:
                yield _line(number, name, {"status_code": outcome.status, "request_id": f"req_{number}", "body": outcome.body})
        state = self._batches.state(job)
        for number, line in enumerate(job.rest if state in _NOT_RUN else (), len(job.outcomes)):
            code, message = _NOT_RUN[state]
            yield _line(number, line.name, None, {"code": code, "message": message})

    def _told(self, job: Job) -> Body:
        state = self._batches.state(job)
        done = state in ("ended", "expired", "cancelled")
        failed = job.errored or (done and job.rest)
        return {
            "id": job.id,
            "object": "batch",
            "endpoint": job.about["endpoint"],
            "errors": {"object": "list", "data": list(job.problems)} if job.problems else None,
            "input_file_id": job.about["input_file_id"],
            "completion_window": "24h",
            "status": _STATUS[state],
            "output_file_id": f"file-output-of-{job.id}" if done and job.succeeded else None,
            "error_file_id": f"file-error-of-{job.id}" if done and failed else None,
            "created_at": int(job.created_wall),
            "expires_at": int(job.created_wall + job.window_s),
            "request_counts": {"total": len(job.lines), "completed": job.succeeded, "failed": job.errored},
            "metadata": job.about["metadata"],
        }


def _line(number: int, name: str, response: Any, error: Any = None) -> Body:
    return {"id": f"batch_req_{number:x}", "custom_id": name, "response": response, "error": error}


def _lines(content: bytes, endpoint: str) -> tuple[tuple[Line, ...], list[Body]]:
    """Return the lines of a file, and what makes the provider refuse the whole of it."""
    lines: dict[str, Line] = {}
    problems: list[Body] = []
    models = set()
    for number, text in enumerate(content.splitlines(), 1):
        try:
            asked = json.loads(text)
            name, url, body = asked["custom_id"], asked["url"], asked["body"]
        except (ValueError, LookupError, TypeError):
            problems.append(_problem("invalid_json_line", "This line is not parseable as valid JSON.", number))
            continue
        if url != endpoint:
            problems.append(_problem("mismatched_endpoint", "The URL does not match the batch's endpoint.", number))
        if name in lines:
            problems.append(_problem("duplicate_custom_id", f"The custom_id '{name}' is used twice.", number))
        models.add(body.get("model"))
        lines[name] = Line(name, endpoint, json.dumps(body).encode())
    if len(models) > 1:
        problems.append(_problem("mismatched_model", "All requests of a batch must be for one model.", 1))
    if not lines or len(lines) > _MOST_LINES:
        problems.append(_problem("invalid_line_count", f"A batch has 1 to {_MOST_LINES} requests.", 1))
    return tuple(lines.values()), problems


def _problem(code: str, message: str, line: int) -> Body:
    return {"code": code, "message": message, "line": line, "param": None}


def _multipart(content_type: bytes, body: bytes) -> dict[str, bytes]:
    """Return the fields of a form with files."""
    boundary = content_type.partition(b"boundary=")[2].strip(b'"')
    fields: dict[str, bytes] = {}
    for part in body.split(b"--" + boundary) if boundary else ():
        head, _, value = part.partition(b"\r\n\r\n")
        if name := re.search(rb'name="([^"]+)"', head):
            fields[name[1].decode("latin-1")] = value.removesuffix(b"\r\n")
    return fields


def _parsed(body: bytes) -> Mapping[str, Any]:
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise refuse("We could not parse the JSON body of your request.") from error
    if not isinstance(asked, dict):
        raise refuse("The JSON body of your request is not an object.")
    return asked


def _json(body: Body) -> Told:
    return Told(body=json.dumps(body).encode())
