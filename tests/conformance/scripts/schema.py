"""Schema: a standard Python value in, what arrived out."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


@input_schema("data", StandardPythonParameterType({"a": 1, "b": "text"}))
@output_schema(StandardPythonParameterType({"data": {"a": 1, "b": "text"}, "type": "dict"}))
def run(data):
    """Give back the value and its type."""
    return {"data": data, "type": type(data).__name__}
