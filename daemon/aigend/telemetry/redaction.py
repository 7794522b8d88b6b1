"""What may stand in a log: names, numbers and short facts. Never a prompt, an answer, a key, or a long text of any kind.

Three sieves: by the name of a value, by its shape, and by its length. Exceptions keep their type and place; their message
stays only where it can't hold what a caller sent.
"""

import re
import sqlite3
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Any

HIDDEN = "***"
LONGEST_VALUE = 200  # characters
SENTENCES = frozenset({"text", "cause"})  # hold sentences of our own, such as a refusal's
LONGEST_SENTENCE = 1_000
MOST_ITEMS = 20
DEEPEST = 3
DEEPEST_CAUSE = 4
MOST_FRAMES = 12

_NAMES = re.compile(
    r"(?:^|_)(?:api_?key|authorization|token|secret|password|passphrase|credentials?|cookie|bearer"
    r"|prompts?|messages?|content|parts|system|answers?|reply|body|arguments(?:_json)?|headers|input|output)$",
    re.IGNORECASE,
)
_SHAPES = re.compile(
    r"\b(?:sk|pk|rk|xai|pplx|gsk|ghp|gho|hf|key)[-_][A-Za-z0-9_-]{8,}|\bAIza[A-Za-z0-9_-]{16,}|\bxox[a-z]-[A-Za-z0-9-]{8,}"
    r"|(?<=://)[^/@\s]{1,200}@|\bbearer\s+[^\s,;]{1,4096}",
    re.IGNORECASE,
)

ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]


def safe_event(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return a log line's values as they may be written."""
    return {name: _safe_fact(name, value) for name, value in event.items()}


def _safe_fact(name: str, value: Any) -> Any:
    if name in SENTENCES and isinstance(value, str):
        return _safe_text(value, longest=LONGEST_SENTENCE)
    return HIDDEN if _NAMES.search(name) and not _is_number(value) else safe_value(value)


def safe_value(value: Any, depth: int = 0) -> Any:
    """Return a value without secrets and long texts; what is no plain value is named by its type.

    Example:
        >>> safe_value("x" * 300), safe_value(b"abc"), safe_value("Bearer abc")
        ('<300 characters>', '<3 bytes>', '***')
    """
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return _safe_text(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return f"<{len(value)} bytes>"
    if isinstance(value, BaseException):
        return describe_exception(value)
    if depth >= DEEPEST:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return safe_event({str(name): safe_value(item, depth + 1) for name, item in list(value.items())[:MOST_ITEMS]})
    if isinstance(value, list | tuple | set | frozenset):
        return [safe_value(item, depth + 1) for item in list(value)[:MOST_ITEMS]]
    return (
        _safe_text(str(value)) if type(value).__module__ in ("pathlib", "pathlib._local", "uuid") else f"<{type(value).__name__}>"
    )


def describe_exception(error: BaseException) -> str:
    """Return an exception and its causes on one line: types, places, and messages where they are ours or the system's."""
    told: list[str] = []
    current: BaseException | None = error
    while current is not None and len(told) < DEEPEST_CAUSE:
        told.append(_described(current))
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "; from ".join(told)


def _described(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-MOST_FRAMES:]
    places = " < ".join(f"{_module(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    message = _message(error)
    return type(error).__qualname__ + (f" ({message})" if message else "") + (f" at {places}" if places else "")


def _message(error: BaseException) -> str:
    """A message from the system or the database holds no caller's text; a refusal of ours is named by its reason."""
    if reason := getattr(error, "reason", ""):
        return _safe_text(str(reason))
    if isinstance(error, OSError) and error.strerror:
        return _safe_text(f"{error.strerror}: {error.filename}" if error.filename else error.strerror)
    return _safe_text(str(error)) if isinstance(error, sqlite3.Error) else ""


def _module(filename: str) -> str:
    """The last two parts of a path tell the module and do not tell where somebody's home is."""
    return "/".join(filename.rsplit("/", 2)[-2:])


def _safe_text(text: str, *, longest: int = LONGEST_VALUE) -> str:
    if len(text) > longest:
        return f"<{len(text)} characters>"
    return _SHAPES.sub(HIDDEN, text)


def _is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)
