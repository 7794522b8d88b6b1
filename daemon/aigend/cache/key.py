"""What makes two requests the same: the canonical request and the cache key of each route that may answer it.

Every field of a request is in the key unless it stands on the deny-list. Where answers lie is not known here.
"""

import dataclasses
import hashlib
import struct
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from functools import cache, lru_cache
from typing import Any

from aigend.cache.folding import fold_text
from aigend.types import CompletionRequest, Message, Normalization, Part, Role, Route, Stability, Text

KEY_SCHEMA = 1  # raised whenever equal requests would get another key than before

DENIED = frozenset(
    {"service", "mode", "ttl_s", "similarity", "strategy", "fallback_models", "lane", "complete_by", "model"}
)  # none of them changes what the model is asked; the route stands for the model
SEPARATE = frozenset({"namespace", "agent", "phase", "context_digest", "normalization"})  # inputs of the key by themselves

Fold = Callable[[str], str]


def effective_normalization(request: CompletionRequest, normalization: Normalization) -> Normalization:
    """Return how the texts of a request are compared: with tools, a response format or a seed, exactly."""
    if request.tools or request.response_format is not None or request.seed is not None:
        return Normalization.EXACT
    return normalization


def canonical_request(request: CompletionRequest, *, normalization: Normalization) -> bytes:
    """Return the one spelling of a request that is hashed: equal bytes exactly for requests that mean the same.

    Args:
        request: A checked request.
        normalization: What the request or its service wants; `effective_normalization` is applied to it.
    """
    fold = _FOLDS[effective_normalization(request, normalization)]
    framed = [b"request"]
    for name, frame, default in _KEYED_FIELDS:
        value = getattr(request, name)
        if value is default:
            continue
        if name == "messages":
            framed += [frame, b"l%d:" % len(value), *(_encode_message(message, fold) for message in value)]
        elif (kept := _without_volatile(value) if name == "system" else value) != default:
            framed += [frame, _encode(kept)]
    return b"".join(framed)


def cache_key(
    canonical: bytes,
    *,
    scope: str,
    namespace: str,
    route: Route,
    agent: str,
    phase: str,
    context_digest: bytes,
    normalization: Normalization,
) -> bytes:
    """Return the key of a canonical request on one route; 32 bytes.

    Args:
        canonical: What `canonical_request` returned.
        scope: The caller's identity; never a provider's key.
        namespace: Part of the cache that the caller chose.
        route: Provider and catalog model id.
        agent: Named role, empty for none.
        phase: Place in the pipeline, empty for none.
        context_digest: Digest of context that is not sent, empty for none.
        normalization: The effective one.
    """
    inputs = (KEY_SCHEMA, scope, namespace, agent, phase, context_digest, normalization)
    return _on_route(_hash_inputs(inputs, canonical), route)


def keys_for(request: CompletionRequest, routes: Sequence[Route], *, scope: str, normalization: Normalization) -> tuple[bytes, ...]:
    """Return the key of a request on each route, in the order of the routes."""
    effective = effective_normalization(request, normalization)
    canonical = canonical_request(request, normalization=effective)
    inputs = (KEY_SCHEMA, scope, request.namespace, request.agent, request.phase, request.context_digest, effective)
    hashed = _hash_inputs(inputs, canonical)
    return tuple(_on_route(hashed, route) for route in routes)


def _hash_inputs(inputs: tuple[object, ...], canonical: bytes) -> "hashlib._Hash":
    """Return a hash of all that the routes share; the long canonical bytes go in once."""
    hashed = hashlib.sha256(b"%b%d:" % (_encode_again(inputs), len(canonical)))
    hashed.update(canonical)
    return hashed


def _on_route(hashed: "hashlib._Hash", route: Route) -> bytes:
    own = hashed.copy()
    own.update(_encode_again((route.provider, route.model)))
    return own.digest()


def _encode_message(message: Message, fold: Fold | None) -> bytes:
    """Return what `_encode` would of a message without its volatile parts and, where a user speaks, with its texts folded."""
    fold = fold if message.role is Role.USER else None
    parts = _without_volatile(message.parts)
    return b"%b%b%bl%d:%b;" % (
        _MESSAGE_OPENING,
        _encode_again(message.role),
        _PARTS_FRAME,
        len(parts),
        b"".join([_encode_part(part, fold) for part in parts]),
    )


