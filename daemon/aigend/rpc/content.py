"""Messages and their parts as our own words, checked."""

import re
from collections.abc import Iterable

from aigen.v1 import completion_pb2, message_pb2
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.unknown_fields import UnknownFieldSet

from aigend.errors import capability_missing, invalid
from aigend.rpc.enums import ROLE, STABILITY
from aigend.types import Content, Document, Image, Message, Part, Role, Text, Thinking, ToolCall, ToolResult

_MEDIA_TYPE = re.compile(r"[a-z]+/[A-Za-z0-9.+-]{1,100}\Z")
_SPOKEN_BY = {
    "tool_call": (Role.ASSISTANT,),
    "thinking": (Role.ASSISTANT,),
    "tool_result": (Role.TOOL,),
    "text": (Role.USER, Role.ASSISTANT),
    "image": (Role.USER,),
    "document": (Role.USER,),
}


def unpack_messages(request: completion_pb2.CompleteRequest) -> tuple[Message, ...]:
    """Return the conversation of a request; a prompt is one user message.

    Raises:
        DomainError: INVALID_REQUEST naming the field.
    """
    if request.prompt and request.messages:
        raise invalid("prompt", request.prompt, "empty where messages are given: exactly one of the two")
    if request.prompt:
        return (Message(Role.USER, (Part(_prompt(request.prompt)),)),)
    if not request.messages:
        raise invalid("prompt", "", "a text that is not empty, or messages")
    return tuple(_message(message, f"messages[{index}]") for index, message in enumerate(request.messages))


def unpack_system(parts: Iterable[message_pb2.Part]) -> tuple[Part, ...]:
    """Return the parts of a system prompt.

    Raises:
        DomainError: INVALID_REQUEST naming the field.
    """
    return tuple(_part(part, f"system[{index}]", allowed=("text", "document")) for index, part in enumerate(parts))


def _message(message: message_pb2.Message, field: str) -> Message:
    refuse_unknown(message, field)
    role = ROLE.unpack(message.role, f"{field}.role")
    if role is None:
        raise invalid(f"{field}.role", "unset", ROLE.allowed)
    if not message.parts:
        raise invalid(f"{field}.parts", "empty", "at least one part")
    allowed = tuple(kind for kind, roles in _SPOKEN_BY.items() if role in roles)
    parts = tuple(_part(part, f"{field}.parts[{index}]", allowed=allowed) for index, part in enumerate(message.parts))
    return Message(role, parts)


def _part(part: message_pb2.Part, field: str, *, allowed: tuple[str, ...]) -> Part:
    refuse_unknown(part, field)
    kind = part.WhichOneof("content")
    if kind not in allowed:
        raise invalid(f"{field}.content", kind or "unset", ", ".join(allowed))
    mark = None
    if part.HasField("prompt_cache_mark"):
        refuse_unknown(part.prompt_cache_mark, f"{field}.prompt_cache_mark")
        mark = part.prompt_cache_mark.ttl_seconds
        if mark not in (0, 300, 3_600):
            raise invalid(f"{field}.prompt_cache_mark.ttl_seconds", mark, "0, 300 or 3600")
    return Part(_content(part, kind, f"{field}.{kind}"), STABILITY.unpack(part.stability, f"{field}.stability"), mark)


def _content(part: message_pb2.Part, kind: str, field: str) -> Content:
    _refuse_unknown_inside(part, kind, field)
    match kind:
        case "text":
            return _text(field, part.text)
        case "image":
            return _image(part.image, field)
        case "document":
            return _document(part.document, field)
        case "tool_call":
            call = part.tool_call
            _check_filled(f"{field}.id", call.id)
            _check_filled(f"{field}.name", call.name)
            return ToolCall(id=call.id, name=call.name, arguments_json=call.arguments_json)
        case "tool_result":
            result = part.tool_result
            _check_filled(f"{field}.tool_call_id", result.tool_call_id)
            return ToolResult(tool_call_id=result.tool_call_id, text=result.text, is_error=result.is_error)
    return Thinking(text=part.thinking.text, signature=part.thinking.signature)


def _prompt(text: str) -> Text:
    if not text.strip():
        raise invalid("prompt", text, "a text that is not blank")
    return Text(text)


def _text(field: str, text: str) -> Text:
    _check_filled(field, text)
    return Text(text)


def _image(image: message_pb2.Image, field: str) -> Image:
    _check_source(image, field)
    return Image(data=image.data, url=image.url, media_type=image.media_type)


def _document(document: message_pb2.Document, field: str) -> Document:
    _check_source(document, field)
    return Document(data=document.data, url=document.url, media_type=document.media_type, title=document.title)


def _check_source(source: message_pb2.Image | message_pb2.Document, field: str) -> None:
    if not source.data and not source.url:
        raise invalid(f"{field}.source", "unset", "data or url")
    if source.url and not source.url.startswith("https://"):
        raise invalid(f"{field}.url", source.url, "an https address")
    if source.data and not _MEDIA_TYPE.match(source.media_type):
        raise invalid(f"{field}.media_type", source.media_type, "a media type such as image/png or application/pdf")


def _check_filled(field: str, value: str) -> None:
    if not value:
        raise invalid(field, value, "a text that is not empty")


def refuse_unknown(message: ProtoMessage, field: str) -> None:
    """Refuse a field of a newer contract rather than ignore it: it may change the answer.

    Raises:
        DomainError: CAPABILITY_MISSING with the field's number.
    """
    unknown = UnknownFieldSet(message)
    if len(unknown):
        number = unknown[0].field_number
        raise capability_missing(field, f"field number {number}", "this aigend does not know it; update aigend")


def _refuse_unknown_inside(part: message_pb2.Part, kind: str, field: str) -> None:
    if kind != "text":
        refuse_unknown(getattr(part, kind), field)
