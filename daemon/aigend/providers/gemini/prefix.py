"""Which beginning of a request an explicit cache holds, and what is left to send beside it.

A request that names a cache can't bring a system prompt, tools or a choice of tools: the cache holds all of these.
"""

from dataclasses import dataclass, replace
from typing import Any

from aigend.providers.gemini.parts import contents_of
from aigend.providers.gemini.request import given_options, request_body
from aigend.providers.port import ProviderCall
from aigend.types import CompletionRequest, Document, Message, Part, PartPlace, Role, Stability

_HELD = ("systemInstruction", "tools", "toolConfig")
_Turns = tuple[tuple[Message, ...], tuple[Message, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefix:
    """A request in two: what a cache holds, and what is sent with the cache's name."""

    content: dict[str, Any]  # of the cache, its model included
    rest: dict[str, Any]
    ttl_s: int


def longest_prefix(call: ProviderCall) -> Prefix | None:
    """Return the longest marked beginning of a call's request that a cache can hold; None where there is none.

    Marks at the end of what changes with every turn are passed over unless the caller set them: each would make a cache of its
    own, to be read once. So is a mark at the very end, which leaves nothing to ask.
    """
    if "cachedContent" in given_options(call.request):
        return None
    for mark in reversed(call.prompt_cache.marks):
        turns = _split(call.request, mark.place)
        if turns is not None:
            return _prefix(call, turns, mark.ttl_s)
    return None


def _prefix(call: ProviderCall, turns: _Turns, ttl_s: int) -> Prefix:
    body = request_body(call.request, model=call.model, max_output_tokens=call.max_output_tokens)
    names: dict[str, str] = {}
    before, after = (contents_of(messages, names) for messages in turns)
    content = {"model": call.model if "/" in call.model else f"models/{call.model}"}
    content |= {name: body[name] for name in _HELD if name in body}
    rest = {name: value for name, value in body.items() if name not in _HELD}
    return Prefix(content=content | ({"contents": before} if before else {}), rest=rest | {"contents": after}, ttl_s=ttl_s)


def _split(request: CompletionRequest, place: PartPlace) -> _Turns | None:
    """Return the messages before and after a place; None where a cache can't end there."""
    if place.message is None:
        return ((), request.messages) if place.part == len(request.system) - 1 else None
    message = request.messages[place.message]
    before, after = message.parts[: place.part + 1], message.parts[place.part + 1 :]
    later = request.messages[place.message + 1 :]
    answered = bool(later) and later[0].role is Role.TOOL  # calls and their results stay together
    if (answered and not after) or (after and message.role is not Role.USER) or not (after or later):
        return None
    head = (*request.messages[: place.message], replace(message, parts=before))
    if before[-1].prompt_cache_mark_s is None and not all(_is_stable(part) for turn in head for part in turn.parts):
        return None
    return head, ((replace(message, parts=after), *later) if after else later)


def _is_stable(part: Part) -> bool:
    return part.stability is Stability.STABLE if part.stability is not None else isinstance(part.content, Document)
