"""Raw: answers OPTIONS and adds CORS headers by itself."""

from azureml.contrib.services.aml_request import rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Answer a preflight with headers, anything else with them too."""
    headers = {"Access-Control-Allow-Origin": "http://own.test", "x-method": request.method}
    if request.method == "OPTIONS":
        headers["Access-Control-Allow-Methods"] = "OPTIONS, GET, POST"
        return AMLResponse("", 200, headers)
    if b"fail" in request.get_data():
        raise ValueError("as told")
    return AMLResponse(request.get_data(), 200, headers)
