"""Errors of the google-genai SDK as faults.

Source:
    google.rpc error model (Status, ErrorInfo, RetryInfo), Gemini API troubleshooting guide. Read 2026-11.
"""

import re
from collections.abc import Iterator
from typing import Any

from google.genai.errors import APIError

from aigend.providers.connection import Sending
from aigend.providers.faults import TRANSPORT_ERRORS, SdkErrors, broken_fault, provider_error, safe_message, status_fault
from aigend.providers.port import FaultKind, ProviderFault

CALL_ERRORS = (APIError, *TRANSPORT_ERRORS)

_SDK = SdkErrors(timeout=(), broken=(), any=(APIError,))
_RETRY_INFO = "google.rpc.RetryInfo"
_ERROR_INFO = "google.rpc.ErrorInfo"
_BAD_KEYS = frozenset(("API_KEY_INVALID", "API_KEY_EXPIRED"))  # reasons under status 400 that concern the key alone
_SECONDS = re.compile(r"(\d{1,6}(?:\.\d{1,9})?)s")


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
    if isinstance(error, APIError) and not streamed:
        return _status_fault(provider, error.code, error.response)
    return broken_fault(error, provider=provider, sending=sending, sdk=_SDK, streamed=streamed, partial_text_len=partial_text_len)


def _status_fault(provider: str, status: int, answer: Any) -> ProviderFault:
    told = provider_error(answer.content) or {}
    details = [*_details(told)]
    reason = next((str(detail.get("reason")) for kind, detail in details if kind == _ERROR_INFO), "")
    if status == 400 and reason in _BAD_KEYS:
        message = f"provider {provider} answered with status {status} ({reason})"
        said = safe_message(told)
        return ProviderFault(FaultKind.AUTH, message, provider=provider, status=status, code=reason, provider_message=said)
    delays = (_seconds(detail.get("retryDelay")) for kind, detail in details if kind == _RETRY_INFO)
    wait_s = next((delay for delay in delays if delay is not None), None)
    return status_fault(provider, status, answer, body_wait_s=wait_s)


def _details(told: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the error's details, each with the name of its kind."""
    details = told.get("details")
    for detail in details if isinstance(details, list) else ():
        if isinstance(detail, dict):
            yield str(detail.get("@type")).rpartition("/")[2], detail


def _seconds(delay: Any) -> float | None:
    """Return the seconds of a duration as Google spells it in JSON.

    Example:
        >>> _seconds("34.074824224s"), _seconds("soon")
        (34.074824224, None)
    """
    found = _SECONDS.fullmatch(delay) if isinstance(delay, str) else None
    return float(found[1]) if found else None
