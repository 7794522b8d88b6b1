"""Lines of deferred work: read with all that a request can say, refused by field, and their results spelled."""

import json

import pytest
from aigen.v1 import completion_pb2, message_pb2
from aigend.completion.call import Reply
from aigend.errors import DomainError, Reason
from aigend.rpc.answer_codec import WireCodec
from aigend.rpc.completion import request_digest
from aigend.rpc.json_message import fill
from aigend.rpc.work import WorkLines
from aigend.types import Accounting, CacheMode, CacheOutcome, Caller, CompletionRequest, Lane, ReasoningEffort, Role, ToolChoiceMode

LINES = WorkLines(lambda: 1_000)


def read(**fields: object) -> tuple[Caller, CompletionRequest]:
    """Return a line that can be read."""
    caller, request = LINES.read(json.dumps(fields).encode(), "given")
    assert isinstance(request, CompletionRequest), request
    return caller, request


def refused(body: bytes) -> DomainError:
    """Return why a line can't be read."""
    _, error = LINES.read(body, "given")
    assert isinstance(error, DomainError)
    return error


def test_line_is_deferred_under_the_id_that_it_is_given():
    """What it does not say holds as by itself; its digest and bytes are those of the same request sent by a client."""
    caller, request = read(prompt="a question", model="m")
    assert (caller.scope, caller.request_id, caller.accounting) == ("local", "given", Accounting())
    assert (request.lane, request.model) == (Lane.DEFERRED, "m")
    message = completion_pb2.CompleteRequest(prompt="a question", model="m", lane=completion_pb2.LANE_DEFERRED)
    assert caller.request_digest == request_digest(message)
    assert completion_pb2.CompleteRequest.FromString(caller.wire_of()) == message


def test_line_says_its_lane_id_account_and_time():
    """All stand side by side in one object."""
    caller, request = read(
        prompt="a question",
        request_id="mine",
        lane="interactive",
        complete_by="2026-11-21T08:00:00Z",
        session="run-1",
        task="draft",
        labels={"team": "a"},
        allow_repeat=True,
    )
    assert caller.request_id == "mine"
    assert caller.accounting == Accounting(session="run-1", task="draft", labels={"team": "a"}, allow_repeat=True)
    assert (request.lane, request.complete_by) == (Lane.INTERACTIVE, 1_795_248_000.0)


