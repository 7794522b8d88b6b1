"""What of a request reaches Google's generateContent, and what is refused because it can't."""

import base64
import dataclasses
import json

import pytest
from aigend.errors import DomainError, Reason
from aigend.providers.gemini.request import check_request, request_body
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
MODEL = "gemini-3.8-flash"
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


def body(asked: CompletionRequest, *, model: str = MODEL) -> dict:
    """Return the body of a request that passes the check."""
    check_request(asked)
    return request_body(asked, model=model, max_output_tokens=50)


def options(**given: object) -> dict[str, str]:
    """Return the field that holds these options."""
    return {"provider_options_json": json.dumps(given)}


def message(role: Role, *contents: object) -> Message:
    """Return a message of these contents."""
    return Message(role, tuple(Part(content) for content in contents))


def test_a_plain_prompt() -> None:
    """A prompt is one turn, and the bound goes with it."""
    assert body(request("hi")) == {
        "contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 50},
    }


def test_a_whole_conversation() -> None:
    """System, media, calls and their results keep order and content; results that follow each other are one turn."""
    asked = request(
        system=(Part(Text("be brief")), Part(Text("be kind"))),
        messages=(
            message(
                Role.USER,
                Text("what is this?"),
                Image(data=PNG),
                Image(url="https://example.com/a.png"),
                Image(data=b"heic", media_type="image/heic"),
                Document(data=b"%PDF-1.7", title="plan"),
                Document(url="https://example.com/b", media_type="text/html"),
                Document(data=b"a,b", media_type="text/csv"),
            ),
            message(
                Role.ASSISTANT,
                Text("let me see"),
                ToolCall(id="c1", name="look"),
                ToolCall(id="c2", name="ask", arguments_json='{"q":1}'),
            ),
            message(Role.TOOL, ToolResult(tool_call_id="c1", text="a cat")),
            message(Role.TOOL, ToolResult(tool_call_id="c2", text="no", is_error=True)),
            message(Role.USER, ToolResult(tool_call_id="c1", text="late"), Text("so?")),
        ),
    )
    sent = body(asked)
    assert sent["systemInstruction"] == {"parts": [{"text": "be brief"}, {"text": "be kind"}]}
    assert [turn["role"] for turn in sent["contents"]] == ["user", "model", "user", "user"]
    assert sent["contents"][0]["parts"] == [
        {"text": "what is this?"},
        {"inlineData": {"mimeType": "image/png", "data": base64.b64encode(PNG).decode()}},
        {"fileData": {"fileUri": "https://example.com/a.png"}},
        {"inlineData": {"mimeType": "image/heic", "data": "aGVpYw=="}},
        {"text": "plan"},
        {"inlineData": {"mimeType": "application/pdf", "data": "JVBERi0xLjc="}},
        {"fileData": {"fileUri": "https://example.com/b", "mimeType": "text/html"}},
        {"inlineData": {"mimeType": "text/csv", "data": "YSxi"}},
    ]
    assert sent["contents"][1]["parts"] == [
        {"text": "let me see"},
        {"functionCall": {"id": "c1", "name": "look", "args": {}}},
        {"functionCall": {"id": "c2", "name": "ask", "args": {"q": 1}}},
    ]
    assert sent["contents"][2]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "look", "response": {"output": "a cat"}}},
        {"functionResponse": {"id": "c2", "name": "ask", "response": {"error": "no"}}},
    ]
    assert sent["contents"][3]["parts"] == [
        {"functionResponse": {"id": "c1", "name": "look", "response": {"output": "late"}}},
        {"text": "so?"},
    ]


def test_a_call_without_an_id_is_answered_by_name() -> None:
    """Where no id was given, none is sent."""
    asked = request(
        messages=(message(Role.ASSISTANT, ToolCall(id="", name="look")), message(Role.TOOL, ToolResult(tool_call_id="")))
    )
    turns = body(asked)["contents"]
    assert turns[0]["parts"] == [{"functionCall": {"name": "look", "args": {}}}]
    assert turns[1]["parts"] == [{"functionResponse": {"name": "look", "response": {"output": ""}}}]


