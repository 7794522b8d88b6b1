"""What the emulated model says: deterministic answers and token counts for a question in neutral words.

No wire format and no HTTP here: `wire/` turns requests into a `Question` and a `ModelAnswer` into bytes.
"""

import json
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from aigen_emulator.dice import Dice
from aigen_emulator.prose import paragraphs, phrase, sentence, topics
from aigen_emulator.schema import example

BYTES_PER_TOKEN = 4
MESSAGE_TOKENS = 4
IMAGE_TOKENS = 255
_SHORTEST, _LONGEST = 90, 240  # tokens of an answer whose length nobody asked for
_REASONING = {"none": 0, "minimal": 0, "low": 32, "medium": 96, "high": 256}
_WISH = re.compile(r"\[\[answer:([^\]]*)\]\]")


def count_tokens(text: str) -> int:
    """Return the tokens of a text: one for every four bytes of UTF-8 begun.

    Example:
        >>> count_tokens(""), count_tokens("four"), count_tokens("fives")
        (0, 1, 2)
    """
    size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return -(-size // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True)
class ToolOffer:
    """A tool that the question offers."""

    name: str
    schema: Any = None


@dataclass(frozen=True, slots=True)
class PrefixMark:
    """Where a request asks that its beginning be kept in the provider's prompt cache."""

    prompt_bytes: int  # of UTF-8, from the beginning of `Question.prompt`
    ttl_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A request in neutral words."""

    model: str
    seed: int  # digest of all that determines the answer
    prompt: str  # every text of the request, in order
    last_user_text: str = ""
    message_count: int = 1
    image_count: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[ToolOffer, ...] = ()
    must_call: str | None = None  # a tool's name, "*" for any, None for the model's choice, "" for none
    after_tool_result: bool = False
    wants_json: bool = False
    json_schema: Any = None
    effort: str = ""
    stream: bool = False
    include_usage: bool = False
    prefix_marks: tuple[PrefixMark, ...] = ()
    block_ends: tuple[
        int, ...
    ] = ()  # UTF-8 bytes of the prompt up to the end of each block; empty: prefixes are kept without marks
    shows_thinking: bool = True  # whether the reasoning is to be seen, where there is any
    cached_content: str = ""  # name of a cache that holds the beginning of the prompt
    tier: str = ""  # flex where the cheaper one is asked for

    @property
    def input_tokens(self) -> int:
        """Tokens of the prompt: four a message, 255 an image, three for the answer's beginning, and the text."""
        return 3 + MESSAGE_TOKENS * self.message_count + IMAGE_TOKENS * self.image_count + count_tokens(self.prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelToolCall:
    """A tool call of the answer."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Tokens:
    """What is billed."""

    input: int  # cached ones included
    output: int  # reasoning included
    cached: int = 0  # read from the prompt cache, inside `input`
    written_5m: int = 0  # written to it for 5 minutes, inside `input`
    written_1h: int = 0  # likewise for an hour
    reasoning: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """What the model says."""

    text: str
    thinking: str = ""  # reasoning that the provider shows
    tool_calls: tuple[ModelToolCall, ...] = ()
    finish: str = "stop"  # stop, length or tool_calls
    stopped_by: str = ""  # the stop sequence that ended it
    tier: str = ""  # at which it was served, where that is a cheaper one
    tokens: Tokens = field(default_factory=lambda: Tokens(input=0, output=0))


@dataclass(frozen=True, slots=True)
class Wish:
    """What a prompt asks of the emulator itself, by `[[answer:tokens=50,cached=1024,tools=2]]`."""

    tokens: int | None = None
    cached: int = 0
    tools: int = 1
    echo: bool = False


def wish_of(prompt: str) -> Wish:
    """Return what the last `[[answer:...]]` marker of a prompt asks for.

    Raises:
        ValueError: The marker holds an unknown key or something that is no number.
    """
    if "[[answer:" not in prompt:
        return Wish()
    found = _WISH.findall(prompt)
    pairs = dict(item.partition("=")[::2] for item in found[-1].split(",")) if found else {}
    unknown = pairs.keys() - {"tokens", "cached", "tools", "echo"}
    if unknown:
        raise ValueError(f"[[answer:...]] has {sorted(unknown)[0]!r}; allowed: tokens, cached, tools, echo")
    tokens = int(pairs["tokens"]) if "tokens" in pairs else None
    return Wish(tokens, int(pairs.get("cached", 0)), int(pairs.get("tools", 1)), "echo" in pairs)


def answer(question: Question, *, answer_tokens: int | None = None) -> ModelAnswer:
    """Return what the model says: always the same for the same question.

    Args:
        question: What was asked.
        answer_tokens: Length of answers whose prompt asks for none; None: 90 to 240, by the question.
    """
    wish = wish_of(question.prompt)
    dice = Dice(question.seed)
    if _calls_tools(question):
        said = _tool_answer(question, dice, wish)
    elif question.wants_json:
        said = ModelAnswer(text=_json_text(question, dice))
    elif wish.echo:
        said = ModelAnswer(text=_WISH.sub("", question.last_user_text).strip())
    else:
        target = wish.tokens if wish.tokens is not None else answer_tokens
        said = ModelAnswer(text=_prose(question.seed, question.last_user_text, target))
    return _bounded(_stopped(said, question.stop), question, wish)


def _calls_tools(question: Question) -> bool:
    """With tools on offer the model calls one, unless it was told not to or already has a result."""
    if not question.tools or question.must_call == "":
        return False
    return question.must_call is not None or not question.after_tool_result


def _tool_answer(question: Question, dice: Dice, wish: Wish) -> ModelAnswer:
    named = [tool for tool in question.tools if tool.name == question.must_call]
    offers = named or list(question.tools)
    about = topics(question.last_user_text)
    calls = []
    for index in range(max(1, wish.tools)):
        offer = offers[index % len(offers)]
        arguments = example(offer.schema, dice=dice, about=about) if isinstance(offer.schema, dict) else {}
        identity = f"call_{(question.seed + index * 0x9E3779B97F4A7C15) & (1 << 96) - 1:024x}"
        calls.append(ModelToolCall(id=identity, name=offer.name, arguments=json.dumps(arguments, separators=(",", ":"))))
    return ModelAnswer(text="", tool_calls=tuple(calls), finish="tool_calls")


def _json_text(question: Question, dice: Dice) -> str:
    about = topics(question.last_user_text)
    if question.json_schema is not None:
        return json.dumps(example(question.json_schema, dice=dice, about=about), separators=(",", ":"))
    points = [phrase(dice, about) for _ in range(3)]
    return json.dumps({"summary": sentence(dice, about), "points": points, "confidence": dice.between(50, 99) / 100})


@lru_cache(maxsize=4_096)
def _prose(seed: int, last_user_text: str, target: int | None) -> str:
    dice = Dice(seed)
    if target is not None and target <= 0:
        return ""
    size = BYTES_PER_TOKEN * (target if target is not None else dice.between(_SHORTEST, _LONGEST))
    text = paragraphs(dice, topics(last_user_text), length=size)
    return text if target is None else text[: size - 1].rstrip() + "."


def _stopped(said: ModelAnswer, stop: tuple[str, ...]) -> ModelAnswer:
    cuts = [(found, sequence) for sequence in stop if sequence and (found := said.text.find(sequence)) >= 0]
    if not cuts:
        return said
    end, sequence = min(cuts)
    return replace(said, text=said.text[:end], stopped_by=sequence)


def _bounded(said: ModelAnswer, question: Question, wish: Wish) -> ModelAnswer:
    """Cut the answer at the question's token limit and count what is billed."""
    reasoning = _REASONING.get(question.effort, 0)
    output = reasoning + count_tokens(said.text) + sum(count_tokens(call.name + call.arguments) for call in said.tool_calls)
    limit = question.max_tokens
    if limit is not None and output > limit:
        reasoning = min(reasoning, limit)
        said = _cut(said, limit - reasoning)
        output = limit
    input_tokens = question.input_tokens
    tokens = Tokens(input=input_tokens, output=output, cached=min(wish.cached, input_tokens), reasoning=reasoning)
    return replace(said, tokens=tokens)


def _cut(said: ModelAnswer, tokens: int) -> ModelAnswer:
    size = tokens * BYTES_PER_TOKEN
    text = said.text.encode("utf-8", "surrogatepass")[:size].decode("utf-8", "ignore")
    calls = tuple(replace(call, arguments=call.arguments[: max(0, size - len(call.name))]) for call in said.tool_calls[:1])
    return replace(said, text=text, tool_calls=calls, finish="length")
