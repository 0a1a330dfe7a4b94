"""A decorated script with an array and an option."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Load nothing."""


@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
@input_schema("scale", StandardPythonParameterType(2))
@output_schema(NumpyParameterType(np.array([1.0])))
def run(data, scale=2):
    """Return the scaled sums of the rows."""
    return data.sum(axis=1) * scale
