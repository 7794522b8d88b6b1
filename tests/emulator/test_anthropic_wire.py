"""The emulator speaks Anthropic's Messages well enough for Anthropic's own SDK, models and all."""

import json
from collections.abc import AsyncIterator

import anthropic
import httpx2
import pytest
from aigen_emulator.app import Emulator, EmulatorSettings
from aigen_emulator.server import serving
from aigen_emulator.wire.anthropic import REDACT
from anthropic import AsyncAnthropic

from tests.emulator_server import RunningEmulator

MODEL = "claude-sonnet-5"
ASK = {"model": MODEL, "max_tokens": 500, "messages": [{"role": "user", "content": "Which channel fits a bakery?"}]}
TOOL = {"name": "weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}
LONG = "stable words " * 600  # 1,950 tokens


@pytest.fixture
async def sdk(emulator: RunningEmulator) -> AsyncIterator[AsyncAnthropic]:
    """Return the SDK, typed and without retries."""
    async with AsyncAnthropic(api_key="k", base_url=emulator.base_url.removesuffix("/v1"), max_retries=0) as client:
        yield client


def user(*blocks: dict | str) -> dict:
    """Return a user's turn."""
    return {"role": "user", "content": [{"type": "text", "text": block} if isinstance(block, str) else block for block in blocks]}


async def test_unary_answer(sdk: AsyncAnthropic) -> None:
    """A message has text, stop reason, model and usage."""
    said = await sdk.messages.create(**ASK)
    assert (said.stop_reason, said.model, said.role) == ("end_turn", MODEL, "assistant")
    assert "bakery" in said.content[0].text
    assert said.usage.input_tokens > 0
    assert said.usage.cache_creation.ephemeral_5m_input_tokens == 0
    assert said._request_id.startswith("req_")


async def test_stream_says_the_same(sdk: AsyncAnthropic) -> None:
    """A stream adds up to the same message, with its input counted at the beginning and its output at the end."""
    whole = await sdk.messages.create(**ASK)
    events = [event async for event in await sdk.messages.create(**ASK, stream=True)]
    assert [events[0].type, events[-2].type, events[-1].type] == ["message_start", "message_delta", "message_stop"]
    assert events[0].message.usage.input_tokens == whole.usage.input_tokens
    assert events[-2].usage.output_tokens == whole.usage.output_tokens
    async with sdk.messages.stream(**ASK) as stream:
        final = await stream.get_final_message()
    assert final.content[0].text == whole.content[0].text


async def test_pings_come_between(emulator: RunningEmulator) -> None:
    """A stream holds a ping, as the real one does."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{emulator.base_url}/messages", json=ASK | {"stream": True})
    assert 'event: ping\ndata: {"type":"ping"}\n\n' in answer.text


async def test_tool_calls(sdk: AsyncAnthropic) -> None:
    """Tool calls come whole, or in pieces that join to the same, several at once where the prompt wishes it."""
    ask = ASK | {"tools": [TOOL], "messages": [user("[[answer:tools=2]] weather?")]}
    said = await sdk.messages.create(**ask)
    assert said.stop_reason == "tool_use"
    assert [block.name for block in said.content] == ["weather", "weather"]
    assert "city" in said.content[0].input
    async with sdk.messages.stream(**ask) as stream:
        final = await stream.get_final_message()
    assert [(block.id, block.input) for block in final.content] == [(block.id, block.input) for block in said.content]


async def test_tool_results_are_answered(sdk: AsyncAnthropic) -> None:
    """After each call has its result the model talks, of a failure otherwise; a call without one is refused, and the reverse."""
    ask = ASK | {"tools": [TOOL]}
    said = await sdk.messages.create(**ask)
    called = {"role": "assistant", "content": [block.model_dump() for block in said.content]}
    result = {"type": "tool_result", "tool_use_id": said.content[0].id, "content": [{"type": "text", "text": "rain"}]}
    said = await sdk.messages.create(**(ask | {"messages": [*ASK["messages"], called, user(result)]}))
    assert said.stop_reason == "end_turn"
    failed = await sdk.messages.create(**(ask | {"messages": [*ASK["messages"], called, user(result | {"is_error": True})]}))
    assert failed.content != said.content
    for turns in ([called], [called, user("never mind")], [called, called], [user(result)]):
        with pytest.raises(anthropic.BadRequestError):
            await sdk.messages.create(**(ask | {"messages": [*ASK["messages"], *turns]}))


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        ({"type": "none"}, ""),
        ({"type": "any"}, "weather"),
        ({"type": "auto"}, "weather"),
        ({"type": "tool", "name": "stocks"}, "stocks"),
    ],
)
async def test_tool_choice(sdk: AsyncAnthropic, choice: dict, name: str) -> None:
    """The choice decides whether and which tool is called."""
    said = await sdk.messages.create(**ASK, tools=[TOOL, TOOL | {"name": "stocks"}], tool_choice=choice)
    assert (said.content[0].name if said.stop_reason == "tool_use" else "") == name


async def test_schemas_stops_and_limits(sdk: AsyncAnthropic) -> None:
    """A schema is kept to, a stop sequence is named, and the bound ends the answer."""
    schema = {"type": "object", "properties": {"channel": {"type": "string"}}}
    said = await sdk.messages.create(**ASK, output_config={"format": {"type": "json_schema", "schema": schema}})
    assert list(json.loads(said.content[0].text)) == ["channel"]
    said = await sdk.messages.create(**(ASK | {"messages": [user("[[answer:echo]] one END two")]}), stop_sequences=["two", "END"])
    assert (said.stop_reason, said.stop_sequence, said.content[0].text) == ("stop_sequence", "END", "one ")
    said = await sdk.messages.create(**(ASK | {"max_tokens": 3}))
    assert (said.stop_reason, said.usage.output_tokens) == ("max_tokens", 3)
    said = await sdk.messages.create(**(ASK | {"max_tokens": 3}), tools=[TOOL])
    assert (said.stop_reason, said.content[0].input) == ("max_tokens", {})


async def test_pictures_and_documents_are_counted(sdk: AsyncAnthropic) -> None:
    """Pictures and sealed documents cost by the piece, text documents by their text."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AA=="}}
    paper = {"type": "document", "title": "T", "source": {"type": "text", "media_type": "text/plain", "data": "x" * 400}}
    bare, seen, read = [
        (await sdk.messages.create(**(ASK | {"messages": [user("what?", *more)]}))).usage.input_tokens
        for more in ([], [picture], [paper])
    ]
    assert seen > bare + 255
    assert 100 <= read - bare <= 105


