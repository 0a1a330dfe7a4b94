"""Rows of numbers by inference-schema's NumPy parameter; any number of rows and columns."""

import numpy as np
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema


def init() -> None:
    """Load nothing."""


@input_schema("data", NumpyParameterType(np.array([[0.5, 0.5]]), enforce_shape=False))
def run(data: np.ndarray) -> dict[str, float]:
    """Add them up."""
    return {"sum": float(data.sum())}