SIGNED = {
    "on the part behind it": (
        [Thinking(signature="gemini:S"), ToolCall(id="c", name="n"), ToolCall(id="d", name="n")],
        [
            {"functionCall": {"id": "c", "name": "n", "args": {}}, "thoughtSignature": "S"},
            {"functionCall": {"id": "d", "name": "n", "args": {}}},
        ],
    ),
    "past a thought": (
        [Thinking(signature="gemini:S"), Thinking(text="hm"), Text("a")],
        [{"text": "hm", "thought": True}, {"text": "a", "thoughtSignature": "S"}],
    ),
    "on a thought of its own": (
        [Thinking(text="hm", signature="gemini:S"), Text("a")],
        [{"text": "hm", "thought": True, "thoughtSignature": "S"}, {"text": "a"}],
    ),
    "at the end": ([Text("a"), Thinking(signature="gemini:S")], [{"text": "a"}, {"text": "", "thoughtSignature": "S"}]),
    "two without a part between": (
        [Thinking(signature="gemini:S"), Thinking(signature="gemini:T"), Text("a")],
        [{"text": "", "thoughtSignature": "S"}, {"text": "a", "thoughtSignature": "T"}],
    ),
    "none": ([Thinking(), Text("a")], [{"text": "a"}]),
}


@pytest.mark.parametrize("name", SIGNED)
def test_signatures_go_back_to_where_they_were(name: str) -> None:
    """A thinking part without text carries the signature of the part behind it."""
    contents, parts = SIGNED[name]
    assert body(request(messages=(message(Role.ASSISTANT, *contents),)))["contents"][0]["parts"] == parts


def test_tools_formats_and_sampling() -> None:
    """Each field has its place, and what is 0 is sent."""
    schema = '{"type": "object"}'
    sent = body(
        request(
            tools=(Tool(name="a", description="d", parameters_json_schema=schema), Tool(name="b")),
            tool_choice=ToolChoice(mode=ToolChoiceMode.NAMED, name="a"),
            response_format=ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema=schema, schema_name="plan"),
            temperature=0.0,
            top_p=0.5,
            stop_sequences=("END",),
            seed=0,
            reasoning_effort=ReasoningEffort.HIGH,
        )
    )
    functions = [{"name": "a", "description": "d", "parametersJsonSchema": {"type": "object"}}, {"name": "b"}]
    assert sent["tools"] == [{"functionDeclarations": functions}]
    assert sent["toolConfig"] == {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["a"]}}
    assert sent["generationConfig"] == {
        "maxOutputTokens": 50,
        "temperature": 0.0,
        "topP": 0.5,
        "seed": 0,
        "stopSequences": ["END"],
        "thinkingConfig": {"thinkingLevel": "high", "includeThoughts": True},
        "responseMimeType": "application/json",
        "responseJsonSchema": {"type": "object"},
    }


CHOICES = {
    ToolChoiceMode.AUTO: ("AUTO", "VALIDATED"),
    ToolChoiceMode.NONE: ("NONE", "NONE"),
    ToolChoiceMode.REQUIRED: ("ANY", "ANY"),
    None: (None, "VALIDATED"),
}


@pytest.mark.parametrize("mode", CHOICES)
def test_tool_choice_modes(mode: ToolChoiceMode | None) -> None:
    """The modes have their words; a strict tool among those of the model's choice makes all calls fit their schemas."""
    choice = ToolChoice(mode=mode) if mode is not None else None
    for strict, word in zip((None, True), CHOICES[mode], strict=True):
        sent = body(request(tools=(Tool(name="a", strict=strict), Tool(name="b", strict=False)), tool_choice=choice))
        assert sent.get("toolConfig") == ({"functionCallingConfig": {"mode": word}} if word else None)


