"""Errors of the anthropic SDK as faults."""

import anthropic

from aigend.providers.connection import AnswerTooLargeError, Sending
from aigend.providers.faults import TRANSPORT_ERRORS, SdkErrors, broken_fault, status_fault
from aigend.providers.port import ProviderFault

CALL_ERRORS = (anthropic.AnthropicError, *TRANSPORT_ERRORS)

_SDK = SdkErrors(
    timeout=(anthropic.APITimeoutError,),
    broken=(anthropic.APIConnectionError,),
    any=(anthropic.APIError,),
)
_OF_THE_BYTES = (AnswerTooLargeError, ValueError)


def fault_from(
    error: BaseException, *, provider: str, sending: Sending, streamed: bool, partial_text_len: int = 0
) -> ProviderFault:
    """Return the fault that an error of a call stands for.

    An error event inside a stream that had begun well is raised as a status error too; it is a cut, whatever status it names.

    Args:
        error: One of CALL_ERRORS, or TimeoutError for the end of the call's own time.
        provider: Whose call it was.
        sending: Whether anything had left.
        streamed: Whether a stream had begun to come.
        partial_text_len: UTF-8 bytes of text that had come.
    """
    if isinstance(error, anthropic.APIStatusError) and not streamed:
        return status_fault(provider, error.status_code, error.response)
    plain = _unwrapped(error)
    return broken_fault(plain, provider=provider, sending=sending, sdk=_SDK, streamed=streamed, partial_text_len=partial_text_len)


def _unwrapped(error: BaseException) -> BaseException:
    """Return what the SDK took for a broken connection although it came of the answer's bytes, or else the error itself."""
    cause = error.__cause__
    return cause if isinstance(error, anthropic.APIConnectionError) and isinstance(cause, _OF_THE_BYTES) else error
