"""What OpenAI's formats share: how a body is parsed, which headers come with every answer, and how errors are spelled.

Source:
    OpenAI API reference, errors and rate limits, read 2026-11.
"""

import hashlib
import json
import math
from collections.abc import Collection, Mapping
from functools import lru_cache
from typing import Any

from aigen_emulator.limits import Allowance
from aigen_emulator.wire.port import RefusalError

_KINDS = {
    400: ("invalid_request_error", None, "The request was not understood."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    402: ("insufficient_quota", "billing_hard_limit_reached", "Billing hard limit has been reached."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    413: ("invalid_request_error", "request_too_large", "The request is too large."),
    422: ("invalid_request_error", None, "The request could not be processed."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", None, "That model is currently overloaded with other requests."),
    504: ("server_error", None, "The server took too long."),
    529: ("overloaded_error", None, "Overloaded."),
}


class OpenAIManners:
    """Headers, errors, keys and lists: the same for each of the formats."""

    def headers(self, allowance: Allowance) -> list[tuple[bytes, bytes]]:
        """Return what OpenAI sends beside every answer."""
        return _headers(allowance)

    def wait_headers(self, seconds: float) -> dict[str, str]:
        """Return the headers that ask a refused caller to wait, in whole seconds and exactly."""
        return {"retry-after": f"{max(1, math.ceil(seconds))}", "retry-after-ms": f"{seconds * 1000:.0f}"}

    def error(self, refused: RefusalError) -> bytes:
        """Return the body of an error."""
        told = {"message": refused.message, "type": refused.kind, "param": refused.param, "code": refused.code}
        return json.dumps({"error": told}, indent=2).encode()

    def default_refusal(self, status: int) -> RefusalError:
        """Return what the provider says with a status."""
        fallback = _KINDS[500] if status >= 500 else _KINDS[400]
        kind, code, message = _KINDS.get(status, fallback)
        return RefusalError(status, message, kind=kind, code=code)

    def authorized(self, headers: Mapping[bytes, bytes], api_key: str) -> bool:
        """Return whether the request carries the key."""
        return headers.get(b"authorization") == b"Bearer " + api_key.encode()

    def models(self, names: tuple[str, ...]) -> bytes:
        """Return the body of a list of models."""
        listed = [{"id": name, "object": "model", "created": 1_760_000_000, "owned_by": "emulator"} for name in names]
        return json.dumps({"object": "list", "data": listed}).encode()


def refuse(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> RefusalError:
    """Return the refusal of a request that is not understood."""
    return RefusalError(status, message, kind="invalid_request_error", param=param, code=code)


def parsed(body: bytes) -> dict[str, Any]:
    """Return the request that a body holds, its model among it."""
    try:
        asked = json.loads(body)
    except ValueError as error:
        raise refuse("We could not parse the JSON body of your request.") from error
    if not isinstance(asked, dict):
        raise refuse("The JSON body of your request is not an object.")
    model = asked.get("model")
    if not isinstance(model, str) or not model:
        raise refuse("you must provide a model parameter")
    if model.startswith("unknown"):
        text = f"The model `{model}` does not exist or you do not have access to it."
        raise refuse(text, code="model_not_found", status=404)
    return asked


def limit_of(asked: Mapping[str, Any], name: str) -> int | None:
    """Return the bound of the answer that a field gives; None where it gives none."""
    limit = asked.get(name)
    if limit is None:
        return None
    if not isinstance(limit, int) or limit < 1:
        text = f"Invalid '{name}': integer below minimum value. Expected a value >= 1, but got {limit} instead."
        raise refuse(text, param=name, code="integer_below_min_value")
    return limit


def tier_of(asked: Mapping[str, Any]) -> str:
    """Return the tier that is asked for, where it is a cheaper one."""
    return "flex" if asked.get("service_tier") == "flex" else ""


def seed_of(asked: Mapping[str, Any], *, besides: Collection[str]) -> int:
    """Return the digest of all that determines the answer: everything besides streaming, length and bookkeeping."""
    determining = {key: value for key, value in asked.items() if key not in besides}
    return int.from_bytes(hashlib.sha256(json.dumps(determining).encode()).digest()[:12], "big")


@lru_cache(maxsize=1)
def _headers(allowance: Allowance) -> list[tuple[bytes, bytes]]:
    return [
        (b"openai-processing-ms", b"1"),
        (b"openai-version", b"2020-10-01"),
        (b"x-ratelimit-limit-requests", b"%d" % allowance.requests.limit),
        (b"x-ratelimit-remaining-requests", b"%d" % allowance.requests.remaining),
        (b"x-ratelimit-reset-requests", allowance.requests.reset_text.encode()),
        (b"x-ratelimit-limit-tokens", b"%d" % allowance.tokens.limit),
        (b"x-ratelimit-remaining-tokens", b"%d" % allowance.tokens.remaining),
        (b"x-ratelimit-reset-tokens", allowance.tokens.reset_text.encode()),
    ]
