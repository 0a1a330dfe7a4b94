"""Schema: a table in, a list out, with a second parameter that has a default."""

import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from inference_schema.schema_decorators import input_schema, output_schema

SAMPLE = pd.DataFrame({"age": [1, 2], "name": ["a", "b"], "size": [1.5, 2.5]})


def init():
    """Nothing to prepare."""


@input_schema("data", PandasParameterType(SAMPLE, enforce_shape=False))
@input_schema("method", StandardPythonParameterType("predict"))
@output_schema(StandardPythonParameterType({"columns": ["a"]}))
def run(data, method="predict"):
    """Describe the table."""
    return {
        "columns": list(data.columns),
        "types": [str(kind) for kind in data.dtypes],
        "values": data.astype(str).values.tolist(),
        "method": method,
    }
