"""Raw with request_headers beside the request."""

from azureml.contrib.services.aml_request import rawhttp


def init():
    """Nothing to prepare."""


@rawhttp
def run(request, request_headers):
    """Give back both views of the headers."""
    return {
        "given": sorted(request_headers.items()),
        "seen": sorted(request.headers.items()),
        "found": [request.headers.get("x-OWN"), "X-Own" in request.headers, request_headers.get("x-own")],
    }
