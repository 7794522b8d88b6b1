"""Perplexity's Agent API: where it differs from OpenAI's Responses."""

import json
from collections.abc import AsyncIterator

import pytest
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.openai.provider import OpenAIProvider
from aigend.providers.perplexity.agent import AgentFormat, connect
from aigend.providers.port import ProviderCall, ProviderReply
from aigend.types import (
    CompletionRequest,
    Document,
    Image,
    Message,
    Part,
    PromptCaching,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from pydantic import SecretStr

from tests.daemon.providers.asking import call, request
from tests.daemon.providers.loopback import serving_bytes
from tests.daemon.providers.test_openai_request import PNG, message
from tests.emulator_server import RunningEmulator

SIGNED = Thinking(signature="perplexity:c2ln")


@pytest.fixture
async def provider(emulator: RunningEmulator) -> AsyncIterator[OpenAIProvider]:
    """Return the adapter, pointed at the emulator."""
    made = connect("perplexity", settings(emulator.base_url.removesuffix("/v1") + "/perplexity/v1"), answer_bytes=200_000)
    yield made
    await made.aclose()


def settings(base_url: str) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(adapter="perplexity", base_url=base_url, api_key=SecretStr("pplx-test"))


def body(asked: CompletionRequest) -> dict:
    """Return the body of a request that passes the check."""
    form = AgentFormat()
    form.check(asked)
    sent = ProviderCall(request=asked, model="perplexity/sonar", max_output_tokens=50, timeout_s=1.0, request_id="r")
    return form.body(sent, stream=True)


def test_each_field_has_its_place() -> None:
    """What Responses spell otherwise is spelled as this API wants it, and tools of the provider are passed through."""
    schema = '{"type": "object"}'
    sent = body(
        request(
            system=(Part(Text("be brief")),),
            tools=(Tool(name="a", description="d", parameters_json_schema=schema, strict=True), Tool(name="b")),
            tool_choice=ToolChoice(mode=ToolChoiceMode.AUTO),
            response_format=ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema, schema_name="plan"),
            reasoning_effort=ReasoningEffort.LOW,
            temperature=0.5,
            top_p=0.9,
            provider_options_json='{"tools": [{"type": "web_search"}], "max_steps": 3, "preset": "low"}',
        )
    )
    assert sent == {
        "model": "perplexity/sonar",
        "max_output_tokens": 50,
        "max_steps": 3,
        "preset": "low",
        "instructions": "be brief",
        "input": [{"type": "message", "role": "user", "content": "hello"}],
        "tools": [
            {"type": "function", "name": "a", "description": "d", "parameters": {"type": "object"}, "strict": True},
            {"type": "function", "name": "b"},
            {"type": "web_search"},
        ],
        "response_format": {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}}},
        "reasoning": {"effort": "low"},
        "temperature": 0.5,
        "top_p": 0.9,
        "stream": True,
    }


def test_a_conversation_with_sources_and_signed_calls() -> None:
    """Sources become text of the model's turn, a signature goes back with the call that it signs, and images go as data."""
    asked = request(
        system=(Part(Text("a")), Part(Text("b"))),
        messages=(
            message(Role.USER, Text("what is this?"), Image(data=PNG)),
            message(
                Role.ASSISTANT,
                Text("a cat [1][2]"),
                SIGNED,
                ToolCall(id="c1", name="look"),
                ToolCall(id="c2", name="look"),
                Document(url="https://example.com/cats", title="Cats"),
                Document(url="https://example.com/more"),
            ),
            message(Role.TOOL, ToolResult(tool_call_id="c1", text="yes"), ToolResult(tool_call_id="c2", text="yes")),
        ),
    )
    system, user, said, signed, plain, *results = body(asked)["input"]
    assert (system["role"], len(system["content"])) == ("system", 2)
    assert user["content"][1]["image_url"].startswith("data:image/png;base64,")
    assert said["content"] == "a cat [1][2]\n[1] Cats https://example.com/cats\n[2] https://example.com/more"
    assert (signed["thought_signature"], signed["call_id"]) == ("c2ln", "c1")
    assert "thought_signature" not in plain
    assert [result["type"] for result in results] == ["function_call_output"] * 2


