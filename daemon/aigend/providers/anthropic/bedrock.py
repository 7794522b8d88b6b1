"""Anthropic's models on Amazon Bedrock: the same requests and answers, with Amazon's addresses, signatures and framing.

Credentials come from where Amazon's own tools look for them (environment, shared files, instance), unless the settings hold a
Bedrock key. The framing and the signatures are the SDK's, and need its optional part.
"""

import importlib
import importlib.util
import re

from anthropic import AsyncAnthropicBedrock

from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.anthropic.messages import AnthropicProvider, without_environment
from aigend.providers.connection import http_client

_NEEDED = ("boto3", "botocore")
_EXTRA = "bedrock"
_INSTALL = "pip install '.[daemon,bedrock]' in a checkout of aigen, or 'WHEEL[daemon,bedrock]'"
_SOMEWHERE = "https://bedrock-runtime.amazonaws.com"  # the SDK puts the region in
_REGION = re.compile(r"https://bedrock-runtime(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com")
_REGION_SOURCES = "AWS_REGION, AWS_DEFAULT_REGION, the region of the AWS profile, or a base_url that names it"


def connect(name: str, settings: ProviderSettings, *, answer_bytes: int) -> AnthropicProvider:
    """Return the provider that the settings describe; no connection is made before the first call.

    Args:
        name: The account's name.
        settings: Its address, which may name the region, and its Bedrock key; without a key calls are signed with credentials.
        answer_bytes: Longest answer that is read.

    Raises:
        DomainError: PROVIDER_NOT_CONFIGURED; the optional part is not installed, or no region is known.
    """
    _require_extra(name)
    client = _client(name, settings, answer_bytes=answer_bytes)
    return AnthropicProvider(name, without_environment(client), adapter="bedrock", addresses=False, more_errors=_amazon_errors())


def _client(name: str, settings: ProviderSettings, *, answer_bytes: int) -> AsyncAnthropicBedrock:
    address = settings.base_url
    named = _REGION.fullmatch(address.rstrip("/")) if address else None
    try:
        return AsyncAnthropicBedrock(
            api_key=settings.api_key.get_secret_value() if settings.api_key else None,
            aws_region=named["region"] if named else None,
            base_url=address,
            max_retries=0,
            http_client=http_client(base_url=address or _SOMEWHERE, answer_bytes=answer_bytes),
            open_telemetry=False,
        )
    except ValueError as error:
        text = f"provider {name} knows no AWS region; it may come from {_REGION_SOURCES}"
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, text, provider=name, allowed=_REGION_SOURCES) from error


def _require_extra(name: str) -> None:
    if any(importlib.util.find_spec(module) is None for module in _NEEDED):
        text = f"provider {name} speaks through Amazon Bedrock, which needs the extra {_EXTRA}: {_INSTALL}"
        raise DomainError(Reason.PROVIDER_NOT_CONFIGURED, text, provider=name, allowed=_EXTRA)


def _amazon_errors() -> tuple[type[Exception], ...]:
    """Return what is raised where there are no credentials, before anything is sent, and where a frame is broken."""
    exceptions, frames = (importlib.import_module(f"botocore.{part}") for part in ("exceptions", "eventstream"))
    return (RuntimeError, exceptions.BotoCoreError, frames.ParserError)
