"""As published: response objects in every form that scripts write them."""

import http
import json

from azureml_inference_server_http.api.aml_request import rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse


def later(response):
    """Set a header and a type afterwards."""
    response.headers["x-late"] = "1"
    response.mimetype = "application/json"
    return response


FORMS = {
    "message-code": lambda: AMLResponse("bad request", 400),
    "bytes-code": lambda: AMLResponse(b"\x00\x01", 200),
    "object-code-json": lambda: AMLResponse({"a": [1]}, 200, json_str=True),
    "object-code-headers-json": lambda: AMLResponse({"a": 1}, 200, {"x-own": "1"}, json_str=True),
    "object-json-status": lambda: AMLResponse({"a": 1}, json_str=True, status_code=201),
    "keywords": lambda: AMLResponse(message="m", status_code=http.HTTPStatus.ACCEPTED),
    "message-status": lambda: AMLResponse("m", status_code=403),
    "response-headers": lambda: AMLResponse("m", 200, response_headers={"Content-Type": "text/csv"}),
    "dict-without-json": lambda: AMLResponse({"first": 1, "second": 2}, 200),
    "list": lambda: AMLResponse(["one", "two"], 200),
    "dumped": lambda: AMLResponse(json.dumps({"a": 1}), 200),
    "error-text": lambda: AMLResponse(str(ValueError("what went wrong")), 500),
    "later": lambda: later(AMLResponse("{}", 200)),
    "constant": lambda: "a constant string",
    "dict": lambda: {"result": [1.5, 2.5]},
    "dumped-text": lambda: json.dumps({"a": 1}),
}


def init():
    """Nothing to load."""


@rawhttp
def run(request):
    """Answer in the form that is named."""
    return FORMS[request.args["form"]]()
