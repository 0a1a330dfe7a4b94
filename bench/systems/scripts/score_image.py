"""An image as the bytes of a request."""

from functions import size_of

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init() -> None:
    """Load nothing."""


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer with its size."""
    return AMLResponse(size_of(request.get_data()), 200, json_str=True)
