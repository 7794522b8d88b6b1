"""What is in the cache key and what is not."""

import dataclasses
import hashlib
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import pytest
from aigend.cache.key import DENIED, SEPARATE, cache_key, canonical_request, keys_for
from aigend.types import (
    CacheMode,
    CompletionRequest,
    Document,
    Image,
    Lane,
    Message,
    Normalization,
    Part,
    PromptCaching,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Route,
    Stability,
    Strategy,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.daemon.cache.entries import request

ROUTE = Route("openai", "gpt-4o")

# Two values of each field that differ from the default and from each other.
VALUES: dict[str, tuple[Any, Any]] = {
    "messages": (request("one").messages, request("two").messages),
    "system": ((Part(Text("one")),), (Part(Text("two")),)),
    "tools": ((Tool(name="one"),), (Tool(name="two"),)),
    "tool_choice": (ToolChoice(mode=ToolChoiceMode.AUTO), ToolChoice(mode=ToolChoiceMode.NAMED, name="x")),
    "response_format": (ResponseFormat(type=ResponseFormatType.JSON), ResponseFormat(type=ResponseFormatType.TEXT)),
    "temperature": (0.0, 0.5),
    "top_p": (0.1, 1.0),
    "max_output_tokens": (1, 2),
    "stop_sequences": (("a", "b"), ("ab",)),
    "seed": (0, 1),
    "reasoning_effort": (ReasoningEffort.NONE, ReasoningEffort.HIGH),
    "provider_options_json": ("{}", "{ }"),
    "sample_index": (0, 1),
    "model": ("a", "b"),
    "agent": ("claude", "gemini"),
    "service": ("a", "b"),
    "phase": ("1", "2"),
    "strategy": (Strategy.PRIMARY, Strategy.FALLBACK),
    "fallback_models": (("a",), ("b",)),
    "context_digest": (b"1", b"2"),
    "mode": (CacheMode.REFRESH, CacheMode.READ_ONLY),
    "ttl_s": (1.0, 2.0),
    "namespace": ("a", "b"),
    "normalization": (Normalization.EXACT, Normalization.WHITESPACE),
    "similarity": (0.5, 0.9),
    "lane": (Lane.FLEX, Lane.DEFERRED),
    "complete_by": (1.0, 2.0),
    "prompt_caching": (PromptCaching(enabled=True), PromptCaching(ttl_s=60)),
}


def key_of(asked: CompletionRequest, *, scope: str = "local", normalization: Normalization | None = None) -> bytes:
    """Return the key of a request on one route, normalized as it says or folded."""
    wanted = normalization or asked.normalization or Normalization.FOLD
    (found,) = keys_for(asked, [ROUTE], scope=scope, normalization=wanted)
    return found


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(CompletionRequest)])
def test_every_field_is_in_the_key_unless_denied(name: str) -> None:
    """Each field that the type has changes the key, and each on the deny-list does not; a new field needs values here."""
    plain = request("Hello")
    keys = {key_of(dataclasses.replace(plain, **{name: value})) for value in VALUES[name]} | {key_of(plain)}
    assert len(keys) == (1 if name in DENIED else 3)


# Every kind of value inside a message, and for each of its fields one that differs from what it holds.
INSIDE: list[tuple[Any, dict[str, Any]]] = [
    (Message(Role.USER, ()), {"role": Role.ASSISTANT, "parts": (Part(Text("x")),)}),
    (Part(Text("x")), {"content": Text("y"), "stability": Stability.STABLE, "prompt_cache_mark_s": 0}),
    (Part(Text("x"), stability=Stability.STABLE), {"content": Text("y"), "stability": None, "prompt_cache_mark_s": 0}),
    (Text("x"), {"text": "y"}),
    (Image(url="x"), {"data": b"y", "url": "y", "media_type": "y"}),
    (Document(url="x"), {"data": b"y", "url": "y", "media_type": "y", "title": "y"}),
    (ToolCall(id="x", name="x"), {"id": "y", "name": "y", "arguments_json": "y"}),
    (ToolResult(tool_call_id="x"), {"tool_call_id": "y", "text": "y", "is_error": True}),
    (Thinking(text="x"), {"text": "y", "signature": "y"}),
]


