"""Takes an array, a table and standard types by inference-schema."""

import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema


def init():
    """Load nothing."""


@input_schema("array", NumpyParameterType(np.array([[1.0, 2.0]])))
@input_schema("table", PandasParameterType(pd.DataFrame({"a": [1], "b": ["x"], "c": [1.5]})))
@input_schema("name", StandardPythonParameterType("text"))
@input_schema("numbers", StandardPythonParameterType([1, 2]))
def run(array, table, name="none", numbers=()):
    """Return what arrived."""
    return {"array": list(array.shape), "table": list(table.shape), "name": str(type(name)), "n": len(list(numbers))}
