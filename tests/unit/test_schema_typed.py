"""The OpenAPI documents: valid in every version, for every style, and true of a typed script."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inference_schema import schema_decorators
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType
from openapi_spec_validator import OpenAPIV2SpecValidator, OpenAPIV30SpecValidator, OpenAPIV31SpecValidator
from pydantic import BaseModel

from azmlinfsrv.errors import SwaggerVersionError
from azmlinfsrv.schema import Swagger
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from tests.unit.http_fakes import load_module, logged

Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
input_schema: Decorate = schema_decorators.input_schema
output_schema: Decorate = schema_decorators.output_schema

VALIDATORS = {"2": OpenAPIV2SpecValidator, "3": OpenAPIV30SpecValidator, "3.1": OpenAPIV31SpecValidator}
SETTINGS = Settings(service_name='A "quoted" name', service_version="2.1", service_path_prefix="/models/a/")


class Passenger(BaseModel):
    """One person."""

    name: str
    friends: list[Passenger] = []


class Prediction(BaseModel):
    """What the model says."""

    survived: bool


def undecorated(data: str) -> str:
    """Give the input back."""
    return data


@input_schema("data", NumpyParameterType(np.array([[1.0, 2.0]])))
@output_schema(NumpyParameterType(np.array([1.0])))
def with_numpy(data: Any) -> Any:
    """Give the input back."""
    return data


@input_schema("frame", PandasParameterType(pd.DataFrame({"a": [1], "b": ["x"]})))
@input_schema("options", StandardPythonParameterType({"deep": [1, {"x": 2.5}], "on": True}))
def with_pandas(frame: Any, options: Any) -> Any:
    """Give the input back."""
    return frame, options


def typed(passengers: list[Passenger], limit: int = 3) -> list[Prediction]:
    """Tell who survives."""
    return [Prediction(survived=True) for _ in passengers[:limit]]


def typed_stream(data: int) -> Iterator[str]:
    """Count."""
    yield from map(str, range(data))


def typed_text(first: str, second: str) -> bytes:
    """Join."""
    return (first + second).encode()


def swagger_of(run: Callable[..., Any], settings: Settings = SETTINGS) -> Swagger:
    """Return the documents of a script."""
    module = ModuleType("entry_module")
    module.__file__ = "score.py"
    vars(module).update(init=lambda: None, run=run)
    script = Script(module)
    return Swagger(settings, script.run, script.typed)


@pytest.mark.parametrize("settings", [SETTINGS, Settings()], ids=["prefix", "no prefix"])
@pytest.mark.parametrize("run", [undecorated, with_numpy, with_pandas, typed, typed_stream, typed_text])
def test_every_document_is_valid(run: Callable[..., Any], settings: Settings) -> None:
    """Each document that is generated follows the specification of its version."""
    swagger = swagger_of(run, settings)
    for version in swagger.versions:
        document = json.loads(json.dumps(swagger.document(version)))
        VALIDATORS[version](document).validate()


def test_raw_scripts_have_documents() -> None:
    """A raw script is described like an undecorated one."""
    run = load_module("core_raw").run
    assert swagger_of(run).document("2") == swagger_of(undecorated).document("2")


@pytest.mark.parametrize("run", [undecorated, with_numpy, with_pandas])
def test_versions(run: Callable[..., Any]) -> None:
    """Scripts that are not typed have all versions, 2 unless one is named."""
    swagger = swagger_of(run)
    assert (swagger.versions, swagger.usual_version) == (["2", "3", "3.1"], "2")
    assert swagger.document("2.0") is swagger.document("2")
    assert swagger.document("3.0") is swagger.document("3")


def test_a_typed_script_has_one_version() -> None:
    """A typed script is described in 3.1 only, which is the version of who names none; others are refused."""
    with logged("azmlinfsrv.swagger") as lines:
        swagger = swagger_of(typed)
    assert lines == ["Swaggers are prepared for versions [3.1] and skipped for versions [2, 3]."]
    assert (swagger.versions, swagger.usual_version) == (["3.1"], "3.1")
    with pytest.raises(SwaggerVersionError, match=r"Supported swagger versions: \[3\.1\]\."):
        swagger.document("2")


def test_the_typed_document_says_what_is_served() -> None:
    """Content types, errors, probes and the versions are those of the server; only scoring needs the key."""
    document = swagger_of(typed).document("3.1")
    paths = document["paths"]
    assert set(paths) == {f"/models/a/{name}" for name in ("", "live", "ready", "score", "swagger.json")}
    assert document["info"]["title"] == 'A "quoted" name'
    get = {path.rpartition("/")[2]: item["get"] for path, item in paths.items() if "get" in item}
    assert list(get[""]["responses"]["200"]["content"]) == ["text/html"]
    for name in ("live", "ready", "swagger.json"):
        assert list(get[name]["responses"]["200"]["content"]) == ["application/json"]
    assert set(get["ready"]["responses"]) == {"200", "503", "default"}
    assert get["swagger.json"]["parameters"][0]["schema"] == {"type": "string", "enum": ["3.1"]}
    post = paths["/models/a/score"]["post"]
    assert set(post["responses"]) == {"200", "400", "415", "500", "default"}
    assert post["description"] == "Tell who survives."
    assert (post["requestBody"]["required"], post["security"]) == (True, [{"Bearer": []}])
    assert "security" not in document


@pytest.mark.parametrize(
    ("run", "media_type"),
    [(typed, "application/json"), (typed_stream, "text/plain"), (typed_text, "application/octet-stream")],
)
def test_the_type_of_the_answer(run: Callable[..., Any], media_type: str) -> None:
    """What is returned decides the content type that is described."""
    document = swagger_of(run).document("3.1")
    assert list(document["paths"]["/models/a/score"]["post"]["responses"]["200"]["content"]) == [media_type]


def test_the_example_is_in_the_document() -> None:
    """The body's example is the one that was checked."""
    body = swagger_of(typed).document("3.1")["paths"]["/models/a/score"]["post"]["requestBody"]
    assert body["content"]["application/json"]["example"] == {"passengers": [{"name": "text"}]}


def test_other_documents_have_no_more_than_the_released_servers() -> None:
    """What typed scripts' documents say beyond the released server's is not in other scripts' documents."""
    for run in (undecorated, with_numpy):
        document = swagger_of(run).document("3.1")
        assert set(document["paths"]) == {"/models/a/", "/models/a/score", "/models/a/swagger.json"}
        assert set(document["paths"]["/models/a/score"]["post"]["responses"]) == {"200", "default"}
        assert set(document["components"]["schemas"]) == {"ServiceInput", "ServiceOutput", "ErrorResponse"}


def test_the_users_own_document(tmp_path: Path) -> None:
    """A document of the user's own is served in place of the generated one, also for a typed script."""
    (tmp_path / "swagger3.1.json").write_text('{"openapi": "3.1.0", "own": true}', "utf-8")
    swagger = swagger_of(typed, Settings(app_root=str(tmp_path)))
    assert swagger.document("3.1") == {"openapi": "3.1.0", "own": True}
