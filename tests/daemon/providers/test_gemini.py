"""The Gemini adapter through its real SDK: what it sends, every fault of the table, and the protections with their controls."""

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
import tenacity
from aigend.config import ProviderSettings
from aigend.providers.gemini.provider import GeminiProvider, connect
from aigend.providers.port import FaultKind, ProviderCall, ProviderFault, ProviderReply, TextDelta, ThinkingDelta, ToolCallDone
from aigend.types import (
    CacheMark,
    Document,
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
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from google.genai._api_client import retry_args
from google.genai.types import HttpRetryOptions
from pydantic import SecretStr

from tests.daemon.providers.asking import call
from tests.daemon.providers.loopback import serving_bytes
from tests.emulator_server import RunningEmulator

ANSWER_BYTES = 200_000
KEY = "planted-0123456789"
MODEL = "gemini-2.5-pro"
NEWER = "gemini-3.8-flash"
TOOLS = (Tool(name="weather", parameters_json_schema='{"type": "object", "properties": {"city": {"type": "string"}}}'),)
BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
LONG = "stable words of a handbook " * 400  # 2,700 tokens
EVENTS = {"content-type": "text/event-stream"}


def settings(base_url: str, **more) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(**({"adapter": "gemini", "base_url": base_url, "api_key": SecretStr(KEY)} | more))


@pytest.fixture
async def provider(emulator: RunningEmulator) -> AsyncIterator[GeminiProvider]:
    """Return the adapter, pointed at the emulator under a name of its own."""
    made = connect("gemini", settings(emulator.provider_url("gemini").removesuffix("/v1")), answer_bytes=ANSWER_BYTES)
    yield made
    await made.aclose()


def asking(prompt: str = "hello", *, model: str = MODEL, **more) -> ProviderCall:
    """Return a call of a model of Google's."""
    return replace(call(prompt, **more), model=model)


async def answer_to(provider: GeminiProvider, asked: ProviderCall, *, stream: bool) -> ProviderReply:
    """Return the reply, whichever way it comes."""
    if not stream:
        return await provider.complete(asked)
    return [event async for event in provider.stream(asked)][-1]


async def fault_of(provider: GeminiProvider, *, stream: bool, prompt: str = "hello", timeout_s: float = 10.0) -> ProviderFault:
    """Return the fault of a call that must fail."""
    with pytest.raises(ProviderFault) as caught:
        await answer_to(provider, asking(prompt, timeout_s=timeout_s), stream=stream)
    return caught.value


async def test_connecting_reads_no_certificates_for_clients_that_nobody_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server without TLS is connected to without one look at the trusted certificates, which takes longer than all else."""
    read: list[str] = []
    monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: read.append("read"))
    settings = ProviderSettings(adapter="gemini", base_url="http://127.0.0.1:1", api_key=SecretStr("AIza-test"))
    await connect("gemini", settings, answer_bytes=1_000).aclose()
    assert read == []


async def test_retries_are_off(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """The adapter sends once, whatever the error invites to."""
    emulator.script(*[{"status": 503, "charge": True, "headers": {"retry-after": "0"}}] * 3)
    told = await fault_of(provider, stream=False)
    assert (told.kind, told.code) == (FaultKind.SERVER_ERROR, "UNAVAILABLE")
    assert len(emulator.charges()) == 1


async def test_control_sdk_retries_hide_paid_calls(
    provider: GeminiProvider, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: through the SDK's own layer of retries one call becomes three, all billed."""
    emulator.script(*[{"status": 503, "charge": True}] * 3)
    retrying = tenacity.AsyncRetrying(**retry_args(HttpRetryOptions(attempts=3, initial_delay=0.0, max_delay=0.0, jitter=0.0)))
    once = provider._client._async_request_once
    monkeypatch.setattr(provider._client, "_async_request_once", lambda request, stream: retrying(once, request, stream))
    await fault_of(provider, stream=False)
    assert len(emulator.charges()) == 3


async def test_an_error_inside_a_stream_cuts_it(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """An error in a stream that began with 200 is a cut, with what had come counted."""
    emulator.script({"error_after": 4})
    told = await fault_of(provider, stream=True)
    assert told.kind is FaultKind.CUT
    assert told.partial_text_len > 0


async def test_an_error_instead_of_an_answer_is_a_bad_answer() -> None:
    """An error that comes as a success is neither an answer nor certainly free."""
    async with serving_bytes(b'{"error": {"code": 503, "status": "UNAVAILABLE"}}') as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=False)
        await provider.aclose()
    assert told.kind is FaultKind.BAD_ANSWER


def sse(*bodies: dict) -> bytes:
    """Return a stream of these bodies."""
    return b"".join(b"data: " + json.dumps(body).encode() + b"\r\n\r\n" for body in bodies)


def chunk(text: str, finish: str | None = None, **more) -> dict:
    """Return an event with some text."""
    return {"candidates": [{"content": {"parts": [{"text": text}]}, "finishReason": finish}], **more}


async def test_a_stream_that_ends_early_in_order_is_cut() -> None:
    """An orderly end without a finish reason is a cut all the same."""
    async with serving_bytes(sse(chunk("Hello")), headers=EVENTS) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.CUT, 5)


