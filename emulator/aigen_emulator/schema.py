"""Values that fit a JSON schema: what a structured answer or a tool call is made of."""

from typing import Any

from aigen_emulator.dice import Dice
from aigen_emulator.prose import phrase

_MAX_DEPTH = 12
_FORMATS = {
    "date": "2026-03-15",
    "date-time": "2026-03-15T09:30:00Z",
    "time": "09:30:00",
    "email": "hello@example.com",
    "uri": "https://example.com/",
    "uuid": "0b9c3a52-6f0e-4a35-9f53-2d1a7c4e8b11",
}


def example(schema: Any, *, dice: Dice, about: tuple[str, ...]) -> Any:
    """Return a value that fits the schema's types, enums, required keys and bounds.

    Args:
        schema: A JSON schema; what is not a schema is answered with a phrase.
        dice: Where choices come from.
        about: Topics that strings are made of.
    """
    return _Examples(schema, dice, about).value(schema, 0)


class _Examples:
    """One schema being filled in; the root is kept for `$ref`."""

    def __init__(self, root: Any, dice: Dice, about: tuple[str, ...]) -> None:
        self._root = root
        self._dice = dice
        self._about = about

    def value(self, schema: Any, depth: int) -> Any:
        if not isinstance(schema, dict) or depth > _MAX_DEPTH:
            return phrase(self._dice, self._about)
        if "$ref" in schema:
            return self.value(self._resolve(schema["$ref"]), depth + 1)
        if "const" in schema:
            return schema["const"]
        if schema.get("enum"):
            return self._dice.pick(schema["enum"])
        for union in ("anyOf", "oneOf", "allOf"):
            if schema.get(union):
                return self.value(schema[union][0], depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        kind = schema.get("type", "object" if "properties" in schema else "string")
        kind = kind[0] if isinstance(kind, list) and kind else kind
        if kind == "object":
            return {name: self.value(inner, depth + 1) for name, inner in (schema.get("properties") or {}).items()}
        if kind == "array":
            count = max(int(schema.get("minItems", 0)), min(2, int(schema.get("maxItems", 2))))
            return [self.value(schema.get("items", {}), depth + 1) for _ in range(count)]
        if kind == "integer":
            return self._number(schema)
        if kind == "number":
            return float(self._number(schema))
        if kind == "boolean":
            return bool(self._dice.below(2))
        return None if kind == "null" else self._string(schema)

    def _number(self, schema: dict[str, Any]) -> int:
        low = int(schema.get("minimum", 1))
        high = int(schema.get("maximum", low + 99))
        return self._dice.between(low, max(low, high))

    def _string(self, schema: dict[str, Any]) -> str:
        if schema.get("format") in _FORMATS:
            return _FORMATS[schema["format"]]
        text = phrase(self._dice, self._about)
        text += "." * max(0, int(schema.get("minLength", 0)) - len(text))
        return text[: int(schema.get("maxLength", len(text)))]

    def _resolve(self, reference: Any) -> Any:
        found = self._root
        for step in str(reference).removeprefix("#").strip("/").split("/"):
            found = found.get(step) if step and isinstance(found, dict) else found
        return found
