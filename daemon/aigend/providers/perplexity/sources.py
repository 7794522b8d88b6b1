"""The sources that Perplexity's answers refer to by number: documents behind the answer's text, in that order.

An answer that is sent back as a part of the conversation has them again; there they are spelled as text, for a model's own turns
can hold nothing else.

Source:
    Perplexity API reference, Agent API and chat completions: search_results, fetch_url_results, citations. Read 2026-11.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from aigend.providers.openai.usage import mapping
from aigend.providers.surrogates import mended
from aigend.types import CompletionRequest, Document, Message, Part, Role, Text


def source_parts(listed: Any) -> Iterator[Part]:
    """Yield the parts of a list of sources, each an address or an object with `url` and `title`; what has no address is none."""
    for told in listed if isinstance(listed, list) else ():
        source = {"url": told} if isinstance(told, str) else mapping(told)
        if isinstance(url := source.get("url"), str) and url:
            yield Part(Document(url=mended(url), title=mended(str(source.get("title") or ""))))


def with_spelled_sources(request: CompletionRequest) -> CompletionRequest:
    """Return the request with the sources inside the model's own turns spelled as text."""
    if not any(_is_source(message, part) for message in request.messages for part in message.parts):
        return request
    return replace(request, messages=tuple(_spelled(message) for message in request.messages))


def _spelled(message: Message) -> Message:
    parts: list[Part] = []
    number = 0
    for part in message.parts:
        if _is_source(message, part) and isinstance(part.content, Document):
            number += 1
            shown = f"\n[{number}] {part.content.title} {part.content.url}".replace("  ", " ")
            parts.append(replace(part, content=Text(shown)))
        else:
            parts.append(part)
    return replace(message, parts=tuple(parts))


def _is_source(message: Message, part: Part) -> bool:
    return message.role is Role.ASSISTANT and isinstance(part.content, Document) and bool(part.content.url)
