"""The Anthropic adapter through its real SDK: what it sends, every fault of the table, and the protections with their controls."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace

import anthropic
import pytest
from aigen_emulator.wire.anthropic import REDACT
from aigend.config import ProviderSettings
from aigend.providers.anthropic.messages import AnthropicProvider, connect
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import (
    CacheMark,
    FinishReason,
    Image,
    Message,
    Part,
    PartPlace,
    PromptCachePlan,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    TokenUsage,
    Tool,
    ToolResult,
)
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes
from tests.emulator_server import RunningEmulator

ANSWER_BYTES = 200_000
KEY = "planted-0123456789"
MODEL = "claude-sonnet-4-5"
TOOLS = (Tool(name="weather", parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}}'),)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])


def settings(base_url: str, **more) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(**({"adapter": "anthropic", "base_url": base_url, "api_key": SecretStr(KEY)} | more))


@pytest.fixture
async def provider(emulator: RunningEmulator) -> AsyncIterator[AnthropicProvider]:
    """Return the adapter, pointed at the emulator under a name of its own."""
    made = connect("claude", settings(emulator.provider_url("claude")), answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


def asking(prompt: str = "hello", **more) -> ProviderCall:
    """Return a call of a model of Anthropic's."""
    return replace(call(prompt, **more), model=MODEL)


async def answer_to(provider: AnthropicProvider, asked: ProviderCall, *, stream: bool) -> ProviderReply:
    """Return the reply, whichever way it comes."""
    if not stream:
        return await provider.complete(asked)
    return [event async for event in provider.stream(asked)][-1]


async def fault_of(provider: AnthropicProvider, *, stream: bool, prompt: str = "hello", timeout_s: float = 10.0) -> ProviderFault:
    """Return the fault of a call that must fail."""
    with pytest.raises(ProviderFault) as caught:
        await answer_to(provider, asking(prompt, timeout_s=timeout_s), stream=stream)
    return caught.value


async def test_control_sdk_retries_hide_paid_calls(provider: AnthropicProvider, emulator: RunningEmulator) -> None:
    """Control: with the SDK's own default of two retries one call becomes three, all billed."""
    emulator.script(*[{"status": 500, "charge": True, "headers": {"retry-after-ms": "1"}}] * 3)
    provider._client.max_retries = anthropic.DEFAULT_MAX_RETRIES
    await fault_of(provider, stream=False)
    assert len(emulator.charges()) == 3


async def test_retries_are_off(provider: AnthropicProvider, emulator: RunningEmulator) -> None:
    """The adapter sends once, whatever the error invites to."""
    emulator.script(*[{"status": 529, "charge": True, "headers": {"retry-after-ms": "1", "x-should-retry": "true"}}] * 3)
    told = await fault_of(provider, stream=False)
    assert (told.kind, told.code) == (FaultKind.SERVER_ERROR, "overloaded_error")
    assert len(emulator.charges()) == 1


async def test_an_error_inside_a_stream_cuts_it(provider: AnthropicProvider, emulator: RunningEmulator) -> None:
    """An error event in a stream that began with 200 is a cut, with what had come counted."""
    emulator.script({"error_after": 6})
    told = await fault_of(provider, stream=True)
    assert told.kind is FaultKind.CUT
    assert told.partial_text_len > 0


async def test_a_stream_that_ends_early_in_order_is_cut() -> None:
    """An orderly end without a stop reason is a cut all the same."""
    events = [
        {"type": "message_start", "message": {"model": "m"}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Hello"}},
    ]
    body = b"".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events)
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.CUT, 5)


@pytest.mark.parametrize("data", [b'{"type": ', b'{"hello": 1}', b"[3]", b"\xff\xfe"])
async def test_a_broken_event_is_a_bad_answer(data: bytes) -> None:
    """An event that can't be read ends the stream as BAD_ANSWER."""
    body = b"event: content_block_delta\ndata: " + data + b"\n\n"
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert told.kind is FaultKind.BAD_ANSWER


