"""Requests and calls for the tests of providers."""

from aigend.providers.port import ProviderCall
from aigend.types import CompletionRequest, Message, Part, Role, Text


def request(prompt: str = "hello", **more) -> CompletionRequest:
    """Return a request of one user message."""
    return CompletionRequest(**({"messages": (Message(Role.USER, (Part(Text(prompt)),)),)} | more))


def call(prompt: str = "hello", *, timeout_s: float = 10.0, max_output_tokens: int = 400, **more) -> ProviderCall:
    """Return a call of that request."""
    return ProviderCall(
        request=request(prompt, **more), model="gpt-4o", max_output_tokens=max_output_tokens, timeout_s=timeout_s, request_id="r-1"
    )
