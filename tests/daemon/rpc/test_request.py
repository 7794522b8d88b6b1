"""A CompleteRequest as our own words: nothing is lost, nothing is ignored, bad input is named."""

from dataclasses import FrozenInstanceError, replace

import pytest
from aigen.v1 import completion_pb2 as pb
from aigen.v1 import message_pb2 as mpb
from aigend.errors import DomainError, Reason
from aigend.rpc.request import parse_request, unpack_request
from aigend.types import CacheMode, CompletionRequest, Lane, Role, Stability, Text
from google.protobuf.descriptor import FieldDescriptor
from hypothesis import given
from hypothesis import strategies as st

LIMIT = 33_554_432

# one legal value a field, each different from the default
SAMPLES = {
    "messages": {"messages": [mpb.Message(role=mpb.ROLE_USER, parts=[mpb.Part(text="x")])], "prompt": ""},
    "prompt": {"prompt": "another"},
    "system": {"system": [mpb.Part(text="be brief")]},
    "tools": {"tools": [mpb.Tool(name="f", parameters_json_schema="{}")]},
    "tool_choice": {"tool_choice": mpb.ToolChoice(mode=mpb.ToolChoice.MODE_NONE)},
    "response_format": {"response_format": mpb.ResponseFormat(type=mpb.ResponseFormat.TYPE_JSON)},
    "temperature": {"temperature": 0.0},
    "top_p": {"top_p": 0.5},
    "max_output_tokens": {"max_output_tokens": 7},
    "stop_sequences": {"stop_sequences": ["END"]},
    "seed": {"seed": 0},
    "reasoning_effort": {"reasoning_effort": mpb.REASONING_EFFORT_LOW},
    "provider_options_json": {"provider_options_json": '{"a": 1}'},
    "sample_index": {"sample_index": 0},
    "model": {"model": "m"},
    "agent": {"agent": "claude"},
    "service": {"service": "s"},
    "phase": {"phase": "2"},
    "strategy": {"strategy": pb.STRATEGY_FALLBACK},
    "fallback_models": {"fallback_models": ["n"]},
    "context_digest": {"context_digest": b"d"},
    "mode": {"mode": pb.CACHE_MODE_REFRESH},
    "ttl": {"ttl": {"seconds": 60}},
    "namespace": {"namespace": "team-a"},
    "normalization": {"normalization": pb.NORMALIZATION_EXACT},
    "similarity": {"similarity": 0.9},
    "lane": {"lane": pb.LANE_DEFERRED},
    "complete_by": {"complete_by": {"seconds": 5}},
    "prompt_caching": {"prompt_caching": {"enabled": False}},
}


def _message(**fields: object) -> pb.CompleteRequest:
    return pb.CompleteRequest(**({"prompt": "hello"} | fields))


def _refused(message: pb.CompleteRequest) -> DomainError:
    with pytest.raises(DomainError) as refused:
        unpack_request(message)
    return refused.value


def test_every_field_of_the_contract_reaches_the_neutral_request() -> None:
    """No field of the message is lost: each one, set alone, makes another request."""
    fields: list[FieldDescriptor] = list(pb.CompleteRequest.DESCRIPTOR.fields)
    assert {field.name for field in fields} == set(SAMPLES)
    plain = unpack_request(_message())
    for name, sample in SAMPLES.items():
        assert unpack_request(_message(**sample)) != plain, name


def test_short_way_makes_the_same_request() -> None:
    """A request made of what is given alone equals, hashes, copies and prints as one made in full."""
    given = {"messages": unpack_request(_message()).messages, "model": "m", "seed": 0}
    short, full = CompletionRequest.of(given), CompletionRequest(**given)
    assert (short, hash(short), repr(short)) == (full, hash(full), repr(full))
    assert replace(short, model="n") == CompletionRequest(**(given | {"model": "n"}))
    with pytest.raises(FrozenInstanceError):
        short.model = "other"  # type: ignore[misc]


def test_prompt_is_one_user_message() -> None:
    """The shorthand and its long form are the same request."""
    long = pb.CompleteRequest(messages=[mpb.Message(role=mpb.ROLE_USER, parts=[mpb.Part(text="hello")])])
    assert unpack_request(long) == unpack_request(_message())


def test_defaults_are_spelled_out() -> None:
    """What is unset has the contract's default."""
    request = unpack_request(_message())
    assert (request.mode, request.lane, request.namespace) == (CacheMode.DEFAULT, Lane.INTERACTIVE, "default")
    assert request.messages[0].role is Role.USER


def test_parts_keep_stability_and_mark() -> None:
    """What a part says about itself arrives."""
    part = mpb.Part(text="x", stability=mpb.STABILITY_VOLATILE, prompt_cache_mark={"ttl_seconds": 300})
    request = unpack_request(_message(system=[part]))
    assert (request.system[0].stability, request.system[0].prompt_cache_mark_s) == (Stability.VOLATILE, 300)
    assert request.system[0].content == Text("x")


