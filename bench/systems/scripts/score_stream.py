"""A stream, as a Flask response that is made of a generator: the way that both servers know."""

from flask import Response
from functions import CHUNKS, chunk

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp


def init() -> None:
    """Load nothing."""


@rawhttp
def run(request: AMLRequest) -> Response:
    """Answer with the chunks, one at a time."""
    return Response(map(chunk, range(CHUNKS)), mimetype="text/plain")
