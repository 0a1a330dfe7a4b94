"""Schema: Inputs and GlobalParameters, as designers' services have them."""

import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

TABLE = PandasParameterType(pd.DataFrame({"x": [1], "y": ["a"]}))
INPUTS = StandardPythonParameterType({"data": TABLE, "weights": NumpyParameterType(np.array([0.5]))})
GLOBALS = StandardPythonParameterType(1.0)
RESULTS = StandardPythonParameterType({"Results": NumpyParameterType(np.array([1.0]))})


def init():
    """Nothing to prepare."""


@input_schema("Inputs", INPUTS)
@input_schema("GlobalParameters", GLOBALS)
@output_schema(RESULTS)
def run(Inputs, GlobalParameters=1.0):  # noqa: N803
    """Describe what came."""
    table = Inputs["data"]
    return {
        "Results": [len(table), *Inputs["weights"].tolist()],
        "type": type(table).__name__,
        "g": GlobalParameters,
    }
