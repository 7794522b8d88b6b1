"""The emulator speaks Responses well enough for OpenAI's own SDK, models and all, and so the relatives of that format."""

import json
from collections.abc import AsyncIterator

import openai
import pytest
from openai import AsyncOpenAI
from openai.types.responses import Response

from tests.emulator_server import RunningEmulator

ASK = {"model": "gpt-5", "input": "Which channel fits a bakery?"}
TOOL = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}
SEALED = ["reasoning.encrypted_content"]


@pytest.fixture
async def sdk(emulator: RunningEmulator) -> AsyncIterator[AsyncOpenAI]:
    """Return the SDK, typed and without retries."""
    async with AsyncOpenAI(api_key="k", base_url=emulator.base_url, max_retries=0) as client:
        yield client


@pytest.fixture
async def agent(emulator: RunningEmulator) -> AsyncIterator[AsyncOpenAI]:
    """Return the SDK at the address of Perplexity's Agent API."""
    async with AsyncOpenAI(api_key="k", base_url=emulator.base_url.removesuffix("/v1") + "/perplexity/v1", max_retries=0) as client:
        yield client


async def streamed(sdk: AsyncOpenAI, **ask) -> tuple[list, Response]:
    """Return the events of a stream and the answer in the last of them."""
    events = [event async for event in await sdk.responses.create(**ask, stream=True)]
    return events, events[-1].response


async def test_unary_answer(sdk: AsyncOpenAI) -> None:
    """A response has text, a status, a model and usage that add up."""
    said = await sdk.responses.create(**ASK)
    assert (said.status, said.model) == ("completed", "gpt-5")
    assert "bakery" in said.output_text
    assert said.usage.total_tokens == said.usage.input_tokens + said.usage.output_tokens


async def test_stream_says_the_same(sdk: AsyncOpenAI) -> None:
    """A stream is the same answer word by word, its events numbered, each item begun and ended."""
    whole = await sdk.responses.create(**ASK)
    events, last = await streamed(sdk, **ASK)
    assert last.output == whole.output
    assert last.usage == whole.usage
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 1
    assert kinds[-1] == "response.completed"


async def test_tool_calls_and_their_results(sdk: AsyncOpenAI) -> None:
    """Parallel calls come whole, or in pieces that join to the same, and their results are answered."""
    ask = ASK | {"input": "[[answer:tools=2]] Weather?", "tools": [TOOL]}
    whole = await sdk.responses.create(**ask)
    events, last = await streamed(sdk, **ask)
    assert last.output == whole.output
    calls = [item for item in whole.output if item.type == "function_call"]
    pieces = [event for event in events if event.type == "response.function_call_arguments.delta"]
    joined = ["".join(piece.delta for piece in pieces if piece.item_id == call.id) for call in calls]
    assert joined == [call.arguments for call in calls]
    results = [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"} for call in calls]
    turns = [{"role": "user", "content": "Weather?"}, *(call.to_dict() for call in calls), *results]
    assert (await sdk.responses.create(model="gpt-5", input=turns, tools=[TOOL])).output_text


@pytest.mark.parametrize("choice", ["required", {"type": "function", "name": "weather"}])
async def test_tool_choice(sdk: AsyncOpenAI, choice) -> None:
    """A tool can be demanded, by name or any, and forbidden."""
    demanded = await sdk.responses.create(**ASK, tools=[TOOL], tool_choice=choice)
    assert demanded.output[0].name == "weather"
    assert (await sdk.responses.create(**ASK, tools=[TOOL], tool_choice="none")).output_text


async def test_a_schema_is_kept_to(sdk: AsyncOpenAI) -> None:
    """With a schema the text is JSON of that shape, and JSON mode is JSON."""
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "count": {"type": "integer"}}}
    form = {"format": {"type": "json_schema", "name": "x", "schema": schema}}
    assert json.loads((await sdk.responses.create(**ASK, text=form)).output_text).keys() == {"name", "count"}
    assert json.loads((await sdk.responses.create(**ASK, text={"format": {"type": "json_object"}})).output_text)


async def test_length_makes_it_incomplete(sdk: AsyncOpenAI) -> None:
    """An answer cut at its limit says so, unary and streamed."""
    said = await sdk.responses.create(**ASK, max_output_tokens=16)
    assert (said.status, said.incomplete_details.reason, said.usage.output_tokens) == ("incomplete", "max_output_tokens", 16)
    events, last = await streamed(sdk, **ASK, max_output_tokens=16)
    assert (events[-1].type, last.status) == ("response.incomplete", "incomplete")


