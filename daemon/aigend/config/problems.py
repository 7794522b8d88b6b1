"""What is wrong with settings, said so that it can be put right: where, which key, which value, what is allowed."""

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

EXIT_SETTINGS = 78  # EX_CONFIG
SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """One thing that is wrong; `file` and `line` are None where the value comes from a variable or is missing."""

    text: str
    key: str = ""
    value: str = ""
    allowed: str = ""
    file: Path | None = None
    line: int | None = None
    variable: str = ""

    def __str__(self) -> str:
        """Return the problem as one line, its place first."""
        if self.variable:
            return f"{self.variable}: {self.text}"
        if self.file is None:
            return self.text
        return f"{self.file}:{self.line}: {self.text}" if self.line else f"{self.file}: {self.text}"


class SettingsError(Exception):
    """Settings that can't be used; the message has one line for each problem, and never a secret.

    Args:
        problems: At least one; the first one's facts stand on the exception itself.
    """

    exit_code = EXIT_SETTINGS

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))
        first = self.problems[0]
        self.file, self.line, self.key = first.file, first.line, first.key
        self.value, self.allowed, self.variable = first.value, first.allowed, first.variable


def shown(value: object) -> str:
    """Return a value as an error may show it: quoted where it is text, and never long."""
    if value is None:
        return "not set"
    text = repr(value) if isinstance(value, str) else str(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 3] + "..."


def nearest(key: str, known: Iterable[str]) -> str:
    """Return the known key that a misspelt one most likely means; empty where none is near.

    A key that stands in the wrong section is found by its last word.

    Example:
        >>> nearest("limits.totl", ["limits.total", "cache.ttl_s"])
        'limits.total'
        >>> nearest("ttl_s", ["limits.total", "cache.ttl_s"])
        'cache.ttl_s'
    """
    candidates = list(known)
    parent = key.rpartition(".")[0]
    siblings = {name.rpartition(".")[2]: name for name in candidates if name.rpartition(".")[0] == parent}
    last = key.rpartition(".")[2]
    if close := difflib.get_close_matches(last, siblings, n=1):
        return siblings[close[0]]
    for name in candidates:
        if name.rpartition(".")[2] == last:
            return name
    close = difflib.get_close_matches(key, candidates, n=1)
    return close[0] if close else ""
