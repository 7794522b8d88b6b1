"""The settings as a commented YAML file, written from the models, so that no key can be forgotten."""

import json
import re
import textwrap
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

import yaml

from aigend.config.keys import Key, Kind, find_key, keys

WIDTH = 118
HEAD = """\
Settings of aigend. Every key stands here with its default; remove what you do not change. A variable named beside a key
wins over this file; in a variable, maps and lists as a whole are JSON. Durations may carry a unit (250ms, 30s, 5min, 24h, 7d),
sizes too (500MB, 2GiB). Indented comments show the keys of one entry.
"""
_EXAMPLE_NAMES = {"providers": "openai", "services": "aigenflow", "webhooks": "team"}
_EXAMPLES = {"agents": {"chatgpt": "openai/gpt-4o"}}
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9_/.-]*")


def default_document() -> str:
    """Return a settings file that holds every key with its default, unit, bounds and variable."""
    lines = [f"# {line}" for line in HEAD.splitlines()]
    for key in keys():
        if len(key.path) == 1:
            lines += ["", *_lines(key, "")]
    return "\n".join(lines) + "\n"


def _lines(key: Key, indent: str) -> Iterator[str]:
    name = key.path[-1]
    for line in _about(key):
        yield from _comment(line, indent)
    if key.kind is Kind.SECTION and key.section is not None:
        yield f"{indent}{name}:"
        yield from _fields(key, indent + "  ")
        return
    yield f"{indent}{name}: {_written(_default(key))}"
    if key.section is not None:
        first = "  - " if key.kind is Kind.SECTION_LIST else f"  {_EXAMPLE_NAMES[name]}:"
        yield from (f"{indent}#{line}".rstrip() for line in _entry(key, first))
    for entry, value in _EXAMPLES.get(name, {}).items():
        yield f"#  {entry}: {value}"


def _entry(key: Key, first: str) -> Iterator[str]:
    """The keys of one entry: under its name, or as an item of a list."""
    lines = list(_fields(key, "    "))
    if first.endswith(":"):
        yield first
        yield from lines
        return
    yield "  -"
    yield from lines


def _fields(key: Key, indent: str) -> Iterator[str]:
    assert key.section is not None  # noqa: S101 - asked of sections only
    depth = len(key.path) + (2 if key.kind is Kind.SECTIONS_BY_NAME else 1)
    for below in keys(key.section, key.path if key.kind is not Kind.SECTIONS_BY_NAME else (*key.path, "<name>")):
        if len(below.path) == depth:
            yield from _lines(below, indent)


def _about(key: Key) -> list[str]:
    """What a key is, and in a second line its unit, its bounds and its variable."""
    if key.kind is Kind.SECTION and key.section is not None:
        return [(key.section.__doc__ or "").strip()]
    variable = "" if _in_list(key) else key.variable
    facts = [key.unit, _bounds(key), "required" if key.field.is_required() else "", variable]
    return [key.field.description or "", "  " + " · ".join(fact for fact in facts if fact)]


def _in_list(key: Key) -> bool:
    """Items of a list have no variable of their own."""
    outer = find_key(key.path[:-1])
    return outer is not None and outer.kind is Kind.SECTION_LIST


def _bounds(key: Key) -> str:
    """What a field takes."""
    annotation = key.field.annotation
    if annotation is bool:
        return "true or false"
    choices = [choice for kind in (annotation, *get_args(annotation)) if get_origin(kind) is Literal for choice in get_args(kind)]
    if choices:
        return " or ".join(map(str, choices))
    return key.bounds_words


def _default(key: Key) -> Any:
    if key.field.is_required():
        return (key.field.examples or ["required"])[0]
    return key.field.get_default(call_default_factory=True)


def _written(value: object) -> str:
    """A value as YAML on one line."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and yaml.safe_load(value) == value:
        return value
    return json.dumps(value)


def _comment(text: str, indent: str) -> Iterator[str]:
    for line in textwrap.wrap(text, WIDTH - len(indent), subsequent_indent=" " * (len(text) - len(text.lstrip()))):
        yield f"{indent}# {line}"
