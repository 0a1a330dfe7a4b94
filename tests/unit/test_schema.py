"""The service's OpenAPI documents."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from inference_schema import schema_decorators, schema_util
from inference_schema.parameter_types.numpy_parameter_type import NumpyParameterType
from inference_schema.parameter_types.pandas_parameter_type import PandasParameterType
from inference_schema.parameter_types.standard_py_parameter_type import StandardPythonParameterType

from azmlinfsrv.errors import SwaggerVersionError
from azmlinfsrv.schema import Swagger
from azmlinfsrv.settings import Settings

pytestmark = pytest.mark.usefixtures("_own_schemas")

Decorate = Callable[..., Callable[[Callable[..., Any]], Callable[..., Any]]]
input_schema: Decorate = schema_decorators.input_schema
output_schema: Decorate = schema_decorators.output_schema

VERSIONS = ["2", "3", "3.1"]
UNDESCRIBED = {"type": "object", "example": {}}


def plain(data: Any) -> Any:
    """A run() without a schema."""
    return data


def decorated() -> Callable[..., Any]:
    """Return a run() with a schema of every kind of type."""

    @input_schema("array", NumpyParameterType(np.array([[1.5, 2.5]])))
    @input_schema("frame", PandasParameterType(pd.DataFrame({"a": [1], "b": ["x"]})))
    @input_schema("options", StandardPythonParameterType({"method": "predict", "n": 3}))
    @output_schema(StandardPythonParameterType([1.5]))
    def run(array: Any, frame: Any, options: Any) -> Any:
        return array, frame, options

    return run


def mixed() -> Callable[..., Any]:
    """Return a run() whose sample OpenAPI 2 cannot describe: an array of mixed items."""

    @input_schema("data", StandardPythonParameterType([1, "x"]))
    def run(data: Any) -> Any:
        return data

    return run


def swagger(run: Callable[..., Any] = plain, **settings: Any) -> Swagger:
    """Return the documents of a function."""
    return Swagger(Settings(**{"app_root": "nowhere", **settings}), run)


def schemas_of(document: dict[str, Any]) -> dict[str, Any]:
    """Return the definitions of a document of any version."""
    found: dict[str, Any] = document["definitions"] if "definitions" in document else document["components"]["schemas"]
    return found


def refusal(documents: Swagger, version: str) -> str:
    """Return the message that a client gets who asks for a version."""
    with pytest.raises(SwaggerVersionError) as caught:
        documents.document(version)
    assert caught.value.status == 404
    return caught.value.message


def resolve(document: dict[str, Any], reference: str) -> Any:
    """Return what a JSON pointer in the document leads to."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return found


def references(value: Any) -> list[str]:
    """Return every reference in a document."""
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [each for item in value.values() for each in references(item)]
    return [each for item in value for each in references(item)] if isinstance(value, list) else []


# -- What the documents say ------------------------------------------------------------------------------------------


def test_version_2_of_an_undecorated_script() -> None:
    """The document of version 2 is the released server's, word for word."""
    error = {
        "description": "The service failed to execute due to an error.",
        "schema": {"$ref": "#/definitions/ErrorResponse"},
    }
    healthy = "If service is up and running, this response will be returned with the content 'Healthy'"
    scored = "The service processed the input correctly and provided a result prediction, if applicable."
    assert swagger().document("2") == {
        "swagger": "2.0",
        "info": {
            "title": "ML service",
            "description": "API specification for the Azure Machine Learning service ML service",
            "version": "1.0",
        },
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {
            "Bearer": {
                "type": "apiKey",
                "name": "Authorization",
                "in": "header",
                "description": "For example: Bearer abc123",
            }
        },
        "paths": {
            "/": {
                "get": {
                    "operationId": "ServiceHealthCheck",
                    "description": "Simple health check endpoint to ensure the service is up at any given point.",
                    "responses": {
                        "200": {
                            "description": healthy,
                            "schema": {"type": "string"},
                            "examples": {"application/json": "Healthy"},
                        },
                        "default": error,
                    },
                }
            },
            "/score": {
                "post": {
                    "operationId": "RunMLService",
                    "description": "Run web service's model and get the prediction output",
                    "security": [{"Bearer": []}],
                    "parameters": [
                        {
                            "name": "serviceInputPayload",
                            "in": "body",
                            "description": "The input payload for executing the real-time machine learning service.",
                            "schema": {"$ref": "#/definitions/ServiceInput"},
                        }
                    ],
                    "responses": {
                        "200": {"description": scored, "schema": {"$ref": "#/definitions/ServiceOutput"}},
                        "default": error,
                    },
                }
            },
            "/swagger.json": {
                "get": {
                    "operationId": "GetSwaggerSpec",
                    "description": "Get the Swagger specification.",
                    "parameters": [
                        {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}
                    ],
                    "responses": {
                        "200": {"description": "The Swagger specification.", "schema": {"type": "string"}},
                        "default": error,
                    },
                }
            },
        },
        "definitions": {
            "ServiceInput": UNDESCRIBED,
            "ServiceOutput": UNDESCRIBED,
            "ErrorResponse": {"type": "object", "properties": {"message": {"type": "string"}}},
        },
    }


