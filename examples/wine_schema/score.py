"""Tell which of three cultivars a wine comes from, with the input and output declared by a schema."""

import os
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.schema_decorators import input_schema, output_schema

SAMPLE_WINES = pd.DataFrame(
    {
        "alcohol": [13.2, 12.3],
        "color_intensity": [4.38, 2.6],
        "flavanoids": [2.76, 1.5],
        "proline": [1050.0, 500.0],
    }
)
SAMPLE_SHARES = np.array([0.25, 0.5, 0.25])
SAMPLE_PROBABILITIES = np.array([[0.8, 0.2, 0.0], [0.1, 0.8, 0.1]])


def init() -> None:
    """Load the model, once per worker."""
    global model
    model = joblib.load(Path(os.environ["AZUREML_MODEL_DIR"]) / "model.joblib")


@input_schema("wines", PandasParameterType(SAMPLE_WINES))
@input_schema("shares", NumpyParameterType(SAMPLE_SHARES))
@output_schema(NumpyParameterType(SAMPLE_PROBABILITIES))
def run(wines: pd.DataFrame, shares: np.ndarray) -> list[list[float]]:
    """Return, for each wine, the probability of each of the three cultivars.

    Args:
        wines: one row per wine.
        shares: how common each cultivar is where the wines come from, three numbers.
    """
    weighted = model.predict_proba(wines) * (shares / shares.sum())
    return (weighted / weighted.sum(axis=1, keepdims=True)).round(4).tolist()
