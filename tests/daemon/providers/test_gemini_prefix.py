"""Where a request is cut in two for an explicit cache."""

from dataclasses import replace

import pytest
from aigend.providers.gemini.prefix import longest_prefix
from aigend.types import (
    CacheMark,
    Document,
    Message,
    Part,
    PartPlace,
    PromptCachePlan,
    Role,
    Stability,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolChoiceMode,
    ToolResult,
)

from tests.daemon.providers.asking import call

STABLE = Part(Text("stable"), stability=Stability.STABLE)
MARKED = Part(Text("marked"), prompt_cache_mark_s=3_600)
ASKED = Part(Text("and now?"))
CALLED = Part(ToolCall(id="c", name="look"), prompt_cache_mark_s=0)
ANSWERED = Part(ToolResult(tool_call_id="c", text="a cat"), prompt_cache_mark_s=0)


def user(*parts: Part) -> Message:
    """Return a user's turn."""
    return Message(Role.USER, parts)


def said(*parts: Part) -> Message:
    """Return the model's turn."""
    return Message(Role.ASSISTANT, parts)


def results(*parts: Part) -> Message:
    """Return the tools' turn."""
    return Message(Role.TOOL, parts)


def prefix(*places: tuple[int | None, int], ttl_s: int = 300, **request):
    """Return how a request is cut whose plan has marks at these places."""
    marks = tuple(CacheMark(place=PartPlace(*place), ttl_s=ttl_s) for place in places)
    return longest_prefix(replace(call(**request), model="gemini-2.5-pro", prompt_cache=PromptCachePlan(marks=marks)))


def turns(body: dict) -> list[tuple[str, int]]:
    """Return role and number of parts of each turn."""
    return [(turn["role"], len(turn["parts"])) for turn in body.get("contents", ())]


def test_a_cache_holds_all_that_its_reader_may_not_bring() -> None:
    """System prompt, tools and their choice are in the cache alone, settings of the answer in the request alone."""
    cut = prefix(
        (None, 0),
        ttl_s=3_600,
        system=(STABLE,),
        tools=(Tool(name="look"),),
        tool_choice=ToolChoice(mode=ToolChoiceMode.AUTO),
        temperature=0.5,
        provider_options_json='{"safetySettings": []}',
    )
    assert cut.content.keys() == {"model", "systemInstruction", "tools", "toolConfig"}
    assert (cut.content["model"], cut.ttl_s) == ("models/gemini-2.5-pro", 3_600)
    assert cut.rest.keys() == {"contents", "generationConfig", "safetySettings"}


CUTS = {
    "behind a stable message": ((0, 0), [user(STABLE), user(ASKED)], [("user", 1)], [("user", 1)]),
    "inside a message": ((0, 1), [user(STABLE, STABLE, ASKED)], [("user", 2)], [("user", 1)]),
    "behind a document": ((0, 0), [user(Part(Document(data=b"%PDF")), ASKED)], [("user", 1)], [("user", 1)]),
    "where the caller marked": (
        (0, 1),
        [user(ASKED, MARKED), said(ASKED), user(ASKED)],
        [("user", 2)],
        [("model", 1), ("user", 1)],
    ),
    "behind results": (
        (2, 0),
        [user(STABLE), said(CALLED), results(ANSWERED), said(ASKED), user(ASKED)],
        [("user", 1), ("model", 1), ("user", 1)],
        [("model", 1), ("user", 1)],
    ),
}


@pytest.mark.parametrize("name", CUTS)
def test_where_a_cache_may_end(name: str) -> None:
    """A cache ends behind what is stable, or where the caller says, and the rest is sent."""
    place, messages, before, after = CUTS[name]
    cut = prefix(place, messages=tuple(messages))
    assert (turns(cut.content), turns(cut.rest)) == (before, after)


NOT_CUTS = {
    "no mark": ([], {}),
    "inside the system prompt": ([(None, 0)], {"system": (STABLE, STABLE)}),
    "the end of the tools, with a system prompt behind": ([(None, -1)], {"system": (STABLE,), "tools": (Tool(name="look"),)}),
    "the very end": ([(0, 0)], {"messages": (user(MARKED),)}),
    "what changes": ([(0, 0)], {"messages": (user(ASKED), said(ASKED), user(ASKED))}),
    "what is said to change": ([(0, 0)], {"messages": (user(replace(STABLE, stability=Stability.DYNAMIC), ASKED),)}),
    "between a call and its result": ([(1, 0)], {"messages": (user(STABLE), said(CALLED), results(ANSWERED))}),
    "inside the model's turn": ([(1, 0)], {"messages": (user(STABLE), said(MARKED, ASKED), user(ASKED))}),
    "a cache of the caller's own": (
        [(None, 0)],
        {"system": (STABLE,), "provider_options_json": '{"cached_content": "cachedContents/1"}'},
    ),
}


@pytest.mark.parametrize("name", NOT_CUTS)
def test_where_none_may_end(name: str) -> None:
    """What can't be held, would be read once, or leaves nothing to ask, is sent whole."""
    places, request = NOT_CUTS[name]
    assert prefix(*places, **request) is None


def test_the_longest_that_can_be_is_taken() -> None:
    """Of several marks the last that a cache can end at counts."""
    messages = (user(STABLE, ASKED), said(ASKED), user(ASKED))
    assert turns(prefix((None, 0), (0, 0), (2, 0), system=(STABLE,), messages=messages).content) == [("user", 1)]


def test_tools_alone_are_a_prefix() -> None:
    """Without a system prompt the end of the tools is the beginning of the messages."""
    assert prefix((None, -1), tools=(Tool(name="look"),)).content.keys() == {"model", "tools"}


def test_results_behind_the_cut_know_their_calls() -> None:
    """The name of a tool is found in the part that the cache holds."""
    cut = prefix((2, 0), messages=(user(STABLE), said(CALLED), user(ANSWERED, ASKED), user(ANSWERED)))
    assert cut.rest["contents"][-1]["parts"][0]["functionResponse"]["name"] == "look"
