"""What of a request reaches OpenAI's Responses, and what is refused because it can't."""

import base64
import dataclasses
import json

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.openai.dialect import Dialect
from aigend.providers.openai.responses_request import check_request, request_body
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

from tests.daemon.providers.asking import request
from tests.daemon.providers.test_openai_request import NOT_SENT, PNG, message

PLAIN = Dialect(cache_fields=False)
SEALED = Thinking(text="I weigh it.", signature="openai-responses:gAAAA")


def body(asked: CompletionRequest, *, dialect: Dialect = PLAIN, stream: bool = False) -> dict:
    """Return the body of a request that passes the check."""
    check_request(asked, dialect)
    plan = PromptCachePlan(prefix_key="p-1")
    call = ProviderCall(request=asked, model="m", max_output_tokens=50, timeout_s=1.0, request_id="r", prompt_cache=plan)
    return request_body(call, dialect, stream=stream)


def test_a_plain_prompt_is_plain_text() -> None:
    """One text part is a string, and nothing is stored at the provider."""
    item = {"type": "message", "role": "user", "content": "hi"}
    assert body(request("hi")) == {"store": False, "model": "m", "max_output_tokens": 50, "input": [item]}


def test_a_stream_is_asked_for() -> None:
    """Streams say what they cost by themselves."""
    assert body(request(), stream=True)["stream"] is True


def test_one_system_text_is_instructions() -> None:
    """A system prompt of one part goes where the format has a field for it, one of several into a message of its own."""
    assert body(request(system=(Part(Text("be brief")),)))["instructions"] == "be brief"
    several = body(request(system=(Part(Text("be brief")), Part(Text("be kind")))))
    pieces = [{"type": "input_text", "text": "be brief"}, {"type": "input_text", "text": "be kind"}]
    assert several["input"][0] == {"type": "message", "role": "system", "content": pieces}
    assert "instructions" not in several


def test_a_whole_conversation() -> None:
    """Texts, images, documents, reasoning, tool calls and their results keep their order and content."""
    asked = request(
        messages=(
            message(Role.USER, Text("what is this?"), Image(data=PNG), Document(url="https://example.com/a.pdf")),
            message(Role.ASSISTANT, SEALED, Text("let me see"), ToolCall(id="c1", name="look"), ToolCall(id="c2", name="ask")),
            message(
                Role.TOOL, ToolResult(tool_call_id="c1", text="a cat"), ToolResult(tool_call_id="c2", text="no", is_error=True)
            ),
            message(Role.USER, Text("and?"), ToolResult(tool_call_id="c2", text="late"), Document(data=b"%PDF-", title="plan")),
            message(Role.ASSISTANT, Thinking(signature="openai-responses:gBBBB"), Text("a cat")),
        )
    )
    data = base64.b64encode(PNG).decode()
    said = [
        {"type": "input_text", "text": "what is this?"},
        {"type": "input_image", "image_url": f"data:image/png;base64,{data}"},
        {"type": "input_file", "file_url": "https://example.com/a.pdf"},
    ]
    file = {"filename": "plan.pdf", "file_data": f"data:application/pdf;base64,{base64.b64encode(b'%PDF-').decode()}"}
    summary = [{"type": "summary_text", "text": "I weigh it."}]
    assert body(asked)["input"] == [
        {"type": "message", "role": "user", "content": said},
        {"type": "reasoning", "summary": summary, "encrypted_content": "gAAAA"},
        {"type": "message", "role": "assistant", "content": "let me see"},
        {"type": "function_call", "call_id": "c1", "name": "look", "arguments": "{}"},
        {"type": "function_call", "call_id": "c2", "name": "ask", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "a cat"},
        {"type": "function_call_output", "call_id": "c2", "output": "Error: no"},
        {"type": "message", "role": "user", "content": "and?"},
        {"type": "function_call_output", "call_id": "c2", "output": "late"},
        {"type": "message", "role": "user", "content": [{"type": "input_file"} | file]},
        {"type": "reasoning", "summary": [], "encrypted_content": "gBBBB"},
        {"type": "message", "role": "assistant", "content": "a cat"},
    ]


def test_tools_formats_and_sampling() -> None:
    """Each field has its place; a tool that says nothing of strictness is sent as not strict."""
    schema = '{"type": "object"}'
    sent = body(
        request(
            tools=(Tool(name="a", description="d", parameters_json_schema=schema, strict=True), Tool(name="b")),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="a"),
            response_format=ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema, schema_name="plan"),
            temperature=0.0,
            top_p=0.5,
            reasoning_effort=ReasoningEffort.HIGH,
            provider_options_json=json.dumps(
                {
                    "text": {"verbosity": "low"},
                    "reasoning": {"summary": "auto"},
                    "tools": [{"type": "web_search"}],
                    "include": ["web_search_call.action.sources"],
                    "parallel_tool_calls": False,
                }
            ),
        )
    )
    empty = {"type": "object", "properties": {}}
    assert sent["tools"] == [
        {"type": "function", "name": "a", "parameters": {"type": "object"}, "strict": True, "description": "d"},
        {"type": "function", "name": "b", "parameters": empty, "strict": False},
        {"type": "web_search"},
    ]
    assert sent["tool_choice"] == {"type": "function", "name": "a"}
    form = {"type": "json_schema", "name": "plan", "schema": {"type": "object"}}
    assert sent["text"] == {"verbosity": "low", "format": form}
    assert sent["reasoning"] == {"summary": "auto", "effort": "high"}
    assert sent["include"] == ["web_search_call.action.sources", "reasoning.encrypted_content"]
    assert (sent["temperature"], sent["top_p"], sent["parallel_tool_calls"]) == (0.0, 0.5, False)
    assert json.dumps(sent)


