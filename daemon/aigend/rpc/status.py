"""A reason as a gRPC status: the only place where the two meet."""

import logging
import secrets

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2

from aigend.errors import DomainError, Reason

DOMAIN = "aigend"
DETAILS = "grpc-status-details-bin"
PUSHBACK = ("grpc-retry-pushback-ms", "-1")  # tells gRPC's own retries to keep away: a retry may pay twice

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_REQUEST: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PROMPT_TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_MODEL: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNKNOWN_AGENT: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.CONTEXT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_ID_REUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MODEL_NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.CAPABILITY_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PROVIDER_NOT_CONFIGURED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PRICE_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.ROLE_REQUIRED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.BUDGET_EXCEEDED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.BUDGET_PAUSED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.RATE_LIMITED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.NOT_CACHED: grpc.StatusCode.NOT_FOUND,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.PROVIDER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.PROVIDER_TIMEOUT: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.PROVIDER_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OUTCOME_UNKNOWN: grpc.StatusCode.ABORTED,
    Reason.REPLY_GONE: grpc.StatusCode.ABORTED,
    Reason.JOB_CANCELLED: grpc.StatusCode.ABORTED,
    Reason.STORAGE_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.STORAGE_DAMAGED: grpc.StatusCode.DATA_LOSS,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.DAEMON_FAULT: grpc.StatusCode.INTERNAL,
}

LONGEST_TEXT = 2_000  # characters; an error travels in trailers, which clients bound
LONGEST_FACT = 1_000
log = logging.getLogger("aigend.rpc")


def as_domain_error(error: BaseException) -> DomainError:
    """Return the error that a caller may see; a defect becomes a DAEMON_FAULT whose traceback stands in the log alone."""
    if isinstance(error, DomainError):
        return error
    fault_id = secrets.token_hex(8)
    log.error("daemon_fault", exc_info=error, extra={"fault_id": fault_id})
    return DomainError(Reason.DAEMON_FAULT, f"aigend failed; its log tells more under fault id {fault_id}", fault_id=fault_id)


def status_proto(error: DomainError) -> status_pb2.Status:
    """Return the `google.rpc.Status` of an error, with its ErrorInfo and, where waiting helps, its RetryInfo."""
    facts = {key: shortened(value, LONGEST_FACT) for key, value in error.metadata.items()}
    details = [_packed(error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=facts))]
    if error.retry_after_s is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        details.append(_packed(error_details_pb2.RetryInfo(retry_delay=delay)))
    text = shortened(error.text, LONGEST_TEXT)
    return status_pb2.Status(code=code_pb2.Code.Value(CODES[error.reason].name), message=text, details=details)


def shortened(text: str, most: int) -> str:
    """Return a text of at most so many characters; one that was cut ends in dots.

    Example:
        >>> shortened("abcdefgh", 6)
        'abc...'
    """
    return text if len(text) <= most else text[: most - 3] + "..."


def trailers(error: DomainError) -> tuple[tuple[str, str | bytes], ...]:
    """Return the trailing metadata of an error."""
    details = (DETAILS, status_proto(error).SerializeToString())
    if CODES[error.reason] is grpc.StatusCode.UNAVAILABLE and error.reason is not Reason.DRAINING:
        return details, PUSHBACK
    return (details,)


def _packed(message: error_details_pb2.ErrorInfo | error_details_pb2.RetryInfo) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)
    return packed
