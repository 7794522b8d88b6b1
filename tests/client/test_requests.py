"""Requests: every option arrives, equal questions are equal bytes, and what can't travel is refused by name."""

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import aigen
import pytest
from aigen import _requests
from aigen._session import Context
from aigen.testing import FakeDaemon
from aigen.v1 import completion_pb2, message_pb2

LIMIT = 32 * 1024 * 1024


def built(prompt: Any, **options: Any) -> completion_pb2.CompleteRequest:
    """Return the message that a question becomes."""
    return completion_pb2.CompleteRequest.FromString(_requests.complete_bytes(prompt, options, Context(), ""))


def refused(prompt: Any, **options: Any) -> aigen.InvalidRequest:
    """Return why a question is refused."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        built(prompt, **options)
    assert caught.value.reason in ("INVALID_REQUEST", "PROMPT_TOO_LARGE")
    return caught.value


OPTIONS: dict[str, tuple[Any, dict[str, Any]]] = {
    "system": (["Be brief", aigen.Part("now", "volatile")], {}),
    "tools": ([aigen.Tool(name="t", description="d", parameters={"b": 1, "a": "ä"}, strict=False)], {}),
    "tool_choice": (aigen.ToolChoice(mode="named", name="t"), {}),
    "response_format": (aigen.ResponseFormat(type="json_schema", json_schema={"type": "object"}, schema_name="s"), {}),
    "temperature": (0.0, {"temperature": 0.0}),
    "top_p": (0.5, {"top_p": 0.5}),
    "max_output_tokens": (10, {"max_output_tokens": 10}),
    "stop_sequences": (["a", "b"], {"stop_sequences": ["a", "b"]}),
    "seed": (-1, {"seed": -1}),
    "reasoning_effort": (aigen.ReasoningEffort.HIGH, {"reasoning_effort": message_pb2.REASONING_EFFORT_HIGH}),
    "provider_options": ({"z": [1], "a": None}, {"provider_options_json": '{"z":[1],"a":null}'}),
    "sample_index": (0, {"sample_index": 0}),
    "model": ("m", {"model": "m"}),
    "agent": ("claude", {"agent": "claude"}),
    "service": ("s", {"service": "s"}),
    "phase": (2, {"phase": "2"}),
    "strategy": ("fallback", {"strategy": completion_pb2.STRATEGY_FALLBACK}),
    "fallback_models": (("a", "b"), {"fallback_models": ["a", "b"]}),
    "context_digest": (b"\x00\x01", {"context_digest": b"\x00\x01"}),
    "mode": ("only_if_cached", {"mode": completion_pb2.CACHE_MODE_ONLY_IF_CACHED}),
    "ttl": (1.5, {}),
    "namespace": ("n", {"namespace": "n"}),
    "normalization": (aigen.Normalization.EXACT, {"normalization": completion_pb2.NORMALIZATION_EXACT}),
    "similarity": (0.9, {"similarity": 0.9}),
    "lane": (aigen.Lane.DEFERRED, {"lane": completion_pb2.LANE_DEFERRED}),
    "complete_by": (datetime(2026, 1, 1, tzinfo=UTC), {}),
    "prompt_caching": (aigen.PromptCaching(enabled=False, ttl_s=300), {}),
}


def test_every_field_of_the_request_has_an_option():
    """What the contract can say, the client can say: options and fields are the same but for the spelling of three."""
    fields = {field.name for field in completion_pb2.CompleteRequest.DESCRIPTOR.fields} - {"messages", "prompt"}
    renamed = {"provider_options_json": "provider_options"}
    assert {renamed.get(name, name) for name in fields} == set(OPTIONS)
    assert set(aigen.CompletionOptions.__annotations__) == {*OPTIONS, "preset"}  # which becomes others before it is sent
    assert set(_requests._SETTERS) == set(OPTIONS)


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_option_arrives(name: str):
    """An option is written to its field and to no other; None is as good as left out."""
    value, expected = OPTIONS[name]
    message = built("hi", **{name: value})
    assert len(message.ListFields()) == 2
    assert {field: getattr(message, field) for field in expected} == expected
    assert built("hi", **{name: None}) == built("hi")


def test_structured_options_arrive_whole():
    """Options that are messages of their own carry all that was said."""
    message = built("hi", **{name: value for name, (value, _) in OPTIONS.items()})
    assert [(part.text, part.stability) for part in message.system] == [("Be brief", 0), ("now", message_pb2.STABILITY_VOLATILE)]
    tool = message.tools[0]
    assert (tool.name, tool.description, tool.parameters_json_schema, tool.strict) == ("t", "d", '{"b":1,"a":"ä"}', False)
    assert tool.HasField("strict")
    assert (message.tool_choice.mode, message.tool_choice.name) == (message_pb2.ToolChoice.MODE_NAMED, "t")
    assert message.response_format.json_schema == '{"type":"object"}'
    assert (message.ttl.seconds, message.ttl.nanos) == (1, 500_000_000)
    assert message.complete_by.ToDatetime(tzinfo=UTC) == datetime(2026, 1, 1, tzinfo=UTC)
    assert message.prompt_caching.HasField("enabled")
    assert message.prompt_caching.ttl_seconds == 300


def test_shorthands_mean_the_same():
    """A word, a text or a mapping may stand where a value of its own type is expected."""
    assert built("hi", tool_choice="auto") == built("hi", tool_choice=aigen.ToolChoice(mode="auto"))
    assert built("hi", response_format="json") == built("hi", response_format=aigen.ResponseFormat(type="json"))
    assert built("hi", ttl=timedelta(hours=1)) == built("hi", ttl=3600)
    assert built("hi", system="s") == built("hi", system=[aigen.Text("s")])
    assert built("hi", provider_options='{"a": 1}').provider_options_json == '{"a": 1}'
    assert (
        built(aigen.Message("user", "a")) == built([{"role": "user", "content": "a"}]) == built([{"role": "user", "parts": ["a"]}])
    )
    assert built(aigen.CompletionRequest("hi", seed=2), seed=1, model="m") == built("hi", seed=2, model="m")
    assert not built("hi", tools=[aigen.Tool(name="t")]).tools[0].HasField("strict")
    assert not built("hi", prompt_caching=aigen.PromptCaching()).prompt_caching.HasField("enabled")


def test_every_kind_of_content_arrives():
    """A message carries text, images, documents, tool calls, tool results and thinking."""
    parts = [
        "a",
        aigen.Text("b"),
        aigen.Image(data=b"i", media_type="image/png"),
        aigen.Image(url="https://e/x.png"),
        aigen.Document(data=b"d", media_type="application/pdf", title="t"),
        aigen.ToolCall(id="1", name="n", arguments_json="{}"),
        aigen.ToolResult(tool_call_id="1", text="r", is_error=True),
        aigen.Thinking(text="t", signature="s"),
        aigen.Part(aigen.Text("c"), aigen.Stability.STABLE, 0),
    ]
    got = built([aigen.Message("user", parts)]).messages[0]
    kinds = ["text", "text", "image", "image", "document", "tool_call", "tool_result", "thinking", "text"]
    assert [part.WhichOneof("content") for part in got.parts] == kinds
    assert (got.parts[2].image.data, got.parts[3].image.url, got.parts[4].document.title) == (b"i", "https://e/x.png", "t")
    assert (got.parts[6].tool_result.is_error, got.parts[7].thinking.signature) == (True, "s")
    assert (got.parts[8].stability, got.parts[8].HasField("prompt_cache_mark")) == (message_pb2.STABILITY_STABLE, True)


PROGRAM = """
import sys
from aigen import _requests, _session, Tool, Message
context = _session.session_of(None, "s", service="v", phase=1, task="t", labels={k: k for k in "zyxwvutsrqponm"})
with context:
    here = _session.current(None)
    sys.stdout.write(here.once[0][1].hex() + _requests.complete_bytes(
        [Message("user", "hi")], {"tools": [Tool(name="t", parameters={"b": 1, "a": 2})], "seed": 1, "model": "m"}, here, "").hex())
