"""Which prefixes a request has, where they end, and when two are the same."""

import dataclasses
import time

import pytest
from aigend.scheduling.prompt_cache.prefixes import END_OF_TOOLS, IMAGE_TOKENS, MOST_EARLIER, UNSEEN_TOKENS, Prefixes, read_prefixes
from aigend.types import (
    CompletionRequest,
    Content,
    Document,
    Image,
    Message,
    Part,
    PartPlace,
    ReasoningEffort,
    ResponseFormat,
    ResponseFormatType,
    Role,
    Stability,
    Text,
    Thinking,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

TOOL = Tool(name="look", description="Looks.", parameters_json_schema="{}")
STABLE, DYNAMIC, VOLATILE = Stability.STABLE, Stability.DYNAMIC, Stability.VOLATILE


def part(text: str, stability: Stability | None = None, **more) -> Part:
    """Return a text part."""
    return Part(Text(text), stability, **more)


def user(*parts: Part | str) -> Message:
    """Return a message of the user."""
    return Message(Role.USER, tuple(part(given) if isinstance(given, str) else given for given in parts))


def model(*parts: Part | str) -> Message:
    """Return a message of the model."""
    return Message(Role.ASSISTANT, user(*parts).parts)


def asked(*messages: Message, **fields) -> CompletionRequest:
    """Return a request."""
    return CompletionRequest(messages=messages or (user("hi"),), **fields)


def places(prefixes: Prefixes) -> list[PartPlace]:
    """Return where the stable prefixes end."""
    return [prefix.place for prefix in prefixes.stable]


def test_unmarked_requests_end_their_stable_prefixes_with_tools_and_system_prompt() -> None:
    """Where nothing is said of the parts, tools and system prompt are stable and users' texts are not."""
    found = read_prefixes(asked(user("a"), model("b"), user("c"), tools=(TOOL,), system=(part("x"), part("y"))))
    assert places(found) == [END_OF_TOOLS, PartPlace(None, 1)]
    assert found.turn is not None
    assert found.turn.place == PartPlace(2, 0)
    assert [prefix.place for prefix in found.earlier] == [PartPlace(0, 0)]
    assert [prefix.blocks for prefix in (*found.stable, *found.earlier, found.turn)] == [1, 3, 4, 6]


@pytest.mark.parametrize(
    ("request_", "ends"),
    [
        (asked(), []),
        (asked(system=(part("x", DYNAMIC),)), []),
        (asked(system=(part("x"), part("clock", DYNAMIC), part("y"))), [PartPlace(None, 0)]),
        (asked(system=(part("x"), part("log number", VOLATILE))), [PartPlace(None, 0)]),
        (asked(user(part("doc", STABLE), "question"), system=(part("x"),)), [PartPlace(None, 0), PartPlace(0, 0)]),
        (asked(user(Part(Document(data=b"d", media_type="text/plain")), "question")), [PartPlace(0, 0)]),
        (asked(user(Part(Document(data=b"d", media_type="text/plain"), DYNAMIC), "question")), []),
        (asked(user(part("doc", STABLE)), model(part("read", STABLE)), user("question")), [PartPlace(1, 0)]),
        (asked(user("question", part("doc", STABLE)), tools=(TOOL,)), [END_OF_TOOLS]),
    ],
)
def test_stable_prefix_ends_before_the_first_part_that_changes(request_: CompletionRequest, ends: list[PartPlace]) -> None:
    """Parts that change, and all that follows them, are not in the stable prefix."""
    assert places(read_prefixes(request_)) == ends


def test_last_turn_ends_before_what_changes_at_its_end() -> None:
    """A clock behind the question is left out, so that the next request finds the prefix without it."""
    ended = read_prefixes(asked(user("question", part("clock", DYNAMIC), part("log number", VOLATILE))))
    assert ended.turn is not None
    assert ended.turn.place == PartPlace(0, 0)
    assert read_prefixes(asked(user(part("clock", DYNAMIC)))).turn is None


def test_thinking_ends_no_prefix() -> None:
    """A mark can't stand on thinking."""
    request = asked(user("q"), Message(Role.ASSISTANT, (part("well"), Part(Thinking(text="hm", signature="s")))))
    found = read_prefixes(request).turn
    assert found is not None
    assert found.place == PartPlace(1, 0)


def test_a_request_that_is_stable_to_its_end_has_no_turn_of_its_own() -> None:
    """The last turn is told only where it is longer than the stable prefix."""
    found = read_prefixes(asked(user(part("doc", STABLE))))
    assert (places(found), found.turn) == ([PartPlace(0, 0)], None)
    assert found.longest == found.stable[-1]
    assert Prefixes().longest is None


def test_next_turn_finds_the_last_one_among_its_earlier_turns() -> None:
    """What ended one request of a conversation is an earlier turn of the next, by the same digest."""
    first = (user("a question", part("clock at nine", DYNAMIC)),)
    second = (*first, model("an answer"), user("another"))
    third = (*second, model("more"), Message(Role.TOOL, (Part(ToolResult(tool_call_id="1", text="x")),)))
    ends = [read_prefixes(asked(*messages, system=(part("s"),))) for messages in (first, second, third)]
    assert [prefix.digest for prefix in ends[2].earlier] == [ends[0].turn.digest, ends[1].turn.digest]
    assert ends[1].earlier[0].digest == ends[0].turn.digest


def test_results_of_tools_are_one_turn() -> None:
    """Of several messages before an answer the last one ends the turn."""
    results = [Message(Role.TOOL, (Part(ToolResult(tool_call_id=str(number), text="x")),)) for number in range(2)]
    found = read_prefixes(asked(user("q"), model("calling"), *results, model("thus"), user("and?")))
    assert [prefix.place.message for prefix in found.earlier] == [0, 3]


def test_long_conversations_are_looked_at_from_their_end() -> None:
    """Only so many earlier turns are told."""
    turns = [message for number in range(20) for message in (user(f"q{number}"), model(f"a{number}"))]
    found = read_prefixes(asked(*turns, user("last")))
    assert len(found.earlier) == MOST_EARLIER
    assert found.earlier[-1].place == PartPlace(38, 0)


def test_marks_of_the_caller_are_told_by_place() -> None:
    """Each part that the caller marked ends a prefix."""
    marked = part("doc", prompt_cache_mark_s=0)
    found = read_prefixes(asked(user(marked, "q"), system=(part("s", prompt_cache_mark_s=3_600),)))
    assert [prefix.place for prefix in found.own] == [PartPlace(None, 0), PartPlace(0, 0)]


BASE = asked(
    user("question"), model("answer"), user("next"), system=(part("system"),), tools=(TOOL,), provider_options_json='{"a":1}'
)


@pytest.mark.parametrize(
    ("changes", "same_stable"),
    [
        ({"tools": (dataclasses.replace(TOOL, strict=True),)}, False),
        ({"system": (part("systen"),)}, False),
        ({"system": (part("sys"), part("tem"))}, False),
        ({"response_format": ResponseFormat(type=ResponseFormatType.JSON)}, False),
        ({"tool_choice": ToolChoice(mode=ToolChoiceMode.NONE)}, True),
        ({"reasoning_effort": ReasoningEffort.LOW}, True),
        ({"provider_options_json": ""}, True),
        ({"messages": (model("question"), model("answer"), user("next"))}, True),
    ],
)
def test_digest_holds_all_that_a_provider_compares(changes: dict, *, same_stable: bool) -> None:
    """Another tool, text, role, schema, choice or effort is another prefix, and only behind the place where providers put it."""
    before, after = read_prefixes(BASE), read_prefixes(dataclasses.replace(BASE, **changes))
    assert (before.stable[-1].digest == after.stable[-1].digest) is same_stable
    assert before.turn.digest != after.turn.digest


@pytest.mark.parametrize("changes", [{"temperature": 0.5}, {"max_output_tokens": 9}, {"model": "other"}, {"namespace": "n"}])
def test_digest_leaves_out_what_no_provider_compares(changes: dict) -> None:
    """Sampling and bookkeeping leave prefixes alone."""
    assert read_prefixes(dataclasses.replace(BASE, **changes)) == read_prefixes(BASE)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        (Text("x" * 400), 100),
        (Text("한" * 100), 100),
        (Image(data=b"\x89PNG", media_type="image/png"), IMAGE_TOKENS),
        (Document(url="https://example.com/a.pdf"), UNSEEN_TOKENS),
        (Document(data=b"x" * 4_000, media_type="text/plain"), 1_000),
        (Document(data=b"x" * 50_000, media_type="application/pdf", title="abcd"), 2_001),
        (ToolCall(id="i", name="look", arguments_json="{}" * 2), 2),
        (Thinking(text="hmmm", signature="s" * 400), 1),
    ],
)
def test_tokens_are_about_a_quarter_of_the_bytes(content: Content, tokens: int) -> None:
    """Four bytes of ASCII are a token, three of other texts; files have allowances."""
    place = PartPlace(0, 0)
    request = asked(Message(Role.USER, (Part(content, prompt_cache_mark_s=0),)))
    assert [(prefix.place, prefix.tokens) for prefix in read_prefixes(request).own] == [(place, tokens)]


