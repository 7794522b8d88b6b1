"""A YAML file as plain values, with the line of every key: what an error needs to point at the right place.

Refused here: what YAML would accept in silence (a key twice, the last one wins) or at any price (aliases that multiply).
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from aigend.config.problems import Problem, SettingsError, shown

KeyPath = tuple[str | int, ...]
SIZE_LIMIT_BYTES = 1_048_576


@dataclass(frozen=True, slots=True)
class YamlFile:
    """What a settings file says and where; lines are counted from 1."""

    path: Path | None
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[KeyPath, int] = field(default_factory=dict)

    def line(self, path: KeyPath) -> int | None:
        """Return the line of a key, or of the nearest one around it."""
        for length in range(len(path), 0, -1):
            if (line := self.lines.get(path[:length])) is not None:
                return line
        return None


def read_yaml(path: Path) -> YamlFile:
    """Return what a settings file says.

    Raises:
        SettingsError: It can't be read, is no YAML, holds a key twice, or is no mapping of keys to values.
    """
    text = _text(path)
    reader = _Reader(path)
    try:
        values = reader.read(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise _malformed(path, error.problem or "it can't be read", mark.line + 1 if mark else None) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise _malformed(path, "it holds a character that YAML does not allow", line) from error
    except RecursionError as error:
        raise _malformed(path, "it is nested too deeply", None) from error
    if values is None:
        values = {}
    if not isinstance(values, dict):
        raise _malformed(path, "the file must be a mapping of sections, such as `limits:`", 1)
    return YamlFile(path, values, reader.lines)


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise SettingsError([Problem(text=f"the settings file can't be read: {error.strerror}", file=path)]) from error
    if len(raw) > SIZE_LIMIT_BYTES:
        raise SettingsError([Problem(text=f"the file has {len(raw)} bytes; allowed: at most {SIZE_LIMIT_BYTES}", file=path)])
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise _malformed(path, "it is not UTF-8", line) from error


def _malformed(path: Path, why: str, line: int | None) -> SettingsError:
    return SettingsError([Problem(text=f"this is not a settings file: {why}", file=path, line=line)])


class _Reader:
    """Turns nodes into values and notes the line of each key."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: dict[KeyPath, int] = {}
        self._seen: set[int] = set()

    def read(self, text: str) -> Any:
        """Return the values of a document; None where it is empty."""
        self._loader = yaml.SafeLoader(text)
        try:
            node = self._loader.get_single_node()
            return None if node is None else self._value(node, ())
        finally:
            self._loader.dispose()

    def _value(self, node: yaml.Node, path: KeyPath) -> Any:
        self.lines.setdefault(path, node.start_mark.line + 1)
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if id(node) in self._seen:
            raise self._refused(node, "a section can't be repeated by an alias; allowed: writing it out")
        self._seen.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        assert isinstance(node, yaml.MappingNode)  # noqa: S101 - YAML has these three kinds of nodes
        return self._mapping(node, path)

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        try:
            return self._loader.construct_object(node)
        except ValueError as error:  # such as a thirteenth month
            raise self._refused(node, "this value can't be read; allowed: text in quotes") from error

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key in values:
                first = self.lines[(*path, key)]
                raise self._refused(key_node, f"{_dotted((*path, key))} stands here and in line {first}; allowed: once")
            self.lines[(*path, key)] = key_node.start_mark.line + 1
            values[key] = self._value(value_node, (*path, key))
        return values

    def _key(self, node: yaml.Node, path: KeyPath) -> str:
        key = self._scalar(node) if isinstance(node, yaml.ScalarNode) else None
        if not isinstance(key, str):
            raise self._refused(
                node, f"key {shown(key)} under {_dotted(path) or 'the top'} is no text; allowed: text, in quotes if need be"
            )
        return key

    def _refused(self, node: yaml.Node, text: str) -> SettingsError:
        return SettingsError([Problem(text=text, file=self.path, line=node.start_mark.line + 1)])


def _dotted(path: KeyPath) -> str:
    return ".".join(str(part) for part in path)
