"""The parts of a signature as JSON Schema, and examples of them."""

from __future__ import annotations

from typing import Any

import pytest

from azmlinfsrv.mlflow_document import example_request, output_schema
from azmlinfsrv.mlflow_signature import Signature, example, param_schema, value_schema

TENSOR = {"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 2]}}


@pytest.mark.parametrize(
    ("spec", "schema", "sample"),
    [
        ({"type": "long"}, {"type": "integer", "format": "int64"}, 0),
        ({"type": "double"}, {"type": ["number", "null"], "format": "double"}, 0.0),
        ({"type": "string", "required": False}, {"type": ["string", "null"]}, ""),
        ({"type": "string", "optional": True}, {"type": ["string", "null"]}, ""),
        ({"type": "array", "items": {"type": "boolean"}}, {"type": "array", "items": {"type": "boolean"}}, [True]),
        (
            {"type": "map", "values": {"type": "binary"}},
            {"type": "object", "additionalProperties": {"type": "string", "format": "byte"}},
            {"key": ""},
        ),
        ({"type": "any"}, {}, None),
        ({"type": "sparkml_vector"}, {"type": "array", "items": {"type": "number"}}, [0.0]),
        (
            {"type": "object", "properties": {"k": {"type": "string"}, "v": {"type": "long", "required": False}}},
            {
                "type": "object",
                "properties": {"k": {"type": "string"}, "v": {"type": ["integer", "null"], "format": "int64"}},
                "required": ["k"],
            },
            {"k": "", "v": 0},
        ),
        (
            TENSOR,
            {
                "type": "array",
                "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
            },
            [[0, 0]],
        ),
    ],
)
def test_values(spec: dict[str, Any], schema: dict[str, Any], sample: Any) -> None:
    """Each type has its schema and an example."""
    assert value_schema(spec, nulls=True) == schema
    assert example(spec) == sample


def test_nulls_only_where_they_can_be_described() -> None:
    """Before OpenAPI 3.1 a type has one name."""
    assert value_schema({"type": "double"}) == {"type": "number", "format": "double"}


@pytest.mark.parametrize(
    ("param", "schema"),
    [
        ({"name": "n", "type": "long", "default": 3, "shape": None}, {"type": "integer", "default": 3}),
        ({"name": "s", "type": "string", "default": None, "shape": None}, {"type": ["string", "null"]}),
        (
            {"name": "x", "type": "double", "default": [1.0], "shape": [-1]},
            {"type": "array", "items": {"type": "number", "format": "double"}, "default": [1.0]},
        ),
    ],
)
def test_parameters(param: dict[str, Any], schema: dict[str, Any]) -> None:
    """A parameter has its default; one without may be null."""
    found = param_schema(param, nulls=True)
    found.pop("format", None)
    assert found == schema


@pytest.mark.parametrize(
    ("outputs", "schema"),
    [
        (None, {}),
        ([TENSOR], value_schema(TENSOR)),
        ([{**TENSOR, "name": "p"}], {"type": "object", "properties": {"p": value_schema(TENSOR)}, "required": ["p"]}),
        ([{"type": "string"}], {"type": "array", "items": {"type": "string"}}),
        (
            [{"type": "string", "name": "y"}],
            {
                "type": "array",
                "items": {"type": "object", "properties": {"y": {"type": "string"}}, "required": ["y"]},
            },
        ),
    ],
)
def test_outputs(outputs: list[dict[str, Any]] | None, schema: dict[str, Any]) -> None:
    """A frame is described as records, a column or an array as a list."""
    assert output_schema(Signature(None, outputs)) == schema


def test_examples_have_the_defaults_of_parameters() -> None:
    """A made-up request shows the parameters that have a default."""
    signature = Signature([{"type": "long", "name": "a"}], None, [{"name": "n", "type": "long", "default": 3}])
    expected = {"input_data": {"columns": ["a"], "index": [0], "data": [[0]]}, "params": {"n": 3}}
    assert example_request(signature, None) == expected
    assert example_request(signature, {"other": 1}) == expected
