"""Every way in which a call can fail, as one tree.

```
AigenError                    anything that aigen raises
├── ClientClosed              the client was closed, or belongs to another process (also RuntimeError)
├── DaemonUnavailable         no daemon answers, or it is stopping
├── DeadlineExceeded          the caller's patience ended (also TimeoutError)
├── RequestRefused            nothing was sent to a provider, nothing was paid
│   ├── InvalidRequest        a field holds what it may not hold (also ValueError); `.field` names it
│   │   └── UnknownModel      no such model or agent
│   ├── ModelNotAllowed       the service's policy forbids the model
│   ├── NotFound              not in the cache, or no such thing (also LookupError)
│   ├── AccessDenied          not authenticated, or the role is missing
│   └── PreconditionFailed    understood, but the daemon is not set up for it
├── LimitReached              a limit of the daemon
│   ├── BudgetExceeded        a budget does not allow the call; metadata names budget, limit and reset
│   ├── Overloaded            too many calls wait; `.retry_after_s` says when it may help
│   └── RateLimited           too many calls a minute; `.retry_after_s` likewise
├── ProviderError             the provider's fault or verdict
│   ├── ProviderUnavailable   it could not be reached, timed out or failed
│   └── ProviderRefused       it refused the key, the account or the content
├── OutcomeUnknown            a call may have been paid and its answer is lost
└── DaemonFault               a defect of the daemon, or its storage failed
```

This is also the one place where a foreign error becomes one of ours: `from_rpc_error` and `from_status`. They dispatch by
(domain, reason) and, where the reason is not known to this version, by status code; never by text.
"""
# ruff: noqa: N818 - the names of the tree are the contract's, and "Error" would say nothing more

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

DOMAIN = "aigend"


class AigenError(Exception):
    """Anything that aigen raises.

    Args:
        text: A sentence for people; it may change between versions.
        reason: Why, in the stable spelling of the contract, such as "BUDGET_EXCEEDED"; empty where the daemon gave none.
        code: gRPC status code by name, such as "RESOURCE_EXHAUSTED"; empty where the client itself refused.
        metadata: Facts for programs, units in the keys, such as `limit_usd_nanos`.
        retry_after_s: Seconds after which asking again may help; None where it does not.
        request_id: Request id of the call; empty where there was none.
    """

    def __init__(
        self,
        text: str = "",
        *,
        reason: str = "",
        code: str = "",
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
        request_id: str = "",
    ) -> None:
        super().__init__(text)
        self.text = text
        self.reason = reason
        self.code = code
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.reason}: {self.text}" if self.reason else self.text


class ClientClosed(AigenError, RuntimeError):
    """The client was closed, or belongs to another process or event loop."""


class DaemonUnavailable(AigenError):
    """No daemon answers, or the one that does is stopping."""


class DeadlineExceeded(AigenError, TimeoutError):
    """The caller's patience ended before the answer came; a call under way is still read, settled and cached."""


class RequestRefused(AigenError):
    """Nothing was sent to a provider, nothing was paid."""


class InvalidRequest(RequestRefused, ValueError):
    """A field holds what it may not hold."""

    @property
    def field(self) -> str:
        """Path of the field, such as "messages[2].parts[0].text"; empty where the daemon named none."""
        return self.metadata.get("field", "")


class UnknownModel(InvalidRequest):
    """No model, alias or agent has that name."""


class ModelNotAllowed(RequestRefused):
    """The service's policy forbids the model; the metadata name the allowed ones."""


class NotFound(RequestRefused, LookupError):
    """Not in the cache, or no such thing."""


class AccessDenied(RequestRefused):
    """The caller is not authenticated, or its role does not allow the call."""


class PreconditionFailed(RequestRefused):
    """The request is understood, but the daemon is not set up to serve it."""


class LimitReached(AigenError):
    """A limit of the daemon was reached."""


class BudgetExceeded(LimitReached):
    """A budget does not allow the call; the metadata name budget, window, limit, spent and reset."""


class Overloaded(LimitReached):
    """Too many calls wait in the daemon."""


class RateLimited(LimitReached):
    """Too many calls in too short a time."""


class ProviderError(AigenError):
    """The provider's fault or verdict."""


class ProviderUnavailable(ProviderError):
    """The provider could not be reached, took too long or failed."""


class ProviderRefused(ProviderError):
    """The provider refused the key, the account or the content."""


class OutcomeUnknown(AigenError):
    """The call may have been paid and its answer is lost; `allow_repeat=True` allows a second paid call under its id."""


class DaemonFault(AigenError):
    """A defect of the daemon, or its storage failed; the metadata hold the fault id to look for in its log."""


def invalid(field: str, shown: object, allowed: str) -> InvalidRequest:
    """Return the refusal of a field by the client itself, before anything is sent.

    Example:
        >>> str(invalid("timeout", 0, "seconds above 0"))
        'INVALID_REQUEST: timeout is 0; allowed: seconds above 0'
    """
    value = str(shown) if len(str(shown)) <= 80 else f"{str(shown)[:77]}..."
    metadata = {"field": field, "value": value, "allowed": allowed}
    return InvalidRequest(f"{field} is {value}; allowed: {allowed}", reason="INVALID_REQUEST", metadata=metadata)