def test_json_and_text_formats() -> None:
    """JSON is asked for by its type, text is the default."""
    json_form, text_form = (ResponseFormat(type=kind) for kind in (ResponseFormatType.JSON, ResponseFormatType.TEXT))
    sent = body(request(response_format=json_form))["generationConfig"]
    assert sent == {"maxOutputTokens": 50, "responseMimeType": "application/json"}
    assert body(request(response_format=text_form))["generationConfig"] == {"maxOutputTokens": 50}


LEVELS = {  # model: what none, minimal, low, medium and high become
    "gemini-3-flash-preview": ("minimal", "minimal", "low", "medium", "high"),
    "gemini-3-pro-preview": ("low", "low", "low", "high", "high"),
    "gemini-3.1-pro-preview": ("low", "low", "low", "medium", "high"),
    "gemini-3.8-flash": ("low", "low", "low", "medium", "high"),
    "gemini-4-argon": ("low", "low", "low", "medium", "high"),
    "gemini-flash-latest": ("low", "low", "low", "medium", "high"),
    "gemini-2.5-flash": (0, 1_024, 1_024, 8_192, 24_576),
    "gemini-2.5-pro": (128, 1_024, 1_024, 8_192, 24_576),
}


@pytest.mark.parametrize("model", LEVELS)
def test_efforts_become_what_the_model_knows(model: str) -> None:
    """Models get a level or a budget, the nearest that they have, and show their thoughts unless none are wanted."""
    for effort, value in zip(ReasoningEffort, LEVELS[model], strict=True):
        sent = body(request(reasoning_effort=effort), model=model)["generationConfig"]["thinkingConfig"]
        shown = {} if effort is ReasoningEffort.NONE else {"includeThoughts": True}
        assert sent == {"thinkingLevel" if isinstance(value, str) else "thinkingBudget": value} | shown


