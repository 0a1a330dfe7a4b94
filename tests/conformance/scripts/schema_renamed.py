"""Schema: the decorator names a parameter in another way than the function does."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema


def init():
    """Nothing to prepare."""


@input_schema("param", StandardPythonParameterType([1, 2]))
def run(data):
    """Give back the data."""
    return data
