"""The emulator speaks OpenAI's chat completions well enough for OpenAI's own SDK, models and all."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI

from tests.emulator_server import RunningEmulator

ASK = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Which channel fits a bakery?"}]}
TOOL = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.fixture
async def sdk(emulator: RunningEmulator) -> AsyncIterator[AsyncOpenAI]:
    """Return the SDK, typed and without retries."""
    async with AsyncOpenAI(api_key="k", base_url=emulator.base_url, max_retries=0) as client:
        yield client


async def test_unary_answer(sdk: AsyncOpenAI) -> None:
    """A completion has text, finish reason, model and usage that add up."""
    said = await sdk.chat.completions.create(**ASK)
    assert said.choices[0].finish_reason == "stop"
    assert "bakery" in said.choices[0].message.content
    assert said.model == "gpt-4o"
    assert said.usage.total_tokens == said.usage.prompt_tokens + said.usage.completion_tokens
    assert said._request_id.startswith("req_")


async def test_stream_says_the_same(sdk: AsyncOpenAI) -> None:
    """A stream is the same answer word by word, with usage in a last event of its own."""
    whole = await sdk.chat.completions.create(**ASK)
    chunks = [
        chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True, stream_options={"include_usage": True})
    ]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].choices == []
    assert chunks[-1].usage == whole.usage
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_stream_without_usage(sdk: AsyncOpenAI) -> None:
    """Who does not ask for usage gets none."""
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


async def test_tool_calls(sdk: AsyncOpenAI) -> None:
    """A tool call comes whole, or in pieces that join to the same."""
    ask = ASK | {"tools": [TOOL]}
    call = (await sdk.chat.completions.create(**ask)).choices[0].message.tool_calls[0]
    assert call.function.name == "weather"
    assert "city" in json.loads(call.function.arguments)
    async with sdk.chat.completions.stream(**ask) as stream:
        final = await stream.get_final_completion()
    assert final.choices[0].message.tool_calls[0].function.arguments == call.function.arguments
    assert final.choices[0].message.tool_calls[0].id == call.id


async def test_a_tool_result_is_answered(sdk: AsyncOpenAI) -> None:
    """After the tool's result the model talks."""
    call = (await sdk.chat.completions.create(**ASK, tools=[TOOL])).choices[0].message
    more = [
        *ASK["messages"],
        call.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.tool_calls[0].id, "content": "x"},
    ]
    said = await sdk.chat.completions.create(model="gpt-4o", messages=more, tools=[TOOL])
    assert said.choices[0].finish_reason == "stop"


@pytest.mark.parametrize(("choice", "finish"), [("none", "stop"), ("required", "tool_calls"), ("auto", "tool_calls")])
async def test_tool_choice(sdk: AsyncOpenAI, choice: str, finish: str) -> None:
    """The choice decides whether a tool is called."""
    said = await sdk.chat.completions.create(**ASK, tools=[TOOL], tool_choice=choice)
    assert said.choices[0].finish_reason == finish


async def test_a_named_tool_is_called(sdk: AsyncOpenAI) -> None:
    """A named tool is the one that is called."""
    other = {"type": "function", "function": {"name": "stocks"}}
    named = {"type": "function", "function": {"name": "stocks"}}
    said = await sdk.chat.completions.create(**ASK, tools=[TOOL, other], tool_choice=named)
    assert said.choices[0].message.tool_calls[0].function.name == "stocks"


async def test_structured_answers(sdk: AsyncOpenAI) -> None:
    """JSON mode and JSON schema give JSON."""
    schema = {"type": "object", "properties": {"channel": {"type": "string"}}, "required": ["channel"]}
    form = {"type": "json_schema", "json_schema": {"name": "plan", "schema": schema}}
    said = await sdk.chat.completions.create(**ASK, response_format=form)
    assert list(json.loads(said.choices[0].message.content)) == ["channel"]
    said = await sdk.chat.completions.create(**ASK, response_format={"type": "json_object"})
    assert "summary" in json.loads(said.choices[0].message.content)


async def test_limits_stops_images_and_cache(sdk: AsyncOpenAI) -> None:
    """Both names of the limit, stop sequences, images and cached tokens are understood."""
    for name in ("max_tokens", "max_completion_tokens"):
        said = await sdk.chat.completions.create(**ASK, **{name: 3})
        assert (said.choices[0].finish_reason, said.usage.completion_tokens) == ("length", 3)
    said = await sdk.chat.completions.create(**ASK, stop=" ")
    assert " " not in (said.choices[0].message.content or "")
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    parts = [{"type": "text", "text": "[[answer:cached=8]] what is it?"}, picture]
    said = await sdk.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": parts}], reasoning_effort="low")
    assert said.usage.prompt_tokens > 255
    assert said.usage.prompt_tokens_details.cached_tokens == 8
    assert said.usage.completion_tokens_details.reasoning_tokens == 32


@pytest.mark.parametrize(
    ("change", "error", "code"),
    [
        ({"model": "unknown-7"}, openai.NotFoundError, "model_not_found"),
        ({"model": ""}, openai.BadRequestError, None),
        ({"messages": []}, openai.BadRequestError, "empty_array"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, openai.BadRequestError, "invalid_value"),
        ({"max_tokens": 0}, openai.BadRequestError, "integer_below_min_value"),
    ],
)
async def test_bad_requests_are_refused_as_openai_does(sdk: AsyncOpenAI, change, error, code) -> None:
    """A bad request has OpenAI's status, type and code, and is not billed."""
    with pytest.raises(error) as caught:
        await sdk.chat.completions.create(**(ASK | change))
    assert caught.value.code == code
    assert caught.value.type == "invalid_request_error"


async def test_models_are_listed(sdk: AsyncOpenAI) -> None:
    """The list of models can be read."""
    assert "gpt-4o" in [model.id async for model in sdk.models.list()]
