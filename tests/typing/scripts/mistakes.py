"""Mistakes that mypy must find: each is marked, and a mark without its mistake is an error too."""

import azmlinfsrv
from azmlinfsrv import AMLRequest, AMLResponse, rawhttp


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer a request."""
    return AMLResponse(request.data, 200)


AMLResponse("no status")  # type: ignore[call-arg]
AMLResponse("x", 200, 5)  # type: ignore[arg-type]
run("no request")  # type: ignore[arg-type]
rawhttp(5)  # type: ignore[type-var]
azmlinfsrv.no_such_name  # type: ignore[attr-defined]
