"""Schema: a binary file by its base64 text."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

MIXED = StandardPythonParameterType([{"id": 1, "tags": ["a"], "ok": True, "none": None}])


def init():
    """Nothing to prepare."""


@input_schema("content", StandardPythonParameterType(b"Hello"))
@input_schema("items", MIXED)
@output_schema(StandardPythonParameterType(3.5))
def run(content, items):
    """Measure the content."""
    return {"content": repr(content), "items": items}
