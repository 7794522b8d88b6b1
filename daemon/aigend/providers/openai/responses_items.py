"""Messages as the items of OpenAI's Responses and back: what a message may hold there, and how it is spelled.

Reasoning comes back encrypted and travels as a Thinking part whose signature is `openai-responses:` and the encrypted content, to
be sent back as it is. Items carry no ids: those name what the provider stored, and it is asked to store nothing.

Source:
    OpenAI API reference, Responses; OpenAI, "Reasoning models", encrypted reasoning items. Read 2026-11.
"""

from collections.abc import Iterator
from typing import Any

from aigend.errors import capability_missing
from aigend.providers.openai.files import check_document, check_image, document_file, image_address
from aigend.providers.request_parts import kind_of
from aigend.types import Content, Document, Image, Message, Part, Role, Text, Thinking, ToolCall, ToolResult

Item = dict[str, Any]

ADAPTER = "the openai-responses adapter"
SEAL = "openai-responses:"
ALLOWED_CONTENT: dict[Role | None, tuple[type[Content], ...]] = {
    None: (Text,),  # the system prompt
    Role.USER: (Text, Image, Document, ToolResult),
    Role.ASSISTANT: (Text, ToolCall, Thinking),
    Role.TOOL: (ToolResult,),
}


def check_kind(part: Part, where: str, role: Role | None, *, adapter: str) -> None:
    """Return if a message of the role may hold such a part.

    Args:
        part: The part.
        where: Its place, for errors.
        role: Role of its message; None for the system prompt.
        adapter: Who can't send it, for errors.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the field.
    """
    if not isinstance(part.content, ALLOWED_CONTENT[role]):
        why = f"{adapter} can't send it in {f'a message of role {role}' if role else 'system'}"
        raise capability_missing(f"{where}.{kind_of(part.content)}", "", why)


def check_part(part: Part, where: str, role: Role | None) -> None:
    """Return if a part can be sent.

    Args:
        part: The part.
        where: Its place, for errors.
        role: Role of its message; None for the system prompt.

    Raises:
        DomainError: CAPABILITY_MISSING, naming the field.
    """
    check_kind(part, where, role, adapter=ADAPTER)
    content = part.content
    if isinstance(content, Image):
        check_image(content, where)
    if isinstance(content, Document):
        check_document(content, where)
    if isinstance(content, Thinking) and not content.signature.startswith(SEAL):
        shown = "empty" if not content.signature else "of another provider"
        why = f"{ADAPTER} takes back only reasoning that came encrypted from it"
        raise capability_missing(f"{where}.thinking.signature", shown, why)


def items_of(message: Message) -> Iterator[Item]:
    """Yield the items that a message becomes, in the order of its parts; it passed `check_part`."""
    if message.role is Role.ASSISTANT:
        yield from (_said(part.content) for part in message.parts)
        return
    together: list[Item] = []
    for part in message.parts:
        if isinstance(part.content, ToolResult):
            yield from _spoken(together)
            together = []
            yield tool_result(part.content)
        else:
            together.append(_piece(part.content))
    yield from _spoken(together)


def message_item(role: str, content: str | list[Item]) -> Item:
    """Return an item that is a message."""
    return {"type": "message", "role": role, "content": content}


def text_piece(text: str) -> Item:
    """Return a text inside a message to the model."""
    return {"type": "input_text", "text": text}


def tool_result(result: ToolResult) -> Item:
    """Return the item of a tool's answer; the format has no flag for a failure."""
    text = f"Error: {result.text}" if result.is_error else result.text
    return {"type": "function_call_output", "call_id": result.tool_call_id, "output": text}


def tool_call(call: ToolCall) -> Item:
    """Return the item of a wish to run a tool."""
    return {"type": "function_call", "call_id": call.id, "name": call.name, "arguments": call.arguments_json or "{}"}


def thinking_of(item: Item, text: str) -> Thinking:
    """Return the part that a reasoning item becomes; without encrypted content it can't be sent back.

    Args:
        item: The item.
        text: What it shows.
    """
    sealed = item.get("encrypted_content")
    return Thinking(text=text, signature=SEAL + sealed if isinstance(sealed, str) and sealed else "")


def _spoken(pieces: list[Item]) -> Iterator[Item]:
    """Yield the user's message of these pieces, plain where it is one text."""
    if len(pieces) == 1 and pieces[0]["type"] == "input_text":
        yield message_item("user", pieces[0]["text"])
    elif pieces:
        yield message_item("user", pieces)


def _said(content: Content) -> Item:
    if isinstance(content, ToolCall):
        return tool_call(content)
    if isinstance(content, Thinking):
        summary = [{"type": "summary_text", "text": content.text}] if content.text else []
        return {"type": "reasoning", "summary": summary, "encrypted_content": content.signature.removeprefix(SEAL)}
    return message_item("assistant", content.text if isinstance(content, Text) else "")


def _piece(content: Content) -> Item:
    if isinstance(content, Image):
        return {"type": "input_image", "image_url": image_address(content)}
    if isinstance(content, Document):
        return {"type": "input_file"} | ({"file_url": content.url} if content.url else document_file(content))
    return text_piece(content.text if isinstance(content, Text) else "")