def test_line_reads_words_texts_and_the_contracts_own_spelling():
    """Enums in lower case or in full, seconds or a duration, a text for its one part, null for what is left out."""
    _, request = read(
        messages=[{"role": "user", "content": "one"}, {"role": "ROLE_ASSISTANT", "parts": [{"text": "two"}]}],
        system="be brief",
        mode="bypass",
        reasoning_effort="REASONING_EFFORT_HIGH",
        tools=[{"name": "f"}],
        tool_choice={"mode": "none"},
        ttl=2.5,
        seed=None,
    )
    assert [message.role for message in request.messages] == [Role.USER, Role.ASSISTANT]
    assert [part.content.text for part in request.system] == ["be brief"]
    assert (request.mode, request.reasoning_effort, request.ttl_s) == (CacheMode.BYPASS, ReasoningEffort.HIGH, 2.5)
    assert request.tool_choice is not None
    assert (request.tool_choice.mode, request.seed) == (ToolChoiceMode.NONE, None)
    assert read(prompt="a", ttl="60s")[1].ttl_s == 60


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", "line"),
        (b"[]", "line"),
        (b'{"prompt": "\\ud800"}', "line"),
        (b'{"prompt": NaN}', "line"),
        (b"[" * 100_000, "line"),
        (b"{}", "prompt"),
        (b'{"prompt": 5}', "prompt"),
        (b'{"prompt": "a", "promt": "b"}', "promt"),
        (b'{"prompt": "a", "lane": "later"}', "lane"),
        (b'{"prompt": "a", "lane": 3}', "lane"),
        (b'{"prompt": "a", "temperature": "hot"}', "temperature"),
        (b'{"prompt": "a", "temperature": 7}', "temperature"),
        (b'{"prompt": "a", "max_output_tokens": 99999999999}', "max_output_tokens"),
        (b'{"prompt": "a", "request_id": 5}', "request_id"),
        (b'{"prompt": "a", "request_id": "\\u0000"}', "aigen-request-id"),
        (b'{"prompt": "a", "complete_by": "soon"}', "complete_by"),
        (b'{"prompt": "a", "ttl": "long"}', "ttl"),
        (b'{"prompt": "a", "labels": {"a": 5}}', "labels"),
        (b'{"prompt": "a", "labels": {"": "b"}}', "accounting.labels['']"),
        (b'{"messages": "hi"}', "messages"),
        (b'{"messages": [5]}', "messages[0]"),
        (b'{"messages": [{"role": "nobody", "content": "a"}]}', "messages[0].role"),
        (b'{"messages": [{"role": "user", "content": 5}]}', "messages[0].content"),
        (b'{"messages": [{"role": "user", "content": "a", "parts": []}]}', "messages[0].parts"),
        (b'{"messages": [{"role": "user", "parts": [{"txt": "a"}]}]}', "messages[0].parts[0].txt"),
    ],
)
def test_bad_lines_name_their_field(body: bytes, field: str):
    """Nothing is guessed and nothing is ignored."""
    error = refused(body)
    assert error.reason is Reason.INVALID_REQUEST
    assert error.metadata["field"] == field
    assert error.metadata["allowed"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"prompt": 5}', "prompt is 5; allowed: a text"),
        (b'{"prompt": true}', "prompt is 'true'; allowed: a text"),
        (b'{"prompt": ["a"]}', "prompt is '[\"a\"]'; allowed: a text"),
        (b'{"messages": "hi"}', "messages is 'hi'; allowed: a list, each an object with role, parts, content"),
        (b'{"messages": [5]}', "messages[0] is 5; allowed: an object with role, parts, content"),
        (
            b'{"messages": [{"role": "user", "content": 5}]}',
            "messages[0].content is 5; allowed: a text; a list of parts stands under ",
        ),
        (b'{"messages": [{"parts": [{"text": 5}]}]}', "messages[0].parts[0].text is 5; allowed: a text"),
        (b'{"system": 5}', "system is 5; allowed: a list, each an object with text, "),
        (b'{"prompt": "a", "stop_sequences": "x"}', "stop_sequences is 'x'; allowed: a list, each a text"),
        (b'{"prompt": "a", "prompt_caching": {"enabled": "yes"}}', "prompt_caching.enabled is 'yes'; allowed: true or false"),
        (b'{"prompt": "a", "temperature": "hot"}', "temperature is 'hot'; allowed: a number"),
        (b'{"prompt": "a", "temperature": true}', "temperature is 'true'; allowed: a number"),
        (b'{"prompt": "a", "max_output_tokens": 1.5}', "max_output_tokens is 1.5; allowed: a whole number from -2,147,483,648 to "),
        (
            b'{"prompt": "a", "seed": 99999999999999999999}',
            "seed is 99999999999999999999; allowed: a whole number of at most 64 bits",
        ),
        (b'{"prompt": "a", "complete_by": 5}', "complete_by is 5; allowed: a text in RFC 3339, such as 2030-11-22T08:00:00Z"),
        (b'{"prompt": "a", "complete_by": "soon"}', "complete_by is 'soon'; allowed: a text in RFC 3339, such as "),
        (b'{"prompt": "a", "ttl": "long"}', "ttl is 'long'; allowed: seconds, as a number or a text such as 90s"),
        (b'{"prompt": "a", "ttl": 1' + b"0" * 400 + b"}", "ttl is 1000000"),
        (b'{"prompt": "a", "labels": 5}', "labels is 5; allowed: an object whose values are texts"),
        (b'{"prompt": "a", "labels": {"a": 5}}', "labels is '{\"a\": 5}'; allowed: an object whose values are texts"),
    ],
)
def test_bad_lines_are_told_what_is_allowed(body: bytes, said: str):
    """In words of JSON, at the place where it is wrong."""
    assert refused(body).text.startswith(said)


