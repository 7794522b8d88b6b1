"""Deferred work as JSON lines: a request with its account and id in one object, and its result in another."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from aigen.v1 import completion_pb2

from aigend.completion.batch import Item
from aigend.completion.call import Reply
from aigend.errors import DomainError, invalid
from aigend.rpc.caller import LOCAL_SCOPE, check_request_id, unpack_accounting
from aigend.rpc.completion import request_digest, request_wire
from aigend.rpc.json_message import fill, plain
from aigend.rpc.request import check_size, read_json, unpack_request
from aigend.rpc.status import as_domain_error
from aigend.types import Accounting, Caller

REQUEST_ID = "request_id"
ACCOUNT = frozenset(completion_pb2.Accounting.DESCRIPTOR.fields_by_name)


class WorkLines:
    """Implements `intake.port.WorkCodec`: fields of `CompleteRequest` and `Accounting` side by side, beside `request_id`.

    Args:
        max_bytes: Returns the size of the largest request.
    """

    def __init__(self, max_bytes: Callable[[], int]) -> None:
        self._max_bytes = max_bytes

    def read(self, body: bytes, request_id: str) -> tuple[Caller, Item]:
        """Return whose call a line is, and its request or why it is none; its lane is DEFERRED where it names none."""
        try:
            values = _object(body)
            request_id = _own_id(values) or request_id
            return self._unpack(values, request_id)
        except DomainError as error:
            return Caller(scope=LOCAL_SCOPE, request_id=request_id, accounting=Accounting()), error

    def spell(self, request_id: str, end: Reply | BaseException, about: Mapping[str, int]) -> bytes:
        """Return a result as an object in one line."""
        result: dict[str, Any] = {REQUEST_ID: request_id, **about}
        if isinstance(end, Reply):
            result["response"] = plain(completion_pb2.CompleteResponse.FromString(end.response))
        else:
            result["error"] = _error(as_domain_error(end))
        return json.dumps(result, ensure_ascii=False).encode("utf-8", "backslashreplace")

    def _unpack(self, values: dict[str, Any], request_id: str) -> tuple[Caller, Item]:
        account, message = completion_pb2.Accounting(), completion_pb2.CompleteRequest()
        fill(account, {key: value for key, value in values.items() if key in ACCOUNT})
        fill(message, {key: value for key, value in values.items() if key not in ACCOUNT}, beside={*ACCOUNT, REQUEST_ID})
        message.lane = message.lane or completion_pb2.LANE_DEFERRED
        check_size(message.ByteSize(), self._max_bytes())
        wire, digest = request_wire(message), request_digest(message)
        caller = Caller(
            scope=LOCAL_SCOPE,
            request_id=request_id,
            accounting=unpack_accounting(account.SerializeToString(deterministic=True)),
            digest_of=partial(bytes, digest),
            wire_of=partial(bytes, wire),
        )
        return caller, unpack_request(message)


def _object(body: bytes) -> dict[str, Any]:
    values = read_json("line", body.decode())
    if not isinstance(values, dict):
        raise invalid("line", type(values).__name__, "a JSON object with prompt or messages")
    return values


def _own_id(values: dict[str, Any]) -> str:
    """Take the id that a line names out of it; empty where it names none."""
    given = values.pop(REQUEST_ID, None) or ""
    if not isinstance(given, str):
        raise invalid(REQUEST_ID, given, "a text")
    return check_request_id(given) if given else ""


def _error(error: DomainError) -> dict[str, Any]:
    told = {"reason": error.reason, "message": error.text, "metadata": error.metadata}
    return told if error.retry_after_s is None else told | {"retry_after_s": error.retry_after_s}