@BOTH
@pytest.mark.parametrize(("lie", "bucket"), [("missing", None), ("negative", -5), ("absurd", 10**15)])
async def test_bad_usage_is_passed_on_unchecked(provider: AnthropicProvider, lie: str, bucket: int | None, *, stream: bool) -> None:
    """Missing usage is None, and bad counts arrive as told: judging them is the ledger's."""
    reply = await answer_to(provider, asking(f"[[fault:usage={lie}]]"), stream=stream)
    assert (reply.usage and reply.usage.output) == bucket
    assert reply.parts[0].content.text


@BOTH
async def test_an_answer_says_what_was_billed(provider: AnthropicProvider, emulator: RunningEmulator, *, stream: bool) -> None:
    """Text, finish, model and usage agree with the provider's own books, and the request is named in them."""
    asked = replace(asking("[[answer:cached=8]] why do bakeries fail?"), request_id="ärger\n1", attempt=3)
    reply = await answer_to(provider, asked, stream=stream)
    (charge,) = emulator.charges()
    assert (charge["provider"], charge["request_id"], charge["attempt"]) == ("claude", "%C3%A4rger%0A1", 3)
    assert reply.usage == TokenUsage(input=charge["input_tokens"] - 8, cache_read=8, output=charge["output_tokens"])
    assert (reply.finish_reason, reply.resolved_model) == (FinishReason.STOP, MODEL)
    assert json.loads(reply.provider_usage_json)["cache_read_input_tokens"] == 8


async def test_tools_in_parallel_and_their_results(provider: AnthropicProvider) -> None:
    """Several calls come whole in a stream, equal to a whole answer's, and their results are answered in the next turn."""
    asked = asking("[[answer:tools=2]] weather in Bern and Basel?", tools=TOOLS)
    events = [event async for event in provider.stream(asked)]
    done = [event.call for event in events if isinstance(event, ToolCallDone)]
    assert len({item.id for item in done}) == 2
    assert [part.content for part in events[-1].parts] == done
    assert (await provider.complete(asked)).parts == events[-1].parts
    results = tuple(Part(ToolResult(tool_call_id=item.id, text="rain", is_error=True)) for item in done)
    turns = (*asked.request.messages, Message(Role.ASSISTANT, events[-1].parts), Message(Role.TOOL, results))
    reply = await provider.complete(asking(messages=turns, tools=TOOLS))
    assert reply.finish_reason is FinishReason.STOP


@pytest.mark.parametrize(("prompt", "sealed"), [("why?", False), (f"{REDACT} why?", True)])
async def test_thinking_is_carried_through_turns(provider: AnthropicProvider, prompt: str, *, sealed: bool) -> None:
    """Thinking comes with its signature or sealed, and the provider takes both back; a changed thought it refuses."""
    asked = asking(prompt, reasoning_effort=ReasoningEffort.LOW, max_output_tokens=4_000)
    events = [event async for event in provider.stream(asked)]
    thought = events[-1].parts[0].content
    assert isinstance(thought, Thinking)
    assert thought.signature.startswith("redacted_thinking:") is sealed
    assert "".join(event.text for event in events if isinstance(event, ThinkingDelta)) == thought.text
    assert events[-1].usage.reasoning == 32

    def more(said: Thinking) -> ProviderCall:
        turns = (Message(Role.ASSISTANT, (Part(said), *events[-1].parts[1:])), Message(Role.USER, (Part(Text("go on")),)))
        return asking(messages=(*asked.request.messages, *turns))

    assert (await provider.complete(more(thought))).finish_reason is FinishReason.STOP
    if not sealed:
        with pytest.raises(ProviderFault) as caught:
            await provider.complete(more(replace(thought, text="other")))
        assert (caught.value.kind, caught.value.code) == (FaultKind.REJECTED, "invalid_request_error")


