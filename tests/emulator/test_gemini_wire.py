"""The emulator speaks Google's generateContent and its explicit caches well enough for Google's own SDK, models and all."""

import json
from collections.abc import AsyncIterator

import httpx2
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving
from google import genai
from google.genai import errors, types

from tests.emulator_server import RunningEmulator

MODEL = "gemini-2.5-pro"
NEWER = "gemini-3.8-flash"
PROMPT = "Which channel fits a bakery?"
TOOL = {
    "functionDeclarations": [
        {"name": "weather", "parametersJsonSchema": {"type": "object", "properties": {"city": {"type": "string"}}}},
        {"name": "stocks"},
    ]
}
LONG = "stable words of a handbook " * 400  # 2,700 tokens
ASK = {"contents": [{"role": "user", "parts": [{"text": PROMPT}]}]}


@pytest.fixture
async def sdk(emulator: RunningEmulator) -> AsyncIterator[genai.client.AsyncClient]:
    """Return the SDK, typed and without retries."""
    async with sdk_for(emulator.base_url, http := httpx2.AsyncClient(trust_env=False)) as client:
        yield client
    await http.aclose()


def sdk_for(base_url: str, http: httpx2.AsyncClient, *, key: str = "k") -> genai.client.AsyncClient:
    """Return the SDK, pointed at an emulator."""
    options = types.HttpOptions(base_url=base_url.removesuffix("/v1"), api_version="v1beta", httpx_async_client=http)
    return genai.Client(vertexai=False, api_key=key, http_options=options).aio


