"""Takes the HTTP request itself."""

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Send the body back."""
    assert isinstance(request, AMLRequest)
    return AMLResponse(request.get_data(False), 201, {"Content-Type": "image/png"})
