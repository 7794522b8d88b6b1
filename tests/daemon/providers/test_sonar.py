"""Perplexity's old chat format: where it differs from OpenAI's chat completions."""

import json
from collections.abc import AsyncIterator

import pytest
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.openai.provider import OpenAIProvider
from aigend.providers.perplexity.sonar import SonarFormat, connect
from aigend.providers.port import ProviderReply
from aigend.types import (
    Document,
    FinishReason,
    Message,
    Part,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Text,
    TokenUsage,
    ToolChoice,
    ToolChoiceMode,
)
from pydantic import SecretStr

from tests.daemon.providers.asking import call, request
from tests.daemon.providers.loopback import serving_bytes
from tests.daemon.providers.test_openai_request import message
from tests.emulator_server import RunningEmulator


@pytest.fixture
async def provider(emulator: RunningEmulator) -> AsyncIterator[OpenAIProvider]:
    """Return the adapter, pointed at the emulator."""
    made = connect("sonar", settings(emulator.base_url.removesuffix("/v1")), answer_bytes=2_000_000)
    yield made
    await made.aclose()


def settings(base_url: str) -> ProviderSettings:
    """Return settings with a key."""
    return ProviderSettings(adapter="sonar", base_url=base_url, api_key=SecretStr("pplx-test"))


async def replied(body: bytes, *, stream: bool) -> ProviderReply:
    """Return what the adapter makes of an answer."""
    headers = {"content-type": "text/event-stream" if stream else "application/json"}
    async with serving_bytes(body, headers=headers) as server:
        provider = connect("sonar", settings(server.base_url), answer_bytes=10_000)
        try:
            return [event async for event in provider.stream(call())][-1] if stream else await provider.complete(call())
        finally:
            await provider.aclose()


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
async def test_fees_and_sources_come_with_the_answer(provider: OpenAIProvider, *, stream: bool) -> None:
    """The request fee is in the provider's own figure, and the sources stand behind the text."""
    reply = [event async for event in provider.stream(call())][-1] if stream else await provider.complete(call())
    assert reply.reported_cost_nanos == (reply.usage.total_input + reply.usage.output) * 1_000 + 5_000_000
    assert [type(part.content) for part in reply.parts] == [Text, Document, Document]
    assert reply.finish_reason is FinishReason.STOP


async def test_usage_that_grows_with_each_event_is_not_added_up() -> None:
    """Every event repeats all usage so far: the last one counts, and no [DONE] follows it."""
    usages = [{"prompt_tokens": 3, "completion_tokens": count, "cost": {"total_cost": count / 1_000}} for count in (1, 2, 3)]
    said = ["a", "ab", "abc"]
    events = [
        {"model": "sonar", "usage": usage, "choices": [{"delta": {"content": text[-1]}, "message": {"content": text}}]}
        for usage, text in zip(usages, said, strict=True)
    ]
    events[-1]["choices"][0]["finish_reason"] = "stop"
    body = b"".join(b"data: " + json.dumps(event).encode() + b"\r\n\r\n" for event in events)
    reply = await replied(body, stream=True)
    assert [part.content for part in reply.parts] == [Text("abc")]
    assert (reply.usage, reply.reported_cost_nanos) == (TokenUsage(input=3, output=3), 3_000_000)


async def test_what_a_research_model_reads_and_thinks_is_counted() -> None:
    """Tokens of sources are input and those of reasoning output, both beside what prompt and completion count."""
    usage = {"prompt_tokens": 33, "completion_tokens": 70, "total_tokens": 103, "citation_tokens": 200, "reasoning_tokens": 700}
    answer = {
        "choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}],
        "usage": usage | {"num_search_queries": 28},
        "citations": ["https://example.com/a", 3, ""],
    }
    reply = await replied(json.dumps(answer).encode(), stream=False)
    assert reply.usage == TokenUsage(input=233, output=770, reasoning=700, searches=28)
    assert reply.reported_cost_nanos is None
    assert [part.content for part in reply.parts] == [Text("hi"), Document(url="https://example.com/a")]


async def test_missing_usage_stays_missing() -> None:
    """An answer without usage has none."""
    answer = {"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}
    assert (await replied(json.dumps(answer).encode(), stream=False)).usage is None


def test_a_stream_is_not_asked_for_what_always_comes() -> None:
    """Usage comes with every event, and the option to ask for it is not known."""
    sent = SonarFormat().body(call(), stream=True)
    assert sent["stream"] is True
    assert "stream_options" not in sent
    assert sent["max_tokens"] == 400


def test_sources_that_are_sent_back_are_text() -> None:
    """An answer can be a part of the next conversation as it came."""
    turns = (
        message(Role.USER, Text("what?")),
        message(Role.ASSISTANT, Text("this [1]"), Document(url="https://example.com/a", title="A")),
        message(Role.USER, Text("and?")),
    )
    asked = call(messages=turns)
    SonarFormat().check(asked.request)
    said = SonarFormat().body(asked, stream=False)["messages"][1]["content"]
    assert [piece["text"] for piece in said] == ["this [1]", "\n[1] A https://example.com/a"]


REFUSED = {
    "seed": {"seed": 1},
    "tool_choice": {"tool_choice": ToolChoice(mode=ToolChoiceMode.NAMED, name="a")},
    "response_format.type": {"response_format": ResponseFormat(type=ResponseFormatType.JSON)},
    "reasoning_effort": {"reasoning_effort": ReasoningEffort.NONE},
    "messages[0].parts[0].document": {"messages": (message(Role.USER, Document(data=b"%PDF")),)},
    "messages[0].parts[0].prompt_cache_mark": {"messages": (Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=0),)),)},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the format can't hold is CAPABILITY_MISSING and names its place."""
    with pytest.raises(DomainError) as caught:
        SonarFormat().check(request(**REFUSED[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)
