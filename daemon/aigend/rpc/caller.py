"""Whose call it is: the metadata beside a request."""

import uuid
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from aigen.v1 import completion_pb2
from google.protobuf.message import DecodeError

from aigend.errors import invalid
from aigend.types import Accounting, Caller

REQUEST_ID = "aigen-request-id"
ACCOUNTING = "aigen-accounting-bin"
TRACEPARENT = "traceparent"
LOCAL_SCOPE = "local"  # the owner of the socket: its mode lets nobody else in
MAX_NAME = 128
MAX_LABELS = 16
MAX_LABEL = 64
MAX_REQUEST_ID = 128


class Sender(NamedTuple):
    """Metadata as sent, not yet checked."""

    request_id: str = ""
    account: bytes = b""
    traceparent: str = ""


def read_metadata(metadata: Sequence[tuple[str, Any]]) -> Sender:
    """Return what concerns us of a call's metadata; this runs on every hit."""
    request_id, account, traceparent = "", b"", ""
    for key, value in metadata:
        if key == REQUEST_ID:
            request_id = value
        elif key == ACCOUNTING:
            account = value
        elif key == TRACEPARENT:
            traceparent = value
    return Sender(request_id, account, traceparent)


def check_request_id(request_id: str) -> str:
    """Return a request id, made here where none was sent.

    Raises:
        DomainError: INVALID_REQUEST for one that is too long or not printable.
    """
    if not request_id:
        return str(uuid.uuid4())
    if len(request_id) > MAX_REQUEST_ID or not request_id.isprintable():
        raise invalid(REQUEST_ID, request_id, f"1 to {MAX_REQUEST_ID} printable characters, such as a UUID")
    return request_id


@lru_cache(maxsize=1_024)
def unpack_accounting(account: bytes) -> Accounting:
    """Return on whose account a call goes; programs send the same bytes many times.

    Raises:
        DomainError: INVALID_REQUEST naming the field.
    """
    if not account:
        return Accounting()
    message = completion_pb2.Accounting()
    try:
        message.ParseFromString(account)
    except DecodeError as error:
        raise invalid(ACCOUNTING, "not a protobuf message", "a serialized aigen.v1.Accounting") from error
    for field, value in (("session", message.session), ("task", message.task)):
        if len(value) > MAX_NAME or (value and not value.isprintable()):
            raise invalid(f"accounting.{field}", value, f"at most {MAX_NAME} printable characters")
    labels = dict(message.labels)
    _check_labels(labels)
    return Accounting(
        session=message.session, task=message.task, labels=MappingProxyType(labels), allow_repeat=message.allow_repeat
    )


def _check_labels(labels: dict[str, str]) -> None:
    if len(labels) > MAX_LABELS:
        raise invalid("accounting.labels", f"{len(labels)} labels", f"at most {MAX_LABELS}")
    for key, value in labels.items():
        if not 1 <= len(key) <= MAX_LABEL or len(value) > MAX_LABEL or not (key + value).isprintable():
            raise invalid(
                f"accounting.labels[{key[:MAX_LABEL]!r}]",
                value,
                f"keys of 1 to {MAX_LABEL} and values of at most {MAX_LABEL} printable characters",
            )


def make_caller(sender: Sender, *, digest_of: Callable[[], bytes], deadline: float | None, traceparent: str = "") -> Caller:
    """Return the checked caller of one call.

    Args:
        sender: Its metadata.
        digest_of: Computes the digest of the whole request, deterministically serialized.
        deadline: When the caller stops waiting, by the monotonic clock.
        traceparent: Of the span that the call runs in; empty where it is not traced.

    Raises:
        DomainError: INVALID_REQUEST for bad metadata.
    """
    return Caller(
        scope=LOCAL_SCOPE,
        request_id=check_request_id(sender.request_id),
        accounting=unpack_accounting(sender.account),
        digest_of=digest_of,
        deadline=deadline,
        traceparent=traceparent,
    )
