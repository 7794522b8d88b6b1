"""The adapters for Responses and their relatives through the real SDK: what they send, every fault, and what comes back."""

import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from types import ModuleType

import pytest
from aigend.config import ProviderSettings
from aigend.providers.openai import responses
from aigend.providers.openai.provider import OpenAIProvider
from aigend.providers.perplexity import agent as perplexity
from aigend.providers.perplexity import sonar
from aigend.providers.port import FaultKind, ProviderFault, ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import (
    FinishReason,
    Message,
    Part,
    PromptCachePlan,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes
from tests.emulator_server import RunningEmulator

ANSWER_BYTES = 200_000
KEY = "planted-0123456789"
WEATHER = Tool(name="weather", parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}}')
ASK_WEATHER = Message(Role.USER, (Part(Text("What is the weather?")),))


@dataclass(frozen=True)
class Speaker:
    """An adapter, and where the emulator understands it."""

    module: ModuleType
    address: Callable[[str], str]  # of the emulator's OpenAI


SPEAKERS = {
    "responses": Speaker(responses, lambda url: url),
    "perplexity": Speaker(perplexity, lambda url: url.removesuffix("/v1") + "/perplexity/v1"),
    "sonar": Speaker(sonar, lambda url: url.removesuffix("/v1")),
}