def test_halves_of_surrogate_pairs_are_hashed() -> None:
    """Text that can't be encoded strictly has prefixes all the same."""
    assert read_prefixes(asked(user("\ud800"))).turn is not None


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (BASE, False),
        (asked(user("q"), system=(part("clock", DYNAMIC), part("prompt"))), True),
        (asked(user(part("doc", STABLE)), system=(part("clock", DYNAMIC),)), True),
        (asked(user("question", part("doc", STABLE))), True),
        (asked(user(part("doc", STABLE), part("clock", DYNAMIC))), False),
        (asked(user("q"), model("a"), user(part("doc", STABLE), "q")), False),
        (asked(user("q", part("clock", DYNAMIC)), model("a"), user(part("doc", STABLE), "q")), True),
    ],
)
def test_stable_parts_that_come_too_late_are_told(request_: CompletionRequest, *, said: bool) -> None:
    """A stable part behind one that changes is in no stable prefix; in later turns of a conversation that may be meant so."""
    assert read_prefixes(request_).misplaced is said


def test_a_long_request_is_read_in_the_time_of_a_hash() -> None:
    """Reading costs a pass over the bytes: a megabyte takes some milliseconds."""
    request = asked(user("x" * 1_000_000))
    started = time.thread_time()
    read_prefixes(request)
    assert time.thread_time() - started < 0.2
