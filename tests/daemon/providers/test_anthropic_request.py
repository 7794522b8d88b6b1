"""What of a request reaches Anthropic's Messages, and what is refused because it can't."""

import base64
import dataclasses
import json

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.anthropic.request import check_request, request_body
from aigend.types import (
    CacheMark,
    CompletionRequest,
    Document,
    Image,
    Message,
    Part,
    PartPlace,
    PromptCachePlan,
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
from tests.daemon.providers.test_openai_request import NOT_SENT

PNG = b"\x89PNG\r\n\x1a\n"
PDF = b"%PDF-1.7\n"
SCHEMA = '{"type": "object", "properties": {"a": {"type": "string"}}}'
NO_PLAN = PromptCachePlan()
SHORT = {"type": "ephemeral", "ttl": "5m"}
LONG = {"type": "ephemeral", "ttl": "1h"}


def body(
    asked: CompletionRequest, *, model: str = "claude-sonnet-4-5", plan=NO_PLAN, limit: int = 50, stream: bool = False
) -> dict:
    """Return the body of a request that passes the check."""
    check_request(asked)
    return request_body(asked, model=model, max_output_tokens=limit, plan=plan, stream=stream)


def message(role: Role, *contents: object) -> Message:
    """Return a message of these contents."""
    return Message(role, tuple(Part(content) for content in contents))


def plan(*marks: tuple[int | None, int, int]) -> PromptCachePlan:
    """Return a plan of marks, each message, part and lifetime."""
    return PromptCachePlan(marks=tuple(CacheMark(place=PartPlace(where, part), ttl_s=ttl) for where, part, ttl in marks))


def test_a_plain_prompt() -> None:
    """One message, its model and its bound are all."""
    sent = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]}
    assert body(request("hi")) == sent | {"max_tokens": 50}
    assert body(request("hi"), stream=True) == sent | {"max_tokens": 50, "stream": True}


def test_a_whole_conversation() -> None:
    """System, images, documents, thinking, tool calls and their results keep their order and content."""
    asked = request(
        system=(Part(Text("be brief")), Part(Text("be kind"))),
        messages=(
            message(
                Role.USER,
                Text("what is this?"),
                Image(data=PNG),
                Image(url="https://example.com/a.png"),
                Document(data=PDF, title="Plan"),
                Document(url="https://example.com/a.pdf"),
                Document(data="Grüße".encode(), media_type="text/markdown"),
            ),
            message(
                Role.ASSISTANT,
                Thinking(text="hm", signature="c2ln"),
                Thinking(signature="redacted_thinking:c2VhbGVk"),
                Text("let me see"),
                ToolCall(id="c1", name="look"),
                ToolCall(id="c2", name="ask", arguments_json='{"q": [1]}'),
            ),
            message(Role.TOOL, ToolResult(tool_call_id="c1", text="a cat"), ToolResult(tool_call_id="c2", is_error=True)),
        ),
    )
    png, pdf = base64.b64encode(PNG).decode(), base64.b64encode(PDF).decode()
    sent = body(asked)
    assert sent["system"] == [{"type": "text", "text": "be brief"}, {"type": "text", "text": "be kind"}]
    assert [turn["role"] for turn in sent["messages"]] == ["user", "assistant", "user"]
    assert sent["messages"][0]["content"][1:] == [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": png}},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": pdf}, "title": "Plan"},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "Grüße"}},
    ]
    assert sent["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "c2VhbGVk"},
        {"type": "text", "text": "let me see"},
        {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
        {"type": "tool_use", "id": "c2", "name": "ask", "input": {"q": [1]}},
    ]
    assert sent["messages"][2]["content"] == [
        {"type": "tool_result", "tool_use_id": "c1", "content": "a cat"},
        {"type": "tool_result", "tool_use_id": "c2", "content": "", "is_error": True},
    ]


def test_tools_formats_and_sampling() -> None:
    """Each field has its place, and options pass through."""
    sent = body(
        request(
            tools=(Tool(name="a", description="d", parameters_json_schema=SCHEMA, strict=True), Tool(name="b")),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="a"),
            response_format=ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=SCHEMA, schema_name="plan"),
            temperature=0.0,
            top_p=0.5,
            stop_sequences=("END",),
            provider_options_json='{"top_k": 4, "metadata": {"user_id": "u"}, "speed": null, "output_config": {"effort": "max"}}',
        )
    )
    schema = json.loads(SCHEMA)
    assert sent["tools"] == [
        {"name": "a", "description": "d", "input_schema": schema, "strict": True},
        {"name": "b", "input_schema": {"type": "object"}},
    ]
    assert sent["tool_choice"] == {"type": "tool", "name": "a"}
    assert sent["output_config"] == {"effort": "max", "format": {"type": "json_schema", "schema": schema}}
    assert (sent["temperature"], sent["top_p"], sent["stop_sequences"]) == (0.0, 0.5, ["END"])
    assert (sent["top_k"], sent["metadata"]) == (4, {"user_id": "u"})


