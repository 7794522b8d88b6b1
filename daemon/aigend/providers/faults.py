"""Failed HTTP calls as faults: what every provider's SDK has in common, most specific first.

Which exception classes an SDK raises, and which of a provider's codes mean more than its status, are the adapters'.
"""

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx2

from aigend.providers.connection import AnswerTooLargeError, Sending
from aigend.providers.port import FaultKind, ProviderFault
from aigend.providers.rate_headers import retry_after_s

# What a call may raise besides an SDK's errors and cancellation: the HTTP client's, and bytes that are no JSON or UTF-8.
TRANSPORT_ERRORS = (httpx2.HTTPError, httpx2.StreamError, AnswerTooLargeError, ValueError, OSError)

_KINDS = {
    400: FaultKind.REJECTED,
    404: FaultKind.REJECTED,
    413: FaultKind.REJECTED,
    422: FaultKind.REJECTED,
    401: FaultKind.AUTH,
    402: FaultKind.AUTH,
    403: FaultKind.AUTH,
    429: FaultKind.RATE_LIMITED,
}
_ERROR_KEYS = ("error", "message", "detail")  # how providers and compatible servers begin an error body
_SECRET = re.compile(r"\b(?:sk|pk|rk|key|pplx)[-_][A-Za-z0-9*._-]{4,}|\bAIza[A-Za-z0-9_-]{10,}|Bearer\s+\S+")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_MOST_TEXT = 500


class HttpAnswer(Protocol):
    """A whole HTTP response, of whichever client."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Header fields, names in any case."""
        ...

    @property
    def content(self) -> bytes:
        """The body."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SdkErrors:
    """What an SDK raises for a connection that failed."""

    timeout: tuple[type[BaseException], ...]
    broken: tuple[type[BaseException], ...]  # the connection ended or never stood
    any: tuple[type[BaseException], ...]  # each of its errors


def broken_fault(
    error: BaseException, *, provider: str, sending: Sending, sdk: SdkErrors, streamed: bool, partial_text_len: int = 0
) -> ProviderFault:
    """Return the fault of a call that got no whole response.

    Args:
        error: An error of the SDK, one of TRANSPORT_ERRORS, or TimeoutError for the end of the call's own time.
        provider: Whose call it was.
        sending: Whether anything had left.
        sdk: What the SDK's errors mean.
        streamed: Whether a stream had begun to come.
        partial_text_len: UTF-8 bytes of text that had come.
    """
    kind, message = _kind_and_message(error, provider, sdk=sdk, sent=sending.started, streamed=streamed)
    return ProviderFault(kind, message, provider=provider, partial_text_len=partial_text_len)


def status_fault(
    provider: str, status: int, answer: HttpAnswer, *, used_up: Collection[str] = (), body_wait_s: float | None = None
) -> ProviderFault:
    """Return the fault of a response whose status says that there is no answer.

    Args:
        provider: Whose call it was.
        status: HTTP status.
        answer: Its header fields and body.
        used_up: Codes under status 429 that no waiting cures.
        body_wait_s: Wait that the body asks for, where a provider says it there.
    """
    told = provider_error(answer.content)
    if told is None:
        return unreadable(provider, f"status {status} without the provider's own error", status=status)
    code = error_code(told)
    kind = FaultKind.SERVER_ERROR if status >= 500 else _KINDS.get(status, FaultKind.BAD_ANSWER)
    if kind is FaultKind.RATE_LIMITED and code in used_up:
        kind = FaultKind.AUTH
    wait_s = retry_after_s(answer.headers)
    return ProviderFault(
        kind,
        f"provider {provider} answered with status {status}" + (f" ({code})" if code else ""),
        provider=provider,
        status=status,
        code=code,
        provider_message=safe_message(told),
        retry_after_s=body_wait_s if wait_s is None else wait_s,
    )


def unreadable(provider: str, why: str, *, status: int | None = 200, partial_text_len: int = 0) -> ProviderFault:
    """Return the fault of an answer that can't be read."""
    message = f"the answer of provider {provider} can't be read: {why}"
    return ProviderFault(FaultKind.BAD_ANSWER, message, provider=provider, status=status, partial_text_len=partial_text_len)


def provider_error(content: bytes) -> dict[str, Any] | None:
    """Return the error object in the provider's words; None where something in between answered."""
    try:
        body = json.loads(content)
    except ValueError:
        return None
    if isinstance(body, list) and body:  # one provider and one compatible server wrap their errors in a list
        body = body[0]
    if not isinstance(body, dict) or not any(key in body for key in _ERROR_KEYS):
        return None
    told = body.get("error", body)
    return told if isinstance(told, dict) else {"message": told}


def error_code(told: Mapping[str, Any]) -> str:
    """Return the provider's own code of an error object; empty where it has none that is safe to log."""
    for key in ("code", "status", "type"):
        value = told.get(key)
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return ""


def safe_message(told: Mapping[str, Any]) -> str:
    """Return what an error object says, cut short and without anything that looks like a key."""
    return _SECRET.sub("***", str(told.get("message") or told.get("detail") or ""))[:_MOST_TEXT]


def _kind_and_message(error: BaseException, provider: str, *, sdk: SdkErrors, sent: bool, streamed: bool) -> tuple[FaultKind, str]:
    timed_out = isinstance(error, (TimeoutError, httpx2.TimeoutException, *sdk.timeout))
    broken = isinstance(error, (httpx2.TransportError, OSError, *sdk.broken))
    if isinstance(error, AnswerTooLargeError):
        return FaultKind.TOO_LARGE, f"the answer of provider {provider} passed limits.answer_bytes and was cut off"
    if not sent:
        return FaultKind.UNREACHABLE, f"provider {provider} can't be reached: {_cause(error)}; nothing was sent"
    if timed_out:
        return FaultKind.TIMEOUT, f"provider {provider} did not answer in time"
    if streamed and (broken or isinstance(error, sdk.any)):
        return FaultKind.CUT, f"the stream of provider {provider} was cut"
    if broken:
        return FaultKind.RESET, f"provider {provider} closed the connection after the request had left"
    return FaultKind.BAD_ANSWER, f"the answer of provider {provider} can't be read: {type(error).__name__}"


def _cause(error: BaseException) -> str:
    """Return the innermost cause, which names the address or the certificate, in one short line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
