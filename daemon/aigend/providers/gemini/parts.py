"""The parts of messages as Google spells them, in both directions.

Google signs single parts. A signature travels through turns as a thinking part without text that stands directly before the part
it belongs to, and goes back onto that part; one that ends a message belongs to an empty text, as the provider sends it. A thought
that is signed itself keeps its signature. All of them begin with `gemini:` on their way, so that another provider's are known as
such. What the provider's own tools did (code, searches) is not part of a message here.

Source:
    Types of the google-genai SDK 3.4 (Part, FunctionCall, FunctionResponse, Blob, FileData); Google, "Thought signatures". Read
    2026-11.
"""

import base64
import json
from collections.abc import Iterator, Sequence
from typing import Any

from aigend.errors import capability_missing, invalid
from aigend.providers.request_parts import IMAGE_TYPES, image_media_type, json_object, kind_of, placed
from aigend.types import CompletionRequest, Content, Document, Image, Message, Part, Role, Text, Thinking, ToolCall, ToolResult

Body = dict[str, Any]

ADAPTER = "the gemini adapter"
SEAL = "gemini:"
_PDF = "application/pdf"
_MORE_IMAGES = ("image/heic", "image/heif")
_IMAGES = (*(name for name in IMAGE_TYPES.values() if name != "image/gif"), *_MORE_IMAGES)
_ALLOWED_CONTENT: dict[Role | None, tuple[type[Content], ...]] = {
    None: (Text,),  # the system prompt
    Role.USER: (Text, Image, Document, ToolResult),
    Role.ASSISTANT: (Text, Image, ToolCall, Thinking),
    Role.TOOL: (ToolResult,),
}


def check_parts(request: CompletionRequest) -> None:
    """Return if all parts of a request can be sent.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    for where, part in placed(request.system, "system"):
        _check_part(part, where, None)
    called: set[str] = set()
    for index, message in enumerate(request.messages):
        for where, part in placed(message.parts, f"messages[{index}].parts"):
            _check_part(part, where, message.role)
            _check_call(part.content, where, called)


def contents_of(messages: Sequence[Message], names: dict[str, str]) -> list[Body]:
    """Return messages as turns; results of tools that follow each other are one, as the provider wants to have them.

    Args:
        messages: The messages, checked.
        names: What the tools of earlier calls are called, by the calls' ids; it is added to.
    """
    turns: list[Body] = []
    before: Role | None = None
    for message in messages:
        parts = _sent_parts(message.parts, names)
        if message.role is Role.TOOL and before is Role.TOOL:
            turns[-1]["parts"] += parts
        else:
            turns.append({"role": "model" if message.role is Role.ASSISTANT else "user", "parts": parts})
        before = message.role
    return turns


def image_from(piece: Body) -> Image | None:
    """Return the picture that a part of an answer holds; None where it holds none."""
    inline = piece.get("inlineData")
    if not isinstance(inline, dict) or not str(inline.get("mimeType")).startswith("image/"):
        return None
    try:
        return Image(data=base64.b64decode(inline.get("data") or ""), media_type=str(inline["mimeType"]))
    except (ValueError, TypeError):
        return None


def _check_part(part: Part, where: str, role: Role | None) -> None:
    content = part.content
    if not isinstance(content, _ALLOWED_CONTENT[role]):
        place = "the system prompt" if role is None else f"a message of role {role}"
        raise capability_missing(f"{where}.{kind_of(content)}", "", f"{ADAPTER} can't send it in {place}")
    if isinstance(content, Thinking) and content.signature and not content.signature.startswith(SEAL):
        raise capability_missing(f"{where}.thinking.signature", "of another provider", f"{ADAPTER} takes back only Gemini's")
    if isinstance(content, Image) and content.data and not _image_type(content):
        told = content.media_type or image_media_type(content) or "unknown"
        raise capability_missing(f"{where}.image.media_type", told, f"allowed: {', '.join(_IMAGES)}")
    if isinstance(content, Document) and content.data and not _document_type(content):
        raise capability_missing(f"{where}.document.media_type", "unknown", "say what it is, unless it is a PDF")


def _check_call(content: Content, where: str, called: set[str]) -> None:
    """Refuse arguments that are no object, and results of calls that nobody made: their tools' names are sent with them."""
    if isinstance(content, ToolCall):
        json_object(content.arguments_json, f"{where}.tool_call.arguments_json")
        called.add(content.id)
    elif isinstance(content, ToolResult) and content.tool_call_id not in called:
        raise invalid(f"{where}.tool_result.tool_call_id", content.tool_call_id, "the id of a tool call in an earlier message")


def _sent_parts(parts: Sequence[Part], names: dict[str, str]) -> list[Body]:
    sent: list[Body] = []
    waiting = ""  # the signature of the part to come
    for part in parts:
        content = part.content
        if isinstance(content, Thinking) and not content.text:
            sent += _signature_alone(waiting)
            waiting = content.signature.removeprefix(SEAL)
            continue
        pieces = [*_pieces(content, names)]
        if waiting and not isinstance(content, Thinking):
            pieces[-1]["thoughtSignature"] = waiting
            waiting = ""
        sent += pieces
    return sent + _signature_alone(waiting)


def _signature_alone(signature: str) -> list[Body]:
    return [{"text": "", "thoughtSignature": signature}] if signature else []


def _pieces(content: Content, names: dict[str, str]) -> Iterator[Body]:
    """Yield what one part becomes: a document's title is a text before it."""
    match content:
        case Text(text):
            yield {"text": text}
        case Thinking():
            signature = content.signature.removeprefix(SEAL)
            yield {"text": content.text, "thought": True} | ({"thoughtSignature": signature} if signature else {})
        case Image():
            yield _media(content.url, content.data, content.media_type if content.url else _image_type(content))
        case Document():
            if content.title:
                yield {"text": content.title}
            yield _media(content.url, content.data, content.media_type if content.url else _document_type(content))
        case ToolCall():
            names[content.id] = content.name
            arguments = json.loads(content.arguments_json or "{}")
            yield {"functionCall": _with_id(content.id) | {"name": content.name, "args": arguments}}
        case ToolResult():
            told = {"error" if content.is_error else "output": content.text}
            identity = _with_id(content.tool_call_id)
            yield {"functionResponse": identity | {"name": names[content.tool_call_id], "response": told}}


def _with_id(identity: str) -> Body:
    return {"id": identity} if identity else {}


def _media(url: str, data: bytes, media_type: str) -> Body:
    if url:
        return {"fileData": {"fileUri": url} | ({"mimeType": media_type} if media_type else {})}
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode()}}


def _image_type(image: Image) -> str:
    """Return the media type of a picture's bytes; empty where the provider can't read it."""
    told = image.media_type if image.media_type in _MORE_IMAGES else image_media_type(image)
    return told if told in _IMAGES else ""


def _document_type(document: Document) -> str:
    """Return the media type as stated, or else that of a PDF by its first bytes; empty where it is not known."""
    if document.media_type:
        return document.media_type
    return _PDF if document.data.startswith(b"%PDF") else ""