def _encode_part(part: Part, fold: Fold | None) -> bytes:
    """Return what `_encode` would of a part, its text folded; a plain text part, which most are, is spelled at once."""
    content = part.content
    if type(content) is not Text:
        return _encode(part)
    text = content.text if fold is None else fold(content.text)
    if part.stability is None and part.prompt_cache_mark_s is None:
        return b"%b%b;;" % (_TEXT_PART_OPENING, _encode_text(text))
    return _encode(dataclasses.replace(part, content=Text(text)))


def _without_volatile(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    """Return what of the parts is in the key."""
    for part in parts:
        if part.stability is Stability.VOLATILE:
            return tuple(part for part in parts if part.stability is not Stability.VOLATILE)
    return parts


_FOLDS: dict[Normalization, Fold | None] = {
    Normalization.EXACT: None,
    Normalization.WHITESPACE: lambda text: fold_text(text, lower=False),
    Normalization.FOLD: lambda text: fold_text(text, lower=True),
}


def _encode(value: Any) -> bytes:
    """Return a value as bytes that no other value has: each piece says its kind and its length."""
    encode = _ENCODERS.get(type(value))
    if encode is not None:
        return encode(value)
    if isinstance(value, StrEnum):
        return _encode(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _encode_fields(value)
    raise TypeError(
        f"a {type(value).__name__} can't be part of a cache key; allowed: text, bytes, numbers, enums, tuples, dataclasses"
    )


def _encode_text(value: str) -> bytes:
    data = value.encode()
    return b"s%d:%b" % (len(data), data)


def _encode_tuple(value: tuple[object, ...]) -> bytes:
    return b"l%d:%b" % (len(value), b"".join(map(_encode, value)))


def _encode_fields(value: Any) -> bytes:
    """Return a dataclass as its name and the fields that differ from their default, so that a new field keeps old keys."""
    opening, fields = _plan(type(value))  # type: ignore[arg-type] # a class is hashable
    framed = [opening]
    for name, frame, default in fields:
        given = getattr(value, name)
        if given != default:
            framed += [frame, _encode(given)]
    framed.append(b";")
    return b"".join(framed)


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _encode_text,
    bytes: lambda value: b"b%d:%b" % (len(value), value),
    int: lambda value: b"i%d;" % value,
    float: lambda value: b"f%b" % struct.pack(">d", value + 0.0),  # -0.0 asks for the same as 0.0
    bool: lambda value: b"t" if value else b"f0",
    type(None): lambda _: b"n",
    tuple: _encode_tuple,
}


@cache
def _plan(kind: type) -> tuple[bytes, tuple[tuple[str, bytes, object], ...]]:
    return b"o" + _encode_text(kind.__name__), tuple(_framed(dataclasses.fields(kind)))


def _framed(fields: Iterable["dataclasses.Field[Any]"]) -> Iterable[tuple[str, bytes, object]]:
    """Yield name, bytes of the name and default of each field; a field without a default differs from everything."""
    for field in fields:
        default = field.default if field.default is not dataclasses.MISSING else dataclasses.MISSING
        yield field.name, _encode_text(field.name), default


_KEYED_FIELDS = tuple(_framed(field for field in dataclasses.fields(CompletionRequest) if field.name not in DENIED | SEPARATE))


@lru_cache(maxsize=1_024)
def _encode_again(value: Any) -> bytes:
    """Return `_encode` of small values that come with every call."""
    return _encode(value)


def _opening(kind: type, field: str) -> bytes:
    """Return what stands before the value of a field, where no field before it is spelled."""
    opening, fields = _plan(kind)
    return opening + next(frame for name, frame, _ in fields if name == field)


_MESSAGE_OPENING = _opening(Message, "role")
_PARTS_FRAME = _encode_text("parts")
_TEXT_PART_OPENING = _opening(Part, "content") + _opening(Text, "text")
