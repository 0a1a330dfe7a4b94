"""Decorated with a schema, nested as generated scripts have it."""

import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

inputs = StandardPythonParameterType(
    {
        "frame": PandasParameterType(pd.DataFrame({"a": [1.5], "b": [2]})),
        "array": NumpyParameterType(np.array([[1.0, 2.0]])),
    }
)


def init():
    """Nothing to prepare."""


@input_schema("Inputs", inputs)
@input_schema("GlobalParameters", StandardPythonParameterType({"method": "predict"}), optional=True)
@output_schema(StandardPythonParameterType({"sum": 1.5}))
def run(Inputs, GlobalParameters=None):
    """Add the numbers up."""
    return {"sum": float(Inputs["frame"].sum().sum() + Inputs["array"].sum())}