@pytest.mark.parametrize(
    ("thinking", "output_config", "tokens"),
    [
        ({"type": "enabled", "budget_tokens": 1_024}, {}, 32),
        ({"type": "enabled", "budget_tokens": 4_000}, {}, 96),
        ({"type": "adaptive"}, {"effort": "low"}, 32),
        ({"type": "adaptive"}, {}, 256),
        ({"type": "disabled"}, {}, 0),
    ],
)
async def test_thinking(sdk: AsyncAnthropic, thinking: dict, output_config: dict, tokens: int) -> None:
    """Thinking is shown with a signature and counted inside the output, as much as the budget or the effort says."""
    said = await sdk.messages.create(**(ASK | {"max_tokens": 5_000}), thinking=thinking, output_config=output_config)
    assert said.usage.output_tokens_details.thinking_tokens == tokens
    assert [block.type for block in said.content] == (["thinking", "text"] if tokens else ["text"])
    assert not tokens or said.content[0].signature


async def test_sealed_thinking(sdk: AsyncAnthropic) -> None:
    """A prompt can ask for thinking that is sealed."""
    ask = ASK | {"messages": [user(f"{REDACT} why?")]}
    said = await sdk.messages.create(**ask, thinking={"type": "adaptive"})
    assert said.content[0].type == "redacted_thinking"
    async with sdk.messages.stream(**ask, thinking={"type": "adaptive"}) as stream:
        assert (await stream.get_final_message()).content[0].data == said.content[0].data


