"""As published for a preview: run() is a coroutine and awaits the body."""

from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def init():
    """Nothing to load."""


@rawhttp
async def run(request):
    """Await the body."""
    body = await request.get_data()
    return AMLResponse(body, 200)