@pytest.mark.parametrize("role", [Role.USER, Role.ASSISTANT])
@pytest.mark.parametrize(("value", "others"), INSIDE, ids=[type(value).__name__ for value, _ in INSIDE])
def test_every_field_inside_a_message_is_in_the_key(role: Role, value: Any, others: dict[str, Any]) -> None:
    """Each field of messages, parts and contents changes the key, on the short ways through the code too."""

    def keyed(inner: Any) -> bytes:
        part = inner if isinstance(inner, Part) else Part(inner)
        message = inner if isinstance(inner, Message) else Message(role, (part,))
        return key_of(request(messages=(message,)))

    assert set(others) == {field.name for field in dataclasses.fields(value)}
    changed = [keyed(dataclasses.replace(value, **{name: other})) for name, other in others.items()]
    assert len({keyed(value), *changed}) == 1 + len(changed)


def test_the_deny_list_is_the_one_of_the_contract() -> None:
    """Nothing was put on the list by the way."""
    listed = {"service", "mode", "ttl_s", "similarity", "strategy", "fallback_models", "lane", "complete_by", "model"}
    assert listed == DENIED
    assert {"namespace", "agent", "phase", "context_digest", "normalization"} == SEPARATE


def test_a_new_field_is_in_the_canonical_request() -> None:
    """Control: a type with one more field inside a message needs no change to have it in the key."""

    @dataclasses.dataclass(frozen=True, slots=True)
    class Mood:
        grumpy: bool = False

    calm, grumpy = (request(messages=(Message(Role.USER, (Part(Mood(grumpy)),)),)) for grumpy in (False, True))  # type: ignore[arg-type]
    assert key_of(calm) != key_of(grumpy)


def test_a_value_without_a_spelling_is_refused() -> None:
    """A field of a kind that has no unambiguous bytes can't slip into the key by its repr."""
    with pytest.raises(TypeError, match="a dict can't be part of a cache key"):
        key_of(request(provider_options_json={"a": 1}))


def test_every_input_beside_the_request_changes_the_key() -> None:
    """Scope, namespace, route, agent, phase, context digest and normalization each count by themselves."""
    given_inputs: dict[str, Any] = {
        "scope": "local",
        "namespace": "default",
        "route": ROUTE,
        "agent": "a",
        "phase": "p",
        "context_digest": b"",
        "normalization": Normalization.FOLD,
    }
    other: dict[str, Any] = {
        "scope": "other",
        "namespace": "tests",
        "route": Route("openai", "gpt-4"),
        "agent": "",
        "phase": "pa",
        "context_digest": b"d",
        "normalization": Normalization.EXACT,
    }
    keys = {cache_key(b"canonical", **given_inputs), cache_key(b"canonica", **given_inputs)}
    keys |= {cache_key(b"canonical", **given_inputs | {name: value}) for name, value in other.items()}
    keys.add(cache_key(b"canonical", **given_inputs | {"route": Route("open", "aigpt-4o")}))
    assert len(keys) == 3 + len(other)
    assert {len(found) for found in keys} == {32}


def test_keys_come_in_the_order_of_the_routes() -> None:
    """Each route has a key of its own, and it is the one that `cache_key` gives."""
    asked = request("Hello", agent="claude")
    routes = [Route("a", "1"), Route("b", "1"), Route("a", "2")]
    canonical = canonical_request(asked, normalization=Normalization.FOLD)
    alone = [
        cache_key(
            canonical,
            scope="local",
            namespace="default",
            route=route,
            agent="claude",
            phase="",
            context_digest=b"",
            normalization=Normalization.FOLD,
        )
        for route in routes
    ]
    assert list(keys_for(asked, routes, scope="local", normalization=Normalization.FOLD)) == alone