def test_options_go_where_the_provider_looks_for_them() -> None:
    """What belongs to the top of the body stays there, the rest is of the generation; both spellings are understood."""
    given = options(
        safety_settings=[{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"}],
        cachedContent="cachedContents/1",
        tools=[{"googleSearch": {}}],
        toolConfig={"retrieval_config": {"languageCode": "ko"}},
        top_k=4,
        generationConfig={"presencePenalty": 0.5, "thinking_config": {"include_thoughts": False}, "responseModalities": ["TEXT"]},
    )
    sent = body(request(**given, tools=(Tool(name="a", strict=True),), reasoning_effort=ReasoningEffort.LOW))
    assert sent["safetySettings"][0]["threshold"] == "BLOCK_NONE"
    assert sent["cachedContent"] == "cachedContents/1"
    assert sent["tools"] == [{"functionDeclarations": [{"name": "a"}]}, {"googleSearch": {}}]
    assert sent["toolConfig"] == {"retrievalConfig": {"languageCode": "ko"}, "functionCallingConfig": {"mode": "VALIDATED"}}
    assert sent["generationConfig"] == {
        "maxOutputTokens": 50,
        "topK": 4,
        "presencePenalty": 0.5,
        "responseModalities": ["TEXT"],
        "thinkingConfig": {"thinkingLevel": "low", "includeThoughts": False},
    }
    assert body(request(**options(thinkingConfig={"thinkingBudget": 7})))["generationConfig"]["thinkingConfig"] == {
        "thinkingBudget": 7
    }
    assert body(request(**options(tools=[{"codeExecution": {}}])))["tools"] == [{"codeExecution": {}}]
    assert body(request(**options(toolConfig={"a": 1})))["toolConfig"] == {"a": 1}


MISSING = {
    "messages[0].parts[0].thinking.signature": {"messages": (message(Role.ASSISTANT, Thinking(signature="ErUBCkYI")),)},
    "messages[0].parts[0].thinking": {"messages": (message(Role.USER, Thinking(text="hm")),)},
    "messages[0].parts[1].document": {"messages": (message(Role.ASSISTANT, Text("a"), Document(data=b"%PDF")),)},
    "messages[0].parts[0].text": {"messages": (message(Role.TOOL, Text("a")),)},
    "messages[0].parts[0].tool_call": {"messages": (message(Role.USER, ToolCall(id="c", name="n")),)},
    "messages[0].parts[0].tool_result": {"messages": (message(Role.ASSISTANT, ToolResult(tool_call_id="c")),)},
    "messages[0].parts[0].image.media_type": {"messages": (message(Role.USER, Image(data=b"GIF89a")),)},
    "messages[0].parts[0].document.media_type": {"messages": (message(Role.USER, Document(data=b"????")),)},
    "system[0].image": {"system": (Part(Image(data=PNG)),)},
    "stop_sequences": {"stop_sequences": ("a", "b", "c", "d", "e", "f")},
    "seed": {"seed": 2**31},
    "provider_options.tools[0].urlContext": options(tools=[{"url_context": {}}]),
    "provider_options.responseModalities": options(responseModalities=["TEXT", "IMAGE"]),
    "provider_options.generationConfig.responseModalities": options(generation_config={"response_modalities": ["AUDIO"]}),
}


@pytest.mark.parametrize("field", MISSING)
def test_what_cannot_be_sent_is_refused_by_name(field: str) -> None:
    """A part or wish that the format can't hold is CAPABILITY_MISSING and names its place; nothing is dropped in silence."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**MISSING[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.CAPABILITY_MISSING, field)


INVALID = {
    "provider_options": {"provider_options_json": "{"},
    "provider_options.generationConfig": options(generationConfig=[]),
    "provider_options.generationConfig.thinkingConfig": options(generationConfig={"thinkingConfig": 3}),
    "provider_options.toolConfig": options(toolConfig="AUTO"),
    "provider_options.thinkingConfig": options(thinkingConfig=True),
    "provider_options.maxOutputTokens": options(max_output_tokens=100_000),
    "provider_options.generationConfig.maxOutputTokens": options(generation_config={"max_output_tokens": 100_000}),
    "provider_options.generationConfig.candidateCount": options(generationConfig={"candidateCount": 8}),
    "provider_options.contents": options(contents=[]),
    "provider_options.systemInstruction": options(system_instruction={}),
    "provider_options.serviceTier": options(serviceTier="priority"),
    "provider_options.tools": options(tools={"googleSearch": {}}),
    "provider_options.tools[1].functionDeclarations": options(tools=[{"googleSearch": {}}, {"function_declarations": []}]),
    "provider_options.toolConfig.functionCallingConfig": options(tool_config={"function_calling_config": {"mode": "ANY"}}),
    "provider_options.thinkingConfig.thinkingLevel": options(thinkingConfig={"thinking_level": "high"})
    | {"reasoning_effort": ReasoningEffort.LOW},
    "tools[0].parameters_json_schema": {"tools": (Tool(name="a", parameters_json_schema="[]"),)},
    "response_format.json_schema": {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="nope")},
    "messages[0].parts[0].tool_call.arguments_json": {
        "messages": (message(Role.ASSISTANT, ToolCall(id="c", name="n", arguments_json="[1]")),)
    },
    "messages[0].parts[0].tool_result.tool_call_id": {"messages": (message(Role.TOOL, ToolResult(tool_call_id="c9")),)},
}


@pytest.mark.parametrize("field", INVALID)
def test_options_cannot_contradict_the_request(field: str) -> None:
    """JSON that is none, results of nothing, and options that would change what was reserved, are INVALID_REQUEST by name."""
    with pytest.raises(DomainError) as caught:
        check_request(request(**INVALID[field]))
    assert (caught.value.reason, caught.value.metadata["field"]) == (Reason.INVALID_REQUEST, field)


@pytest.mark.parametrize("wish", [PromptCaching(), PromptCaching(enabled=True, ttl_s=3_600), PromptCaching(enabled=False)])
def test_wishes_for_caching_are_the_plans(wish: PromptCaching) -> None:
    """Whether a cache is made is decided before the adapter is asked."""
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
