"""Adds the numbers of a table up."""

from typing import Any

import mlflow


class Model(mlflow.pyfunc.PythonModel):
    """The model."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Take one request."""
        return {"sum": float(model_input.to_numpy().sum())}


mlflow.models.set_model(Model())
