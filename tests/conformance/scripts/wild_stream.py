"""As published: streams pieces that are made after run() has returned."""

import time

from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    """Nothing to load."""


def pieces(count):
    """Make pieces slowly."""
    for number in range(count):
        time.sleep(0.01)
        yield f"piece {number}\n"


@rawhttp
def run(request):
    """Stream."""
    count = int(request.args.get("count", 3))
    return AMLResponse(pieces(count), 200, {"Content-Type": "text/event-stream"})
