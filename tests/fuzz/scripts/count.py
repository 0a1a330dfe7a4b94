"""Counts what reaches it: answers with the number of the call, and never with what was sent."""

from azureml.contrib.services.aml_request import AMLRequest, rawhttp

calls = 0


def init():
    """Load nothing."""


@rawhttp
def run(request: AMLRequest):
    """Read the body and count."""
    global calls
    calls += 1
    return {"call": calls, "length": len(request.get_data())}