@pytest.mark.parametrize(
    ("mode", "sent"), [(ToolChoiceMode.AUTO, "auto"), (ToolChoiceMode.NONE, "none"), (ToolChoiceMode.REQUIRED, "any")]
)
def test_tool_choice_modes(mode: ToolChoiceMode, sent: str) -> None:
    """Each mode has its word there."""
    assert body(request(tool_choice=ToolChoice(mode=mode)))["tool_choice"] == {"type": sent}


def test_text_is_the_default_format() -> None:
    """A wish for text needs no word."""
    assert "output_config" not in body(request(response_format=ResponseFormat(type=ResponseFormatType.TEXT)))


THINKING = [
    # model, effort, bound of the answer, thinking, effort that is sent
    ("claude-sonnet-4-5-20250929", ReasoningEffort.NONE, 30_000, None, None),
    ("claude-sonnet-4-5", ReasoningEffort.LOW, 30_000, {"type": "enabled", "budget_tokens": 2_048}, None),
    ("claude-opus-4-20250514", ReasoningEffort.HIGH, 30_000, {"type": "enabled", "budget_tokens": 24_576}, None),
    ("claude-3-7-sonnet-20250219", ReasoningEffort.MEDIUM, 4_000, {"type": "enabled", "budget_tokens": 3_999}, None),
    ("claude-haiku-4-5", ReasoningEffort.MINIMAL, 1_024, None, None),
    (
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        ReasoningEffort.MINIMAL,
        1_025,
        {"type": "enabled", "budget_tokens": 1_024},
        None,
    ),
    ("claude-sonnet-4-6", ReasoningEffort.LOW, 50, {"type": "adaptive"}, "low"),
    ("claude-opus-4.8", ReasoningEffort.HIGH, 50, {"type": "adaptive"}, "high"),
    ("claude-fable-5", ReasoningEffort.MINIMAL, 50, {"type": "adaptive"}, "low"),
    ("claude-sonnet-5-5", ReasoningEffort.MEDIUM, 50, {"type": "adaptive"}, "medium"),
    ("claude-sonnet-5-5", ReasoningEffort.NONE, 50, {"type": "disabled"}, None),
    ("some-alias", ReasoningEffort.LOW, 50, {"type": "adaptive"}, "low"),
]


@pytest.mark.parametrize(("model", "effort", "limit", "thinking", "sent"), THINKING)
def test_effort_becomes_what_the_model_knows(model: str, effort: ReasoningEffort, limit: int, thinking, sent) -> None:
    """Models before 4.6 get a budget inside the answer's bound, newer ones an effort; without room for a budget there is none."""
    made = body(request(reasoning_effort=effort), model=model, limit=limit)
    assert made.get("thinking") == thinking
    assert made.get("output_config", {}).get("effort") == sent


