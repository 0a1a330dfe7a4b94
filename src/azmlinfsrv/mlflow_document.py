"""The OpenAPI documents of a served MLflow model, from its signature.

Version 2.0 has the form that Azure Machine Learning's own server describes, ``input_data``; the later ones have all.
"""

from __future__ import annotations

from typing import Any

from azmlinfsrv.mlflow_signature import Schema, Signature, Spec, example, object_schema, param_schema, value_schema
from azmlinfsrv.schema import Document, error_answer, plain_document
from azmlinfsrv.settings import Settings

_NEWEST = "3.1"


def model_document(
    signature: Signature, settings: Settings, version: str, saved: dict[str, Any] | None = None
) -> Document | None:
    """Return the document of a version.

    Args:
        signature: the model's.
        settings: the settings.
        version: ``2``, ``3`` or ``3.1``.
        saved: the request that MLflow has saved with the model, or None.
    """
    sample = example_request(signature, saved)
    nulls = version == _NEWEST
    returned = output_schema(signature, nulls=nulls)
    if version == "2":
        given = {**azure_form(signature, settings), "example": sample}
    else:
        given = {"oneOf": list(input_forms(signature, settings, nulls=nulls).values()), "example": sample}
        wrapped = {"type": "object", "required": ["predictions"], "properties": {"predictions": returned}}
        returned = {"anyOf": [returned, wrapped]}
    document = plain_document(settings, version, given, returned)
    for path, endpoint in list(document["paths"].items()):
        if path.endswith("/score"):
            if version != "2":
                _complete(endpoint["post"])
            again = {**endpoint["post"], "operationId": "RunMLServiceAsMLflow"}
            document["paths"][path.removesuffix("/score") + "/invocations"] = {"post": again}
    return document


def _complete(operation: Document) -> None:
    """Add what only the later versions can say."""
    operation["requestBody"]["required"] = True
    operation["requestBody"]["content"]["text/csv"] = {}  # bytes of a media type have no schema
    operation["responses"]["400"] = error_answer("The input is not valid, or no JSON.")
    operation["responses"]["415"] = error_answer("The content type of the body is none that is taken.")


def example_request(signature: Signature, saved: dict[str, Any] | None) -> Document:
    """Return a request that fits: the one that was saved with the model, or made-up values."""
    request: Document = {"input_data": _example_data(signature)}
    for form in ("dataframe_split", "inputs"):
        if saved is not None and form in saved:
            request = {"input_data": saved[form]}
            if isinstance(saved.get("params"), dict) and saved["params"]:
                request["params"] = saved["params"]
            return request
    params = {name: param["default"] for name, param in signature.params.items() if param.get("default") is not None}
    if params:
        request["params"] = params
    return request


def _example_data(signature: Signature) -> Any:
    inputs = signature.inputs or ()
    if not inputs:
        return []
    if signature.is_tensor:
        return {spec["name"]: example(spec) for spec in inputs} if signature.names else example(inputs[0])
    row = [example(spec) for spec in inputs]
    return {"columns": signature.names, "index": [0], "data": [row]} if signature.names else [row]


def azure_form(signature: Signature, settings: Settings) -> Schema:
    """Return the JSON Schema of a request as Azure Machine Learning's own server describes it."""
    is_closed = settings.mlflow_strict
    inputs = list(signature.inputs or ())
    if signature.is_tensor or not signature.names:
        data = _tensors_schema(signature, inputs, nulls=False)
    else:
        data = _split_schema(signature, is_closed)
    return _form("input_data", data, _params_schema(signature, is_closed, nulls=False))


def input_forms(signature: Signature, settings: Settings, *, nulls: bool = False) -> dict[str, Schema]:
    """Return the JSON Schema of a request in each form, by the form's name.

    Args:
        signature: the model's.
        settings: say whether unknown columns and parameters are refused.
        nulls: whether null can be described.
    """
    is_closed = settings.mlflow_strict
    inputs = list(signature.inputs or ())
    split, tensors = _split_schema(signature, is_closed), _tensors_schema(signature, inputs, nulls)
    records: Schema = {"type": "array", "items": {"type": "object"}}
    if signature.names and not signature.is_tensor:
        records["items"] = object_schema(inputs, nulls=nulls, is_closed=is_closed)
    data: Schema = {}
    if signature.is_tensor:
        data = {
            "anyOf": [tensors, split, *([{"type": "array", "items": {"type": "object"}}] if signature.names else [])]
        }
    elif signature.names:
        data = {"anyOf": [split, records, tensors, {"type": "array", "items": {}}]}
    values = {
        "input_data": data,
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": {},
        "inputs": tensors if signature.is_tensor else {},
    }
    params = _params_schema(signature, is_closed, nulls)
    return {form: _form(form, schema, params) for form, schema in values.items()}


def _form(name: str, schema: Schema, params: Schema | None) -> Schema:
    properties = {name: schema} if params is None else {name: schema, "params": params}
    return {"type": "object", "required": [name], "properties": properties}


def _split_schema(signature: Signature, is_closed: bool) -> Schema:
    name: Schema = {"type": "string"}
    if signature.names and is_closed:
        name["enum"] = signature.names
    properties: dict[str, Schema] = {
        "columns": {"type": "array", "items": name},
        "index": {"type": "array", "items": {}},
        "data": {"type": "array", "items": {"type": "array", "items": {}}},
    }
    return {"type": "object", "required": ["data"], "properties": properties}


def _tensors_schema(signature: Signature, inputs: list[Spec], nulls: bool) -> Schema:
    if not inputs:
        return {}
    if signature.is_tensor:
        return object_schema(inputs) if signature.names else value_schema(inputs[0])
    if not signature.names:
        return {}
    columns = {spec["name"]: {"type": "array", "items": value_schema(spec, nulls=nulls)} for spec in inputs}
    return {"type": "object", "properties": columns}


def _params_schema(signature: Signature, is_closed: bool, nulls: bool) -> Schema | None:
    if not signature.params:
        return None
    properties = {name: param_schema(param, nulls=nulls) for name, param in signature.params.items()}
    schema: Schema = {"type": "object", "properties": properties}
    return {**schema, "additionalProperties": False} if is_closed else schema


def output_schema(signature: Signature, *, nulls: bool = False) -> Schema:
    """Return the JSON Schema of what the model returns for a whole request."""
    outputs = list(signature.outputs or ())
    if not outputs:
        return {}
    if outputs[0]["type"] == "tensor":
        named = outputs[0].get("name") is not None
        return object_schema(outputs) if named else value_schema(outputs[0])
    if outputs[0].get("name") is not None:
        return {"type": "array", "items": object_schema(outputs, nulls=nulls)}
    return {"type": "array", "items": value_schema(outputs[0], nulls=nulls) if len(outputs) == 1 else {}}
