"""What a request needs of a model."""

import pytest
from aigend.errors import Reason
from aigend.routing.needs import lack, needs
from aigend.types import (
    Capability,
    CompletionRequest,
    Document,
    Image,
    Message,
    ModelRoute,
    Part,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Route,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolResult,
)

TEXT = Message(Role.USER, (Part(Text("a question")),))
IMAGE = Part(Image(url="https://e/i.png"))
CASES = {
    "image": ({"messages": (TEXT, Message(Role.USER, (Part(Text("see")), IMAGE)))}, "messages[1].parts[1]", Capability.VISION),
    "document": ({"system": (Part(Document(data=b"d")),)}, "system[0]", Capability.RAG),
    "document as pictures": ({"system": (Part(Document(data=b"d")),)}, "system[0]", Capability.VISION),
    "tools": ({"tools": (Tool(name="t"),)}, "tools", Capability.FUNCTION_CALLING),
    "tool call": (
        {"messages": (TEXT, Message(Role.ASSISTANT, (Part(ToolCall(id="1", name="t")),)))},
        "messages[1].parts[0]",
        Capability.FUNCTION_CALLING,
    ),
    "tool result": (
        {"messages": (TEXT, Message(Role.TOOL, (Part(ToolResult(tool_call_id="1")),)))},
        "messages[1].parts[0]",
        Capability.FUNCTION_CALLING,
    ),
    "schema": (
        {"response_format": ResponseFormat(type=ResponseFormatType.JSON_SCHEMA, json_schema="{}")},
        "response_format",
        Capability.JSON_SCHEMA,
    ),
    "effort": ({"reasoning_effort": ReasoningEffort.LOW}, "reasoning_effort", Capability.REASONING),
}


def _request(**fields) -> CompletionRequest:
    return CompletionRequest(**({"messages": (TEXT,)} | fields))


def _route(*capabilities: Capability) -> ModelRoute:
    return ModelRoute(route=Route("p", "m"), position=0, capabilities=capabilities)


@pytest.mark.parametrize(("fields", "field", "capability"), CASES.values(), ids=CASES)
def test_what_a_model_lacks_is_named(fields: dict, field: str, capability: Capability) -> None:
    """A field that a model can't serve is CAPABILITY_MISSING with model, field and capability; one that can is not refused."""
    wanted = needs(_request(**fields))
    error = lack(_route(Capability.CHAT), wanted)
    assert error is not None
    assert (error.reason, error.metadata["field"], error.metadata["model"]) == (Reason.CAPABILITY_MISSING, field, "p/m")
    assert capability.upper() in error.metadata["capability"]
    assert all(word in error.text for word in (field, "p/m", capability.upper()))
    assert lack(_route(Capability.CHAT, capability), wanted) is None


@pytest.mark.parametrize("fields", [fields for fields, _, _ in CASES.values()])
def test_a_model_of_which_nothing_is_told_lacks_nothing(fields: dict) -> None:
    """Without known capabilities nothing is refused here: the provider says what it can't do."""
    assert lack(_route(), needs(_request(**fields))) is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"response_format": ResponseFormat(type=ResponseFormatType.JSON)},
        {"messages": (Message(Role.ASSISTANT, (Part(Thinking(text="hm")),)), TEXT)},
    ],
)
def test_ordinary_requests_need_nothing(fields: dict) -> None:
    """Text, free JSON and reasoning of earlier turns are every model's matter."""
    assert needs(_request(**fields)) == ()


def test_the_first_need_that_is_not_met_is_named() -> None:
    """Several needs are judged one by one."""
    wanted = needs(_request(tools=(Tool(name="t"),), reasoning_effort=ReasoningEffort.HIGH))
    error = lack(_route(Capability.FUNCTION_CALLING), wanted)
    assert error is not None
    assert error.metadata["field"] == "reasoning_effort"


def test_the_sources_of_an_answer_need_nothing() -> None:
    """An answer that is sent back with the documents that it refers to asks no model to read them."""
    answer = Message(Role.ASSISTANT, (Part(Text("so [1]")), Part(Document(url="https://example.com/a"))))
    assert needs(_request(messages=(TEXT, answer, TEXT))) == ()
