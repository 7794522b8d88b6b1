"""Errors as Google's APIs spell them.

Source:
    google.rpc error model: Status, ErrorInfo, RetryInfo. Read 2026-11.
"""

import json
from typing import Any

from aigen_emulator.wire.port import RefusalError

BAD_KEY = "API_KEY_INVALID"
_RETRY_DELAY = "0.500s"  # what a 429 asks for in its body
_KINDS = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    402: ("FAILED_PRECONDITION", "Billing is not enabled for this project."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    413: ("INVALID_ARGUMENT", "Request payload size exceeds the limit."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    500: ("INTERNAL", "An internal error has occurred."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
    529: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
}


def refuse(message: str, *, status: int = 400, code: str | None = None) -> RefusalError:
    """Return an error in the provider's words."""
    return RefusalError(status, message, kind=default_refusal(status).kind, code=code)


def default_refusal(status: int) -> RefusalError:
    """Return what the provider says with a status."""
    kind, message = _KINDS.get(status, _KINDS[500] if status >= 500 else _KINDS[400])
    return RefusalError(status, message, kind=kind)


def error_of(refused: RefusalError) -> dict[str, Any]:
    """Return the body of an error."""
    told: dict[str, Any] = {"code": refused.status, "message": refused.message, "status": refused.kind}
    if details := _details(refused):
        told["details"] = details
    return {"error": told}


def error_bytes(refused: RefusalError) -> bytes:
    """Return the body of an error as it is sent."""
    return json.dumps(error_of(refused), indent=2, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _details(refused: RefusalError) -> list[dict[str, Any]]:
    if refused.code is not None:
        about = {"reason": refused.code, "domain": "googleapis.com", "metadata": {"service": "generativelanguage.googleapis.com"}}
        return [{"@type": "type.googleapis.com/google.rpc.ErrorInfo"} | about]
    if refused.status == 429:
        delay = _RETRY_DELAY if refused.retry_after_s is None else f"{refused.retry_after_s:.3f}s"
        return [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]
    return []
