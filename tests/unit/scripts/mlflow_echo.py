"""An MLflow model from code: it returns what it gets, or what a parameter asks for."""

import datetime

import mlflow
import numpy as np
import pandas as pd


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        kind = (params or {}).get("kind", "same")
        if kind == "same":
            return model_input
        if kind == "params":
            return {name: value for name, value in sorted(params.items())}
        if kind == "error":
            raise ValueError("no such flower")
        if kind == "refuse":
            raise mlflow.exceptions.MlflowException("the model refuses")
        if kind == "length":
            return np.arange(len(model_input))
        return RESULTS[kind]


RESULTS = {
    "array": np.array([[1.5, np.nan], [2.0, np.inf]]),
    "float32": np.array([0.1, 0.2], "float32"),
    "dates": np.array(["2024-01-31", "NaT"], "datetime64[s]"),
    "objects": np.array([b"ab", None, np.float32(1.5)], dtype=object),
    "series": pd.Series([1, 2], name="y"),
    "nameless": pd.Series([1.5, None]),
    "frame": pd.DataFrame({"y": [1, 2], "when": pd.to_datetime(["2024-01-31", None]), "s": ["a", None]}),
    "list": [1, "two", None, {"three": np.int64(3)}],
    "text": "done",
    "bytes": b"\x00\xff",
    "scalar": np.float64(0.5),
    "dict": {"mean": np.array([1.0, 2.0]), "day": datetime.date(2024, 1, 31)},
    "none": None,
    "set": {1, 2},
}

mlflow.models.set_model(Echo())