REFUSED = {
    "messages[0].parts[0].document": {"messages": (message(Role.USER, Document(data=b"%PDF")),)},
    "messages[0].parts[0].image.media_type": {"messages": (message(Role.USER, Image(data=b"BM")),)},
    "messages[0].parts[1].document": {"messages": (message(Role.ASSISTANT, Text("a"), Document(data=b"%PDF")),)},
    "messages[0].parts[0].thinking": {"messages": (message(Role.ASSISTANT, SIGNED, Text("a")),)},
    "messages[0].parts[1].thinking": {"messages": (message(Role.ASSISTANT, Text("a"), SIGNED),)},
    "system[0].image": {"system": (Part(Image(data=PNG)),)},
    "messages[0].parts[0].prompt_cache_mark": {"messages": (Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=0),)),)},
    "prompt_caching.enabled": {"prompt_caching": PromptCaching(enabled=False)},
    "stop_sequences": {"stop_sequences": ("END",)},
    "seed": {"seed": 1},
    "tool_choice": {"tool_choice": ToolChoice(mode=ToolChoiceMode.REQUIRED)},
    "response_format.type": {"response_format": ResponseFormat(type=ResponseFormatType.JSON)},
    "reasoning_effort": {"reasoning_effort": ReasoningEffort.NONE},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the API can't hold is CAPABILITY_MISSING and names its place; nothing is dropped in silence."""
    with pytest.raises(DomainError) as caught:
        AgentFormat().check(request(**REFUSED[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


BAD = ("models", "response_format", "background", "reasoning.effort", "tools")


@pytest.mark.parametrize("field", BAD)
def test_options_cannot_contradict_the_request(field: str) -> None:
    """Options that have a field of their own are INVALID_REQUEST with the option's name."""
    name, _, inner = field.partition(".")
    value = {"tools": [{"type": "function", "name": "f"}], "reasoning": {inner: "high"}}.get(name, [])
    with pytest.raises(DomainError) as caught:
        AgentFormat().check(request(provider_options_json=json.dumps({name: value})))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, f"provider_options.{field}")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_fees_and_sources_come_with_the_answer(provider: OpenAIProvider, *, stream: bool) -> None:
    """The provider's own figure has the search in it that the tokens don't show, and the sources stand behind the text."""
    asked = call(provider_options_json='{"tools": [{"type": "web_search"}]}')
    reply = [event async for event in provider.stream(asked)][-1] if stream else await provider.complete(asked)
    assert isinstance(reply, ProviderReply)
    tokens = reply.usage.total_input + reply.usage.output
    assert reply.reported_cost_nanos == tokens * 1_000 + 5_000_000
    assert reply.usage.searches == 1
    kinds = [type(part.content) for part in reply.parts]
    assert kinds == [Text, Document, Document]
    assert reply.parts[1].content.url.startswith("https://")
    turns = (*asked.request.messages, Message(Role.ASSISTANT, reply.parts), *asked.request.messages)
    again = call(messages=turns)
    provider.check(again.request)
    assert (await provider.complete(again)).parts


async def test_a_signed_call_and_fetched_pages() -> None:
    """A signature comes right before its call, and pages that were fetched are sources too."""
    answer = {
        "status": "requires_action",
        "model": "google/gemini-4-argon",
        "output": [
            {"type": "fetch_url_results", "contents": [{"url": "https://example.com/a", "title": "A"}, {"title": "no address"}, 3]},
            {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}", "thought_signature": "c2ln"},
            {"type": "function_call", "call_id": "c2", "name": "look", "arguments": "{}", "thought_signature": ""},
        ],
    }
    async with serving_bytes(json.dumps(answer).encode()) as server:
        provider = connect("perplexity", settings(server.base_url), answer_bytes=10_000)
        reply = await provider.complete(call())
        await provider.aclose()
    assert server.requests[0].path == "/v1/responses"
    assert [type(part.content) for part in reply.parts] == [Thinking, ToolCall, ToolCall, Document]
    assert reply.parts[0].content == SIGNED
