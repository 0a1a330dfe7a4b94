"""Schema with request_headers beside it."""

from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema


def init():
    """Nothing to prepare."""


@input_schema("data", StandardPythonParameterType([1]))
def run(request_headers, data=None):
    """Give back the data and the headers."""
    return {
        "data": data,
        "names": sorted(name for name in request_headers),
        "own": request_headers.get("X-Own"),
    }
