"""What every adapter asks of a request's parts: where they stand, what they are, and the JSON that some of them hold.

How a part is spelled for a provider is its adapter's.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from aigend.errors import capability_missing, invalid
from aigend.types import CompletionRequest, Content, Document, Image, Lane, Part, Text, Thinking, ToolCall

IMAGE_TYPES = {b"\x89PNG": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}
_KINDS: dict[type[Content], str] = {
    Text: "text",
    Image: "image",
    Document: "document",
    Thinking: "thinking",
    ToolCall: "tool_call",
}


def placed(parts: tuple[Part, ...], where: str) -> Iterator[tuple[str, Part]]:
    """Yield each part with the name of its place.

    Example:
        >>> [place for place, _ in placed((Part(Text("a")), Part(Text("b"))), "system")]
        ['system[0]', 'system[1]']
    """
    return ((f"{where}[{index}]", part) for index, part in enumerate(parts))


def kind_of(content: Content) -> str:
    """Return the name of a part's field, as the contract spells it."""
    return _KINDS.get(type(content), "tool_result")


def image_media_type(image: Image) -> str:
    """Return the media type as stated, or else as the first bytes say; empty where it is none of IMAGE_TYPES."""
    if image.media_type:
        return image.media_type if image.media_type in IMAGE_TYPES.values() else ""
    return next((name for magic, name in IMAGE_TYPES.items() if image.data.startswith(magic)), "")


def json_object(text: str, field: str) -> dict[str, Any]:
    """Return the object that a field spells as JSON; an empty field is an empty object.

    Raises:
        DomainError: INVALID_REQUEST; it spells something else.
    """
    if not text:
        return {}
    try:
        value = json.loads(text)
    except ValueError as error:
        raise invalid(field, text, f"a JSON object ({error})") from error
    if not isinstance(value, dict):
        raise invalid(field, text, "a JSON object")
    return value


def check_lane(request: CompletionRequest, *, flex: bool, adapter: str) -> None:
    """Return if the request can go at the price that its lane asks for.

    Args:
        request: What is asked.
        flex: Whether the server has a cheaper tier of calls that wait for room.
        adapter: Who asks, for the error.

    Raises:
        DomainError: CAPABILITY_MISSING, field `lane`.
    """
    if request.lane is Lane.FLEX and not flex:
        why = f"{adapter} knows of no cheaper tier there; where the server has one, providers.<name>.service_tiers says so"
        raise capability_missing("lane", "FLEX", why)


def options(request: CompletionRequest, named_fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that are passed through to the provider.

    Args:
        request: What is asked.
        named_fields: Options that have a field of their own, and so can't contradict it, with that field's name.

    Raises:
        DomainError: INVALID_REQUEST; they are no JSON object, or hold a named field.
    """
    given = json_object(request.provider_options_json, "provider_options")
    for name in given.keys() & named_fields.keys():
        raise invalid(f"provider_options.{name}", "set", f"options without a field of their own; use {named_fields[name]}")
    return given