def test_thinking_may_be_spelled_by_the_caller() -> None:
    """Without an effort of their own, callers set thinking as the provider spells it."""
    option = '{"thinking": {"type": "enabled", "budget_tokens": 1024}}'
    assert body(request(provider_options_json=option))["thinking"] == {"type": "enabled", "budget_tokens": 1_024}


def test_marks_stand_where_the_plan_says() -> None:
    """The ends of tools, system and messages are marked for as long as planned, and nothing else is."""
    asked = request(
        tools=(Tool(name="a"), Tool(name="b")),
        system=(Part(Text("s0")), Part(Text("s1"))),
        messages=(
            message(Role.USER, Text("u0"), Text("u1")),
            message(Role.ASSISTANT, Text("a0")),
            message(Role.USER, Text("u2")),
        ),
    )
    sent = body(asked, plan=plan((None, -1, 3_600), (None, 1, 3_600), (0, 0, 300), (2, 0, 300)))
    assert [tool.get("cache_control") for tool in sent["tools"]] == [None, LONG]
    assert [block.get("cache_control") for block in sent["system"]] == [None, LONG]
    assert [[block.get("cache_control") for block in turn["content"]] for turn in sent["messages"]] == [
        [SHORT, None],
        [None],
        [SHORT],
    ]


def test_a_mark_on_thinking_is_left_out() -> None:
    """Thinking can hold no mark there, so a plan that ends on it must not spoil the request."""
    asked = request(messages=(message(Role.USER, Text("u")), message(Role.ASSISTANT, Text("a"), Thinking(text="t", signature="s"))))
    assert "cache_control" not in json.dumps(body(asked, plan=plan((1, 1, 300))))


def test_the_callers_marks_are_the_plans() -> None:
    """A part's own mark is placed through the plan only, which holds it already."""
    asked = request(messages=(Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=3_600),)),))
    assert "cache_control" not in json.dumps(body(asked))
    assert body(asked, plan=plan((0, 0, 3_600)))["messages"][0]["content"][0]["cache_control"] == LONG


MARKED = Part(Text("a"), prompt_cache_mark_s=0)
REFUSED = {
    "messages[0].parts[0].thinking": {"messages": (message(Role.USER, Thinking(text="hm", signature="s")),)},
    "messages[0].parts[1].thinking.signature": {"messages": (message(Role.ASSISTANT, Text("a"), Thinking(text="hm")),)},
    "messages[0].parts[2].thinking.signature": {
        "messages": (message(Role.ASSISTANT, Text("a"), Text("b"), Thinking(text="hm", signature="gemini:c2ln")),)
    },
    "messages[0].parts[0].image": {"messages": (message(Role.ASSISTANT, Image(data=PNG)),)},
    "messages[0].parts[0].text": {"messages": (message(Role.TOOL, Text("a")),)},
    "messages[0].parts[0].tool_call": {"messages": (message(Role.USER, ToolCall(id="c", name="n")),)},
    "messages[0].parts[0].tool_result": {"messages": (message(Role.ASSISTANT, ToolResult(tool_call_id="c")),)},
    "messages[0].parts[0].image.media_type": {"messages": (message(Role.USER, Image(data=b"BM", media_type="image/bmp")),)},
    "messages[0].parts[0].document.media_type": {
        "messages": (message(Role.USER, Document(data=b"PK", media_type="application/zip")),)
    },
    "messages[0].parts[1].document.media_type": {
        "messages": (message(Role.USER, Text("a"), Document(url="https://example.com/a", media_type="text/html")),)
    },
    "messages[0].parts[0].prompt_cache_mark": {
        "messages": (Message(Role.ASSISTANT, (Part(Thinking(signature="s"), prompt_cache_mark_s=0),)),)
    },
    "system[0].document": {"system": (Part(Document(data=PDF)),)},
    "seed": {"seed": 0},
    "temperature": {"temperature": 1.5},
    "response_format.type": {"response_format": ResponseFormat(type=ResponseFormatType.JSON)},
    "provider_options.speed": {"provider_options_json": '{"speed": "fast"}'},
    "provider_options.inference_geo": {"provider_options_json": '{"inference_geo": "us"}'},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the format can't hold is CAPABILITY_MISSING and names its place; nothing is dropped in silence."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**REFUSED[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


@pytest.mark.parametrize(
    "more",
    [
        {"temperature": 0.5},
        {"tool_choice": ToolChoice(mode=ToolChoiceMode.REQUIRED)},
        {"tool_choice": ToolChoice(mode=ToolChoiceMode.NAMED, name="a")},
    ],
)
def test_what_does_not_go_with_thinking_is_refused(more: dict) -> None:
    """A thinking model takes neither a temperature nor a forced tool; without thinking both can be sent."""
    check_request(request(**more))
    check_request(request(reasoning_effort=ReasoningEffort.NONE, **more))
    with pytest.raises(DomainError) as caught:
        check_request(request(reasoning_effort=ReasoningEffort.LOW, **more))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, next(iter(more)))


