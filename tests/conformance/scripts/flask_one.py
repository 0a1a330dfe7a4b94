"""Raw: reads the body as older Flask gave it."""

from azureml.contrib.services.aml_request import rawhttp


def init():
    """Nothing to prepare."""


@rawhttp
def run(request):
    """Give back the parsed body."""
    if request.get_data() == b"has_key":
        return {"has_key": request.headers.has_key("Host")}  # noqa: W601
    return {"json": request.json}
