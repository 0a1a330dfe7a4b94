"""The trivial work, as a custom runtime."""

from mlserver import MLModel
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput


class Trivial(MLModel):
    """The function."""

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer the same always."""
        output = ResponseOutput(name="ok", shape=[1], datatype="INT64", data=[1])
        return InferenceResponse(model_name=self.name, outputs=[output])