_BY_REASON: Mapping[str, type[AigenError]] = {
    "INVALID_REQUEST": InvalidRequest,
    "PROMPT_TOO_LARGE": InvalidRequest,
    "UNKNOWN_MODEL": UnknownModel,
    "UNKNOWN_AGENT": UnknownModel,
    "CONTEXT_TOO_LONG": InvalidRequest,
    "REQUEST_ID_REUSED": InvalidRequest,
    "MODEL_NOT_ALLOWED": ModelNotAllowed,
    "CAPABILITY_MISSING": PreconditionFailed,
    "PROVIDER_NOT_CONFIGURED": PreconditionFailed,
    "PRICE_UNKNOWN": PreconditionFailed,
    "UNAUTHENTICATED": AccessDenied,
    "ROLE_REQUIRED": AccessDenied,
    "BUDGET_EXCEEDED": BudgetExceeded,
    "BUDGET_PAUSED": BudgetExceeded,
    "OVERLOADED": Overloaded,
    "RATE_LIMITED": RateLimited,
    "NOT_CACHED": NotFound,
    "NOT_FOUND": NotFound,
    "PROVIDER_UNAVAILABLE": ProviderUnavailable,
    "PROVIDER_TIMEOUT": ProviderUnavailable,
    "PROVIDER_REFUSED": ProviderRefused,
    "OUTCOME_UNKNOWN": OutcomeUnknown,
    "REPLY_GONE": OutcomeUnknown,
    "JOB_CANCELLED": RequestRefused,
    "STORAGE_FULL": DaemonFault,
    "STORAGE_DAMAGED": DaemonFault,
    "DRAINING": DaemonUnavailable,
    "DAEMON_FAULT": DaemonFault,
}

_BY_CODE: Mapping[str, type[AigenError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "OUT_OF_RANGE": InvalidRequest,
    "NOT_FOUND": NotFound,
    "PERMISSION_DENIED": AccessDenied,
    "UNAUTHENTICATED": AccessDenied,
    "FAILED_PRECONDITION": PreconditionFailed,
    "UNIMPLEMENTED": PreconditionFailed,
    "ALREADY_EXISTS": RequestRefused,
    "RESOURCE_EXHAUSTED": LimitReached,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": DaemonUnavailable,
    "CANCELLED": DaemonUnavailable,  # by the other end: a stopping server drops calls that it has not begun
    "ABORTED": OutcomeUnknown,
    "DATA_LOSS": DaemonFault,
    "INTERNAL": DaemonFault,
    "UNKNOWN": DaemonFault,
}

_PATIENCE_ENDED = "timeout{span} passed before the daemon answered; the call may be asked for again under its request id"
_CODE_NAMES: Mapping[int, str] = {code.value[0]: code.name for code in grpc.StatusCode}


def from_rpc_error(error: grpc.RpcError, *, request_id: str = "", timeout: float | None = None) -> AigenError:
    """Return the exception that stands for a failed RPC of grpc or grpc.aio; it names the caller's timeout where that is known."""
    status = status_of(error)
    if status is not None:
        return from_status(status, request_id=request_id)
    code = error.code().name
    if code == "DEADLINE_EXCEEDED":
        text = _PATIENCE_ENDED.format(span="" if timeout is None else f" of {timeout:g} s")
    else:
        text = error.details() or code
    return _BY_CODE.get(code, AigenError)(text, code=code, request_id=request_id)


def from_status(status: status_pb2.Status, *, request_id: str = "") -> AigenError:
    """Return the exception that stands for a `google.rpc.Status`, such as that of one item of a batch."""
    code = _CODE_NAMES.get(status.code, "UNKNOWN")
    info, retry_after_s = _details(status)
    ours = info is not None and info.domain == DOMAIN
    kind = (_BY_REASON.get(info.reason) if info is not None and ours else None) or _BY_CODE.get(code, AigenError)
    return kind(
        _sentence(status.message, info.reason if info else "") or code,
        reason=info.reason if info is not None and ours else "",
        code=code,
        metadata=info.metadata if info else None,
        retry_after_s=retry_after_s,
        request_id=request_id,
    )


def status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    """Return the `google.rpc.Status` that the daemon sent along; None where the error comes from the transport."""
    trailer = trailing(error, "grpc-status-details-bin")
    if not isinstance(trailer, bytes):
        return None
    try:
        return status_pb2.Status.FromString(trailer)
    except DecodeError:
        return None


def trailing(error: grpc.RpcError, key: str) -> str | bytes | None:
    """Return one trailing metadata value of a failed RPC; None where it has none."""
    metadata: Any = error.trailing_metadata() or ()  # typed differently for grpc and grpc.aio; both give pairs
    return next((value for name, value in metadata if name == key), None)


def _details(status: status_pb2.Status) -> tuple[error_details_pb2.ErrorInfo | None, float | None]:
    info, retry_after_s = None, None
    for detail in status.details:
        if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
            info = error_details_pb2.ErrorInfo.FromString(detail.value)
        elif detail.Is(error_details_pb2.RetryInfo.DESCRIPTOR):
            delay = error_details_pb2.RetryInfo.FromString(detail.value).retry_delay
            retry_after_s = delay.seconds + delay.nanos / 1e9
    return info, retry_after_s


def _sentence(message: str, reason: str) -> str:
    """Return the text without the reason in front, which `str()` puts there itself."""
    return message.removeprefix(f"{reason}: ") if reason else message