def _turn(role: int, **part: object) -> dict[str, object]:
    return {"prompt": "", "messages": [mpb.Message(role=role, parts=[mpb.Part(**part)])]}  # type: ignore[arg-type]


def test_all_kinds_of_parts_are_understood() -> None:
    """Images, documents, tool calls, results and thinking arrive whole."""
    messages = [
        mpb.Message(
            role=mpb.ROLE_USER,
            parts=[
                mpb.Part(image=mpb.Image(data=b"p", media_type="image/png")),
                mpb.Part(document=mpb.Document(url="https://example.com/a.pdf", title="A")),
            ],
        ),
        mpb.Message(
            role=mpb.ROLE_ASSISTANT,
            parts=[
                mpb.Part(thinking=mpb.Thinking(text="hm", signature="s")),
                mpb.Part(tool_call=mpb.ToolCall(id="1", name="f", arguments_json="{}")),
            ],
        ),
        mpb.Message(role=mpb.ROLE_TOOL, parts=[mpb.Part(tool_result=mpb.ToolResult(tool_call_id="1", text="42"))]),
    ]
    request = unpack_request(_message(prompt="", messages=messages))
    kinds = [type(part.content).__name__ for message in request.messages for part in message.parts]
    assert kinds == ["Image", "Document", "Thinking", "ToolCall", "ToolResult"]


BAD = [
    ("prompt", {"prompt": ""}),
    ("prompt", {"prompt": " \n"}),
    ("prompt", {"messages": [mpb.Message(role=mpb.ROLE_USER, parts=[mpb.Part(text="x")])]}),
    ("messages[0].role", {"prompt": "", "messages": [mpb.Message(parts=[mpb.Part(text="x")])]}),
    ("messages[0].role", _turn(9, text="x")),
    ("messages[0].parts", {"prompt": "", "messages": [mpb.Message(role=mpb.ROLE_USER)]}),
    ("messages[0].parts[0].content", _turn(mpb.ROLE_USER)),
    ("messages[0].parts[0].content", _turn(mpb.ROLE_TOOL, text="x")),
    ("messages[0].parts[0].text", _turn(mpb.ROLE_USER, text="")),
    ("messages[0].parts[0].image.source", _turn(mpb.ROLE_USER, image=mpb.Image())),
    ("messages[0].parts[0].image.url", _turn(mpb.ROLE_USER, image=mpb.Image(url="http://example.com/a.png"))),
    ("messages[0].parts[0].image.media_type", _turn(mpb.ROLE_USER, image=mpb.Image(data=b"x", media_type="png"))),
    ("messages[0].parts[0].tool_call.id", _turn(mpb.ROLE_ASSISTANT, tool_call=mpb.ToolCall(name="f"))),
    ("messages[0].parts[0].tool_call.name", _turn(mpb.ROLE_ASSISTANT, tool_call=mpb.ToolCall(id="1"))),
    ("messages[0].parts[0].tool_result.tool_call_id", _turn(mpb.ROLE_TOOL, tool_result=mpb.ToolResult())),
    (
        "messages[0].parts[0].prompt_cache_mark.ttl_seconds",
        _turn(mpb.ROLE_USER, text="x", prompt_cache_mark=mpb.PromptCacheMark(ttl_seconds=7)),
    ),
    ("system[0].content", {"system": [mpb.Part(tool_result=mpb.ToolResult(tool_call_id="1"))]}),
    ("temperature", {"temperature": -0.1}),
    ("temperature", {"temperature": 2.1}),
    ("temperature", {"temperature": float("nan")}),
    ("temperature", {"temperature": float("inf")}),
    ("top_p", {"top_p": 0.0}),
    ("top_p", {"top_p": 1.1}),
    ("max_output_tokens", {"max_output_tokens": 0}),
    ("max_output_tokens", {"max_output_tokens": -1}),
    ("max_output_tokens", {"max_output_tokens": 2_000_000_000}),
    ("sample_index", {"sample_index": -1}),
    ("stop_sequences", {"stop_sequences": ["x"] * 17}),
    ("stop_sequences[1]", {"stop_sequences": ["x", ""]}),
    ("fallback_models", {"fallback_models": ["a", "b", "c", "d"]}),
    ("fallback_models[0]", {"fallback_models": [""]}),
    ("context_digest", {"context_digest": b"x" * 65}),
    ("namespace", {"namespace": "a b"}),
    ("namespace", {"namespace": "x" * 65}),
    ("ttl", {"ttl": {"seconds": 0}}),
    ("ttl", {"ttl": {"seconds": -1}}),
    ("ttl", {"ttl": {"seconds": 400 * 86_400}}),
    ("similarity", {"similarity": 0.0}),
    ("model", {"model": "x" * 129}),
    ("service", {"service": "a\nb"}),
    ("mode", {"mode": 99}),
    ("lane", {"lane": 99}),
    ("strategy", {"strategy": 99}),
    ("provider_options_json", {"provider_options_json": "[1]"}),
    ("provider_options_json", {"provider_options_json": "{"}),
    ("tools", {"tools": [mpb.Tool(name="f"), mpb.Tool(name="f")]}),
    ("tools", {"tools": [mpb.Tool(name=f"f{n}") for n in range(129)]}),
    ("tools[0].name", {"tools": [mpb.Tool(name="f g")]}),
    ("tools[0].parameters_json_schema", {"tools": [mpb.Tool(name="f", parameters_json_schema="1")]}),
    ("tool_choice.name", {"tool_choice": mpb.ToolChoice(mode=mpb.ToolChoice.MODE_NAMED, name="f")}),
    ("tool_choice.name", {"tool_choice": mpb.ToolChoice(mode=mpb.ToolChoice.MODE_AUTO, name="f")}),
    ("tool_choice.mode", {"tool_choice": mpb.ToolChoice(mode=mpb.ToolChoice.MODE_REQUIRED)}),
    ("response_format.json_schema", {"response_format": mpb.ResponseFormat(type=mpb.ResponseFormat.TYPE_JSON_SCHEMA)}),
    (
        "response_format.json_schema",
        {"response_format": mpb.ResponseFormat(type=mpb.ResponseFormat.TYPE_JSON_SCHEMA, json_schema="3")},
    ),
    (
        "response_format.schema_name",
        {"response_format": mpb.ResponseFormat(type=mpb.ResponseFormat.TYPE_JSON, schema_name="a b")},
    ),
    ("prompt_caching.ttl_seconds", {"prompt_caching": pb.PromptCaching(ttl_seconds=10)}),
    ("complete_by", {"complete_by": {"seconds": 10**15}}),
    ("complete_by", {"complete_by": {"nanos": -1}}),
    ("provider_options_json", {"provider_options_json": '{"a": NaN}'}),
    ("provider_options_json", {"provider_options_json": '{"a": -Infinity}'}),
    ("provider_options_json", {"provider_options_json": '{"a": "\\ud800"}'}),
    ("provider_options_json", {"provider_options_json": "[" * 100_000}),
    ("tools[0].parameters_json_schema", {"tools": [mpb.Tool(name="f", parameters_json_schema='{"a": NaN}')]}),
]