def test_unknown_field_is_told_what_is_known():
    """Account and id among it."""
    allowed = refused(b'{"promt": "a"}').metadata["allowed"].split(", ")
    assert {"prompt", "messages", "system", "request_id", "session", "labels", "complete_by"} <= set(allowed)


def test_too_large_line_is_refused():
    """The bound is that of every other request."""
    error = refused(json.dumps({"prompt": "a" * 2_000}).encode())
    assert error.reason is Reason.PROMPT_TOO_LARGE


def test_bad_line_keeps_its_id():
    """Its result is found under the id that it names, or else under the one that it is given."""
    assert LINES.read(b'{"request_id": "mine", "prompt": 5}', "given")[0].request_id == "mine"
    assert LINES.read(b"{", "given")[0].request_id == "given"


def test_answer_is_one_line():
    """Numbers are numbers, enums lower-case words, bytes digits; what is not set is left out; all of Unicode is kept."""
    message = completion_pb2.CompleteResponse(
        parts=[message_pb2.Part(text="vier\n4 ✓")],
        text="vier\n4 ✓",
        finish_reason=message_pb2.FINISH_REASON_STOP,
        usage=message_pb2.TokenUsage(input_tokens=12),
        cache_key=b"\x01\xff",
        cost_usd_nanos=0,
        cost_basis=completion_pb2.COST_BASIS_PRICED,
        warnings=["one", "two"],
    )
    line = LINES.spell("mine", Reply(message.SerializeToString(), CacheOutcome.MISS), {"index": 3, "line": 5})
    assert b"\n" not in line
    assert json.loads(line) == {
        "request_id": "mine",
        "index": 3,
        "line": 5,
        "response": {
            "parts": [{"text": "vier\n4 ✓"}],
            "text": "vier\n4 ✓",
            "finish_reason": "stop",
            "usage": {"input_tokens": 12},
            "cache_key": "01ff",
            "cost_usd_nanos": 0,
            "cost_basis": "priced",
            "warnings": ["one", "two"],
        },
    }


def test_value_of_an_enum_that_is_newer_is_its_number():
    """A response of another version can still be spelled."""
    message = completion_pb2.CompleteResponse()
    message.ParseFromString(b"\x18\x63")
    told = json.loads(LINES.spell("mine", Reply(message.SerializeToString(), CacheOutcome.MISS), {}))
    assert told["response"] == {"finish_reason": "99"}


def test_error_is_told_with_reason_and_metadata():
    """A defect is a DAEMON_FAULT with its id; half of a surrogate pair does not stop a line."""
    error = DomainError(Reason.BUDGET_EXCEEDED, "spent \ud800", retry_after_s=5, budget="team")
    assert json.loads(LINES.spell("mine", error, {"index": 0})) == {
        "request_id": "mine",
        "index": 0,
        "error": {"reason": "BUDGET_EXCEEDED", "message": "spent \ud800", "metadata": {"budget": "team"}, "retry_after_s": 5},
    }
    told = json.loads(LINES.spell("mine", RuntimeError("a secret"), {}))["error"]
    assert (told["reason"], set(told["metadata"])) == ("DAEMON_FAULT", {"fault_id"})
    assert "secret" not in told["message"]


def test_whatever_can_be_answered_can_be_spelled():
    """Each field of a response has a JSON form."""
    codec = WireCodec()
    assert json.loads(LINES.spell("a", Reply(codec.encode_repeat("x" * 36, 5), CacheOutcome.HIT), {}))["response"]["timings"] == {
        "total_us": 5
    }


def test_fields_that_stand_elsewhere_are_not_set():
    """Filling a message sets what is given and nothing else."""
    message = completion_pb2.Accounting(task="kept")
    fill(message, {"session": "s"})
    assert (message.session, message.task) == ("s", "kept")
