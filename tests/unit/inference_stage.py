"""A script behind the Open Inference Protocol, in memory."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import httpx

from azmlinfsrv.boot import Loaded, make_asgi_app
from azmlinfsrv.inference import make_inference
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from azmlinfsrv.strategy import batch_limits

INFER = "/v2/models/model/infer"


def script_of(run: Callable[..., Any]) -> Script:
    """Return the script that has this function."""
    module = ModuleType("score")
    module.__file__ = "score.py"
    vars(module).update(init=lambda: None, run=run)
    return Script(module)


@asynccontextmanager
async def served(run: Callable[..., Any], **chosen: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server of this function, with these settings."""
    settings = Settings(**{"v2_enabled": True, "docs_enabled": False, **chosen})
    script = script_of(run)
    inference = make_inference(script, settings) if settings.v2_enabled else None
    swagger = Swagger(settings, script.run, script.typed)
    limits = batch_limits(script, settings)
    app = make_asgi_app(Loaded(script, swagger, lambda: None, 0.0, None, None, limits, inference), settings)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://t") as client:
            yield client
    finally:
        await asyncio.to_thread(app.stop)


def tensor(name: str, datatype: str, shape: list[int], data: Any, **parameters: Any) -> dict[str, Any]:
    """Return an input."""
    found = {"name": name, "datatype": datatype, "shape": shape, "data": data}
    return {**found, "parameters": parameters} if parameters else found


def outputs_of(response: httpx.Response) -> dict[str, Any]:
    """Return datatype, shape and data of the outputs of an answer, by name."""
    assert response.status_code == 200, response.text
    return {each["name"]: (each["datatype"], each["shape"], each["data"]) for each in response.json()["outputs"]}


def error_of(response: httpx.Response) -> str:
    """Return the text of an error, which is all that its answer has."""
    content = json.loads(response.content)
    assert list(content) == ["error"] and response.headers["content-type"] == "application/json"
    assert response.headers["x-request-id"] and response.headers["x-ms-run-function-failed"] in ("True", "False")
    return str(content["error"])