async def post(emulator: RunningEmulator, path: str, body: object) -> tuple[int, dict]:
    """Return status and body of what the emulator answers to a body of our own."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{emulator.base_url.removesuffix('/v1')}/v1beta/{path}", json=body)
    return answer.status_code, answer.json()


async def test_unary_answer(sdk: genai.client.AsyncClient) -> None:
    """An answer has text, finish reason, model and usage that adds up."""
    told = await sdk.models.generate_content(model=MODEL, contents=PROMPT)
    assert "bakery" in told.text
    assert told.candidates[0].finish_reason is types.FinishReason.STOP
    assert told.model_version == MODEL
    usage = told.usage_metadata
    assert usage.total_token_count == usage.prompt_token_count + usage.candidates_token_count
    assert (usage.thoughts_token_count, usage.cached_content_token_count) == (None, None)


async def test_stream_says_the_same(sdk: genai.client.AsyncClient) -> None:
    """A stream adds up to the same text; the end and the whole usage come last."""
    whole = await sdk.models.generate_content(model=MODEL, contents=PROMPT)
    chunks = [chunk async for chunk in await sdk.models.generate_content_stream(model=MODEL, contents=PROMPT)]
    assert "".join(chunk.text or "" for chunk in chunks) == whole.text
    assert [chunk.candidates[0].finish_reason for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1].candidates[0].finish_reason is types.FinishReason.STOP
    assert chunks[-1].usage_metadata == whole.usage_metadata
    assert chunks[0].usage_metadata.prompt_token_count == whole.usage_metadata.prompt_token_count
    assert {chunk.response_id for chunk in chunks} == {whole.response_id}


@pytest.mark.parametrize(("model", "signed"), [(MODEL, False), (NEWER, True)])
async def test_calls_and_their_results(sdk: genai.client.AsyncClient, model: str, *, signed: bool) -> None:
    """Newer models give calls ids and a signature; after the results the model talks."""
    config = {"tools": [TOOL], "automatic_function_calling": {"disable": True}}
    asked = [types.Content(role="user", parts=[types.Part(text="[[answer:tools=2]] weather?")])]
    told = await sdk.models.generate_content(model=model, contents=asked, config=config)
    parts = told.candidates[0].content.parts
    assert [part.function_call.name for part in parts] == ["weather", "stocks"]
    assert [bool(part.function_call.id) for part in parts] == [signed, signed]
    assert [bool(part.thought_signature) for part in parts] == [signed, False]
    results = [
        types.Part(function_response=types.FunctionResponse(id=call.id, name=call.name, response={"output": "x"}))
        for call in told.function_calls
    ]
    more = [*asked, told.candidates[0].content, types.Content(role="user", parts=results)]
    assert (await sdk.models.generate_content(model=model, contents=more, config=config)).text
    missing = [*more[:-1], types.Content(role="user", parts=results[:1])]
    with pytest.raises(errors.ClientError, match="number of function response parts"):
        await sdk.models.generate_content(model=model, contents=missing, config=config)


@pytest.mark.parametrize(
    ("choice", "called"),
    [
        ({"mode": "NONE"}, None),
        ({"mode": "AUTO"}, "weather"),
        ({"mode": "VALIDATED"}, "weather"),
        ({"mode": "ANY"}, "weather"),
        ({"mode": "ANY", "allowedFunctionNames": ["stocks"]}, "stocks"),
    ],
)
async def test_the_choice_of_tools(emulator: RunningEmulator, choice: dict, called: str | None) -> None:
    """The mode decides whether and what is called."""
    asked = ASK | {"tools": [TOOL], "toolConfig": {"functionCallingConfig": choice}}
    _, told = await post(emulator, f"models/{MODEL}:generateContent", asked)
    part = told["candidates"][0]["content"]["parts"][0]
    assert part.get("functionCall", {}).get("name") == called


async def test_structured_answers(sdk: genai.client.AsyncClient) -> None:
    """JSON mode and both spellings of a schema give JSON."""
    schema = {"type": "object", "properties": {"channel": {"type": "string"}}, "required": ["channel"]}
    for config in ({"response_json_schema": schema}, {"response_schema": schema}):
        told = await sdk.models.generate_content(
            model=MODEL, contents=PROMPT, config=config | {"response_mime_type": "application/json"}
        )
        assert list(json.loads(told.text)) == ["channel"]
    told = await sdk.models.generate_content(model=MODEL, contents=PROMPT, config={"response_mime_type": "application/json"})
    assert "summary" in json.loads(told.text)


@pytest.mark.parametrize(
    ("model", "thinking", "tokens"),
    [
        (MODEL, {"thinking_budget": 0}, None),
        (MODEL, {"thinking_budget": 1_024}, 32),
        (MODEL, {"thinking_budget": 8_192}, 96),
        (MODEL, {"thinking_budget": 30_000}, 256),
        (MODEL, {"thinking_budget": -1}, 96),
        (NEWER, {"thinking_level": "LOW"}, 32),
    ],
)
@pytest.mark.parametrize("shown", [False, True])
async def test_thoughts(sdk: genai.client.AsyncClient, model: str, thinking: dict, tokens: int | None, *, shown: bool) -> None:
    """Thoughts are counted beside the answer, shown where that is asked for, and signed at its end."""
    config = {"thinking_config": thinking | {"include_thoughts": shown}}
    told = await sdk.models.generate_content(model=model, contents=PROMPT, config=config)
    parts = told.candidates[0].content.parts
    assert told.usage_metadata.thoughts_token_count == tokens
    assert any(part.thought for part in parts) is (shown and tokens is not None)
    assert bool(parts[-1].thought_signature) is (tokens is not None)


async def test_limits_stops_media_and_wishes(sdk: genai.client.AsyncClient) -> None:
    """The bound, stop sequences, pictures, papers and the wished-for count of cached tokens are understood."""
    told = await sdk.models.generate_content(model=MODEL, contents=PROMPT, config={"max_output_tokens": 3})
    assert told.candidates[0].finish_reason is types.FinishReason.MAX_TOKENS
    assert told.usage_metadata.candidates_token_count == 3
    told = await sdk.models.generate_content(model=MODEL, contents="[[answer:echo]] a END b", config={"stop_sequences": ["END"]})
    assert told.text == "a "
    picture = types.Part(inline_data=types.Blob(mime_type="image/png", data=b"x"))
    linked = types.Part(file_data=types.FileData(file_uri="https://example.com/a"))
    paper = types.Part(inline_data=types.Blob(mime_type="application/pdf", data=b"%PDF-1.7"))
    told = await sdk.models.generate_content(model=MODEL, contents=["[[answer:cached=8]] what?", picture, linked, paper])
    assert told.usage_metadata.prompt_token_count > 3 * 255
    assert told.usage_metadata.cached_content_token_count == 8


async def test_calls_that_the_limit_cuts_are_empty(sdk: genai.client.AsyncClient) -> None:
    """Arguments come whole or not at all."""
    config = {"tools": [TOOL], "max_output_tokens": 3, "automatic_function_calling": {"disable": True}}
    told = await sdk.models.generate_content(model=MODEL, contents=PROMPT, config=config)
    assert told.function_calls[0].args == {}


def turn(*parts: dict, role: str = "user") -> dict:
    """Return a turn."""
    return {"role": role, "parts": list(parts)}


CALL = {"functionCall": {"name": "weather", "args": {}}}
RESULT = {"functionResponse": {"name": "weather", "response": {}}}
CALLED = (turn(CALL, role="model"), turn(RESULT))
WRONGLY_SIGNED = {"text": "a", "thoughtSignature": "AAAA"}
BAD = {
    "no contents": (MODEL, {}, "contents is not specified"),
    "an unknown role": (MODEL, {"contents": [turn({"text": "a"}, role="wizard")]}, "valid role"),
    "a turn of nothing": (MODEL, {"contents": [{"role": "user"}]}, "must not be empty"),
    "an unknown field": (MODEL, ASK | {"max_tokens": 3}, 'Unknown name "maxTokens"'),
    "an unknown setting": (MODEL, ASK | {"generationConfig": {"effort": 3}}, "Unknown name \"effort\" at 'generation_config'"),
    "a bound of nothing": (MODEL, ASK | {"generationConfig": {"maxOutputTokens": 0}}, "max_output_tokens must be positive"),
    "an unknown mode": (MODEL, ASK | {"toolConfig": {"functionCallingConfig": {"mode": "SOME"}}}, "function_calling_config.mode"),
    "a level of an old model": (MODEL, ASK | {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low"}}}, "Thinking level"),
    "level and budget": (
        NEWER,
        ASK | {"generationConfig": {"thinkingConfig": {"thinkingLevel": "low", "thinkingBudget": 1}}},
        "only one of thinking budget and thinking level",
    ),
    "a call without its signature": (NEWER, {"contents": [*ASK["contents"], *CALLED]}, "missing a thought_signature"),
    "a wrong signature": (MODEL, {"contents": [turn(WRONGLY_SIGNED, role="model")]}, "signature is not valid"),
    "a result of nothing": (MODEL, {"contents": [turn(RESULT)]}, "number of function response parts"),
    "a list": (MODEL, [1], "Root element must be a message"),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_requests_are_refused_as_google_does(emulator: RunningEmulator, name: str) -> None:
    """A bad request has Google's status and words, and is not billed."""
    model, asked, words = BAD[name]
    status, told = await post(emulator, f"models/{model}:generateContent", asked)
    assert (status, told["error"]["code"], told["error"]["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in told["error"]["message"]
    assert emulator.charges() == []


async def test_signatures_may_stand_in_or_lie_in_the_past(emulator: RunningEmulator) -> None:
    """Calls of an earlier question need no signature, and one known word stands for that of another model's call."""
    past = [turn({"text": "a"}), turn(CALL, role="model"), turn(RESULT), turn({"text": "b"}, role="model"), turn({"text": "c"})]
    status, _ = await post(emulator, f"models/{NEWER}:generateContent", {"contents": past})
    assert status == 200
    present = [
        turn({"text": "a"}),
        turn(CALL | {"thoughtSignature": "skip_thought_signature_validator"}, role="model"),
        turn(RESULT),
    ]
    status, _ = await post(emulator, f"models/{NEWER}:generateContent", {"contents": present})
    assert status == 200


async def test_errors_have_googles_shape(emulator: RunningEmulator, sdk: genai.client.AsyncClient) -> None:
    """An unknown model is not found, no JSON is refused, and a rate limit says in its body how long to wait."""
    status, told = await post(emulator, "models/unknown-7:generateContent", ASK)
    assert (status, told["error"]["status"]) == (404, "NOT_FOUND")
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{emulator.base_url.removesuffix('/v1')}/v1beta/models/m:generateContent", content=b"{")
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    emulator.script({"status": 429}, {"status": 529}, {"status": 418})
    with pytest.raises(errors.ClientError) as caught:
        await sdk.models.generate_content(model=MODEL, contents=PROMPT)
    assert (caught.value.code, caught.value.status) == (429, "RESOURCE_EXHAUSTED")
    assert caught.value.details["error"]["details"][0]["retryDelay"] == "0.500s"
    for status, name in ((529, "UNAVAILABLE"), (418, "INVALID_ARGUMENT")):
        with pytest.raises(errors.APIError) as caught:
            await sdk.models.generate_content(model=MODEL, contents=PROMPT)
        assert (caught.value.code, caught.value.status) == (status, name)


async def test_a_key_is_demanded_where_one_is_set() -> None:
    """A wrong key is a bad request whose reason names the key, for answers and caches alike."""
    http = httpx2.AsyncClient(trust_env=False)
    with serving(Emulator(EmulatorSettings(api_key="right"))) as server:
        assert (await sdk_for(server.base_url, http, key="right").models.generate_content(model=MODEL, contents="a")).text
        wrong = sdk_for(server.base_url, http, key="wrong")
        config = {"system_instruction": LONG}
        for asked in (wrong.models.generate_content(model=MODEL, contents="a"), wrong.caches.create(model=MODEL, config=config)):
            with pytest.raises(errors.ClientError) as caught:
                await asked
            assert (caught.value.code, caught.value.details["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    await http.aclose()


async def test_repeated_prefixes_are_cached_by_themselves() -> None:
    """Without any mark a prompt that begins as an earlier one is billed partly as cached."""
    http = httpx2.AsyncClient(trust_env=False)
    with serving(Emulator(EmulatorSettings(prompt_cache=True))) as server:
        sdk = sdk_for(server.base_url, http)
        told = [await sdk.models.generate_content(model=MODEL, contents=f"{LONG} {word}") for word in ("a", "b")]
    await http.aclose()
    assert told[0].usage_metadata.cached_content_token_count is None
    assert told[1].usage_metadata.cached_content_token_count >= 2_048


async def test_a_cache_lives_is_read_and_ends(emulator: RunningEmulator, sdk: genai.client.AsyncClient) -> None:
    """A cache is made, found, listed, read instead of being sent, made to live longer, and gone when its time is over."""
    config = {"system_instruction": LONG, "contents": "remember this", "tools": [TOOL], "ttl": "300s"}
    made = await sdk.caches.create(model=MODEL, config=config)
    assert made.usage_metadata.total_token_count > 2_048
    assert (await sdk.caches.get(name=made.name)).model == f"models/{MODEL}"
    assert made.name in [item.name async for item in await sdk.caches.list()]
    named = {"cached_content": made.name, "automatic_function_calling": {"disable": True}}
    told = await sdk.models.generate_content(model=MODEL, contents=PROMPT, config=named)
    plain = {"system_instruction": LONG, "tools": [TOOL], "automatic_function_calling": {"disable": True}}
    whole = await sdk.models.generate_content(model=MODEL, contents=["remember this", PROMPT], config=plain)
    assert told.function_calls == whole.function_calls
    assert told.usage_metadata.prompt_token_count == whole.usage_metadata.prompt_token_count
    assert told.usage_metadata.cached_content_token_count == made.usage_metadata.total_token_count
    emulator.emulator.clock.advance(200)
    assert (await sdk.caches.update(name=made.name, config={"ttl": "900s"})).expire_time > made.expire_time
    emulator.emulator.clock.advance(800)
    assert (await sdk.caches.get(name=made.name)).name == made.name
    emulator.emulator.clock.advance(200)
    with pytest.raises(errors.ClientError, match="CachedContent not found") as caught:
        await sdk.models.generate_content(model=MODEL, contents=PROMPT, config=named)
    assert (caught.value.code, caught.value.status) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize(("ttl", "bucket"), [("300s", "cache_write_5m_tokens"), (None, "cache_write_1h_tokens")])
async def test_a_creation_is_billed_with_the_first_answer(
    emulator: RunningEmulator, sdk: genai.client.AsyncClient, ttl: str | None, bucket: str
) -> None:
    """The books hold what was stored beside what the first answer read, and nothing of it with the second."""
    made = await sdk.caches.create(model=MODEL, config={"system_instruction": f"{ttl} {LONG}", "ttl": ttl})
    emulator.script({"status": 503})
    with pytest.raises(errors.ServerError):
        await sdk.models.generate_content(model=MODEL, contents=PROMPT, config={"cached_content": made.name})
    for _ in range(2):
        told = await sdk.models.generate_content(model=MODEL, contents=PROMPT, config={"cached_content": made.name})
    first, second = emulator.charges()
    stored = made.usage_metadata.total_token_count
    assert (first[bucket], second[bucket]) == (stored, 0)
    assert (first["cached_tokens"], second["cached_tokens"]) == (stored, stored)
    assert second["input_tokens"] == first["input_tokens"] - stored == told.usage_metadata.prompt_token_count


BAD_CACHES = {
    "too small": ({"model": f"models/{MODEL}", "systemInstruction": turn({"text": "short"})}, "too small"),
    "a model without": ({"model": "models/gemini-4-argon", "systemInstruction": turn({"text": LONG})}, "not supported"),
    "no model": ({"systemInstruction": turn({"text": LONG})}, "model is not specified"),
    "an unknown field": ({"model": MODEL, "system": 3}, 'Unknown name "system"'),
    "an odd time": ({"model": MODEL, "systemInstruction": turn({"text": LONG}), "ttl": 300}, "cached_content.ttl"),
}


@pytest.mark.parametrize("name", BAD_CACHES)
async def test_what_cannot_be_cached_is_refused(emulator: RunningEmulator, name: str) -> None:
    """Too little, a model that keeps nothing, and fields that nobody knows."""
    asked, words = BAD_CACHES[name]
    status, told = await post(emulator, "cachedContents", asked)
    assert (status, told["error"]["status"]) == (400, "INVALID_ARGUMENT")
    assert words in told["error"]["message"]


async def test_what_a_cache_holds_is_not_brought_again(emulator: RunningEmulator, sdk: genai.client.AsyncClient) -> None:
    """System prompt and tools are the cache's alone, a cache is its model's, and a deleted one is gone."""
    made = await sdk.caches.create(model=MODEL, config={"system_instruction": LONG})
    named = ASK | {"cachedContent": made.name}
    status, told = await post(emulator, f"models/{MODEL}:generateContent", named | {"systemInstruction": turn({"text": "a"})})
    assert (status, "can not be used with" in told["error"]["message"]) == (400, True)
    status, told = await post(emulator, f"models/{NEWER}:generateContent", named)
    assert (status, "has to be the same" in told["error"]["message"]) == (400, True)
    await sdk.caches.delete(name=made.name)
    with pytest.raises(errors.ClientError, match="not found"):
        await sdk.caches.delete(name=made.name)


async def test_models_are_listed(emulator: RunningEmulator) -> None:
    """The format has a list of models of its own."""
    wire = emulator.emulator._wires[-1]
    assert json.loads(wire.models(("m",)))["models"][0]["name"] == "models/m"
    assert wire.question(json.dumps(ASK).encode(), "/v1beta/models/m:streamGenerateContent").stream