async def test_reasoning_is_shown_and_sealed_as_asked(sdk: AsyncOpenAI) -> None:
    """Reasoning is an item of its own: shown with a summary, sealed where that is included, and taken back in the next turn."""
    ask = ASK | {"reasoning": {"effort": "low", "summary": "auto"}, "include": SEALED}
    whole = await sdk.responses.create(**ask)
    events, last = await streamed(sdk, **ask)
    assert last.output == whole.output
    reasoning = whole.output[0]
    assert (reasoning.type, len(reasoning.summary), bool(reasoning.encrypted_content)) == ("reasoning", 2, True)
    shown = "".join(event.delta for event in events if event.type == "response.reasoning_summary_text.delta")
    assert shown == "".join(piece.text for piece in reasoning.summary)
    assert whole.usage.output_tokens_details.reasoning_tokens == 32
    bare = (await sdk.responses.create(**ASK, reasoning={"effort": "low"})).output[0]
    assert (bare.summary, bare.encrypted_content) == ([], None)
    told = {"type": "reasoning", "summary": [], "encrypted_content": reasoning.encrypted_content}
    assert (await sdk.responses.create(model="gpt-5", input=[told, {"role": "user", "content": "go on"}])).output_text


@pytest.mark.parametrize("sealed", [None, "not base64!", "Zm9yZ2Vk"])
async def test_reasoning_that_was_not_sealed_here_is_refused(sdk: AsyncOpenAI, sealed: str | None) -> None:
    """Nobody can make up what the model thought."""
    told = {"type": "reasoning", "summary": [], "encrypted_content": sealed}
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.responses.create(model="gpt-5", input=[told, {"role": "user", "content": "go on"}])
    assert caught.value.code == "invalid_encrypted_content"


BAD = {
    "unknown_parameter": {"extra_body": {"seed": 1}},
    "missing_required_parameter": {"input": []},
    "invalid_value": {"input": [{"role": "nobody", "content": "hi"}]},
    "integer_below_min_value": {"max_output_tokens": 0},
}


@pytest.mark.parametrize("code", BAD)
async def test_errors_in_openais_own_words(sdk: AsyncOpenAI, code: str) -> None:
    """What the real API refuses is refused with its code, under its rate-limit headers."""
    with pytest.raises(openai.BadRequestError) as caught:
        await sdk.responses.create(**(ASK | BAD[code]))
    assert caught.value.code == code
    assert "x-ratelimit-remaining-requests" in caught.value.response.headers


async def test_a_result_without_its_call_is_refused(sdk: AsyncOpenAI) -> None:
    """A tool's result answers a call of the same conversation."""
    with pytest.raises(openai.BadRequestError, match="call_id c9"):
        await sdk.responses.create(model="gpt-5", input=[{"type": "function_call_output", "call_id": "c9", "output": "x"}])


async def test_images_and_files_count(sdk: AsyncOpenAI) -> None:
    """A picture and a file cost tokens, whatever is said beside them."""
    text = {"type": "input_text", "text": "hi"}
    more = [
        {"type": "input_image", "image_url": "https://example.com/a.png"},
        {"type": "input_file", "file_url": "https://e.com/a"},
    ]
    plain, seen = [
        (await sdk.responses.create(model="gpt-5", instructions="be brief", input=[{"role": "user", "content": content}])).usage
        for content in ([text], [text, *more])
    ]
    assert seen.input_tokens == plain.input_tokens + 2 * 255


async def test_cached_prefixes_are_told(sdk: AsyncOpenAI) -> None:
    """What was read from the prompt cache stands inside the input."""
    usage = (await sdk.responses.create(model="gpt-5", input="[[answer:cached=9]] why do bakeries fail in winter?")).usage
    assert usage.input_tokens_details.cached_tokens == 9


async def test_an_error_event_ends_a_stream(sdk: AsyncOpenAI, emulator: RunningEmulator) -> None:
    """A scripted error comes as the event that this format has for it."""
    emulator.script({"error_after": 3})
    events = [event async for event in await sdk.responses.create(**ASK, stream=True)]
    assert (events[-1].type, events[-1].code) == ("error", "server_error")


