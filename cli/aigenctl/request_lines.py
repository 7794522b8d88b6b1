"""Files of requests: JSON lines, each a request as the client's `complete()` takes it, read whole before anything is sent."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any

import aigen

from aigenctl.options import SHOWN_CHARACTERS

PROMPT = ("prompt", "messages")
OPTIONS = tuple(name for name in aigen.CompletionOptions.__annotations__ if name not in ("context_digest", "lane"))
ALLOWED = (*PROMPT, "request_id", *OPTIONS)
_TOOL_KEYS = tuple(field.name for field in fields(aigen.Tool))


class BadLineError(ValueError):
    """A line that is no request; the text names file, line and field."""


@dataclass(frozen=True, slots=True)
class RequestFile:
    """Requests of a file with the lines that they stand in."""

    name: str
    requests: list[aigen.CompletionRequest]
    request_ids: list[str]  # "": none was given
    lines: list[int]

    def blame(self, error: aigen.InvalidRequest) -> BadLineError | None:
        """Return what is wrong with which line, where an error of client or daemon names a request by its position."""
        place, bracket, field = error.field.partition("[")[2].partition("]")
        if not bracket or not place.isdecimal() or int(place) >= len(self.lines):
            return None
        return BadLineError(f"{self.name} line {self.lines[int(place)]}: {field.lstrip('.') or 'request'}: {error.text}")


def read_requests(path: Path) -> RequestFile:
    """Return the requests of a file; empty lines are skipped.

    Raises:
        BadLineError: The file can't be read, holds nothing, or a line is no request.
    """
    name = "standard input" if str(path) == "-" else str(path)
    found = RequestFile(name, [], [], [])
    for number, line in enumerate(_lines(path, name), 1):
        if line.strip():
            request, request_id = _request(line, f"{name} line {number}")
            found.requests.append(request)
            found.request_ids.append(request_id)
            found.lines.append(number)
    if not found.requests:
        raise BadLineError(f"{name} holds no request; allowed: one JSON object a line")
    return found


def _lines(path: Path, name: str) -> Iterable[str]:
    try:
        content = Path("/dev/stdin" if str(path) == "-" else path).read_bytes()
    except OSError as error:
        raise BadLineError(
            f"{name} can't be read: {error.strerror}; allowed: a file of JSON lines, or - for standard input"
        ) from error
    try:
        return content.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise BadLineError(f"{name} line {line} is not UTF-8; allowed: UTF-8 text") from error


def _request(line: str, where: str) -> tuple[aigen.CompletionRequest, str]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadLineError(f"{where} is no JSON: {error}; allowed: a JSON object") from error
    if not isinstance(values, dict):
        raise BadLineError(f"{where} is {type(values).__name__}; allowed: a JSON object with prompt or messages")
    _check_lane(values, where)
    unknown = next((key for key in values if key not in (*ALLOWED, "lane")), None)
    if unknown is not None:
        raise BadLineError(f"{where}: field {unknown!r} is not known; allowed: {', '.join(ALLOWED)}")
    prompts = [values[key] for key in PROMPT if values.get(key) is not None]
    if len(prompts) != 1:
        raise BadLineError(f"{where}: {'both prompt and' if prompts else 'neither prompt nor'} messages; allowed: one of them")
    _check_prompt(values, where)
    request_id = values.get("request_id") or ""
    if not isinstance(request_id, str):
        raise BadLineError(f"{where}: request_id is {request_id!r}; allowed: a text")
    options = {key: _option(key, values[key], where) for key in OPTIONS if values.get(key) is not None}
    return aigen.CompletionRequest(prompts[0], **options), request_id


def _check_lane(values: dict[str, Any], where: str) -> None:
    """Refuse a lane that a job has not: files that say deferred, as those of an inbox do, are taken."""
    lane = values.get("lane")
    if lane not in (None, "deferred"):
        allowed = "deferred, or none: lines of a job are always deferred"
        raise BadLineError(f"{where}: lane is {_shown(lane)}; allowed: {allowed}")


def _check_prompt(values: dict[str, Any], where: str) -> None:
    prompt, messages = values.get("prompt"), values.get("messages")
    if prompt is not None and not isinstance(prompt, str):
        raise BadLineError(f"{where}: prompt is {_shown(prompt)}; allowed: a text")
    if messages is not None and not isinstance(messages, list):
        raise BadLineError(f"{where}: messages is {_shown(messages)}; allowed: a list of objects with role and content")


def _shown(value: Any) -> str:
    """Return a value as it may stand in the file, cut where it is long."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def _option(key: str, value: Any, where: str) -> Any:
    """Return an option as the client takes it; what JSON has no word for is spelled as text or object."""
    if key == "complete_by":
        return _moment(value, where)
    if key == "tools" and isinstance(value, list):
        return [_tool(item, f"{where}: tools[{index}]") for index, item in enumerate(value)]
    if key == "prompt_caching" and isinstance(value, dict):
        return _made(aigen.PromptCaching, value, f"{where}: prompt_caching")
    if key in ("response_format", "tool_choice") and isinstance(value, dict):
        kind = aigen.ResponseFormat if key == "response_format" else aigen.ToolChoice
        return _made(kind, value, f"{where}: {key}")
    return value


def _tool(item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        raise BadLineError(f"{where} is {item!r}; allowed: an object with {', '.join(_TOOL_KEYS)}")
    return _made(aigen.Tool, item, where)


def _made(kind: Any, values: dict[str, Any], where: str) -> Any:
    try:
        return kind(**values)
    except TypeError as error:
        allowed = ", ".join(field.name for field in fields(kind))
        raise BadLineError(f"{where} can't be used ({error}); allowed: {allowed}") from error


def _moment(value: Any, where: str) -> datetime:
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        moment = None
    if moment is None or moment.tzinfo is None:
        raise BadLineError(f"{where}: complete_by is {value!r}; allowed: ISO 8601 with a time zone, such as 2026-11-21T08:00Z")
    return moment
