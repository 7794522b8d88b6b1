"""docs/cache-key.md says what is in the cache key."""

import dataclasses
import inspect
import re

from aigend.cache import key
from aigend.cache.folding import RUN_LIMIT
from aigend.types import CompletionRequest, Normalization

from tests.house import tree

PAGE = (tree.ROOT / "docs" / "cache-key.md").read_text(encoding="utf-8")
FIELD = re.compile(r"^\| `(\w+)` \| (canonical|own input|left out) \|", re.MULTILINE)
INPUT = re.compile(r"^\| `(\w+)` \| (?!canonical|own input|left out)[^|]+ \|$", re.MULTILINE)


def place(name: str) -> str:
    """Return where the code puts a field of a request."""
    return "left out" if name in key.DENIED else "own input" if name in key.SEPARATE else "canonical"


def test_every_field_of_a_request_has_its_true_row() -> None:
    """Each field is listed once, with the place that the code gives it."""
    rows = FIELD.findall(PAGE)
    assert sorted(rows) == sorted((field.name, place(field.name)) for field in dataclasses.fields(CompletionRequest))


def test_every_input_has_its_row() -> None:
    """The inputs listed are those that the key is made of."""
    inputs = INPUT.findall(PAGE.partition("## Every field")[0])
    assert sorted(inputs) == sorted({"schema", *inspect.signature(key.cache_key).parameters})


def test_the_numbers_are_those_of_the_code() -> None:
    """Schema version, normalizations and the limit on marks stand on the page as the code has them."""
    assert f"The key schema is **{key.KEY_SCHEMA}**" in PAGE
    assert f"A text with {RUN_LIMIT} or more combining marks" in PAGE
    assert re.findall(r"^\| `([A-Z]+)` \|", PAGE, re.MULTILINE) == [normalization.name for normalization in Normalization]
