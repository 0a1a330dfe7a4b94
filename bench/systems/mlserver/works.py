"""The other works, as custom runtimes; the random forest is served by MLServer's own runtime for scikit-learn."""

import functions
import numpy as np
import pandas as pd
from mlserver import MLModel
from mlserver.codecs import NumpyCodec, decode_args
from mlserver.types import InferenceRequest, InferenceResponse


class Numpy(MLModel):
    """Adds rows of numbers up."""

    @decode_args
    async def predict(self, data: np.ndarray) -> np.ndarray:
        """Take one request, decoded as its documents show."""
        return np.array([data.sum()])


class Onnx(MLModel):
    """An ONNX model."""

    async def load(self) -> bool:
        """Load the model."""
        self.network = functions.load_network()
        return True

    @decode_args
    async def predict(self, data: np.ndarray) -> np.ndarray:
        """Take one request."""
        return np.array(functions.classes(self.network, data))


class Pandas(MLModel):
    """Adds the numbers of a table up."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Take one request, a tensor for each column."""
        table = self.decode_request(payload, default_codec=None)
        total = pd.DataFrame(table).to_numpy().sum()
        output = NumpyCodec.encode_output("sum", np.array([total]))
        return InferenceResponse(model_name=self.name, outputs=[output])
