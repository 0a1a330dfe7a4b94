"""Does what each request of the soak asks for."""

import json
import time
from collections.abc import Iterator

from azureml_inference_server_http.api.aml_request import AMLRequest, rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse

PIECES = 20
MODEL = bytes(range(256)) * 40_000


def init() -> None:
    """Load nothing more."""


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Work a little, then answer, fail, stream, or do not come back in time."""
    asked = json.loads(request.get_data())
    time.sleep(0.003)
    if asked["do"] == "fail":
        raise ValueError("asked to")
    if asked["do"] == "late":
        time.sleep(60)
    if asked["do"] == "stream":
        return AMLResponse(pieces(), 200)
    return AMLResponse({"sum": sum(asked["data"]), "model": len(MODEL)}, 200, json_str=True)


def pieces() -> Iterator[bytes]:
    """Make the chunks of a stream."""
    for number in range(PIECES):
        time.sleep(0.0005)
        yield b"%d\n" % number