@BOTH
async def test_schemas_stops_limits_and_images(provider: AnthropicProvider, *, stream: bool) -> None:
    """A schema is kept to, a stop sequence and the bound end the answer, and a picture is looked at."""
    schema = '{"type": "object", "properties": {"channel": {"type": "string"}}, "additionalProperties": false}'
    form = ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema)
    reply = await answer_to(provider, asking(response_format=form), stream=stream)
    assert list(json.loads(reply.parts[0].content.text)) == ["channel"]
    reply = await answer_to(provider, asking("[[answer:echo]] one END two", stop_sequences=("END",)), stream=stream)
    assert (reply.parts[0].content.text, reply.finish_reason) == ("one ", FinishReason.STOP)
    reply = await answer_to(provider, asking(max_output_tokens=5), stream=stream)
    assert (reply.finish_reason, reply.usage.output) == (FinishReason.LENGTH, 5)
    picture = (Part(Text("what is it?")), Part(Image(data=b"\x89PNG\r\n")))
    reply = await answer_to(provider, asking(messages=(Message(Role.USER, picture),)), stream=stream)
    assert reply.usage.input > 255


async def test_deltas_add_up_to_the_text(provider: AnthropicProvider) -> None:
    """A stream's pieces join to the text of the whole answer."""
    events = [event async for event in provider.stream(asking())]
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert text == events[-1].parts[0].content.text == (await provider.complete(asking())).parts[0].content.text


@BOTH
async def test_marked_prefixes_are_written_then_read(
    provider: AnthropicProvider, emulator: RunningEmulator, *, stream: bool
) -> None:
    """A plan's marks write the prefix at their own rates, and the next call reads all of it."""
    long_text = f"stable {'stream' if stream else 'whole'} " * 1_000
    plan = PromptCachePlan(
        marks=(CacheMark(place=PartPlace(None, 0), ttl_s=3_600), CacheMark(place=PartPlace(0, 0), ttl_s=300)),
    )
    asked = replace(asking("and now?", system=(Part(Text(long_text)),)), prompt_cache=plan)
    first, second = [await answer_to(provider, asked, stream=stream) for _ in range(2)]
    system_tokens = -(-len(long_text) // 4)
    charge, _ = emulator.charges()
    assert (first.usage.cache_write_1h, first.usage.cache_read) == (system_tokens, 0)
    assert (charge["cache_write_1h_tokens"], charge["cache_write_5m_tokens"]) == (system_tokens, first.usage.cache_write_5m)
    assert second.usage.cache_read == system_tokens + first.usage.cache_write_5m
    assert (second.usage.cache_write_1h, second.usage.cache_write_5m) == (0, 0)
    assert first.usage.total_input == second.usage.total_input == charge["input_tokens"]


async def test_what_a_provider_says_holds_no_key(provider: AnthropicProvider, emulator: RunningEmulator) -> None:
    """Keys in an error are hidden, and our own sentence quotes nothing."""
    error = {"type": "invalid_request_error", "message": f"bad key {KEY} and sk-ant-abcdef123456"}
    emulator.script({"status": 400, "body": json.dumps({"type": "error", "error": error})})
    told = await fault_of(provider, stream=False)
    assert told.provider_message == "bad key *** and ***"
    assert KEY not in told.message


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_the_address_may_end_in_its_version(suffix: str) -> None:
    """The path is the same whether the address in the settings holds the version or not."""
    async with serving_bytes(b"{}") as server:
        provider = connect("p", settings(server.base_url.removesuffix("/v1") + suffix), answer_bytes=10_000)
        await fault_of(provider, stream=False)
        await provider.aclose()
    assert [seen.path for seen in server.requests] == ["/v1/messages"]


async def test_the_environment_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A key, an address and headers in the daemon's environment are not told to whatever server is configured."""
    monkeypatch.setenv("ANTHROPIC_CUSTOM_HEADERS", "x-planted: yes")
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "planted-token")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "planted-other-key")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:1")
    async with serving_bytes(b"{}") as server:
        for key in (SecretStr(KEY), None):
            provider = connect("p", settings(server.base_url, api_key=key), answer_bytes=10_000)
            await fault_of(provider, stream=False)
            await provider.aclose()
    with_key, without = server.requests
    assert "planted" not in json.dumps(dict(without.headers))
    assert (with_key.headers["authorization"], "x-planted" in with_key.headers) == (f"Bearer {KEY}", False)