@pytest.mark.parametrize("content", [Image(url="https://example.com/a.png"), Document(url="https://example.com/a.pdf")])
def test_addresses_are_refused_where_the_server_fetches_none(content) -> None:
    """A server that fetches nothing is asked with bytes only."""
    asked = request(messages=(message(Role.USER, content),))
    check_request(asked)
    with pytest.raises(DomainError, match="send the bytes"):
        check_request(asked, addresses=False)


@pytest.mark.parametrize("data", [PDF, b""])
def test_a_document_of_unknown_bytes_is_refused(data: bytes) -> None:
    """Bytes without a stated or visible type are no document that can be sent."""
    asked = request(messages=(message(Role.USER, Document(data=data[1:] or b"????")),))
    with pytest.raises(DomainError, match=r"document\.media_type unknown"):
        check_request(asked)


INVALID = {
    "provider_options": {"provider_options_json": "{"},
    "tools[0].parameters_json_schema": {"tools": (Tool(name="a", parameters_json_schema="[]"),)},
    "response_format.json_schema": {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="nope")},
    "messages[0].parts[0].tool_call.arguments_json": {
        "messages": (message(Role.ASSISTANT, ToolCall(id="c", name="n", arguments_json='{"cut')),)
    },
    "messages[0].parts[0].document.data": {"messages": (message(Role.USER, Document(data=b"\xff\xfe", media_type="text/plain")),)},
    "prompt_cache_mark": {"system": (MARKED,) * 3, "messages": (Message(Role.USER, (MARKED,) * 2),)},
    "provider_options.max_tokens": {"provider_options_json": '{"max_tokens": 100000}'},
    "provider_options.service_tier": {"provider_options_json": '{"service_tier": "auto"}'},
    "provider_options.cache_control": {"provider_options_json": '{"cache_control": {"type": "ephemeral"}}'},
    "provider_options.output_config": {"provider_options_json": '{"output_config": 3}'},
    "provider_options.output_config.format": {"provider_options_json": '{"output_config": {"format": {}}}'},
    "provider_options.thinking": {
        "provider_options_json": '{"thinking": {"type": "adaptive"}}',
        "reasoning_effort": ReasoningEffort.LOW,
    },
    "provider_options.output_config.effort": {
        "provider_options_json": '{"output_config": {"effort": "max"}}',
        "reasoning_effort": ReasoningEffort.LOW,
    },
}


@pytest.mark.parametrize("field", INVALID)
def test_requests_that_contradict_themselves_are_refused(field: str) -> None:
    """JSON that is none, and options that would change what was reserved or asked, are INVALID_REQUEST with the field's name."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**INVALID[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


@pytest.mark.parametrize("wish", [PromptCaching(), PromptCaching(enabled=True, ttl_s=3_600), PromptCaching(enabled=False)])
def test_caching_is_as_the_caller_wishes(wish: PromptCaching) -> None:
    """Marks can be set for either lifetime, or left out."""
    check_request(request(prompt_caching=wish))


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
