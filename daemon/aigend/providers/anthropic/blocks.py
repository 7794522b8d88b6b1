"""Parts as content blocks of Anthropic's Messages and back: what a message may hold there, and how it is spelled.

A redacted thought, which the provider shows only sealed, travels as a Thinking part without text whose signature is
`redacted_thinking:` and the sealed data. Signatures are base64, so none can begin like that.

Source:
    Types of the anthropic SDK 2.11. Read 2026-11.
"""

import base64
import json
from collections.abc import Iterator
from typing import Any

from aigend.errors import capability_missing, invalid
from aigend.providers.request_parts import IMAGE_TYPES, image_media_type, json_object, kind_of
from aigend.providers.surrogates import mended
from aigend.types import Content, Document, Image, Part, Role, Text, Thinking, ToolCall, ToolResult

ADAPTER = "the anthropic adapter"
MOST_MARKS = 4
REDACTED = "redacted_thinking:"
_PDF = "application/pdf"
_PLAIN = "text/plain"
_ALLOWED_CONTENT: dict[Role | None, tuple[type[Content], ...]] = {
    None: (Text,),  # the system prompt
    Role.USER: (Text, Image, Document, ToolResult),
    Role.ASSISTANT: (Text, ToolCall, Thinking),
    Role.TOOL: (ToolResult,),
}


def check_part(part: Part, where: str, role: Role | None, *, addresses: bool) -> None:
    """Return if a part can be sent as a block.

    Args:
        part: The part.
        where: Its place, for errors.
        role: Role of its message; None for the system prompt.
        addresses: Whether the server fetches images and documents by their address.

    Raises:
        DomainError: CAPABILITY_MISSING or INVALID_REQUEST, naming the field.
    """
    content = part.content
    kind = f"{where}.{kind_of(content)}"
    if not isinstance(content, _ALLOWED_CONTENT[role]):
        raise capability_missing(kind, "", f"{ADAPTER} can't send it in {f'a message of role {role}' if role else 'system'}")
    if part.prompt_cache_mark_s is not None and isinstance(content, Thinking):
        raise capability_missing(f"{where}.prompt_cache_mark", "on thinking", f"{ADAPTER} marks any other kind of part")
    if isinstance(content, Image | Document) and content.url and not addresses:
        raise capability_missing(f"{kind}.url", "", f"{ADAPTER} can't send addresses to this provider; send the bytes")
    if isinstance(content, Image) and content.data and not image_media_type(content):
        raise capability_missing(
            f"{kind}.media_type", content.media_type or "unknown", f"allowed: {', '.join(IMAGE_TYPES.values())}"
        )
    if isinstance(content, Document):
        _check_document(content, kind)
    if isinstance(content, ToolCall):
        json_object(content.arguments_json, f"{kind}.arguments_json")
    if isinstance(content, Thinking) and (not content.signature or _foreign(content.signature)):
        shown = "of another provider" if content.signature else "empty"
        raise capability_missing(f"{kind}.signature", shown, f"{ADAPTER} takes back only thinking that this provider signed")


def block_of(content: Content) -> dict[str, Any]:
    """Return a part's content as a block; it passed `check_part`."""
    match content:
        case Text(text):
            return {"type": "text", "text": text}
        case Image():
            return {"type": "image", "source": _image_source(content)}
        case Document():
            block: dict[str, Any] = {"type": "document", "source": _document_source(content)}
            return block | ({"title": content.title} if content.title else {})
        case ToolCall():
            arguments = json.loads(content.arguments_json or "{}")
            return {"type": "tool_use", "id": content.id, "name": content.name, "input": arguments}
        case ToolResult():
            told: dict[str, Any] = {"type": "tool_result", "tool_use_id": content.tool_call_id, "content": content.text}
            return told | ({"is_error": True} if content.is_error else {})
        case Thinking(signature=signature) if signature.startswith(REDACTED):
            return {"type": "redacted_thinking", "data": signature.removeprefix(REDACTED)}
        case Thinking():
            return {"type": "thinking", "thinking": content.text, "signature": content.signature}


def parts_of(block: dict[str, Any]) -> Iterator[Part]:
    """Yield the part that a block of an answer is; none for empty text and for what the provider's own tools did."""
    match block.get("type"):
        case "text" if text := _text(block, "text"):
            yield Part(Text(text))
        case "thinking":
            yield Part(Thinking(text=_text(block, "thinking"), signature=_text(block, "signature")))
        case "redacted_thinking":
            yield Part(Thinking(signature=REDACTED + _text(block, "data")))
        case "tool_use":
            arguments = mended(json.dumps(block.get("input", {}), ensure_ascii=False, separators=(",", ":")))
            yield Part(ToolCall(id=_text(block, "id"), name=_text(block, "name"), arguments_json=arguments))


def _text(block: dict[str, Any], name: str) -> str:
    value = block.get(name)
    return mended(value) if isinstance(value, str) else ""


def _foreign(signature: str) -> bool:
    """Tell whether a signature begins with the name of whose it is: this provider's own are base64, which has no colon."""
    return ":" in signature.removeprefix(REDACTED)


def _check_document(document: Document, kind: str) -> None:
    told = _document_type(document)
    if document.url:
        if document.media_type not in ("", _PDF):
            raise capability_missing(f"{kind}.media_type", document.media_type, f"by address {ADAPTER} can send {_PDF} only")
    elif not told:
        why = f"allowed: {_PDF} and text/*; it must be said where the bytes don't show it"
        raise capability_missing(f"{kind}.media_type", document.media_type or "unknown", why)
    elif told == _PLAIN:
        try:
            document.data.decode()
        except UnicodeDecodeError as error:
            raise invalid(
                f"{kind}.data", f"{len(document.data)} bytes", f"UTF-8, as text in {document.media_type} is sent"
            ) from error


def _document_type(document: Document) -> str:
    """Return the media type that is sent; empty where it is none that can be."""
    if document.media_type.startswith("text/"):
        return _PLAIN
    if document.media_type == _PDF or (not document.media_type and document.data.startswith(b"%PDF-")):
        return _PDF
    return ""


def _image_source(image: Image) -> dict[str, Any]:
    if image.url:
        return {"type": "url", "url": image.url}
    return {"type": "base64", "media_type": image_media_type(image), "data": base64.b64encode(image.data).decode()}


def _document_source(document: Document) -> dict[str, Any]:
    if document.url:
        return {"type": "url", "url": document.url}
    if _document_type(document) == _PLAIN:
        return {"type": "text", "media_type": _PLAIN, "data": document.data.decode()}
    return {"type": "base64", "media_type": _PDF, "data": base64.b64encode(document.data).decode()}
