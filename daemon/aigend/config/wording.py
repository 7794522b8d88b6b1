"""What is allowed, in words: of a value that a model refused, whatever its validation library calls it."""

from collections.abc import Mapping

from pydantic_core import ErrorDetails

from aigend.config.keys import Key

_OUT_OF_RANGE = frozenset(
    {
        *("greater_than", "greater_than_equal", "less_than", "less_than_equal", "finite_number"),
        *("int_parsing", "int_parsing_size", "int_type", "int_from_float", "float_parsing", "float_type"),
    }
)
_BY_TYPE: Mapping[str, str] = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "text",
    "path_type": "a path",
    "dict_type": "keys with their values",
    "mapping_type": "keys with their values",
    "model_type": "keys with their values",
    "tuple_type": "a list",
    "string_too_short": "text that is not empty",
    "string_too_long": "text of {max_length} characters or fewer",
    "too_short": "a list that is not empty",
    "too_long": "a list of {max_length} entries or fewer",
}


def allowed_words(detail: ErrorDetails, key: Key | None) -> str:
    """Return what a refused value should have been.

    Args:
        detail: What the model says of it.
        key: The setting that it belongs to; its bounds are named both, not only the one that was passed.
    """
    facts = detail.get("ctx", {})
    if "allowed" in facts:
        return str(facts["allowed"])
    if key is not None and detail["type"] in _OUT_OF_RANGE:
        return key.range_words
    if (words := _BY_TYPE.get(detail["type"])) is not None:
        return words.format(**facts)
    return detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
