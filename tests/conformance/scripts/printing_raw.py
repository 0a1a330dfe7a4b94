"""Raw: prints the request, its headers and its body."""

from azureml.contrib.services.aml_request import rawhttp


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Print what came."""
    print(f"This is run(). Request: [{request}]")
    print("method", request.method, "body", request.get_data(as_text=True))
    for name, value in request.headers:
        if name != "Host":
            print(name, "=", value)
    return "printed"