@pytest.fixture(params=SPEAKERS)
async def provider(request: pytest.FixtureRequest, emulator: RunningEmulator) -> AsyncIterator[OpenAIProvider]:
    """Return each adapter, pointed at the emulator under a name of its own."""
    speaker = SPEAKERS[request.param]
    made = speaker.module.connect("p", settings(speaker.address(emulator.provider_url("p"))), answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


@pytest.fixture
async def openai(emulator: RunningEmulator) -> AsyncIterator[OpenAIProvider]:
    """Return the adapter for OpenAI's own Responses, at a server that knows the cache fields."""
    made = responses.connect("p", settings(emulator.provider_url("p"), prompt_cache_fields="send"), answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


def settings(base_url: str, **more) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(base_url=base_url, api_key=SecretStr(KEY), **more)


async def answered(provider: OpenAIProvider, *, stream: bool, prompt: str = "hello", **more) -> ProviderReply:
    """Return the reply, whichever way it comes."""
    asked = call(prompt, **more)
    provider.check(asked.request)
    if not stream:
        return await provider.complete(asked)
    return [event async for event in provider.stream(asked)][-1]


async def fault_of(provider: OpenAIProvider, *, stream: bool, **more) -> ProviderFault:
    """Return the fault of a call that must fail."""
    with pytest.raises(ProviderFault) as caught:
        await answered(provider, stream=stream, **more)
    return caught.value


TABLE = [
    # fault, kind of a whole answer, kind of a stream
    ("status=400", FaultKind.REJECTED, FaultKind.REJECTED),
    ("status=401", FaultKind.AUTH, FaultKind.AUTH),
    ("status=402", FaultKind.AUTH, FaultKind.AUTH),
    ("status=429", FaultKind.RATE_LIMITED, FaultKind.RATE_LIMITED),
    ("status=503", FaultKind.SERVER_ERROR, FaultKind.SERVER_ERROR),
    ("status=502,body=<html>bad gateway</html>", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER),
    ("garbage=html", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER),
    ("garbage=broken_json", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER),
    ("garbage=empty", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER),
    ("garbage=wrong_shape", FaultKind.BAD_ANSWER, FaultKind.BAD_ANSWER),
    ("reset", FaultKind.RESET, FaultKind.RESET),
    ("cut_after=8", FaultKind.RESET, FaultKind.CUT),
    ("size=400000", FaultKind.TOO_LARGE, FaultKind.TOO_LARGE),
    ("hang", FaultKind.TIMEOUT, FaultKind.TIMEOUT),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("fault", "whole", "streamed"), TABLE, ids=[row[0] for row in TABLE])
async def test_the_table_of_faults(
    provider: OpenAIProvider, emulator: RunningEmulator, fault: str, whole: FaultKind, streamed: FaultKind, *, stream: bool
) -> None:
    """Each way in which a provider fails is told by its kind, after exactly one request."""
    told = await fault_of(provider, stream=stream, prompt=f"[[fault:{fault}]]", timeout_s=0.25 if fault == "hang" else 10.0)
    assert told.kind is (streamed if stream else whole)
    assert told.provider == "p"
    assert emulator.requests() == 1


async def test_an_error_inside_a_stream(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """An error event before the first piece is what it says; after it the stream is cut."""
    emulator.script({"error_after": 0})
    assert (await fault_of(provider, stream=True)).kind is FaultKind.SERVER_ERROR
    emulator.script({"error_after": 12})
    told = await fault_of(provider, stream=True)
    assert told.kind is FaultKind.CUT
    assert told.partial_text_len > 0


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("lie", "bucket"), [("missing", None), ("negative", -5), ("absurd", 10**15)])
async def test_bad_usage_is_passed_on_unchecked(provider: OpenAIProvider, lie: str, bucket: int | None, *, stream: bool) -> None:
    """Missing usage is None, and bad counts arrive as told: judging them is the ledger's."""
    reply = await answered(provider, stream=stream, prompt=f"[[fault:usage={lie}]]")
    assert (reply.usage and reply.usage.output) == bucket


async def test_a_stream_says_the_same(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The deltas join to the whole answer's text, word by word, and the usage is what was billed."""
    asked = call("[[answer:tokens=40]] Which channel fits a bakery?")
    events = [event async for event in provider.stream(asked)]
    whole = await provider.complete(asked)
    assert events[-1] == whole
    text = [part.content.text for part in whole.parts if isinstance(part.content, Text)]
    deltas = [event.text for event in events if isinstance(event, TextDelta)]
    assert ["".join(deltas)] == text
    assert len(deltas) > 10
    charge = emulator.charges()[0]
    assert (whole.usage.total_input, whole.usage.output) == (charge["input_tokens"], charge["output_tokens"])
    assert whole.resolved_model == asked.model
    assert whole.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_length_is_told(provider: OpenAIProvider, *, stream: bool) -> None:
    """An answer cut at its limit has finish reason LENGTH."""
    reply = await answered(provider, stream=stream, max_output_tokens=5)
    assert (reply.finish_reason, reply.usage.output) == (FinishReason.LENGTH, 5)


async def test_tools_are_called_in_parallel_and_answered(provider: OpenAIProvider) -> None:
    """Parallel calls come whole, in the stream as in the answer, and their results are understood."""
    asked = call("[[answer:tools=2]] Weather?", tools=(WEATHER,))
    events = [event async for event in provider.stream(asked)]
    reply = events[-1]
    calls = [part.content for part in reply.parts if isinstance(part.content, ToolCall)]
    assert [event.call for event in events if isinstance(event, ToolCallDone)] == calls
    assert [wish.name for wish in calls] == ["weather", "weather"]
    assert (len({wish.id for wish in calls}), reply.finish_reason) == (2, FinishReason.TOOL_CALLS)
    assert all("city" in json.loads(wish.arguments_json) for wish in calls)
    results = Message(Role.TOOL, tuple(Part(ToolResult(tool_call_id=wish.id, text="sunny")) for wish in calls))
    more = (ASK_WEATHER, Message(Role.ASSISTANT, reply.parts), results)
    answer = await answered(provider, stream=False, messages=more, tools=(WEATHER,))
    assert answer.finish_reason is FinishReason.STOP


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_an_answer_fits_its_schema(provider: OpenAIProvider, *, stream: bool) -> None:
    """With a schema the text is JSON of that shape."""
    schema = '{"type": "object", "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}'
    form = ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema)
    reply = await answered(provider, stream=stream, response_format=form)
    text = next(part.content.text for part in reply.parts if isinstance(part.content, Text))
    assert json.loads(text).keys() == {"name", "count"}


async def test_the_request_id_travels(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The provider's records hold our request id and attempt."""
    await provider.complete(replace(call(), request_id="6d0f/3", attempt=3))
    assert [(charge["request_id"], charge["attempt"]) for charge in emulator.charges()] == [("6d0f/3", 3)]


async def test_what_a_provider_says_holds_no_key(provider: OpenAIProvider, emulator: RunningEmulator) -> None:
    """The key is hidden in errors with a status and in those inside an answer that began well."""
    told = {"error": {"message": f"bad key {KEY}", "code": "server_error"}}
    emulator.script({"status": 400, "body": json.dumps(told)}, {"body": json.dumps(told)})
    assert (await fault_of(provider, stream=False)).provider_message == "bad key ***"
    inside = await fault_of(provider, stream=False)
    assert (inside.kind, inside.provider_message) == (FaultKind.SERVER_ERROR, "bad key ***")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_reasoning_is_carried_through_turns(openai: OpenAIProvider, *, stream: bool) -> None:
    """Reasoning comes shown and sealed, and what was sealed is taken back by the provider that sealed it."""
    asked = call("hello", reasoning_effort=ReasoningEffort.LOW, provider_options_json='{"reasoning": {"summary": "auto"}}')
    events = [event async for event in openai.stream(asked)] if stream else [await openai.complete(asked)]
    thinking = events[-1].parts[0].content
    assert isinstance(thinking, Thinking)
    assert thinking.signature.startswith("openai-responses:")
    assert not stream or "".join(event.text for event in events if isinstance(event, ThinkingDelta)) == thinking.text
    assert events[-1].usage.reasoning == 32
    turns = (ASK_WEATHER, Message(Role.ASSISTANT, events[-1].parts), ASK_WEATHER)
    assert (await answered(openai, stream=stream, messages=turns)).parts


async def test_control_reasoning_that_is_not_sealed_by_the_provider_is_refused_by_it(openai: OpenAIProvider) -> None:
    """Control: what passes our check with another seal behind the prefix is refused by the provider."""
    forged = Part(Thinking(text="hm", signature="openai-responses:Zm9yZ2Vk"))
    told = await fault_of(openai, stream=False, messages=(ASK_WEATHER, Message(Role.ASSISTANT, (forged,)), ASK_WEATHER))
    assert (told.kind, told.code) == (FaultKind.REJECTED, "invalid_encrypted_content")


async def test_the_prefix_key_is_sent() -> None:
    """The key of the shared prefix is in the body where the server knows the field, and the answer is not stored there."""
    answer = json.dumps({"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]}).encode()
    async with serving_bytes(answer) as server:
        provider = responses.connect("p", settings(server.base_url, prompt_cache_fields="send"), answer_bytes=ANSWER_BYTES)
        await provider.complete(replace(call(), prompt_cache=PromptCachePlan(prefix_key="p-1")))
        await provider.aclose()
    sent = json.loads(server.requests[0].body)
    assert (server.requests[0].path, sent["prompt_cache_key"], sent["store"]) == ("/v1/responses", "p-1", False)


async def test_a_stream_that_ends_early_in_order_is_cut() -> None:
    """An orderly end without the last event is a cut all the same."""
    body = b'event: x\ndata: {"type": "response.output_text.delta", "delta": "Hello"}\n\n'
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = responses.connect("p", settings(server.base_url), answer_bytes=ANSWER_BYTES)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.CUT, 5)


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        ({"status": "in_progress"}, FaultKind.BAD_ANSWER),
        ({"status": "failed", "error": {"code": "server_error"}}, FaultKind.SERVER_ERROR),
    ],
)
async def test_a_last_event_that_is_no_end_is_no_answer(response: dict, kind: FaultKind) -> None:
    """A stream whose last event holds a response that has not ended, or has failed, gives no answer."""
    body = b"data: " + json.dumps({"type": "response.completed", "response": {"output": []} | response}).encode() + b"\n\n"
    async with serving_bytes(body, headers={"content-type": "text/event-stream"}) as server:
        provider = responses.connect("p", settings(server.base_url), answer_bytes=ANSWER_BYTES)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert told.kind is kind


@pytest.mark.parametrize("name", SPEAKERS)
async def test_the_address_of_its_own(name: str) -> None:
    """Without settings an adapter knows where its provider is."""
    made = SPEAKERS[name].module.connect("p", ProviderSettings(api_key=SecretStr(KEY)), answer_bytes=1_024)
    hosts = {"responses": "api.openai.com/v1", "perplexity": "api.perplexity.ai/v1", "sonar": "api.perplexity.ai"}
    assert str(made._client.base_url).rstrip("/") == f"https://{hosts[name]}"
    await made.aclose()