"""


def test_equal_questions_are_equal_bytes_in_every_process():
    """Request and accounting are the same bytes whatever the seed of Python's hashes, and the order of options."""
    seen = set()
    for seed in ("0", "1", "42"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        seen.add(subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, check=True).stdout)
    assert len(seen) == 1
    assert built("hi", seed=1, model="m").SerializeToString() == built("hi", model="m", seed=1).SerializeToString()


REFUSED: list[tuple[str, Any, dict[str, Any]]] = [
    ("prompt", "\ud800", {}),
    ("model", "hi", {"model": "m\udfff"}),
    ("messages[0].parts", [aigen.Message("user", "\ud800")], {}),
    ("messages[1].parts[1].text", [aigen.Message("user", "a"), aigen.Message("user", ["a", aigen.Text("\ud800")])], {}),
    ("messages[0].parts[0].tool_call.name", [aigen.Message("assistant", aigen.ToolCall(id="1", name="\ud800"))], {}),
    ("messages[0].parts[0].document.title", [aigen.Message("user", aigen.Document(url="https://e", title="\ud800"))], {}),
    ("messages[0].parts[0].image", [aigen.Message("user", aigen.Image(url="https://e", data=b"x"))], {}),
    ("messages[0].parts[0].content", [aigen.Message("user", [3])], {}),
    ("messages[0].parts[0].stability", [aigen.Message("user", aigen.Part("a", "often"))], {}),
    ("messages[0].parts[0].prompt_cache_mark_s", [aigen.Message("user", aigen.Part("a", None, 2**40))], {}),
    ("messages[0].role", [{"role": "friend", "content": "a"}], {}),
    ("messages[0].role", [{"content": "a"}], {}),
    ("messages[0]", [{"role": "user", "text": "a"}], {}),
    ("messages[0]", ["a"], {}),
    ("messages", 3, {}),
    ("messages", None, {}),
    ("system[0].text", "hi", {"system": [aigen.Text("\ud800")]}),
    ("tools[0].description", "hi", {"tools": [aigen.Tool(name="t", description="\ud800")]}),
    ("tools[0].parameters", "hi", {"tools": [aigen.Tool(name="t", parameters=3)]}),  # type: ignore[arg-type]
    ("stop_sequences", "hi", {"stop_sequences": "abc"}),
    ("fallback_models", "hi", {"fallback_models": [1]}),
    ("provider_options", "hi", {"provider_options": {"a": float("nan")}}),
    ("provider_options", "hi", {"provider_options": {"a": {1}}}),
    ("max_output_tokens", "hi", {"max_output_tokens": 2**40}),
    ("temperature", "hi", {"temperature": "hot"}),
    ("mode", "hi", {"mode": "sometimes"}),
    ("lane", "hi", {"lane": 3}),
    ("ttl", "hi", {"ttl": 1e300}),
    ("complete_by", "hi", {"complete_by": datetime(2026, 1, 1)}),  # noqa: DTZ001 - the missing zone is what is refused
    ("context_digest", "hi", {"context_digest": 3}),
    ("phase", "hi", {"phase": "\ud800"}),
    ("temprature", "hi", {"temprature": 1}),
    ("xyz", "hi", {"xyz": 1}),
]