async def test_the_agent_api_tells_fees_and_sources(agent: AsyncOpenAI) -> None:
    """Perplexity's variety has search results, and a cost in which the search is the most."""
    ask = {"model": "openai/gpt-5", "input": "Which channel fits a bakery?", "tools": [{"type": "web_search"}]}
    whole = (await agent.responses.create(**ask)).to_dict(warnings=False)
    _, last = await streamed(agent, **ask)
    assert last.to_dict(warnings=False)["output"] == whole["output"]
    assert last.to_dict(warnings=False)["usage"] == whole["usage"]
    assert [item["type"] for item in whole["output"]] == ["search_results", "message"]
    cost = whole["usage"]["cost"]
    assert cost["total_cost"] == pytest.approx(cost["input_cost"] + cost["output_cost"] + 0.005)
    plain = (await agent.responses.create(**(ask | {"tools": []}))).to_dict(warnings=False)
    assert (plain["usage"]["cost"]["tool_calls_cost"], len(plain["output"])) == (0, 1)


async def test_the_agent_api_takes_its_own_schema_and_tools(agent: AsyncOpenAI, emulator: RunningEmulator) -> None:
    """A schema stands in response_format there, functions are called, and its canonical address is another name for the same."""
    form = {"type": "json_schema", "json_schema": {"schema": {"type": "object", "properties": {"a": {"type": "integer"}}}}}
    said = await agent.responses.create(**ASK, extra_body={"response_format": form})
    assert json.loads(said.output_text).keys() == {"a"}
    assert (await agent.responses.create(**ASK, tools=[TOOL])).output[0].name == "weather"
    assert (await agent.post("/agent", cast_to=object, body=ASK))["status"] == "completed"
    assert emulator.requests() == 3


async def test_the_agent_api_refuses_in_perplexitys_words(agent: AsyncOpenAI, emulator: RunningEmulator) -> None:
    """An error's code is its status there, and a stream ends with a failed response."""
    with pytest.raises(openai.BadRequestError) as caught:
        await agent.responses.create(**ASK, tool_choice="required")
    assert caught.value.body["code"] == 400
    emulator.script({"status": 401}, {"status": 503})
    with pytest.raises(openai.AuthenticationError) as caught:
        await agent.responses.create(**ASK)
    assert caught.value.body["type"] == "invalid_api_key"
    with pytest.raises(openai.InternalServerError):
        await agent.responses.create(**ASK)
    emulator.script({"error_after": 3})
    with pytest.raises(openai.APIError) as ended:
        await streamed(agent, **ASK)
    assert ended.value.body["code"] == 500


async def test_sonar_repeats_usage_and_has_no_end_mark(emulator: RunningEmulator) -> None:
    """Each event of the old chat format has the text and usage so far; sources and a fee stand beside the answer."""
    ask = {"model": "sonar", "messages": [{"role": "user", "content": "[[answer:tokens=20]] Why?"}]}
    root = emulator.base_url.removesuffix("/v1")
    async with AsyncOpenAI(api_key="k", base_url=root, max_retries=0) as sdk:
        whole = (await sdk.chat.completions.create(**ask)).to_dict()
        chunks = [chunk.to_dict() async for chunk in await sdk.chat.completions.create(**ask, stream=True)]
        raw = await sdk.post("/chat/completions", cast_to=str, body=ask | {"stream": True})
    assert "[DONE]" not in raw
    outputs = [chunk["usage"]["completion_tokens"] for chunk in chunks]
    assert outputs == sorted(outputs)
    assert chunks[-1]["usage"] == whole["usage"]
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    assert text == chunks[-1]["choices"][0]["message"]["content"] == whole["choices"][0]["message"]["content"]
    assert whole["citations"] == [source["url"] for source in whole["search_results"]]
    cost = whole["usage"]["cost"]
    assert cost["total_cost"] == pytest.approx(cost["request_cost"] + cost["input_tokens_cost"] + cost["output_tokens_cost"])


async def test_sonar_without_usage(emulator: RunningEmulator) -> None:
    """A scripted silence about usage is kept in each event."""
    emulator.script({"usage": "missing"})
    ask = {"model": "sonar", "messages": [{"role": "user", "content": "Why?"}]}
    async with AsyncOpenAI(api_key="k", base_url=emulator.base_url.removesuffix("/v1"), max_retries=0) as sdk:
        assert all([chunk.usage is None async for chunk in await sdk.chat.completions.create(**ask, stream=True)])
