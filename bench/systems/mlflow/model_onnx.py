"""An ONNX model."""

from typing import Any

import functions
import mlflow


class Model(mlflow.pyfunc.PythonModel):
    """The model."""

    def load_context(self, context: Any) -> None:
        """Load it."""
        self.model = functions.load_network()

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        """Take one request."""
        return {"classes": functions.classes(self.model, model_input)}


mlflow.models.set_model(Model())