@pytest.mark.parametrize(("field", "prompt", "options"), REFUSED)
def test_what_cannot_travel_is_refused_by_name(field: str, prompt: Any, options: dict[str, Any]):
    """A value that protobuf would refuse namelessly is refused with the path of its field."""
    error = refused(prompt, **options)
    assert error.field == field
    assert str(error).startswith(f"INVALID_REQUEST: {field} is ")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seed": 2**70}, f"seed is {2**70}; allowed: a whole number from {-(2**63)} to {2**63 - 1}"),
        ({"seed": 1.5}, "seed is 1.5; allowed: a whole number from"),
        ({"max_output_tokens": 2**40}, f"max_output_tokens is {2**40}; allowed: a whole number from {-(2**31)} to {2**31 - 1}"),
        ({"temperature": "hot"}, "temperature is 'hot'; allowed: a number"),
        ({"temperature": 10**400}, "temperature is 1000"),
        ({"model": 5}, "model is 5; allowed: text"),
        ({"context_digest": "x"}, "context_digest is 'x'; allowed: bytes"),
        ({"tools": [aigen.Tool(name="t", strict="very")]}, "tools[0].strict is 'very'; allowed: True or False"),  # type: ignore[arg-type]
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_refused_value_is_repeated_with_what_is_allowed(options: dict[str, Any], told: str):
    """The refusal of a value that a field can't hold says in words what it can."""
    assert told in str(refused("hi", **options))


