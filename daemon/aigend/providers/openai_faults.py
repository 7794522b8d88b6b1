"""Errors of the openai SDK and of the HTTP client under it as faults, most specific first."""

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2
import openai

from aigend.providers.connection import AnswerTooLargeError, Sending
from aigend.providers.port import FaultKind, ProviderFault

# What a call may raise besides cancellation: the SDK's errors, the HTTP client's, and bytes that are no JSON or UTF-8.
CALL_ERRORS = (openai.OpenAIError, httpx2.HTTPError, httpx2.StreamError, AnswerTooLargeError, ValueError, OSError)

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
_USED_UP = frozenset(("insufficient_quota", "billing_hard_limit_reached"))
_ERROR_KEYS = ("error", "message", "detail")  # how the provider and compatible servers begin an error body
_SECRET = re.compile(r"\b(?:sk|pk|rk|key)[-_][A-Za-z0-9*._-]{4,}|Bearer\s+\S+")
_CODE = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_MOST_TEXT = 500
_LONGEST_WAIT_S = 86_400.0


def fault_from(
    error: BaseException, *, provider: str, sending: Sending, streamed: bool, partial_text_len: int = 0
) -> ProviderFault:
    """Return the fault that an error of a call stands for.

    Args:
        error: One of CALL_ERRORS, or TimeoutError for the end of the call's own time.
        provider: Whose call it was.
        sending: Whether anything had left.
        streamed: Whether a stream had begun to come.
        partial_text_len: UTF-8 bytes of text that had come.
    """
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error, provider)
    kind, message = _kind_and_message(error, provider, sent=sending.started, streamed=streamed)
    return ProviderFault(kind, message, provider=provider, partial_text_len=partial_text_len)


def unreadable(provider: str, why: str, *, status: int | None = 200, partial_text_len: int = 0) -> ProviderFault:
    """Return the fault of an answer that can't be read."""
    message = f"the answer of provider {provider} can't be read: {why}"
    return ProviderFault(FaultKind.BAD_ANSWER, message, provider=provider, status=status, partial_text_len=partial_text_len)


def _kind_and_message(error: BaseException, provider: str, *, sent: bool, streamed: bool) -> tuple[FaultKind, str]:
    timed_out = isinstance(error, TimeoutError | openai.APITimeoutError | httpx2.TimeoutException)
    broken = isinstance(error, openai.APIConnectionError | httpx2.TransportError | OSError)
    if isinstance(error, AnswerTooLargeError):
        return FaultKind.TOO_LARGE, f"the answer of provider {provider} passed limits.answer_bytes and was cut off"
    if not sent:
        return FaultKind.UNREACHABLE, f"provider {provider} can't be reached: {_cause(error)}; nothing was sent"
    if timed_out:
        return FaultKind.TIMEOUT, f"provider {provider} did not answer in time"
    if streamed and (broken or isinstance(error, openai.APIError)):
        return FaultKind.CUT, f"the stream of provider {provider} was cut"
    if broken:
        return FaultKind.RESET, f"provider {provider} closed the connection after the request had left"
    return FaultKind.BAD_ANSWER, f"the answer of provider {provider} can't be read: {type(error).__name__}"


def _cause(error: BaseException) -> str:
    """Return the innermost cause, which names the address or the certificate, in one short line."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _status_fault(error: openai.APIStatusError, provider: str) -> ProviderFault:
    status = error.status_code
    told = _provider_error(error.response)
    if told is None:
        return unreadable(provider, f"status {status} without the provider's own error", status=status)
    code = _code(told)
    kind = FaultKind.SERVER_ERROR if status >= 500 else _KINDS.get(status, FaultKind.BAD_ANSWER)
    if kind is FaultKind.RATE_LIMITED and code in _USED_UP:  # waiting does not fill an account
        kind = FaultKind.AUTH
    return ProviderFault(
        kind,
        f"provider {provider} answered with status {status}" + (f" ({code})" if code else ""),
        provider=provider,
        status=status,
        code=code,
        provider_message=_SECRET.sub("***", str(told.get("message") or told.get("detail") or ""))[:_MOST_TEXT],
        retry_after_s=retry_after_s(error.response.headers),
    )


def _provider_error(response: httpx2.Response) -> dict[str, Any] | None:
    """Return the error object in the provider's words; None where something in between answered."""
    try:
        body = json.loads(response.content)
    except ValueError:
        return None
    if isinstance(body, list) and body:  # one compatible server wraps its errors in a list
        body = body[0]
    if not isinstance(body, dict) or not any(key in body for key in _ERROR_KEYS):
        return None
    told = body.get("error", body)
    return told if isinstance(told, dict) else {"message": told}


def _code(told: dict[str, Any]) -> str:
    for key in ("code", "type"):
        if _CODE.fullmatch(str(told.get(key) or "")):
            return str(told[key])
    return ""


def retry_after_s(headers: httpx2.Headers) -> float | None:
    """Return how long a response asks to wait, in seconds; a date counts from the response's own date."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            wait = float(headers[name]) / unit
        except (KeyError, ValueError):
            continue
        return wait if 0 <= wait <= _LONGEST_WAIT_S else None
    try:
        wait = (parsedate_to_datetime(headers["retry-after"]) - parsedate_to_datetime(headers["date"])).total_seconds()
    except (KeyError, ValueError, TypeError):
        return None
    return min(max(0.0, wait), _LONGEST_WAIT_S)
