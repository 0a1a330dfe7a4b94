"""Undecorated with request_headers: answers with the headers it is given, or fails as told."""


def init():
    """Nothing to prepare."""


def run(data, request_headers):
    """Give back the headers."""
    if "fail" in data:
        raise ValueError("as told")
    headers = {name: value for name, value in request_headers.items() if name != "Host"}
    return {"type": type(request_headers).__name__, "headers": headers}
