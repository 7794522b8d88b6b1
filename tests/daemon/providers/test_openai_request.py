"""What of a request reaches OpenAI's chat completions, and what is refused because it can't."""

import base64
import dataclasses
import json

import pytest
from aigend.config import ProviderSettings
from aigend.errors import DomainError, Reason
from aigend.providers.openai import responses_request
from aigend.providers.openai.dialect import Dialect, dialect_of
from aigend.providers.openai.request import check_request, request_body
from aigend.providers.port import ProviderCall
from aigend.types import (
    CompletionRequest,
    Document,
    Image,
    Message,
    Part,
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

from tests.daemon.providers.asking import call, request

PLAIN = Dialect(limit_field="max_tokens", cache_fields=False)
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
    check_request(asked, PLAIN)
    sent = ProviderCall(request=asked, model="m", max_output_tokens=50, timeout_s=1.0, request_id="r")
    return request_body(sent, PLAIN, stream=stream)


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
    "messages[0].parts[0].document": {"messages": (message(Role.ASSISTANT, Document(data=b"%PDF")),)},
    "messages[0].parts[0].document.url": {"messages": (message(Role.USER, Document(url="https://example.com/a.pdf")),)},
    "messages[0].parts[0].document.media_type": {"messages": (message(Role.USER, Document(data=b"PK")),)},
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
        check_request(request(**REFUSED[field]), PLAIN)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


def test_an_image_of_unknown_bytes_is_refused() -> None:
    """Bytes without a stated or visible type are no image that can be sent."""
    with pytest.raises(DomainError, match=r"image\.media_type unknown"):
        check_request(request(messages=(message(Role.USER, Image(data=b"????")),)), PLAIN)


@pytest.mark.parametrize("wish", [PromptCaching(), PromptCaching(enabled=True)])
def test_caching_that_happens_anyway_may_be_wished_for(wish: PromptCaching) -> None:
    """Such providers cache prefixes by themselves."""
    check_request(request(prompt_caching=wish), PLAIN)


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
        check_request(request(**BAD_JSON[field]), PLAIN)
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


def test_documents_travel_as_files() -> None:
    """A document's bytes carry their type and a name that ends like it."""
    asked = request(
        messages=(
            message(
                Role.USER,
                Document(data=b"%PDF-1.7", title="plan"),
                Document(data=b"a,b", media_type="text/csv; charset=utf-8", title="Table.CSV"),
                Text("?"),
            ),
        )
    )
    pdf, table, text = body(asked)["messages"][0]["content"]
    data = base64.b64encode(b"%PDF-1.7").decode()
    assert pdf == {"type": "file", "file": {"filename": "plan.pdf", "file_data": f"data:application/pdf;base64,{data}"}}
    assert table["file"]["filename"] == "Table.CSV"
    assert table["file"]["file_data"].startswith("data:text/csv;base64,")
    assert text == {"type": "text", "text": "?"}


KEYED = PromptCachePlan(prefix_key="p-1")
HOUR = Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=3_600), Part(Text("b"), prompt_cache_mark_s=300)))


def cached_fields(asked: CompletionRequest, dialect: Dialect, plan: PromptCachePlan = KEYED) -> dict:
    """Return what of a body steers the provider's prompt cache."""
    check_request(asked, dialect)
    sent = ProviderCall(request=asked, model="m", max_output_tokens=50, timeout_s=1.0, request_id="r", prompt_cache=plan)
    whole = request_body(sent, dialect, stream=False)
    return {name: value for name, value in whole.items() if name.startswith("prompt_cache")}


def test_the_cache_key_goes_to_servers_that_know_it() -> None:
    """Requests that share a prefix share its key; there is none without a prefix, or for a server that may refuse it."""
    assert cached_fields(request(), Dialect()) == {"prompt_cache_key": "p-1"}
    assert cached_fields(request(), PLAIN) == {}
    assert cached_fields(request(), Dialect(), PromptCachePlan()) == {}


def test_the_callers_own_cache_key_wins() -> None:
    """An option of the same name is the caller's, and stays."""
    given = request(provider_options_json='{"prompt_cache_key": "mine"}')
    assert cached_fields(given, Dialect()) == {"prompt_cache_key": "mine"}


@pytest.mark.parametrize(
    ("asked", "retention"),
    [
        (request(prompt_caching=PromptCaching(ttl_s=3_600)), {"prompt_cache_retention": "24h"}),
        (request(prompt_caching=PromptCaching(ttl_s=300)), {}),
        (request(messages=(HOUR,)), {"prompt_cache_retention": "24h"}),
        (request(system=(Part(Text("s"), prompt_cache_mark_s=0),)), {}),
    ],
)
def test_an_hour_is_asked_for_and_five_minutes_are_kept_anyway(asked: CompletionRequest, retention: dict) -> None:
    """OpenAI keeps prefixes for five minutes by itself; longer is asked for."""
    assert cached_fields(asked, Dialect(), PromptCachePlan()) == retention


def test_nobody_keeps_a_prefix_for_a_day_on_our_word() -> None:
    """A lifetime above what can be asked for is refused by name."""
    with pytest.raises(DomainError, match=r"prompt_caching\.ttl 90000 s"):
        check_request(request(prompt_caching=PromptCaching(ttl_s=90_000)), Dialect())


@pytest.mark.parametrize(
    ("base_url", "setting", "sent"),
    [
        ("https://api.openai.com/v1", "auto", True),
        ("https://x.openai.azure.com/openai/v1", "auto", True),
        ("https://openai.com.example.com/v1", "auto", False),
        ("http://127.0.0.1:8000/v1", "auto", False),
        ("http://127.0.0.1:8000/v1", "send", True),
        ("https://api.openai.com/v1", "omit", False),
    ],
)
def test_who_gets_the_cache_fields(base_url: str, setting: str, *, sent: bool) -> None:
    """OpenAI's own hosts do, others do where the settings say so."""
    assert dialect_of(ProviderSettings(base_url=base_url, prompt_cache_fields=setting), base_url).cache_fields is sent


@pytest.mark.parametrize(
    ("base_url", "sent"),
    [
        ("https://api.openai.com/v1", {"service_tier": "default"}),
        ("https://eu.api.openai.com/v1", {"service_tier": "default"}),
        ("https://x.openai.azure.com/openai/v1", {}),
        ("http://127.0.0.1:8000/v1", {}),
    ],
)
def test_openai_is_held_to_the_published_price(base_url: str, sent: dict) -> None:
    """Unset, the account's own settings would choose a cheaper or dearer tier; other servers may not know the field."""
    dialect = dialect_of(ProviderSettings(base_url=base_url), base_url)
    asked = call(request())
    for made in (request_body(asked, dialect, stream=False), responses_request.request_body(asked, dialect, stream=True)):
        assert {name: value for name, value in made.items() if name == "service_tier"} == sent
