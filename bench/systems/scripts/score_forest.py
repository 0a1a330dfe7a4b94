"""A random forest on rows of numbers; the script is the same with and without batching, which a setting turns on."""

import numpy as np
from functions import load_forest
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.schema_decorators import input_schema


def init() -> None:
    """Load the model."""
    global model
    model = load_forest()


@input_schema("data", NumpyParameterType(np.array([[0.5] * 10]), enforce_shape=False))
def run(data: np.ndarray) -> list[dict[str, int]]:
    """Answer with the class of each row."""
    return [{"class": number} for number in model.predict(data).tolist()]
