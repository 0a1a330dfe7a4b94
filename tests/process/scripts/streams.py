"""Streams: chunks that wait for a file, and chunks without end."""

import os
import time

from azureml.contrib.services.aml_request import AMLRequest, rawhttp
from azureml.contrib.services.aml_response import AMLResponse


def init():
    """Load nothing."""


@rawhttp
def run(request: AMLRequest):
    """Stream as the query asks; without one, return the number of bytes of the body."""
    if "go" in request.args:
        return AMLResponse(handshake(request.args["go"]), 200)
    if "closed" in request.args:
        return AMLResponse(endless(request.args["closed"]), 200)
    return len(request.get_data())


def handshake(go):
    """Make the second chunk once the file is there."""
    yield b"first"
    end = time.monotonic() + 10
    while not os.path.exists(go) and time.monotonic() < end:
        time.sleep(0.005)
    yield b"second" if os.path.exists(go) else b"too late"


def endless(closed):
    """Make chunks until nobody wants them, and say so then."""
    try:
        while True:
            yield b"x" * 65536
    finally:
        open(closed, "w").close()