@pytest.mark.parametrize("mode", [ToolChoiceMode.AUTO, ToolChoiceMode.NONE, ToolChoiceMode.REQUIRED])
def test_tool_choice_modes(mode: ToolChoiceMode) -> None:
    """The modes are words."""
    assert body(request(tool_choice=ToolChoice(mode=mode)))["tool_choice"] == mode.value


def test_json_and_text_formats() -> None:
    """JSON mode is asked for, text is the default."""
    form = ResponseFormat(type=ResponseFormatType.JSON)
    assert body(request(response_format=form))["text"] == {"format": {"type": "json_object"}}
    assert "text" not in body(request(response_format=ResponseFormat(type=ResponseFormatType.TEXT)))


def test_reasoning_is_asked_for_sealed_only_where_there_is_some() -> None:
    """Models that can't reason refuse to be asked for encrypted reasoning, so only what reasons is."""
    assert "include" not in body(request())
    for asked in (
        request(reasoning_effort=ReasoningEffort.LOW),
        request(provider_options_json='{"reasoning": {"summary": "auto"}}'),
        request(messages=(message(Role.ASSISTANT, SEALED), message(Role.USER, Text("go on")))),
    ):
        assert body(asked)["include"] == ["reasoning.encrypted_content"]


def test_what_the_caller_wants_stored_is_stored() -> None:
    """Storing is off unless the options say otherwise."""
    assert body(request(provider_options_json='{"store": true}'))["store"] is True


def test_the_cache_key_goes_to_servers_that_know_it() -> None:
    """Requests that share a prefix share its key, and an hour is asked for by the field there is."""
    sent = body(request(prompt_caching=PromptCaching(ttl_s=3_600)), dialect=Dialect())
    assert (sent["prompt_cache_key"], sent["prompt_cache_retention"]) == ("p-1", "24h")
    assert "prompt_cache_key" not in body(request())


REFUSED = {
    "messages[0].parts[0].thinking.signature": {"messages": (message(Role.ASSISTANT, Thinking(text="hm", signature="EqQB")),)},
    "messages[0].parts[1].thinking.signature": {"messages": (message(Role.ASSISTANT, Text("a"), Thinking(text="hm")),)},
    "messages[0].parts[0].image": {"messages": (message(Role.ASSISTANT, Image(data=PNG)),)},
    "messages[0].parts[0].image.media_type": {"messages": (message(Role.USER, Image(data=b"BM")),)},
    "messages[0].parts[0].document.media_type": {"messages": (message(Role.USER, Document(data=b"PK")),)},
    "system[0].document": {"system": (Part(Document(data=b"%PDF")),)},
    "messages[0].parts[0].prompt_cache_mark": {"messages": (Message(Role.USER, (Part(Text("a"), prompt_cache_mark_s=0),)),)},
    "prompt_caching.enabled": {"prompt_caching": PromptCaching(enabled=False)},
    "prompt_caching.ttl": {"prompt_caching": PromptCaching(ttl_s=300)},
    "stop_sequences": {"stop_sequences": ("END",)},
    "seed": {"seed": 0},
    "provider_options.tools": {"provider_options_json": '{"tools": [{"type": "code_interpreter"}]}'},
}


@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the format can't hold is CAPABILITY_MISSING and names its place; nothing is dropped in silence."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**REFUSED[field]), PLAIN)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


BAD = {
    "provider_options": {"provider_options_json": "{"},
    "tools[0].parameters_json_schema": {"tools": (Tool(name="a", parameters_json_schema="[]"),)},
    "response_format.json_schema": {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="nope")},
    "provider_options.max_output_tokens": {"provider_options_json": '{"max_output_tokens": 100000}'},
    "provider_options.background": {"provider_options_json": '{"background": true}'},
    "provider_options.service_tier": {"provider_options_json": '{"service_tier": "priority"}'},
    "provider_options.text": {"provider_options_json": '{"text": 3}'},
    "provider_options.text.format": {"provider_options_json": '{"text": {"format": {}}}'},
    "provider_options.reasoning.effort": {"provider_options_json": '{"reasoning": {"effort": "xhigh"}}'},
    "provider_options.include": {"provider_options_json": '{"include": "x"}'},
    "provider_options.tools": {"provider_options_json": '{"tools": [{"type": "function", "name": "f"}]}'},
}


@pytest.mark.parametrize("field", BAD)
def test_options_cannot_contradict_the_request(field: str) -> None:
    """JSON that is none, and options that would change what was reserved, are INVALID_REQUEST with the field's name."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**BAD[field]), PLAIN)
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


def test_tools_in_options_are_a_list() -> None:
    """A lone tool is not taken for a list of them."""
    with pytest.raises(DomainError, match="a list of JSON objects"):
        check_request(request(provider_options_json='{"tools": {"type": "web_search"}}'), PLAIN)


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
