"""What of a request reaches OpenAI's chat completions, and what is refused because it can't."""

import base64
import dataclasses
import json

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.openai_request import check_request, request_body
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

from tests.daemon.providers.asking import request

PNG = b"\x89PNG\r\n\x1a\n"
NOT_SENT = {  # what shapes routing, caching and accounting, not the provider's body
    "sample_index",
    "model",
    "agent",
    "service",
    "phase",
    "strategy",
    "fallback_models",
    "context_digest",
    "mode",
    "ttl_s",
    "namespace",
    "normalization",
    "similarity",
    "lane",
    "complete_by",
    "prompt_caching",
}


def body(asked: CompletionRequest, *, stream: bool = False) -> dict:
    """Return the body of a request that passes the check."""
    check_request(asked)
    return request_body(asked, model="m", max_output_tokens=50, limit_field="max_tokens", stream=stream)


def message(role: Role, *contents: object) -> Message:
    """Return a message of these contents."""
    return Message(role, tuple(Part(content) for content in contents))


def test_a_plain_prompt_is_plain_text() -> None:
    """One text part is a string, because some servers know nothing else."""
    assert body(request("hi")) == {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 50}


def test_streams_always_ask_for_usage() -> None:
    """Without include_usage a stream would not say what it cost."""
    sent = body(request(), stream=True)
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


def test_a_whole_conversation() -> None:
    """System, images, tool calls and their results keep their order and content."""
    asked = request(
        system=(Part(Text("be brief")), Part(Text("be kind"))),
        messages=(
            message(Role.USER, Text("what is this?"), Image(data=PNG), Image(url="https://example.com/a.png")),
            message(
                Role.ASSISTANT,
                Text("let me see"),
                ToolCall(id="c1", name="look"),
                ToolCall(id="c2", name="ask", arguments_json="[1]"),
            ),
            message(
                Role.TOOL, ToolResult(tool_call_id="c1", text="a cat"), ToolResult(tool_call_id="c2", text="no", is_error=True)
            ),
            message(Role.USER, ToolResult(tool_call_id="c3", text="late"), Text("so?")),
            message(Role.ASSISTANT, ToolCall(id="c4", name="look")),
        ),
    )
    data = base64.b64encode(PNG).decode()
    calls = [
        {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}},
        {"id": "c2", "type": "function", "function": {"name": "ask", "arguments": "[1]"}},
    ]
    assert body(asked)["messages"] == [
        {"role": "system", "content": [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}]},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "what is this?"},
                {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
            ],
        },
        {"role": "assistant", "content": "let me see", "tool_calls": calls},
        {"role": "tool", "tool_call_id": "c1", "content": "a cat"},
        {"role": "tool", "tool_call_id": "c2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "c3", "content": "late"},
        {"role": "user", "content": "so?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c4", "type": "function", "function": {"name": "look", "arguments": "{}"}}],
        },
    ]


def test_tools_formats_and_sampling() -> None:
    """Each field has its place."""
    schema = '{"type": "object"}'
    sent = body(
        request(
            tools=(Tool(name="a", description="d", parameters_json_schema=schema, strict=True), Tool(name="b")),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="a"),
            response_format=ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema, schema_name="plan"),
            temperature=0.0,
            top_p=0.5,
            stop_sequences=("END",),
            seed=0,
            reasoning_effort=ReasoningEffort.MINIMAL,
            provider_options_json='{"verbosity": "low", "logit_bias": {"1": 2}}',
        )
    )
    function = {"name": "a", "description": "d", "parameters": {"type": "object"}, "strict": True}
    assert sent["tools"] == [{"type": "function", "function": function}, {"type": "function", "function": {"name": "b"}}]
    assert sent["tool_choice"] == {"type": "function", "function": {"name": "a"}}
    assert sent["response_format"] == {"type": "json_schema", "json_schema": {"name": "plan", "schema": {"type": "object"}}}
    assert (sent["temperature"], sent["top_p"], sent["stop"], sent["seed"]) == (0.0, 0.5, ["END"], 0)
    assert (sent["reasoning_effort"], sent["verbosity"], sent["logit_bias"]) == ("minimal", "low", {"1": 2})
    assert json.dumps(sent)


