"""The OpenAI adapter through its real SDK: what it sends, every fault of the table, and the protections with their controls."""

import asyncio
import gzip
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import httpx2
import openai
import pytest
from aigend.config import ProviderSettings
from aigend.providers.connection import http_client
from aigend.providers.openai.chat import OpenAIProvider, connect
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply
from aigend.types import FinishReason, ReasoningEffort, TokenUsage
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes
from tests.emulator_server import RunningEmulator

ANSWER_BYTES = 200_000
KEY = "planted-0123456789"


@pytest.fixture
async def provider(emulator: RunningEmulator) -> AsyncIterator[OpenAIProvider]:
    """Return the adapter, pointed at the emulator under a name of its own."""
    made = connect("chatgpt", settings(emulator.provider_url("chatgpt")), answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


def settings(base_url: str, **more) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(**({"base_url": base_url, "api_key": SecretStr(KEY)} | more))


async def answered(
    provider: OpenAIProvider, *, stream: bool, prompt: str = "hello", timeout_s: float = 10.0, **more
) -> ProviderReply:
    """Return the reply, whichever way it comes."""
    asked = call(prompt, timeout_s=timeout_s, **more)
    if not stream:
        return await provider.complete(asked)
    return [event async for event in provider.stream(asked)][-1]


async def fault_of(provider: OpenAIProvider, *, stream: bool, prompt: str = "hello", timeout_s: float = 10.0) -> ProviderFault:
    """Return the fault of a call that must fail."""
    with pytest.raises(ProviderFault) as caught:
        await answered(provider, stream=stream, prompt=prompt, timeout_s=timeout_s)
    return caught.value


async def test_time_that_ends_while_connecting_is_unreachable() -> None:
    """The end of patience before the request has left is no ambiguous timeout."""
    provider = connect("chatgpt", settings("http://127.0.0.1:1/v1"), answer_bytes=ANSWER_BYTES)
    connecting = asyncio.Event()

    async def hang(*_: object, **__: object) -> None:
        await connecting.wait()

    provider._client._client._transport.handle_async_request = hang
    told = await fault_of(provider, stream=False, timeout_s=0.05)
    await provider.aclose()
    assert told.kind is FaultKind.UNREACHABLE


async def test_control_sdk_retries_hide_paid_calls(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """Control: with the SDK's own default of two retries one call becomes three, all billed."""
    emulator.script(*[{"status": 500, "charge": True, "headers": {"retry-after-ms": "1"}}] * 3)
    provider._client.max_retries = openai.DEFAULT_MAX_RETRIES
    await fault_of(provider, stream=False)
    assert len(emulator.charges()) == 3


async def test_retries_are_off(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The adapter sends once, whatever the error invites to."""
    emulator.script(*[{"status": 500, "charge": True, "headers": {"retry-after-ms": "1", "x-should-retry": "true"}}] * 3)
    await fault_of(provider, stream=False)
    assert len(emulator.charges()) == 1


async def test_control_a_followed_redirect_would_pay_elsewhere(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """Control: a client that follows redirects sends the completion a second time."""
    emulator.script({"status": 307, "charge": True, "headers": {"location": f"{emulator.provider_url('other')}/chat/completions"}})
    provider._client._client.follow_redirects = True
    await answered(provider, stream=False)
    assert [charge["provider"] for charge in emulator.charges()] == ["chatgpt", "other"]


async def test_control_without_a_bound_a_huge_answer_is_read(emulator: RunningEmulator) -> None:
    """Control: with a higher bound the answer that is cut off above is read to its end."""
    provider = connect("chatgpt", settings(emulator.base_url), answer_bytes=4_000_000)
    reply = await answered(provider, stream=False, prompt="[[fault:size=400000]]")
    await provider.aclose()
    assert len(reply.parts[0].content.text) >= 400_000


async def test_a_cut_stream_says_how_much_came(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The partial text is counted in bytes."""
    whole = await answered(provider, stream=False, prompt="[[answer:echo]] 안녕 하세요 여러분")
    assert whole.parts[0].content.text == "안녕 하세요 여러분"
    emulator.script({"cut_after": 3})
    told = await fault_of(provider, stream=True, prompt="[[answer:echo]] 안녕 하세요 여러분")
    assert (told.kind, told.partial_text_len) == (FaultKind.CUT, len("안녕 하세요".encode()))


async def test_an_error_inside_a_stream_cuts_it(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """An error event in a stream that began with 200 is a cut."""
    emulator.script({"error_after": 4})
    told = await fault_of(provider, stream=True)
    assert told.kind is FaultKind.CUT
    assert told.partial_text_len > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("lie", "bucket"), [("missing", None), ("negative", -5), ("absurd", 10**15)])
async def test_bad_usage_is_passed_on_unchecked(provider: OpenAIProvider, lie: str, bucket: int | None, *, stream: bool) -> None:
    """Missing usage is None, and bad counts arrive as told: judging them is the ledger's."""
    reply = await answered(provider, stream=stream, prompt=f"[[fault:usage={lie}]]")
    assert (reply.usage and reply.usage.output) == bucket
    assert reply.parts[0].content.text


async def test_usage_is_in_disjoint_buckets(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """Cached tokens are not input, and reasoning is inside output, as the truth says."""
    prompt = "[[answer:cached=20]] why do bakeries fail in winter?"
    reply = await answered(provider, stream=True, prompt=prompt, reasoning_effort=ReasoningEffort.LOW)
    (charge,) = emulator.charges()
    assert reply.usage == TokenUsage(input=charge["input_tokens"] - 20, cache_read=20, output=charge["output_tokens"], reasoning=32)
    assert json.loads(reply.provider_usage_json)["prompt_tokens"] == charge["input_tokens"]


async def test_length_is_told(provider: OpenAIProvider) -> None:
    """An answer cut at its limit has finish reason LENGTH."""
    assert (await answered(provider, stream=True, max_output_tokens=5)).finish_reason is FinishReason.LENGTH


async def test_the_request_id_travels(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The provider's records hold our request id and attempt, whatever characters the id has."""
    asked = call()
    for request_id in ("6d0f/3", "ärger\r\nx: y"):
        await provider.complete(replace(asked, request_id=request_id, attempt=3))
    assert [(charge["request_id"], charge["attempt"]) for charge in emulator.charges()] == [
        ("6d0f/3", 3),
        ("%C3%A4rger%0D%0Ax:%20y", 3),
    ]


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
        ({"retry-after": "Wed, 01 Apr 2026 10:00:30 GMT", "date": "Wed, 01 Apr 2026 10:00:00 GMT"}, 30.0),
        ({"retry-after": "Wed, 01 Apr 2026 10:00:30 GMT"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-3"}, None),
        ({}, None),
    ],
)
async def test_retry_after_is_heard(provider: OpenAIProvider, emulator: RunningEmulator, headers, seconds) -> None:
    """Seconds, milliseconds and dates beside the response's own date are understood; nonsense is no answer."""
    emulator.script({"status": 429, "headers": headers})
    assert (await fault_of(provider, stream=False)).retry_after_s == seconds


async def test_a_used_up_account_is_not_a_rate(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """A 429 for an empty account is AUTH: waiting does not fill it."""
    emulator.script({"status": 429, "body": json.dumps({"error": {"message": "exceeded", "code": "insufficient_quota"}})})
    told = await fault_of(provider, stream=False)
    assert (told.kind, told.code) == (FaultKind.AUTH, "insufficient_quota")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"error": {"message": f"bad key {KEY} and sk-abcdef123456", "code": "x"}}, "bad key *** and ***"),
        ({"error": "just text"}, "just text"),
        ({"detail": "not here"}, "not here"),
        ({"message": "no", "type": "t"}, "no"),
        ([{"error": {"message": "in a list"}}], "in a list"),
    ],
)
async def test_what_a_provider_says_holds_no_key(provider: OpenAIProvider, emulator: RunningEmulator, body, said: str) -> None:
    """Errors of compatible servers are understood, and keys in them are hidden; our own sentence quotes nothing."""
    emulator.script({"status": 400, "body": json.dumps(body)})
    told = await fault_of(provider, stream=False)
    assert told.kind is FaultKind.REJECTED
    assert told.provider_message == said
    assert said not in told.message


@pytest.mark.parametrize(
    ("base_url", "field", "sent"),
    [
        (None, "auto", "max_completion_tokens"),
        ("https://eu.api.openai.com/v1", "auto", "max_completion_tokens"),
        ("https://api.example.com/v1", "auto", "max_tokens"),
        ("http://127.0.0.1:8000/v1", "max_completion_tokens", "max_completion_tokens"),
        (None, "max_tokens", "max_tokens"),
    ],
)
async def test_the_limit_has_the_name_that_the_server_knows(base_url: str | None, field: str, sent: str) -> None:
    """OpenAI itself gets the new name, other servers the old one, and a setting decides otherwise."""
    provider = connect("p", settings(base_url, max_tokens_field=field), answer_bytes=1_024)
    assert provider.form.dialect.limit_field == sent
    await provider.aclose()


async def test_a_compressed_answer_is_read_and_bounded() -> None:
    """A server that compresses unasked is understood, and what it inflates to is bounded."""
    answer = {"choices": [{"message": {"content": "x" * 5_000}, "finish_reason": "stop"}], "model": "m"}
    packed = gzip.compress(json.dumps(answer).encode())
    async with serving_bytes(packed, headers={"content-encoding": "gzip"}) as server:
        for answer_bytes, expected in ((10_000, None), (2_000, FaultKind.TOO_LARGE)):
            provider = connect("p", settings(server.base_url), answer_bytes=answer_bytes)
            if expected is None:
                assert len((await answered(provider, stream=False)).parts[0].content.text) == 5_000
            else:
                assert (await fault_of(provider, stream=False)).kind is expected
            await provider.aclose()


async def test_an_unknown_encoding_is_a_bad_answer() -> None:
    """A compression that can't be undone makes the answer unreadable."""
    async with serving_bytes(b"x", headers={"content-encoding": "br"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=1_024)
        assert (await fault_of(provider, stream=False)).kind is FaultKind.BAD_ANSWER
        await provider.aclose()


async def test_a_stream_without_done_is_whole() -> None:
    """A server that ends its stream without [DONE], or repeats usage in every event, is understood."""
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5, "cost": 0.001}
    events = [
        {"model": "sonar", "usage": usage, "choices": [{"delta": {"content": "Hi"}}]},
        {"model": "sonar", "usage": usage, "choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"model": "sonar", "usage": usage, "choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        reply = await answered(provider, stream=True)
        await provider.aclose()
    assert [part.content.text for part in reply.parts] == ["hm", "Hi"]
    assert (reply.usage.output, reply.reported_cost_nanos) == (2, 1_000_000)


@pytest.mark.parametrize("event", [b'{"choices": [', b"\xff\xfe", b'{"choices": [3]}', b'{"hello": 1}'])
async def test_a_broken_event_is_a_bad_answer(event: bytes) -> None:
    """An event that can't be read ends the stream as BAD_ANSWER, with what had come before counted."""
    first = json.dumps({"choices": [{"delta": {"content": "Hello"}}]}).encode()
    body = b"data: " + first + b"\n\ndata: " + event + b"\n\n"
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.BAD_ANSWER, 5)


async def test_a_stream_that_ends_early_in_order_is_cut() -> None:
    """An orderly end without a finish reason is a cut all the same."""
    body = b'data: {"choices": [{"delta": {"content": "Hello"}}]}\n\n'
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.CUT, 5)


async def test_the_environment_adds_no_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """An organisation or project in the daemon's environment is not told to whatever server is configured."""
    monkeypatch.setenv("OPENAI_ORG_ID", "org-1")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-1")
    async with serving_bytes(b"{}") as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        await fault_of(provider, stream=False)
        await provider.aclose()
    assert "openai-organization" not in server.requests[0].headers
    assert "openai-project" not in server.requests[0].headers
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert server.requests[0].headers["accept-encoding"] == "identity"


def test_a_request_without_an_asynchronous_stream_is_refused() -> None:
    """The bound needs a stream that it can stand in front of."""
    client = http_client(base_url="http://localhost/v1", answer_bytes=1)
    (hook,) = client.event_hooks["response"]
    with pytest.raises(TypeError, match="asynchronous"):
        asyncio.run(hook(httpx2.Response(200, stream=object())))


def test_what_another_sdk_imports_meanwhile_is_there_already(tmp_path: Path) -> None:
    """The SDK looks for httpx among the modules at each call; where there is one it is loaded whole before the first."""
    (tmp_path / "httpx.py").write_text("Timeout = object\n")  # it comes with other packages, or not at all
    places = os.pathsep.join((str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])))
    look = "import sys, aigend.providers.openai.chat; sys.exit('httpx' not in sys.modules or not sys.modules['httpx'].Timeout)"
    asked = subprocess.run([sys.executable, "-c", look], env=os.environ | {"PYTHONPATH": places}, check=False, timeout=15)
    assert asked.returncode == 0


@pytest.fixture
def half_imported(provider: OpenAIProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let httpx look as in the middle of its import by another thread."""
    monkeypatch.setitem(sys.modules, "httpx", ModuleType("httpx"))


@pytest.mark.usefixtures("half_imported")
async def test_control_a_half_imported_httpx_is_a_defect(provider: OpenAIProvider) -> None:
    """Control: with a module that is only being imported the SDK fails outside of its own errors."""
    with pytest.raises(AttributeError):
        await provider.complete(call())
