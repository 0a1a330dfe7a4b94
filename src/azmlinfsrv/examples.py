"""An example that fits a JSON Schema, for documentation: the author's own where there is one, else a small one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

_DEEPEST = 8
_TEXTS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "P1D",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "email": "name@example.com",
    "uri": "https://example.com/",
    "ipv4": "127.0.0.1",
    "ipv6": "::1",
    "binary": "",
}


def example_of(schema: Schema, definitions: Schema, depth: int = 0) -> Any:
    """Return an example of a schema (JSON Schema 2020-12, as pydantic writes it).

    Args:
        schema: the schema.
        definitions: schemas by name, to which ``$ref`` leads.
        depth: how many schemas contain this one; recursion ends where nothing is required, or in None.
    """
    if depth > 2 * _DEEPEST:
        return None
    if "$ref" in schema:
        schema = {**definitions.get(schema["$ref"].rpartition("/")[2], {}), **schema}
    for known in ("examples", "enum"):
        if schema.get(known):
            return schema[known][0]
    for known in ("example", "const", "default"):
        if known in schema:
            return schema[known]
    choices = schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf")
    if choices:
        chosen = next((choice for choice in choices if choice.get("type") != "null"), choices[0])
        return example_of(chosen, definitions, depth + 1) if depth < _DEEPEST else None
    return _of_type(schema, definitions, depth)


def _of_type(schema: Schema, definitions: Schema, depth: int) -> Any:
    kind = schema.get("type", "object" if "properties" in schema else None)
    if isinstance(kind, list):
        kind = next((each for each in kind if each != "null"), "null")
    if kind == "object":
        required = schema.get("required", ())
        parts = schema.get("properties", {})
        return {
            name: example_of(part, definitions, depth + 1)
            for name, part in parts.items()
            if name in required or (depth < 2 and "default" not in part)
        }
    if kind == "array":
        return _array(schema, definitions, depth)
    if kind in ("integer", "number"):
        return _number(schema, kind)
    if kind == "string":
        text = _TEXTS.get(schema.get("format", ""), "text")
        least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
        return (text * (least // max(len(text), 1) + 1))[: max(least, min(len(text), most))]
    return False if kind == "boolean" else None


def _array(schema: Schema, definitions: Schema, depth: int) -> list[Any]:
    prefix = [example_of(part, definitions, depth + 1) for part in schema.get("prefixItems", ())]
    count = max(schema.get("minItems", 0), 0 if prefix or depth >= _DEEPEST else 1)
    count = min(count, schema.get("maxItems", count))
    item = example_of(schema["items"], definitions, depth + 1) if isinstance(schema.get("items"), Mapping) else None
    return prefix + [item] * (count - len(prefix))


def _number(schema: Schema, kind: str) -> Any:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    most = schema.get("maximum", schema.get("exclusiveMaximum"))
    value = (0 if most is None else min(0, most)) if least is None else least
    if value in (schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")):
        both = least is not None and most is not None and kind == "number"
        step = (most - least) / 2 if both else 1
        value = value + step if value == schema.get("exclusiveMinimum") else value - step
    multiple = schema.get("multipleOf")
    return -(-value // multiple) * multiple if multiple else value
