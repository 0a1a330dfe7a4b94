"""Raw: returns the response that the undecorated script of the same answers returns, by way of its path."""

from azureml_inference_server_http.api.aml_request import rawhttp
from responses import KINDS


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Return the response that is named."""
    return KINDS[request.args["kind"]][request.args["name"]]()