@pytest.mark.parametrize("mode", [ToolChoiceMode.AUTO, ToolChoiceMode.NONE, ToolChoiceMode.REQUIRED])
def test_tool_choice_modes(mode: ToolChoiceMode) -> None:
    """The modes are words."""
    assert body(request(tool_choice=ToolChoice(mode=mode)))["tool_choice"] == mode.value


def test_json_and_text_formats() -> None:
    """JSON mode is asked for, text is the default."""
    assert body(request(response_format=ResponseFormat(type=ResponseFormatType.JSON)))["response_format"] == {"type": "json_object"}
    assert "response_format" not in body(request(response_format=ResponseFormat(type=ResponseFormatType.TEXT)))


REFUSED = {
    "messages[0].parts[0].document": {"messages": (message(Role.USER, Document(data=b"%PDF")),)},
    "messages[0].parts[1].thinking": {"messages": (message(Role.ASSISTANT, Text("a"), Thinking(text="hm")),)},
    "messages[0].parts[0].image": {"messages": (message(Role.ASSISTANT, Image(data=PNG)),)},
    "messages[0].parts[0].text": {"messages": (message(Role.TOOL, Text("a")),)},
    "messages[0].parts[0].tool_call": {"messages": (message(Role.USER, ToolCall(id="c", name="n")),)},
    "messages[0].parts[0].tool_result": {"messages": (message(Role.ASSISTANT, ToolResult(tool_call_id="c")),)},
    "messages[0].parts[0].image.media_type": {"messages": (message(Role.USER, Image(data=b"BM", media_type="image/bmp")),)},
    "system[0].image": {"system": (Part(Image(data=PNG)),)},
    "messages[0].parts[0].prompt_cache_mark": {"messages": (Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=0),)),)},
    "prompt_caching.enabled": {"prompt_caching": PromptCaching(enabled=False)},
    "prompt_caching.ttl": {"prompt_caching": PromptCaching(ttl_s=60)},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the format can't hold is CAPABILITY_MISSING and names its place; nothing is dropped in silence."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**REFUSED[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


def test_an_image_of_unknown_bytes_is_refused() -> None:
    """Bytes without a stated or visible type are no image that can be sent."""
    with pytest.raises(DomainError, match=r"image\.media_type unknown"):
        check_request(request(messages=(message(Role.USER, Image(data=b"????")),)))


@pytest.mark.parametrize("wish", [PromptCaching(), PromptCaching(enabled=True)])
def test_caching_that_happens_anyway_may_be_wished_for(wish: PromptCaching) -> None:
    """Such providers cache prefixes by themselves."""
    check_request(request(prompt_caching=wish))


BAD_JSON = {
    "provider_options": {"provider_options_json": "{"},
    "tools[0].parameters_json_schema": {"tools": (Tool(name="a", parameters_json_schema="[]"),)},
    "response_format.json_schema": {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="nope")},
    "provider_options.max_tokens": {"provider_options_json": '{"max_tokens": 100000}'},
    "provider_options.n": {"provider_options_json": '{"n": 8}'},
    "provider_options.service_tier": {"provider_options_json": '{"service_tier": "priority"}'},
}


@pytest.mark.parametrize("field", BAD_JSON)
def test_options_cannot_contradict_the_request(field: str) -> None:
    """JSON that is none, and options that would change what was reserved, are INVALID_REQUEST with the field's name."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**BAD_JSON[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


def test_every_field_is_sent_or_known_not_to_be() -> None:
    """A field added to requests must be decided on here: sent, refused, or none of the provider's business."""
    sent_or_refused = {
        "messages",
        "system",
        "tools",
        "tool_choice",
        "response_format",
        "temperature",
        "top_p",
        "max_output_tokens",
        "stop_sequences",
        "seed",
        "reasoning_effort",
        "provider_options_json",
    }
    assert {field.name for field in dataclasses.fields(CompletionRequest)} == sent_or_refused | NOT_SENT
