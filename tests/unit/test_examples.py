"""Examples made of JSON Schemas: the author's own where there is one, else one that is valid."""

from __future__ import annotations

from typing import Any

import jsonschema
import pytest

from azmlinfsrv.examples import example_of


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        ({"type": "integer", "examples": [7, 8]}, 7),
        ({"enum": ["a", "b"]}, "a"),
        ({"const": 3}, 3),
        ({"type": "integer", "default": 5}, 5),
        ({"type": "integer", "example": 6}, 6),
        ({"$ref": "#/components/schemas/A"}, "of A"),
        ({"$ref": "#/components/schemas/A", "examples": ["beside"]}, "beside"),
        ({"anyOf": [{"type": "null"}, {"type": "boolean"}]}, False),
        ({"anyOf": [{"type": "null"}]}, None),
        ({"allOf": [{"$ref": "#/components/schemas/A"}]}, "of A"),
        ({"type": "null"}, None),
        ({}, None),
    ],
)
def test_what_the_author_said_comes_first(schema: dict[str, Any], example: Any) -> None:
    """Examples, enumerations, constants and defaults are used as they are, also behind a reference."""
    assert example_of(schema, {"A": {"type": "string", "examples": ["of A"]}}) == example


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "integer"},
        {"type": "integer", "minimum": 3},
        {"type": "integer", "maximum": -3},
        {"type": "integer", "exclusiveMinimum": 3},
        {"type": "integer", "exclusiveMaximum": 3, "exclusiveMinimum": 1},
        {"type": "integer", "minimum": 4, "multipleOf": 3},
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "number", "exclusiveMaximum": 0},
        {"type": "number", "exclusiveMinimum": 0, "maximum": 0.25},
        {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 0.1},
        {"type": "number", "minimum": 0, "maximum": 0.1},
        {"type": "string"},
        {"type": "string", "minLength": 9},
        {"type": "string", "maxLength": 2},
        {"type": "string", "minLength": 1, "maxLength": 1},
        {"type": "string", "format": "date-time"},
        {"type": "string", "format": "uuid"},
        {"type": ["number", "null"]},
        {"type": ["string", "null"]},
        {"type": "array", "items": {"type": "integer"}, "minItems": 3},
        {"type": "array", "items": {"type": "integer"}, "maxItems": 0},
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2},
        {"type": "array", "items": {"type": "boolean"}, "uniqueItems": True},
        {"type": "object"},
        {"type": "object", "additionalProperties": {"type": "integer"}},
        {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
        {"properties": {"a": {"type": "string"}, "b": {"default": 1}}, "required": ["a", "b"]},
        {"type": "boolean"},
    ],
    ids=str,
)
def test_made_examples_are_valid(schema: dict[str, Any]) -> None:
    """An example that is made fits its schema."""
    jsonschema.validate(example_of(schema, {}), schema, jsonschema.Draft202012Validator)


def test_fields_with_defaults_are_left_out() -> None:
    """An object has what is required and what says something, not what has a default."""
    parts = {"a": {"type": "integer"}, "b": {"type": "integer", "default": 4}, "c": {"type": "boolean"}}
    assert example_of({"type": "object", "properties": parts, "required": ["a"]}, {}) == {"a": 0, "c": False}


def test_recursion_ends() -> None:
    """A recursive schema has a finite example; one that requires itself ends, too."""
    node = {
        "type": "object",
        "properties": {"value": {"type": "integer"}, "children": {"items": {"$ref": "#/x/Node"}, "type": "array"}},
        "required": ["value"],
    }
    example = example_of({"$ref": "#/x/Node"}, {"Node": node})
    assert example["value"] == 0
    endless = {"type": "object", "properties": {"next": {"$ref": "#/x/Endless"}}, "required": ["next"]}
    assert "next" in example_of({"$ref": "#/x/Endless"}, {"Endless": endless})