@pytest.mark.parametrize("data", [b'{"candidates": [', b'{"hello": 1}', b"[3]", b"\xff\xfe"])
async def test_a_broken_event_is_a_bad_answer(data: bytes) -> None:
    """An event that can't be read ends the stream as BAD_ANSWER, with what had come before counted."""
    async with serving_bytes(sse(chunk("Hello")) + b"data: " + data + b"\n\n", headers=EVENTS) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=True)
        await provider.aclose()
    assert (told.kind, told.partial_text_len) == (FaultKind.BAD_ANSWER, 5)


async def test_broken_characters_are_a_bad_answer() -> None:
    """A body that is no UTF-8 is not mended in silence."""
    body = b'{"candidates": [{"content": {"parts": [{"text": "\xff\xfe"}]}, "finishReason": "STOP"}]}'
    async with serving_bytes(body) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = await fault_of(provider, stream=False)
        await provider.aclose()
    assert told.kind is FaultKind.BAD_ANSWER


async def test_a_character_in_halves_is_shown_whole() -> None:
    """A character whose halves come in two events is shown once, and a half alone as what stands for it."""
    body = '{"candidates":[{"content":{"parts":[{"text":"%s"}]}%s}]}'
    events = [body % ("a\\ud83d", ""), body % ("\\ude00b\\ud83d", ',"finishReason":"STOP"')]
    data = b"".join(b"data: " + event.encode() + b"\n\n" for event in events)
    async with serving_bytes(data, headers=EVENTS) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=10_000)
        told = [event async for event in provider.stream(asking())]
        await provider.aclose()
    assert [event.text for event in told if isinstance(event, TextDelta)] == ["a", "😀b", "\ufffd"]
    assert told[-1].parts == (Part(Text("a😀b\ufffd")),)


@BOTH
@pytest.mark.parametrize(("lie", "bucket"), [("missing", None), ("negative", -5), ("absurd", 10**15)])
async def test_bad_usage_is_passed_on_unchecked(provider: GeminiProvider, lie: str, bucket: int | None, *, stream: bool) -> None:
    """Missing usage is None, and bad counts arrive as told: judging them is the ledger's."""
    reply = await answer_to(provider, asking(f"[[fault:usage={lie}]]"), stream=stream)
    assert (reply.usage and reply.usage.output) == bucket
    assert reply.parts[0].content.text


