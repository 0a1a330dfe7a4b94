"""Adds rows of numbers up."""

from typing import Any

import mlflow


class Model(mlflow.pyfunc.PythonModel):
    """The model."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Take one request."""
        return {"sum": float(model_input.sum())}


mlflow.models.set_model(Model())
