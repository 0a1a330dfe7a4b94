"""Uses the public API as scoring scripts do; mypy's strict mode checks it, and it runs as well."""

from __future__ import annotations

import io
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import flask

import azmlinfsrv
import azureml.contrib.services.aml_request
import azureml.contrib.services.aml_response
import azureml_inference_server_http
import azureml_inference_server_http.api.aml_request
import azureml_inference_server_http.log_config
from azmlinfsrv import AMLRequest, AMLResponse, batched, rawhttp
from azureml.contrib.services.aml_request import AMLRequest as ContribRequest
from azureml.contrib.services.aml_request import rawhttp as contrib_rawhttp
from azureml.contrib.services.aml_response import AMLResponse as ContribResponse
from azureml_inference_server_http.api.aml_request import AMLRequest as ReleasedRequest
from azureml_inference_server_http.api.aml_request import rawhttp as released_rawhttp
from azureml_inference_server_http.api.aml_response import AMLResponse as ReleasedResponse

if TYPE_CHECKING:
    from typing_extensions import assert_type
else:

    def assert_type(value: Any, _: Any) -> Any:
        """Return the value: only mypy looks at its type."""
        return value


@rawhttp
def run(request: AMLRequest) -> AMLResponse:
    """Answer a request; the decorator keeps the function's type."""
    assert_type(request.get_data(), bytes)
    assert_type(request.method, str)
    assert_type(request.headers.get("X-Own"), "str | None")
    return AMLResponse({"size": len(request.get_data())}, 200, {"X-Own": "1"}, json_str=True, run_function_failed=False)


@rawhttp
async def run_async(request: AMLRequest) -> AMLResponse:
    """Answer a request; an async function stays one."""
    return AMLResponse(request.data, HTTPStatus.CREATED)


@contrib_rawhttp
def run_contrib(request: ContribRequest) -> ContribResponse:
    """Answer a request under the name of azureml-contrib-services."""
    return ContribResponse(stream(request.data), 200)


@released_rawhttp
def run_released(request: ReleasedRequest) -> ReleasedResponse:
    """Answer a request under the name of the released server."""
    return ReleasedResponse(request.path, 404)


@batched(max_batch_size=8, max_wait_ms=2.5)
def run_batch(inputs: list[str]) -> list[int]:
    """Answer several requests; the decorator keeps the function's type."""
    return [len(text) for text in inputs]


def stream(data: bytes) -> Iterator[bytes]:
    """Yield an answer."""
    yield data


def check() -> None:
    """Use all of it."""
    request = AMLRequest({"REQUEST_METHOD": "POST", "PATH_INFO": "/score", "wsgi.input": io.BytesIO()})
    response = assert_type(run(request), AMLResponse)
    assert response.status_code == HTTPStatus.OK
    flask_request: flask.Request = request
    flask_response: flask.Response = response
    assert flask.Request in AMLRequest.__mro__
    assert (type(flask_request), type(flask_response)) == (AMLRequest, AMLResponse)
    same: list[type[AMLRequest]] = [ContribRequest, ReleasedRequest]
    assert all(each is AMLRequest for each in same)
    assert assert_type(run_batch(["a", "bc"]), list[int]) == [1, 2]
    assert run_contrib(request).status_code == HTTPStatus.OK
    assert run_released(request).status_code == HTTPStatus.NOT_FOUND
    assert azureml.contrib.services.aml_request.rawhttp is rawhttp
    assert azureml.contrib.services.aml_response.AMLResponse is AMLResponse
    assert azureml_inference_server_http.api.aml_request.AMLRequest is AMLRequest
    assert_type(azmlinfsrv.__version__, str)
    assert_type(azureml_inference_server_http.__version__, str)
    azureml_inference_server_http.log_config.AMLLogFormatter("%(message)s")
    azureml_inference_server_http.log_config.RootAccessFilter()


if __name__ == "__main__":
    check()