@BOTH
async def test_an_answer_says_what_was_billed(provider: GeminiProvider, emulator: RunningEmulator, *, stream: bool) -> None:
    """Text, finish, model and usage agree with the provider's own books, and the request is named in them."""
    asked = replace(
        asking("[[answer:cached=8]] why do bakeries fail?", reasoning_effort=ReasoningEffort.LOW), request_id="ärger\n1", attempt=3
    )
    reply = await answer_to(provider, asked, stream=stream)
    (charge,) = emulator.charges()
    assert (charge["provider"], charge["request_id"], charge["attempt"]) == ("gemini", "%C3%A4rger%0A1", 3)
    expected = TokenUsage(input=charge["input_tokens"] - 8, cache_read=8, output=charge["output_tokens"], reasoning=32)
    assert reply.usage == expected
    assert (reply.finish_reason, reply.resolved_model) == (FinishReason.STOP, MODEL)
    assert json.loads(reply.provider_usage_json)["thoughtsTokenCount"] == 32


@pytest.mark.parametrize("model", [MODEL, NEWER])
async def test_tools_in_parallel_and_their_results(provider: GeminiProvider, model: str) -> None:
    """Several calls come whole in a stream, equal to a whole answer's, and their results are answered in the next turn."""
    asked = asking("[[answer:tools=2]] weather in Bern and Basel?", model=model, tools=TOOLS)
    events = [event async for event in provider.stream(asked)]
    done = [event.call for event in events if isinstance(event, ToolCallDone)]
    assert len({item.id for item in done}) == 2
    assert [part.content for part in events[-1].parts if isinstance(part.content, ToolCall)] == done
    assert events[-1].finish_reason is FinishReason.TOOL_CALLS
    assert (await provider.complete(asked)).parts == events[-1].parts
    results = [Message(Role.TOOL, (Part(ToolResult(tool_call_id=item.id, text="rain", is_error=True)),)) for item in done]
    turns = (*asked.request.messages, Message(Role.ASSISTANT, events[-1].parts), *results)
    reply = await provider.complete(asking(model=model, messages=turns, tools=TOOLS))
    assert reply.finish_reason is FinishReason.STOP


async def test_signatures_of_calls_are_carried_through_turns(provider: GeminiProvider) -> None:
    """The signature of a call goes back onto the call; without it, or with a changed one, the provider refuses the turn."""
    asked = asking("weather in Bern?", model=NEWER, tools=TOOLS)
    reply = await provider.complete(asked)
    signature, made = (part.content for part in reply.parts)
    assert isinstance(signature, Thinking)
    assert (signature.text, bool(signature.signature)) == ("", True)
    result = Message(Role.TOOL, (Part(ToolResult(tool_call_id=made.id, text="rain")),))

    def more(*said: object) -> ProviderCall:
        turn = Message(Role.ASSISTANT, tuple(Part(content) for content in said))
        return asking(model=NEWER, messages=(*asked.request.messages, turn, result), tools=TOOLS)

    assert (await provider.complete(more(signature, made))).finish_reason is FinishReason.STOP
    for said in ((made,), (replace(signature, signature="gemini:b3RoZXI="), made)):
        with pytest.raises(ProviderFault) as caught:
            await provider.complete(more(*said))
        assert (caught.value.kind, caught.value.code) == (FaultKind.REJECTED, "INVALID_ARGUMENT")


@BOTH
@pytest.mark.parametrize("model", [MODEL, NEWER])
async def test_thinking_is_shown_and_carried_through_turns(provider: GeminiProvider, model: str, *, stream: bool) -> None:
    """An effort shows the thoughts, and the signature behind a text goes back behind it."""
    asked = asking("why?", model=model, reasoning_effort=ReasoningEffort.MEDIUM, max_output_tokens=4_000)
    reply = await answer_to(provider, asked, stream=stream)
    thought, said, signature = (part.content for part in reply.parts)
    assert (bool(thought.text), thought.signature, bool(said.text)) == (True, "", True)
    assert (signature.text, bool(signature.signature)) == ("", True)
    assert reply.usage.reasoning == 96
    turns = (*asked.request.messages, Message(Role.ASSISTANT, reply.parts), Message(Role.USER, (Part(Text("go on")),)))
    assert (await answer_to(provider, asking(model=model, messages=turns), stream=stream)).finish_reason is FinishReason.STOP