MARK = {"cache_control": {"type": "ephemeral"}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "forged"}
BAD = {
    "no model": ({"model": ""}, "model"),
    "no bound": ({"max_tokens": None}, "max_tokens: Field required"),
    "a bound of nothing": ({"max_tokens": 0}, "greater than or equal to 1"),
    "no messages": ({"messages": []}, "at least one message"),
    "a role of its own": ({"messages": [{"role": "system", "content": "x"}]}, "role"),
    "empty text": ({"messages": [user("")]}, "non-empty"),
    "too hot": ({"temperature": 1.5}, "range: 0..1"),
    "a forged thought": ({"messages": [*ASK["messages"], {"role": "assistant", "content": [THOUGHT]}, user("go on")]}, "signature"),
    "a marked thought": ({"messages": [*ASK["messages"], {"role": "assistant", "content": [THOUGHT | MARK]}]}, "not permitted"),
    "a small budget": ({"thinking": {"type": "enabled", "budget_tokens": 5}}, "1024"),
    "a budget above the bound": ({"thinking": {"type": "enabled", "budget_tokens": 1_024}}, "max_tokens"),
    "a forced tool": ({"thinking": {"type": "adaptive"}, "tools": [TOOL], "tool_choice": {"type": "any"}}, "tool_choice"),
    "a lifetime of its own": ({"cache_control": {"type": "ephemeral", "ttl": "2h"}}, "cache_control"),
    "a mark of another kind": ({"system": [{"type": "text", "text": "s", "cache_control": "yes"}]}, "cache_control"),
    "five marks": ({"system": [{"type": "text", "text": str(n)} | MARK for n in range(5)]}, "maximum of 4"),
    "long after short": (
        {
            "system": [{"type": "text", "text": "a"} | MARK],
            "messages": [user({"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}})],
        },
        "ttl='1h'",
    ),
}


@pytest.mark.parametrize("name", BAD)
async def test_bad_requests_are_refused_as_anthropic_does(emulator: RunningEmulator, name: str) -> None:
    """A bad request has Anthropic's status, body and type, and is not billed."""
    change, said = BAD[name]
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{emulator.base_url}/messages", json=ASK | change)
    told = answer.json()
    assert (answer.status_code, told["type"], told["error"]["type"]) == (400, "error", "invalid_request_error")
    assert said in told["error"]["message"]
    assert told["request_id"].startswith("req_")
    assert emulator.charges() == []


@pytest.mark.parametrize("content", [b"{", b"[]"])
async def test_what_is_no_request_is_refused(emulator: RunningEmulator, content: bytes) -> None:
    """Bytes that are no JSON object are refused in Anthropic's words."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        answer = await http.post(f"{emulator.base_url}/messages", content=content)
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (401, anthropic.AuthenticationError, "authentication_error"),
        (402, anthropic.PaymentRequiredError, "billing_error"),
        (403, anthropic.PermissionDeniedError, "permission_error"),
        (404, anthropic.NotFoundError, "not_found_error"),
        (413, anthropic.ContentTooLargeError, "request_too_large"),
        (429, anthropic.RateLimitError, "rate_limit_error"),
        (500, anthropic.InternalServerError, "api_error"),
        (503, anthropic.ServiceUnavailableError, "api_error"),
        (529, anthropic.OverloadedError, "overloaded_error"),
    ],
)
async def test_errors_have_anthropics_words(sdk: AsyncAnthropic, emulator: RunningEmulator, status: int, error, kind: str) -> None:
    """Each scripted status comes with the type that belongs to it."""
    emulator.script({"status": status})
    with pytest.raises(error) as caught:
        await sdk.messages.create(**ASK)
    assert caught.value.body["error"]["type"] == kind


async def test_unknown_models_are_not_found(sdk: AsyncAnthropic) -> None:
    """A model that does not exist is 404."""
    with pytest.raises(anthropic.NotFoundError):
        await sdk.messages.create(**(ASK | {"model": "unknown-7"}))


async def test_an_error_inside_a_stream(sdk: AsyncAnthropic, emulator: RunningEmulator) -> None:
    """An error event ends a stream that began well."""
    emulator.script({"error_after": 3})
    stream = await sdk.messages.create(**ASK, stream=True)
    with pytest.raises(anthropic.APIStatusError):
        _ = [event async for event in stream]


async def test_keys_limits_and_their_headers() -> None:
    """A wrong key is refused, headers say what is left, and above the rate comes Anthropic's own 429."""
    with serving(Emulator(EmulatorSettings(api_key="secret", per_minute=1))) as server:
        async with httpx2.AsyncClient(trust_env=False) as http:
            url = f"{server.base_url}/messages"
            wrong = await http.post(url, json=ASK)
            right = await http.post(url, json=ASK, headers={"x-api-key": "secret"})
            over = await http.post(url, json=ASK, headers={"authorization": "Bearer secret"})
    assert (wrong.status_code, wrong.json()["error"]["type"]) == (401, "authentication_error")
    assert right.headers["anthropic-ratelimit-requests-limit"] == "1"
    assert right.headers["anthropic-ratelimit-requests-reset"].endswith("Z")
    assert (over.status_code, over.json()["error"]["type"]) == (429, "rate_limit_error")
    assert int(over.headers["retry-after"]) >= 1


async def test_marked_prefixes_are_billed_as_written_then_read(sdk: AsyncAnthropic, emulator: RunningEmulator) -> None:
    """A marked prefix is written once and read after that; the counts stand at both ends of a stream, and in the truth."""
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    first = await sdk.messages.create(**ASK, system=system)
    events = [event async for event in await sdk.messages.create(**ASK, system=system, stream=True)]
    begun, ended = events[0].message.usage, events[-2].usage
    assert (first.usage.cache_creation_input_tokens, first.usage.cache_read_input_tokens) == (1_950, 0)
    assert first.usage.cache_creation.ephemeral_1h_input_tokens == 1_950
    assert [(usage.cache_creation_input_tokens, usage.cache_read_input_tokens) for usage in (begun, ended)] == [(0, 1_950)] * 2
    assert begun.input_tokens == first.usage.input_tokens
    billed = [
        (charge["cached_tokens"], charge["cache_write_5m_tokens"], charge["cache_write_1h_tokens"]) for charge in emulator.charges()
    ]
    assert billed == [(0, 0, 1_950), (1_950, 0, 0)]


async def test_a_mark_for_the_whole_request(sdk: AsyncAnthropic) -> None:
    """One mark beside the request keeps all of it."""
    ask = ASK | {"messages": [user(LONG + "whole")], "cache_control": {"type": "ephemeral"}}
    first, second = [(await sdk.messages.create(**ask)).usage for _ in range(2)]
    assert first.cache_creation.ephemeral_5m_input_tokens == second.cache_read_input_tokens == 1_952


async def test_unmarked_prefixes_are_never_cached() -> None:
    """Without marks nothing is kept, even where prefixes of other providers are kept by themselves."""
    with serving(Emulator(EmulatorSettings(prompt_cache=True))) as server:
        async with AsyncAnthropic(api_key="k", base_url=server.base_url.removesuffix("/v1"), max_retries=0) as client:
            usages = [(await client.messages.create(**ASK, system=LONG)).usage for _ in range(2)]
    assert [usage.cache_read_input_tokens for usage in usages] == [0, 0]


async def test_a_refused_request_writes_nothing(sdk: AsyncAnthropic, emulator: RunningEmulator) -> None:
    """An error leaves the prompt cache as it was, an answer that is cut does not."""
    system = [{"type": "text", "text": LONG + "refused", "cache_control": {"type": "ephemeral"}}]
    for fault, read in (({"status": 529}, 0), ({"reset": True}, 0), ({"cut_after": 1}, 0), ({}, 1_952)):
        if fault:
            emulator.script(fault)
            with pytest.raises(anthropic.APIError):
                await sdk.messages.create(**ASK, system=system)
        else:
            assert (await sdk.messages.create(**ASK, system=system)).usage.cache_read_input_tokens == read
