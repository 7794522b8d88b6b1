"""Errors of the openai SDK, and errors inside answers that began well, as faults."""

from collections.abc import Mapping
from typing import Any

import openai

from aigend.providers.connection import Sending
from aigend.providers.faults import TRANSPORT_ERRORS, SdkErrors, broken_fault, error_code, safe_message, status_fault
from aigend.providers.port import FaultKind, ProviderFault

CALL_ERRORS = (openai.OpenAIError, *TRANSPORT_ERRORS)

_SDK = SdkErrors(timeout=(openai.APITimeoutError,), broken=(openai.APIConnectionError,), any=(openai.APIError,))
_USED_UP = frozenset(("insufficient_quota", "billing_hard_limit_reached"))  # waiting does not fill an account
_KINDS = {
    **dict.fromkeys(_USED_UP, FaultKind.AUTH),
    **dict.fromkeys(("server_error", "server_is_overloaded", "slow_down", "vector_store_timeout"), FaultKind.SERVER_ERROR),
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "too_many_requests"), FaultKind.RATE_LIMITED),
    **dict.fromkeys(
        (
            "invalid_prompt",
            "invalid_request_error",
            "context_length_exceeded",
            "bio_policy",
            "data_residency_mismatch",
            "empty_image_file",
            "failed_to_download_image",
            "image_content_policy_violation",
            "image_file_not_found",
            "image_file_too_large",
            "image_parse_error",
            "image_too_large",
            "image_too_small",
            "invalid_base64_image",
            "invalid_image",
            "invalid_image_format",
            "invalid_image_mode",
            "invalid_image_url",
            "misalignment_policy_violation",
            "unsupported_image_media_type",
        ),
        FaultKind.REJECTED,
    ),
}
_STATUS_KINDS = {401: FaultKind.AUTH, 402: FaultKind.AUTH, 403: FaultKind.AUTH, 429: FaultKind.RATE_LIMITED}


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
        return status_fault(provider, error.status_code, error.response, used_up=_USED_UP)
    if streamed and type(error) is openai.APIError:  # an event that says what went wrong
        told = error.body if isinstance(error.body, dict) else {"message": error.body}
        return failure_fault(told, provider=provider, streamed=True, partial_text_len=partial_text_len)
    return broken_fault(error, provider=provider, sending=sending, sdk=_SDK, streamed=streamed, partial_text_len=partial_text_len)


def failure_fault(
    told: Mapping[str, Any], *, provider: str, streamed: bool, billed: bool = False, partial_text_len: int = 0
) -> ProviderFault:
    """Return the fault of a call that was accepted and then failed, as the provider tells inside the answer.

    Args:
        told: The error object.
        provider: Whose call it was.
        streamed: Whether it came as an event of a stream.
        billed: Whether the provider says that tokens were used up.
        partial_text_len: UTF-8 bytes of text that had come.
    """
    code = error_code(told)
    kind = FaultKind.CUT if billed or partial_text_len else _kind(told, code)
    if kind is None:
        kind = FaultKind.CUT if streamed else FaultKind.BAD_ANSWER
    return ProviderFault(
        kind,
        f"provider {provider} failed inside its answer" + (f" ({code})" if code else ""),
        provider=provider,
        code=code,
        provider_message=safe_message(told),
        partial_text_len=partial_text_len,
    )


def _kind(told: Mapping[str, Any], code: str) -> FaultKind | None:
    """Return what the error is by its code, or by a status in the code's place; None where neither says."""
    status = told.get("code")
    if not isinstance(status, int) or not 400 <= status < 600:
        return _KINDS.get(code)
    return FaultKind.SERVER_ERROR if status >= 500 else _STATUS_KINDS.get(status, FaultKind.REJECTED)