def test_version_3_of_an_undecorated_script() -> None:
    """The document of version 3 has the released server's paths, bodies and answers."""
    document = swagger().document("3")
    assert set(document) == {"openapi", "info", "security", "paths", "components"}
    assert document["openapi"] == "3.0.3"
    assert document["security"] == [{"Bearer": []}]
    assert document["components"]["securitySchemes"]["Bearer"]["name"] == "Authorization"
    score = document["paths"]["/score"]["post"]
    input_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceInput"}}}
    output_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ServiceOutput"}}}
    assert score["requestBody"] == {
        "description": "The input payload for executing the real-time machine learning service.",
        "content": input_content,
    }
    assert score["responses"]["200"]["content"] == output_content
    health = document["paths"]["/"]["get"]["responses"]["200"]["content"]
    assert health == {"text/plain": {"schema": {"type": "string", "example": "Healthy"}}}
    (version,) = document["paths"]["/swagger.json"]["get"]["parameters"]
    assert version["schema"] == {"type": "integer", "enum": [2, 3]}


def test_version_3_1_differs_in_its_number() -> None:
    """The document of version 3.1 is that of version 3 with another number."""
    documents = swagger(decorated())
    assert documents.document("3.1") == {**documents.document("3"), "openapi": "3.1.0"}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("run", [lambda: plain, decorated], ids=["plain", "decorated"])
def test_documents_are_sound(version: str, run: Callable[[], Callable[..., Any]]) -> None:
    """Each document is JSON, and every reference in it leads somewhere."""
    document = swagger(run()).document(version)
    assert json.loads(json.dumps(document)) == document
    found = references(document)
    assert found
    for reference in found:
        assert resolve(document, reference)


@pytest.mark.parametrize("version", VERSIONS)
def test_schemas_of_a_decorated_script(version: str) -> None:
    """Input and output are described by the samples of the script, as inference-schema describes them."""
    run = decorated()
    definitions = schemas_of(swagger(run).document(version))
    assert definitions["ServiceInput"] == schema_util.get_input_schema(run)
    assert definitions["ServiceOutput"] == schema_util.get_output_schema(run)
    properties = definitions["ServiceInput"]["properties"]
    assert list(properties) == ["array", "frame", "options"]
    assert properties["array"] == {
        "type": "array",
        "items": {"type": "array", "items": {"type": "number", "format": "double"}},
        "format": "numpy.ndarray",
    }
    assert definitions["ServiceInput"]["example"] == {
        "array": [[1.5, 2.5]],
        "frame": [{"a": 1, "b": "x"}],
        "options": {"method": "predict", "n": 3},
    }
    assert definitions["ServiceOutput"]["example"] == [1.5]


def test_a_script_with_an_input_schema_only() -> None:
    """What the script does not describe is an object."""

    @input_schema("when", StandardPythonParameterType(datetime.date(2021, 1, 2)))
    def run(when: Any) -> Any:
        return when

    definitions = schemas_of(swagger(run).document("2"))
    assert definitions["ServiceOutput"] == {"type": "object"}
    assert definitions["ServiceInput"]["properties"]["when"]["format"] == "date"


