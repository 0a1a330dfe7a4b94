"""A random forest."""

from typing import Any

import functions
import mlflow


class Model(mlflow.pyfunc.PythonModel):
    """The model."""

    def load_context(self, context: Any) -> None:
        """Load it."""
        self.model = functions.load_forest()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Take one request."""
        return [{"class": number} for number in self.model.predict(model_input).tolist()]


mlflow.models.set_model(Model())