def test_a_misspelt_option_is_told_the_right_one():
    """The refusal of an option that does not exist names the nearest one."""
    assert "did you mean 'temperature'?" in str(refused("hi", temprature=1))


def test_a_batch_names_the_request():
    """In a batch the path begins with the request that is wrong."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        _requests.batch_bytes(["a", aigen.CompletionRequest("b", model="\ud800")], {}, Context(), "")
    assert caught.value.field == "requests[1].model"


@pytest.mark.parametrize("requests", [[], ["a"] * 1_001, "abc", aigen.CompletionRequest("a"), aigen.Message("user", "a")])
def test_a_batch_has_one_to_a_thousand_requests(requests: Any):
    """An empty batch, one that is too long and one that is no list are refused by name."""
    with pytest.raises(aigen.InvalidRequest) as caught:
        _requests.batch_bytes(requests, {}, Context(), "")
    assert caught.value.field == "requests"


def test_the_largest_request_that_fits_is_sent(daemon: FakeDaemon, client: aigen.Client):
    """A request of exactly 32 MiB arrives, past gRPC's own limits."""
    overhead = len(_requests.complete_bytes("x" * (LIMIT - 100), {}, Context(), "")) - (LIMIT - 100)
    daemon.answer("got it")
    assert client.complete("x" * (LIMIT - overhead)).text == "got it"
    assert len(daemon.calls[0].payload) == LIMIT


def test_one_byte_more_is_refused_by_name():
    """A request over 32 MiB is refused before it is sent, with the field that holds most of it."""
    error = refused("x" * LIMIT)
    assert (error.field, error.reason, error.metadata["limit_bytes"]) == ("prompt", "PROMPT_TOO_LARGE", str(LIMIT))
    assert "most of it in messages[1]" in str(refused([aigen.Message("user", "a"), aigen.Message("user", "x" * LIMIT)]))
    image = aigen.Image(data=b"x" * LIMIT, media_type="image/png")
    assert refused("hi", context_digest=b"", system=[aigen.Part(image)]).field == "system[0]"
    for wrapped in (_requests.stream_bytes, _requests.estimate_bytes):
        with pytest.raises(aigen.InvalidRequest, match="most of it in prompt"):
            wrapped("x" * LIMIT, {}, Context(), "")
    with pytest.raises(aigen.InvalidRequest, match=r"most of it in requests\[1\]"):
        _requests.batch_bytes(["a", "x" * LIMIT], {}, Context(), "")


def test_completion_requests_are_values():
    """Two CompletionRequest with the same content are equal, and show what they hold."""
    request = aigen.CompletionRequest("hi", seed=1)
    assert request == aigen.CompletionRequest("hi", seed=1) != aigen.CompletionRequest("hi")
    assert request != "hi"
    assert repr(request) == "CompletionRequest('hi', seed=1)"
