"""What the signature of an MLflow model says of its inputs, outputs and parameters.

Source: the format of signatures in an `MLmodel` file, as `ModelSignature` of MLflow gives its parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Spec = dict[str, Any]
Schema = dict[str, Any]

_SCALARS: dict[str, Schema] = {
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "format": "int32"},
    "long": {"type": "integer", "format": "int64"},
    "float": {"type": "number", "format": "float"},
    "double": {"type": "number", "format": "double"},
    "string": {"type": "string"},
    "binary": {"type": "string", "format": "byte"},
    "datetime": {"type": "string", "format": "date-time"},
    "sparkml_vector": {"type": "array", "items": {"type": "number"}},
}
_EXAMPLES: dict[str, Any] = {
    "boolean": True,
    "integer": 0,
    "long": 0,
    "float": 0.0,
    "double": 0.0,
    "string": "",
    "binary": "",
    "datetime": "2024-01-31T12:00:00",
    "sparkml_vector": [0.0],
}
# Types of columns and tensors in which every number that is sent is what it was, or that hold none.
_WIDE = frozenset({"array", "any", "binary", "datetime", "double", "float64", "map", "object", "string"})
# Kinds of NumPy's types, by how their names begin.
_TENSOR_TYPES = (("bool", "boolean"), ("int", "integer"), ("uint", "integer"), ("float", "number"))


class Signature:
    """The signature of a model, or that it has none.

    Args:
        inputs: what the model takes: its columns or its tensors, each with its type; None where it does not say.
        outputs: the same of what it returns.
        params: its parameters, each with type, default and shape; None where it has none.

    Attributes:
        inputs: the same.
        outputs: the same.
        params: the same, by their names.
        names: names of the inputs; empty where they have none.
        required: those that must be there.
        is_tensor: whether the inputs are tensors.
    """

    def __init__(
        self,
        inputs: Sequence[Spec] | None = None,
        outputs: Sequence[Spec] | None = None,
        params: Sequence[Spec] | None = None,
    ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.params = {param["name"]: param for param in params or ()}
        named = [spec for spec in inputs or () if spec.get("name") is not None]
        self.names = [str(spec["name"]) for spec in named]
        self.required = [str(spec["name"]) for spec in named if _is_required(spec)]
        self.is_tensor = bool(inputs) and all(spec["type"] == "tensor" for spec in inputs or ())

    @property
    def takes_rows(self) -> bool:
        """Whether a row is a list with a value for each of several columns, or for the only one."""
        if self.is_tensor or not self.names:
            return False
        return len(self.names) > 1 or (self.inputs or [{}])[0]["type"] not in ("array", "sparkml_vector")

    def narrow(self, columns: Sequence[Any]) -> list[Any]:
        """Return those of a frame's columns whose types do not hold every number."""
        specs: Sequence[Spec] = self.inputs or ()
        if self.names:
            return [spec["name"] for spec in specs if _is_narrow(spec) and spec.get("name") in columns]
        if self.is_tensor:
            return list(columns) if _is_narrow(specs[0]) else []
        return [column for column, spec in zip(columns, specs, strict=False) if _is_narrow(spec)]


def _is_narrow(spec: Spec) -> bool:
    kind = spec["tensor-spec"]["dtype"] if spec["type"] == "tensor" else spec["type"]
    return kind not in _WIDE


def _is_required(spec: Spec) -> bool:
    return bool(spec.get("required", not spec.get("optional", False)))


def value_schema(spec: Spec, *, nulls: bool = False) -> Schema:
    """Return the JSON Schema of a value of a column, or of a whole tensor.

    Args:
        spec: the column, tensor, or part of one.
        nulls: whether null can be described, which OpenAPI does from 3.1 on.
    """
    schema = _plain_schema(spec, nulls)
    kind = schema.get("type")
    if nulls and isinstance(kind, str) and (spec["type"] in ("float", "double") or not _is_required(spec)):
        return {**schema, "type": [kind, "null"]}
    return schema


def _plain_schema(spec: Spec, nulls: bool) -> Schema:
    kind = spec["type"]
    if kind == "tensor":
        return _tensor_schema(spec["tensor-spec"])
    if kind == "array":
        return {"type": "array", "items": value_schema(spec["items"], nulls=nulls)}
    if kind == "object":
        return object_schema([{"name": name, **each} for name, each in spec["properties"].items()], nulls=nulls)
    if kind == "map":
        return {"type": "object", "additionalProperties": value_schema(spec["values"], nulls=nulls)}
    return dict(_SCALARS.get(kind, {}))


def object_schema(specs: Sequence[Spec], *, nulls: bool = False, is_closed: bool = False) -> Schema:
    """Return the JSON Schema of an object that has a value for each of these."""
    schema: Schema = {
        "type": "object",
        "properties": {str(spec["name"]): value_schema(spec, nulls=nulls) for spec in specs},
    }
    required = [str(spec["name"]) for spec in specs if _is_required(spec)]
    if required:
        schema["required"] = required
    if is_closed:
        schema["additionalProperties"] = False
    return schema


def _tensor_schema(tensor: Spec) -> Schema:
    kind = next((kind for name, kind in _TENSOR_TYPES if str(tensor["dtype"]).startswith(name)), "string")
    schema: Schema = {} if tensor["dtype"] == "object" else {"type": kind}
    for size in reversed(tensor["shape"]):
        schema = {"type": "array", "items": schema}
        if size >= 0:
            schema |= {"minItems": size, "maxItems": size}
    return schema


def example(spec: Spec) -> Any:
    """Return a value of a column, or a tensor whose sizes that may vary are 1."""
    kind = spec["type"]
    if kind == "tensor":
        return _tensor_example(spec["tensor-spec"])
    if kind == "array":
        return [example(spec["items"])]
    if kind == "object":
        return {name: example(each) for name, each in spec["properties"].items()}
    if kind == "map":
        return {"key": example(spec["values"])}
    return _EXAMPLES.get(kind)


def _tensor_example(tensor: Spec) -> Any:
    value: Any = {"boolean": False, "string": ""}.get(_tensor_schema({**tensor, "shape": ()}).get("type", "string"), 0)
    for size in reversed(tensor["shape"]):
        value = [value] * (1 if size < 0 else size)
    return value


def param_schema(param: Spec, *, nulls: bool = False) -> Schema:
    """Return the JSON Schema of a parameter, with its default."""
    schema = _plain_schema(param, nulls)
    if param.get("shape"):
        schema = {"type": "array", "items": schema}
    if param.get("default") is not None:
        schema["default"] = param["default"]
    elif nulls and isinstance(schema.get("type"), str):
        schema["type"] = [schema["type"], "null"]
    return schema