async def test_deltas_add_up(provider: GeminiProvider) -> None:
    """A stream's pieces join to the text and the thoughts of the whole answer."""
    asked = asking(reasoning_effort=ReasoningEffort.LOW)
    events = [event async for event in provider.stream(asked)]
    whole = await provider.complete(asked)
    assert (events[-1].parts, events[-1].usage, events[-1].finish_reason) == (whole.parts, whole.usage, whole.finish_reason)
    assert "".join(event.text for event in events if isinstance(event, ThinkingDelta)) == whole.parts[0].content.text
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == whole.parts[1].content.text


@BOTH
async def test_schemas_stops_limits_and_media(provider: GeminiProvider, *, stream: bool) -> None:
    """A schema is kept to, a stop sequence and the bound end the answer, and pictures and papers are looked at."""
    schema = '{"type": "object", "properties": {"channel": {"type": "string"}}, "additionalProperties": false}'
    form = ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema)
    reply = await answer_to(provider, asking(response_format=form, seed=7, temperature=0.5, top_p=0.9), stream=stream)
    assert list(json.loads(reply.parts[0].content.text)) == ["channel"]
    reply = await answer_to(provider, asking("[[answer:echo]] one END two", stop_sequences=("END",)), stream=stream)
    assert (reply.parts[0].content.text, reply.finish_reason) == ("one ", FinishReason.STOP)
    reply = await answer_to(provider, asking(max_output_tokens=5), stream=stream)
    assert (reply.finish_reason, reply.usage.output) == (FinishReason.LENGTH, 5)
    media = (Image(data=b"\x89PNG\r\n"), Image(url="https://example.com/a.jpg"), Document(data=b"%PDF-1.7", title="plan"))
    reply = await answer_to(provider, asking(messages=(Message(Role.USER, tuple(map(Part, media))),)), stream=stream)
    assert reply.usage.input > 2 * 255


@pytest.mark.parametrize(
    ("mode", "calls"), [(ToolChoiceMode.NONE, False), (ToolChoiceMode.REQUIRED, True), (ToolChoiceMode.NAMED, True)]
)
async def test_the_choice_of_tools_is_kept(provider: GeminiProvider, mode: ToolChoiceMode, *, calls: bool) -> None:
    """No call where none is wanted, and the named one where one is."""
    choice = ToolChoice(mode=mode, name="stocks" if mode is ToolChoiceMode.NAMED else "")
    reply = await provider.complete(asking(tools=(*TOOLS, Tool(name="stocks")), tool_choice=choice))
    named = [part.content.name for part in reply.parts if isinstance(part.content, ToolCall)]
    assert bool(named) is calls
    assert mode is not ToolChoiceMode.NAMED or named == ["stocks"]


async def test_a_blocked_prompt_is_a_filtered_answer() -> None:
    """A prompt that is refused for what it says has no candidates, and is no cut stream."""
    body = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "usageMetadata": {"promptTokenCount": 9}, "modelVersion": "m"}
    for data, headers, stream in ((json.dumps(body).encode(), {}, False), (sse(body), EVENTS, True)):
        async with serving_bytes(data, headers=headers) as server:
            provider = connect("p", settings(server.base_url), answer_bytes=10_000)
            reply = await answer_to(provider, asking(), stream=stream)
            await provider.aclose()
        assert (reply.finish_reason, reply.parts, reply.usage) == (FinishReason.CONTENT_FILTER, (), TokenUsage(input=9))


def google_error(status: str, message: str, *details: dict) -> str:
    """Return an error as Google spells it."""
    return json.dumps({"error": {"code": 400, "message": message, "status": status, "details": list(details)}})


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo"}
INFO = {"@type": "type.googleapis.com/google.rpc.ErrorInfo"}