@pytest.mark.parametrize(("field", "values"), BAD)
def test_bad_values_are_named(field: str, values: dict[str, object]) -> None:
    """A value out of bounds is INVALID_REQUEST that names the field, the value and what is allowed."""
    error = _refused(_message(**values))
    assert error.reason is Reason.INVALID_REQUEST
    assert error.metadata["field"] == field
    assert error.metadata["allowed"]
    assert field in error.text


def test_request_above_the_limit_is_too_large() -> None:
    """Above limits.request_bytes nothing is parsed."""
    with pytest.raises(DomainError) as refused:
        parse_request(b"x" * 2_000, max_bytes=1_024)
    assert refused.value.reason is Reason.PROMPT_TOO_LARGE
    assert (refused.value.metadata["size_bytes"], refused.value.metadata["limit_bytes"]) == ("2000", "1024")


def _outcome(data: bytes) -> Reason | None:
    try:
        unpack_request(parse_request(data, max_bytes=LIMIT))
    except DomainError as error:
        return error.reason
    return None


@given(st.binary(max_size=200))
def test_garbage_is_refused_or_read_never_a_defect(data: bytes) -> None:
    """Whatever bytes come, the answer is a request or a named error."""
    assert _outcome(data) in (None, Reason.INVALID_REQUEST, Reason.CAPABILITY_MISSING)


def test_invalid_utf8_is_refused() -> None:
    """Text that is not UTF-8 is refused by the daemon too, not only by the client."""
    with pytest.raises(DomainError) as refused:
        parse_request(b"\x12\x02\xff\xfe", max_bytes=LIMIT)
    assert refused.value.reason is Reason.INVALID_REQUEST


@pytest.mark.parametrize("inside", ["request", "message", "part", "tool"])
def test_fields_of_a_newer_contract_are_refused(inside: str) -> None:
    """A field that this version does not know may change the answer: it is refused, never ignored."""
    unknown = b"\xf8\x3e\x01"  # field 1007, varint 1
    part = mpb.Part.FromString(mpb.Part(text="x").SerializeToString() + (unknown if inside == "part" else b""))
    turn = mpb.Message(role=mpb.ROLE_USER, parts=[part])
    if inside == "message":
        turn = mpb.Message.FromString(turn.SerializeToString() + unknown)
    tool = mpb.Tool.FromString(mpb.Tool(name="f").SerializeToString() + (unknown if inside == "tool" else b""))
    message = pb.CompleteRequest(messages=[turn], tools=[tool])
    data = message.SerializeToString() + (unknown if inside == "request" else b"")
    error = _refused(pb.CompleteRequest.FromString(data))
    assert error.reason is Reason.CAPABILITY_MISSING
    assert "1007" in error.text
