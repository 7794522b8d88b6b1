"""Errors of the openai SDK as faults."""

import openai

from aigend.providers.connection import Sending
from aigend.providers.faults import TRANSPORT_ERRORS, SdkErrors, broken_fault, status_fault
from aigend.providers.port import ProviderFault

CALL_ERRORS = (openai.OpenAIError, *TRANSPORT_ERRORS)

_SDK = SdkErrors(timeout=(openai.APITimeoutError,), broken=(openai.APIConnectionError,), any=(openai.APIError,))
_USED_UP = frozenset(("insufficient_quota", "billing_hard_limit_reached"))  # waiting does not fill an account


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
    return broken_fault(error, provider=provider, sending=sending, sdk=_SDK, streamed=streamed, partial_text_len=partial_text_len)