def test_the_key_is_the_same_in_every_release() -> None:
    """Golden: a key that changes by accident would empty everybody's cache; KEY_SCHEMA rises when it must change."""
    asked = request("  What is C++?\n", agent="claude", phase="2", temperature=0.2, system=(Part(Text("Be brief.")),))
    assert canonical_request(asked, normalization=Normalization.FOLD) == (
        b"requests8:messagesl1:os7:Messages4:roles4:users5:partsl1:os4:Parts7:contentos4:Texts4:texts12:what is c++?;;;"
        b"s6:systeml1:os4:Parts7:contentos4:Texts4:texts9:Be brief.;;s11:temperaturef?\xc9\x99\x99\x99\x99\x99\x9a"
    )
    assert key_of(asked).hex() == "2db26911c78ecb605ff902bf1b889e6c2353d6a823c7f69833328065f12924c6"


@pytest.mark.parametrize(
    ("one", "other", "normalization", "same"),
    [
        pytest.param("Hello  World", "hello world ", Normalization.FOLD, True, id="fold"),
        pytest.param("Hello  World", "Hello World ", Normalization.WHITESPACE, True, id="whitespace"),
        pytest.param("Hello World", "hello world", Normalization.WHITESPACE, False, id="whitespace-keeps-case"),
        pytest.param("Hello  World", "Hello World", Normalization.EXACT, False, id="exact"),
        pytest.param("C++", "C", Normalization.FOLD, False, id="c-and-c-plus-plus"),
        pytest.param("C#", "C", Normalization.FOLD, False, id="c-and-c-sharp"),
        pytest.param("안녕", "\u110b\u1161\u11ab\u1102\u1167\u11bc", Normalization.FOLD, True, id="hangul-nfc-nfd"),
        pytest.param("안녕", "\u110b\u1161\u11ab\u1102\u1167\u11bc", Normalization.EXACT, False, id="hangul-exact"),
        pytest.param("if x:\n    A", "if x:\n A", Normalization.FOLD, False, id="indentation"),
        pytest.param("if x:\n    A", "if x:\n    a", Normalization.FOLD, False, id="case-of-code"),
        pytest.param("```\nA\n```", "```\na\n```", Normalization.FOLD, False, id="fenced"),
    ],
)
def test_what_is_the_same_question(one: str, other: str, normalization: Normalization, *, same: bool) -> None:
    """Two texts share a key exactly where the normalization says so."""
    assert (key_of(request(one), normalization=normalization) == key_of(request(other), normalization=normalization)) is same


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"tools": (Tool(name="t"),)}, id="tools"),
        pytest.param({"response_format": ResponseFormat(type=ResponseFormatType.JSON)}, id="response-format"),
        pytest.param({"seed": 1}, id="seed"),
    ],
)
def test_tools_formats_and_seeds_make_it_exact(fields: dict[str, Any]) -> None:
    """With them FOLD is EXACT: white space counts, and both settings give one key."""
    one, other = request("Hello World", **fields), request("hello world", **fields)
    assert key_of(one, normalization=Normalization.FOLD) != key_of(other, normalization=Normalization.FOLD)
    assert key_of(one, normalization=Normalization.FOLD) == key_of(one, normalization=Normalization.EXACT)


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda text: {"system": (Part(Text(text)),)}, id="system"),
        pytest.param(lambda text: {"messages": (Message(Role.ASSISTANT, (Part(Text(text)),)),)}, id="assistant"),
        pytest.param(lambda text: {"messages": (Message(Role.USER, (Part(Thinking(text=text)),)),)}, id="thinking"),
        pytest.param(
            lambda text: {"messages": (Message(Role.TOOL, (Part(ToolResult(tool_call_id="1", text=text)),)),)}, id="tool-result"
        ),
    ],
)
def test_only_the_users_text_is_folded(place: Callable[[str], dict[str, Any]]) -> None:
    """Case counts in system prompts, in what models said and in what tools returned."""
    plain = request()
    assert key_of(dataclasses.replace(plain, **place("Hello"))) != key_of(dataclasses.replace(plain, **place("hello")))