@pytest.mark.parametrize(
    ("headers", "details", "seconds"),
    [
        ({}, [INFO, RETRY | {"retryDelay": "34.07s"}], 34.07),
        ({"retry-after": "7"}, [RETRY | {"retryDelay": "34s"}], 7.0),
        ({}, [RETRY | {"retryDelay": "soon"}], None),
        ({}, [RETRY], None),
        ({}, ["odd", {"retryDelay": "3s"}], None),
        ({}, [], None),
    ],
)
async def test_the_delay_stands_in_the_body(
    provider: GeminiProvider, emulator: RunningEmulator, headers: dict, details: list, seconds: float | None
) -> None:
    """A 429 says in its body how long to wait; a header wins, and nonsense is no answer."""
    emulator.script({"status": 429, "headers": headers, "body": google_error("RESOURCE_EXHAUSTED", "quota", *details)})
    told = await fault_of(provider, stream=True)
    assert (told.kind, told.code, told.retry_after_s) == (FaultKind.RATE_LIMITED, "RESOURCE_EXHAUSTED", seconds)


@pytest.mark.parametrize(
    ("reason", "kind", "code"),
    [
        ("API_KEY_INVALID", FaultKind.AUTH, "API_KEY_INVALID"),
        ("API_KEY_EXPIRED", FaultKind.AUTH, "API_KEY_EXPIRED"),
        ("SOMETHING", FaultKind.REJECTED, "INVALID_ARGUMENT"),
        ([], FaultKind.REJECTED, "INVALID_ARGUMENT"),
    ],
)
async def test_a_bad_key_comes_as_a_bad_request(
    provider: GeminiProvider, emulator: RunningEmulator, reason: object, kind: FaultKind, code: str
) -> None:
    """A 400 whose reason is the key puts the key out, not the request."""
    emulator.script({"status": 400, "body": google_error("INVALID_ARGUMENT", f"bad key {KEY}", INFO | {"reason": reason})})
    told = await fault_of(provider, stream=False)
    assert (told.kind, told.code, told.status, told.provider_message) == (kind, code, 400, "bad key ***")
    assert KEY not in told.message


@pytest.mark.parametrize(
    ("suffix", "path"),
    [("", "/v1beta/"), ("/", "/v1beta/"), ("/v1beta", "/v1beta/"), ("/v1/", "/v1/"), ("/some/proxy", "/some/proxy/v1beta/")],
)
async def test_the_address_may_end_in_its_version(suffix: str, path: str) -> None:
    """The version is the usual one unless the address in the settings names another."""
    async with serving_bytes(b"{}") as server:
        provider = connect("p", settings(server.base_url.removesuffix("/v1") + suffix), answer_bytes=10_000)
        await fault_of(provider, stream=False)
        await fault_of(provider, stream=True)
        await provider.aclose()
    model = f"{path}models/{MODEL}"
    assert [seen.path for seen in server.requests] == [f"{model}:generateContent", f"{model}:streamGenerateContent?alt=sse"]


async def test_the_environment_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys, addresses, projects, versions and modes in the daemon's environment are not settings of this provider."""
    planted = {
        "GOOGLE_API_KEY": "planted-other-key",
        "GEMINI_API_KEY": "planted-third-key",
        "GOOGLE_GEMINI_BASE_URL": "http://127.0.0.1:1",
        "GOOGLE_GENAI_USE_VERTEXAI": "true",
        "GOOGLE_GENAI_USE_ENTERPRISE": "true",
        "GOOGLE_GENAI_API_VERSION": "planted-version",
        "GOOGLE_GENAI_CLIENT_MODE": "replay",
        "GOOGLE_CLOUD_PROJECT": "planted-project",
        "GOOGLE_CLOUD_LOCATION": "planted-location",
    }
    for name, value in planted.items():
        monkeypatch.setenv(name, value)
    async with serving_bytes(b"{}") as server:
        for key in (SecretStr(KEY), None):
            provider = connect("p", settings(server.base_url, api_key=key), answer_bytes=10_000)
            await fault_of(provider, stream=False)
            await provider.aclose()
    with_key, without = server.requests
    assert "planted" not in without.path + json.dumps(dict(without.headers))
    assert (with_key.headers["x-goog-api-key"], without.headers["x-goog-api-key"]) == (KEY, "none")
    assert with_key.headers["accept-encoding"] == "identity"


