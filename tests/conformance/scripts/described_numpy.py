"""Schema: what scripts of arrays share; the case adds a decorated run()."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType as Numpy
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as Standard
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


def seen(*values):
    """Say what arrived."""
    arrays = [value for value in values if hasattr(value, "dtype")]
    others = [value for value in values if not hasattr(value, "dtype")]
    return [f"{array.dtype} {array.shape} {array.tolist()}" for array in arrays] + [repr(value) for value in others]
