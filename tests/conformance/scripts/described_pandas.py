"""Schema: what scripts of tables share; the case adds a decorated run()."""

import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType as Pandas
from inference_schema.schema_decorators import input_schema, output_schema


def init():
    """Nothing to prepare."""


def seen(table):
    """Say what arrived."""
    return {
        "index": [str(label) for label in table.index],
        "columns": [f"{name!r} {kind}" for name, kind in table.dtypes.items()],
        "values": table.astype(str).values.tolist(),
    }
