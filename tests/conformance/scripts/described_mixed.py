"""Schema: what scripts of several kinds of types share; the case adds a decorated run()."""

import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType as Numpy
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType as Pandas
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType as Standard
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


def seen(*values):
    """Say what arrived."""
    return [f"{type(value).__name__} {value!r}" for value in values]