def marked(place: PartPlace, *, ttl_s: int = 300) -> PromptCachePlan:
    """Return a plan with one mark."""
    return PromptCachePlan(marks=(CacheMark(place=place, ttl_s=ttl_s),))


SYSTEM_END = marked(PartPlace(None, 0))


def reading(word: str, prompt: str = "and now?", *, plan: PromptCachePlan = SYSTEM_END, **more) -> ProviderCall:
    """Return a call whose long system prompt is marked; the word makes it one of its own."""
    return replace(asking(prompt, system=(Part(Text(f"{word} {LONG}")),), **more), prompt_cache=plan)


@BOTH
@pytest.mark.parametrize(("ttl_s", "bucket"), [(300, "cache_write_5m"), (3_600, "cache_write_1h")])
async def test_a_marked_prefix_is_stored_once_and_read_by_each_call(
    provider: GeminiProvider, emulator: RunningEmulator, ttl_s: int, bucket: str, *, stream: bool
) -> None:
    """The first answer is charged with the cache's creation beside what it reads, the next reads alone; the books agree."""
    created = emulator.emulator.cached_contents.created
    plan = marked(PartPlace(None, 0), ttl_s=ttl_s)
    calls = [reading(f"{bucket} {stream}", prompt, plan=plan, tools=TOOLS) for prompt in ("one?", "two?")]
    first, second = [await answer_to(provider, asked, stream=stream) for asked in calls]
    charges = emulator.charges()
    tokens = getattr(first.usage, bucket)
    assert tokens == first.usage.cache_read == second.usage.cache_read > 2_048
    assert json.loads(first.provider_usage_json)["createdCachedContent"] == {"totalTokenCount": tokens, "ttl": f"{ttl_s}s"}
    assert second.usage.cache_write_5m == second.usage.cache_write_1h == 0
    assert [charge["input_tokens"] for charge in charges] == [first.usage.total_input, second.usage.total_input]
    assert [charge[f"{bucket}_tokens"] for charge in charges] == [tokens, 0]
    assert emulator.emulator.cached_contents.created == created + 1


async def test_a_cache_changes_no_answer(provider: GeminiProvider) -> None:
    """What is asked is the same, whether its beginning is sent or named."""
    parts = (Part(Text(f"{LONG} handbook"), prompt_cache_mark_s=300), Part(Text("what of it?")))
    turns = (Message(Role.USER, parts), Message(Role.ASSISTANT, (Part(Text("much")),)), Message(Role.USER, (Part(Text("more?")),)))
    plain = asking(messages=turns, system=(Part(Text("be brief")),))
    cached = replace(plain, prompt_cache=marked(PartPlace(0, 0)))
    replies = [await provider.complete(asked) for asked in (plain, cached)]
    assert replies[0].parts == replies[1].parts
    assert replies[0].usage.input == replies[1].usage.input + replies[1].usage.cache_read
    assert replies[1].usage.cache_read > 2_048