def test_without_inference_schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script that does not import the library has all versions all the same."""
    monkeypatch.delitem(sys.modules, "inference_schema.schema_util")
    for version in VERSIONS:
        assert schemas_of(swagger().document(version))["ServiceInput"] == UNDESCRIBED


# -- Settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["My service", 'Say "hi"', "back\\slash", "{brace} $SERVICE_VERSION$", "日本", "a\nb"])
@pytest.mark.parametrize("version", VERSIONS)
def test_the_name_of_the_service(name: str, version: str) -> None:
    """Any name stands in title and description as it is, a quote or a backslash too."""
    info = swagger(service_name=name, service_version='2"').document(version)["info"]
    assert info == {
        "title": name,
        "description": f"API specification for the Azure Machine Learning service {name}",
        "version": '2"',
    }


@pytest.mark.parametrize(
    ("prefix", "paths"),
    [
        ("", ["/", "/score", "/swagger.json"]),
        ("p", ["/p/", "/p/score", "/p/swagger.json"]),
        ("/p/", ["/p/", "/p/score", "/p/swagger.json"]),
        ("//a/b//", ["/a/b/", "/a/b/score", "/a/b/swagger.json"]),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_the_prefix_of_the_paths(prefix: str, paths: list[str], version: str) -> None:
    """SERVICE_PATH_PREFIX stands before every path, with one slash however it is written."""
    assert list(swagger(service_path_prefix=prefix).document(version)["paths"]) == paths


# -- The user's own documents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["swagger.json"], {"2": "swagger.json"}),
        (["swagger2.json"], {"2": "swagger2.json"}),
        (["swagger.json", "swagger2.json"], {"2": "swagger.json"}),
        (["swagger3.json"], {"3": "swagger3.json"}),
        (["swagger3.1.json"], {"3.1": "swagger3.1.json"}),
        (["swagger2.json", "swagger3.json", "swagger3.1.json"], {v: f"swagger{v}.json" for v in VERSIONS}),
        (["swagger3.0.json", "openapi.json"], {}),
    ],
    ids=" ".join,
)
def test_documents_of_the_user(tmp_path: Path, files: list[str], expected: dict[str, str]) -> None:
    """A document in the app root is taken for its version, and the others are made."""
    for name in files:
        (tmp_path / name).write_text(json.dumps({"own": name, "é": 1}), "utf-8")
    documents = swagger(app_root=str(tmp_path))
    for version in VERSIONS:
        document = documents.document(version)
        assert document.get("own") == expected.get(version)
        assert ("paths" in document) is (version not in expected)


def test_a_document_of_the_user_that_is_empty(tmp_path: Path) -> None:
    """An empty document counts as none: the next one is looked for, and at last one is made."""
    (tmp_path / "swagger.json").write_text("{}")
    (tmp_path / "swagger3.json").write_text("{}")
    assert swagger(app_root=str(tmp_path)).document("2")["swagger"] == "2.0"
    (tmp_path / "swagger2.json").write_text('{"own": 2}')
    documents = swagger(app_root=str(tmp_path))
    assert documents.document("2") == {"own": 2}
    assert documents.document("3")["openapi"] == "3.0.3"


def test_a_document_of_the_user_for_what_cannot_be_made(tmp_path: Path) -> None:
    """A document of the user's own stands for a version in which the script cannot be described."""
    (tmp_path / "swagger.json").write_text('{"own": 2}')
    assert swagger(mixed(), app_root=str(tmp_path)).document("2") == {"own": 2}


def test_the_log_names_documents_of_the_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The log says which file was loaded for which version."""
    caplog.set_level(logging.INFO, "azmlinfsrv.swagger")
    (tmp_path / "swagger3.json").write_text('{"own": 3}')
    swagger(app_root=str(tmp_path))
    assert f"Loaded user's swagger file for version [3] from {tmp_path / 'swagger3.json'}" in caplog.messages


# -- Versions --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alias", "version"), [("2.0", "2"), ("3.0", "3")])
def test_aliases(alias: str, version: str) -> None:
    """A version may be named with its minor number."""
    documents = swagger()
    assert documents.document(alias) is documents.document(version)


@pytest.mark.parametrize("version", ["1", "4", "", "abc", "2.1", "3.1.0", "02", " 2"])
def test_versions_that_do_not_exist(version: str) -> None:
    """Another version gets 404, and the message says which there are."""
    message = f"Swagger version [{version}] is not valid. Supported versions: [2, 3, 3.1]."
    assert refusal(swagger(), version) == message


def test_versions_that_a_script_cannot_have() -> None:
    """A version in which the script cannot be described gets 404, and the message says which it can."""
    documents = swagger(mixed())
    message = "Swagger version [{}] is not supported for the scoring script. Supported swagger versions: [3, 3.1]."
    assert refusal(documents, "2") == message.format("2")
    assert refusal(documents, "2.0") == message.format("2.0")
    assert refusal(documents, "9") == "Swagger version [9] is not valid. Supported versions: [3, 3.1]."
    assert documents.document("3")["openapi"] == "3.0.3"
    assert documents.usual_version == "2"  # who names none is refused too, as by the released server


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (lambda: plain, "Swaggers are prepared for the following versions: [2, 3, 3.1]."),
        (mixed, "Swaggers are prepared for versions [3, 3.1] and skipped for versions [2]."),
    ],
    ids=["all", "some"],
)
def test_the_log_names_versions(
    run: Callable[[], Callable[..., Any]], line: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which versions there are, in the released server's words."""
    caplog.set_level(logging.INFO, "azmlinfsrv.swagger")
    swagger(run())
    assert caplog.messages == [line]


def test_a_script_that_cannot_be_described(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """A script whose types support no version in common has no document, and the log says so."""
    caplog.set_level(logging.INFO, "azmlinfsrv.swagger")
    monkeypatch.setattr(schema_util, "get_supported_versions", lambda _: [])
    documents = swagger(mixed())
    assert caplog.messages == ["No swagger is prepared."]
    assert refusal(documents, "3").endswith("Supported swagger versions: [].")
