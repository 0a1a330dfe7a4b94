"""The trivial work, as a model that is logged from code."""

from typing import Any

import mlflow


class Trivial(mlflow.pyfunc.PythonModel):
    """The function."""

    def predict(self, context: Any, model_input: Any, params: Any = None) -> dict[str, int]:
        """Answer the same always."""
        return {"ok": 1}


mlflow.models.set_model(Trivial())