async def test_without_a_plan_nothing_is_stored(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """Explicit caches are off unless they are asked for."""
    created = emulator.emulator.cached_contents.created
    reply = await provider.complete(replace(reading("no plan"), prompt_cache=PromptCachePlan(prefix_key="k")))
    assert (reply.usage.cache_read, emulator.emulator.cached_contents.created) == (0, created)


async def test_concurrent_calls_create_once(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """Calls that want the same cache at once wait for one creation, and one of them is charged with it."""
    created = emulator.emulator.cached_contents.created
    replies = await asyncio.gather(*(provider.complete(reading("at once", f"question {index}")) for index in range(5)))
    assert emulator.emulator.cached_contents.created == created + 1
    assert sorted(bool(reply.usage.cache_write_5m) for reply in replies) == [False] * 4 + [True]
    assert all(reply.usage.cache_read for reply in replies)


@BOTH
async def test_a_cache_that_is_gone_is_done_without(provider: GeminiProvider, emulator: RunningEmulator, *, stream: bool) -> None:
    """A call whose cache the provider has forgotten is sent again, whole, in the same attempt; the next makes a new cache."""
    asked = reading(f"gone {stream}")
    await answer_to(provider, asked, stream=stream)
    emulator.emulator.clock.advance(301)
    again = await answer_to(provider, asked, stream=stream)
    assert (again.usage.cache_read, again.usage.cache_write_5m) == (0, 0)
    renewed = await answer_to(provider, asked, stream=stream)
    assert renewed.usage.cache_read == renewed.usage.cache_write_5m > 0
    assert len(emulator.charges()) == 3


async def test_an_error_of_the_request_itself_forgets_no_cache(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """Where the whole request is refused as well, the cache was not at fault and stays known."""
    asked = reading("not at fault")
    await provider.complete(asked)
    emulator.script(*[{"status": 400}] * 2)
    with pytest.raises(ProviderFault) as caught:
        await provider.complete(asked)
    assert caught.value.kind is FaultKind.REJECTED
    assert (await provider.complete(asked)).usage.cache_read > 0


async def test_other_errors_are_not_tried_again(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """What may have been billed is not sent a second time, whether it named a cache or not."""
    asked = reading("once")
    await provider.complete(asked)
    before = emulator.requests()
    emulator.script({"status": 503})
    with pytest.raises(ProviderFault):
        await provider.complete(asked)
    assert emulator.requests() == before + 1


@pytest.mark.parametrize(("model", "system"), [(MODEL, "short"), ("gemini-4-argon", LONG)])
async def test_a_creation_that_fails_costs_no_call(
    provider: GeminiProvider, emulator: RunningEmulator, model: str, system: str
) -> None:
    """A prefix that is too short, and a model that stores none, are sent whole, and not offered again at once."""
    offered = 0
    post = provider._post

    async def counted(path: str, *rest: object) -> object:
        nonlocal offered
        offered += path == "cachedContents"
        return await post(path, *rest)

    provider._post = counted
    asked = replace(asking(model=model, system=(Part(Text(system)),)), prompt_cache=SYSTEM_END)
    for _ in range(2):
        assert (await provider.complete(asked)).usage.cache_read == 0
    assert (offered, len(emulator.charges())) == (1, 2)


async def test_the_charge_of_a_creation_waits_for_an_answer(provider: GeminiProvider, emulator: RunningEmulator) -> None:
    """Where the call that made a cache fails, the next answer that stands on it is charged."""
    emulator.script({"status": 503})
    asked = reading("owed")
    with pytest.raises(ProviderFault):
        await provider.complete(asked)
    reply = await provider.complete(asked)
    assert reply.usage.cache_write_5m == reply.usage.cache_read > 0


async def test_a_cache_without_a_count_is_charged_as_it_is_read() -> None:
    """A server that does not say how much it stored is taken to have stored what the first answer reads."""
    answer = {"name": "cachedContents/1", **chunk("hi", "STOP")}
    counts = {"promptTokenCount": 90, "cachedContentTokenCount": 70, "candidatesTokenCount": 1}
    async with serving_bytes(json.dumps(answer | {"usageMetadata": counts}).encode()) as server:
        provider = connect("p", settings(server.base_url), answer_bytes=100_000)
        reply = await provider.complete(reading("uncounted"))
        await provider.aclose()
    creation, asked = (json.loads(seen.body) for seen in server.requests)
    assert reply.usage == TokenUsage(input=20, cache_read=70, cache_write_5m=70, output=1)
    assert (creation["model"], creation["ttl"], asked["cachedContent"]) == (f"models/{MODEL}", "300s", "cachedContents/1")
    assert "systemInstruction" in creation
    assert "systemInstruction" not in asked
