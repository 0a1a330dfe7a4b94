"""Schema: of the output alone."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import output_schema


def init():
    """Nothing to prepare."""


@output_schema(StandardPythonParameterType({"a": 1}))
def run(data):
    """Give back the data and its type."""
    return {"data": data, "type": type(data).__name__}
