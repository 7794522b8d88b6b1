"""Anthropic's models on Amazon Bedrock, through the SDK: addresses, signatures, framing, and what is missing told by name."""

import base64
import importlib.util
import json
import struct
import zlib
from dataclasses import replace

import pytest
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.anthropic.bedrock import connect
from aigend.providers.anthropic.messages import AnthropicProvider
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, TextDelta
from aigend.types import FinishReason, Image, Message, Part, Role, Text, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers.asking import call, request
from tests.daemon.providers.loopback import Loopback, serving_bytes

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
ANSWER = {
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "Hi"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 5},
}
EVENTS = (
    {"type": "message_start", "message": {"model": "claude-sonnet-4-5-20250929", "usage": {"input_tokens": 3, "output_tokens": 1}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hi"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}},
)


@pytest.fixture(autouse=True)
def own_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own settings for Amazon counts."""
    for name in (
        "AWS_REGION",
        "AWS_DEFAULT_REGION",
        "AWS_PROFILE",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
        "AWS_SESSION_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("AWS_BEARER_TOKEN_BEDROCK", raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nonexistent/config")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent/credentials")


def made(server: Loopback, *, key: str | None = "planted-key") -> AnthropicProvider:
    """Return the adapter, pointed at a server."""
    address = server.base_url.removesuffix("/v1")
    settings = ProviderSettings(adapter="bedrock", base_url=address, api_key=SecretStr(key) if key else None)
    return connect("amazon", settings, answer_bytes=100_000)


def asking() -> ProviderCall:
    """Return a call of a model there."""
    return replace(call(), model=MODEL)


def frame(body: bytes, **headers: str) -> bytes:
    """Return one message of Amazon's event stream."""
    named = b"".join(
        bytes((len(name),)) + name.encode() + b"\x07" + struct.pack(">H", len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack(">II", 16 + len(named) + len(body), len(named))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + named + body
    return message + struct.pack(">I", zlib.crc32(message))


def chunk(event: dict) -> bytes:
    """Return the frame of an event of an answer."""
    body = json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode()}).encode()
    return frame(body, **{":message-type": "event", ":event-type": "chunk", ":content-type": "application/json"})


async def fault_of(provider: AnthropicProvider, *, stream: bool) -> ProviderFault:
    """Return the fault of a call that must fail."""
    events = provider.stream(asking())
    with pytest.raises(ProviderFault) as caught:
        _ = [event async for event in events] if stream else await provider.complete(asking())
    await provider.aclose()
    return caught.value


async def test_a_whole_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The model stands in the address, the key in the header, and the answer is read as Anthropic's own."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    async with serving_bytes(json.dumps(ANSWER).encode()) as server:
        provider = made(server)
        reply = await provider.complete(asking())
        await provider.aclose()
    (seen,) = server.requests
    sent = json.loads(seen.body)
    assert seen.path == f"/model/{MODEL}/invoke"
    assert ("anthropic_version" in sent, "model" in sent, seen.headers["authorization"]) == (True, False, "Bearer planted-key")
    assert seen.headers["x-client-request-id"] == "r-1"
    assert (reply.parts[0].content, reply.finish_reason) == (Text("Hi"), FinishReason.STOP)
    assert (reply.usage, provider.adapter) == (TokenUsage(input=3, cache_read=5, output=2), "bedrock")


async def test_a_stream_in_amazons_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon's frames hold the same events as Anthropic's streams."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    async with serving_bytes(
        b"".join(map(chunk, EVENTS)), headers={"content-type": "application/vnd.amazon.eventstream"}
    ) as server:
        provider = made(server)
        events = [event async for event in provider.stream(asking())]
        await provider.aclose()
    assert server.requests[0].path == f"/model/{MODEL}/invoke-with-response-stream"
    assert events[0] == TextDelta("Hi")
    assert isinstance(events[-1], ProviderReply)
    assert events[-1].usage == TokenUsage(input=3, output=2)


BROKEN = {
    "an error frame": (
        chunk(EVENTS[0])
        + frame(b'{"message": "slow down"}', **{":message-type": "exception", ":exception-type": "throttlingException"}),
        FaultKind.CUT,
    ),
    "an end in the middle": (b"".join(map(chunk, EVENTS[:3])) + chunk(EVENTS[3])[:20], FaultKind.CUT),
    "a damaged frame": (chunk(EVENTS[0])[:-1] + b"\0", FaultKind.BAD_ANSWER),
    "nothing": (b"", FaultKind.BAD_ANSWER),
}


@pytest.mark.parametrize("name", BROKEN)
async def test_broken_streams_are_told(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """An error in a frame, an early end and damaged bytes are faults of their kinds."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    body, kind = BROKEN[name]
    async with serving_bytes(body, headers={"content-type": "application/vnd.amazon.eventstream"}) as server:
        assert (await fault_of(made(server), stream=True)).kind is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, FaultKind.REJECTED), (403, FaultKind.AUTH), (429, FaultKind.RATE_LIMITED), (503, FaultKind.SERVER_ERROR)],
)
async def test_errors_in_amazons_shape(monkeypatch: pytest.MonkeyPatch, status: int, kind: FaultKind) -> None:
    """Amazon's error bodies are a bare message, which is understood."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    async with serving_bytes(b'{"message": "no: planted-key"}', status=status) as server:
        told = await fault_of(made(server), stream=False)
    assert (told.kind, told.provider_message) == (kind, "no: ***")


async def test_without_a_key_calls_are_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Credentials come from where Amazon's tools look for them."""
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDPLANTED")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "planted-secret")
    async with serving_bytes(json.dumps(ANSWER).encode()) as server:
        provider = made(server, key=None)
        await provider.complete(asking())
        await provider.aclose()
    signed = server.requests[0].headers["authorization"]
    assert signed.startswith("AWS4-HMAC-SHA256 Credential=AKIDPLANTED/")
    assert "/eu-west-1/bedrock/" in signed


async def test_without_credentials_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that nothing can sign never leaves, and so is certainly free."""
    monkeypatch.setenv("AWS_REGION", "eu-north-1")
    async with serving_bytes(json.dumps(ANSWER).encode()) as server:
        told = await fault_of(made(server, key=None), stream=False)
    assert (told.kind, server.requests) == (FaultKind.UNREACHABLE, [])
    assert "credentials" in told.message


def test_a_region_is_needed_and_may_stand_in_the_address() -> None:
    """Without a region the error says where it may come from; Amazon's own addresses name it."""
    settings = ProviderSettings(adapter="bedrock", api_key=SecretStr("k"))
    with pytest.raises(DomainError, match="AWS_REGION") as caught:
        connect("amazon", settings, answer_bytes=1)
    assert caught.value.reason is Reason.PROVIDER_NOT_CONFIGURED
    address = "https://bedrock-runtime.ap-south-1.amazonaws.com"
    provider = connect("amazon", settings.model_copy(update={"base_url": address}), answer_bytes=1)
    assert (provider._client.aws_region, str(provider._client.base_url)) == ("ap-south-1", address)


def test_the_missing_part_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Amazon's packages the error names the extra that brings them."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(DomainError, match=r"the extra bedrock: pip install '\.\[daemon,bedrock\]' in a checkout") as caught:
        connect("amazon", ProviderSettings(adapter="bedrock"), answer_bytes=1)
    assert caught.value.reason is Reason.PROVIDER_NOT_CONFIGURED


def test_addresses_of_pictures_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Amazon fetches nothing, so pictures go there as bytes."""
    monkeypatch.setenv("AWS_REGION", "eu-central-1")
    provider = connect("amazon", ProviderSettings(adapter="bedrock", api_key=SecretStr("k")), answer_bytes=1)
    with pytest.raises(DomainError, match="send the bytes"):
        provider.check(request(messages=(Message(Role.USER, (Part(Image(url="https://example.com/a.png")),)),)))