def test_volatile_parts_are_sent_but_not_hashed() -> None:
    """A part marked volatile changes nothing; the same part marked dynamic does."""
    base = request().messages[0].parts

    def asked(text: str, stability: Stability) -> CompletionRequest:
        return request(messages=(Message(Role.USER, (*base, Part(Text(text), stability=stability))),))

    assert key_of(asked("12:01", Stability.VOLATILE)) == key_of(asked("12:02", Stability.VOLATILE)) == key_of(request())
    assert key_of(asked("12:01", Stability.DYNAMIC)) != key_of(asked("12:02", Stability.DYNAMIC))
    system = request(system=(Part(Text("now"), stability=Stability.VOLATILE),))
    assert key_of(system) == key_of(request())


def test_callers_do_not_share_keys() -> None:
    """The same question of another scope has another key."""
    assert key_of(request(), scope="one") != key_of(request(), scope="two")


def test_zero_has_one_sign() -> None:
    """A temperature of -0.0 asks for the same as 0.0."""
    assert key_of(request(temperature=-0.0)) == key_of(request(temperature=0.0))


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
CONTENT = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Image, data=st.binary(max_size=4), url=TEXT),
    st.builds(Document, url=TEXT, title=TEXT),
    st.builds(ToolCall, id=TEXT, name=TEXT, arguments_json=TEXT),
    st.builds(ToolResult, tool_call_id=TEXT, text=TEXT, is_error=st.booleans()),
    st.builds(Thinking, text=TEXT, signature=TEXT),
)
PARTS = st.lists(st.builds(Part, CONTENT, prompt_cache_mark_s=st.none() | st.integers(0, 2)), max_size=3).map(tuple)
REQUESTS = st.builds(
    CompletionRequest,
    messages=st.lists(st.builds(Message, st.sampled_from(Role), PARTS), max_size=3).map(tuple),
    system=PARTS,
    temperature=st.none() | st.sampled_from([0.0, 1.0]),
    seed=st.none() | st.integers(0, 1),
    stop_sequences=st.lists(TEXT, max_size=2).map(tuple),
)


@given(REQUESTS, REQUESTS)
def test_different_requests_have_different_spellings(one: CompletionRequest, other: CompletionRequest) -> None:
    """Exactly spelled, two requests are equal bytes only if they are equal."""
    spelled = [canonical_request(asked, normalization=Normalization.EXACT) for asked in (one, other)]
    assert (spelled[0] == spelled[1]) is (one == other)


@given(REQUESTS)
def test_a_folded_request_is_its_own_spelling(asked: CompletionRequest) -> None:
    """The spelling does not depend on the identity of objects, and enums are spelled by their value."""
    copy = dataclasses.replace(asked, messages=tuple(Message(Role(str(m.role)), m.parts) for m in asked.messages))
    assert canonical_request(copy, normalization=Normalization.FOLD) == canonical_request(asked, normalization=Normalization.FOLD)


def test_lengths_keep_neighbours_apart() -> None:
    """Control: without lengths, neighbouring fields could be shifted into each other."""
    shifted = [("ab", "c"), ("a", "bc")]
    assert len({hashlib.sha256("".join(pair).encode()).digest() for pair in shifted}) == 1
    keys = {key_of(request(messages=(Message(Role.ASSISTANT, (Part(ToolCall(id=a, name=b)),)),))) for a, b in shifted}
    assert len(keys) == 2


def test_the_values_cover_every_enum() -> None:
    """An enum is spelled as its text, so a member that is only renamed keeps its key."""

    class Mood(StrEnum):
        CALM = "none"

    asked = request(reasoning_effort=ReasoningEffort.NONE)
    assert key_of(asked) == key_of(dataclasses.replace(asked, reasoning_effort=Mood.CALM))  # type: ignore[arg-type]
