"""A table by inference-schema's pandas parameter."""

import pandas as pd
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema

SAMPLE = pd.DataFrame([{f"column_{number}": 0.5 for number in range(20)}])


def init() -> None:
    """Load nothing."""


@input_schema("data", PandasParameterType(SAMPLE))
def run(data: pd.DataFrame) -> dict[str, float]:
    """Add its numbers up."""
    return {"sum": float(data.to_numpy().sum())}
