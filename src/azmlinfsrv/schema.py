"""The service's OpenAPI documents, in versions 2.0, 3.0 and 3.1, as dictionaries.

Source: content of the documents of release 1.5.1; the OpenAPI Specification.
"""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from azmlinfsrv.errors import SwaggerVersionError
from azmlinfsrv.settings import Settings

if TYPE_CHECKING:
    from azmlinfsrv.typed import TypedRun

logger = logging.getLogger("azmlinfsrv.swagger")

Document = dict[str, Any]

_ALIASES = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
_VERSIONS = ("2", "3", "3.1")
_USER_FILES = {"2": ("swagger.json", "swagger2.json"), "3": ("swagger3.json",), "3.1": ("swagger3.1.json",)}

_HEALTH = "Simple health check endpoint to ensure the service is up at any given point."
_HEALTHY = "If service is up and running, this response will be returned with the content 'Healthy'"
_FAILED = "The service failed to execute due to an error."
_SCORE = "Run web service's model and get the prediction output"
_SCORED = "The service processed the input correctly and provided a result prediction, if applicable."
_INPUT = "The input payload for executing the real-time machine learning service."
_BEARER = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "description": "For example: Bearer abc123",
}
_ERROR: Document = {"type": "object", "properties": {"message": {"type": "string"}}}

_TYPED_ERROR: Document = {
    "type": "object",
    "properties": {
        "message": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "What does not fit in the input.",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Where it is, such as passengers[0].age."},
                    "reason": {"type": "string"},
                    "received": {"type": "string", "description": "The JSON type of what was received."},
                },
                "required": ["path", "reason", "received"],
            },
        },
    },
    "required": ["message"],
}
_HEALTH_ANSWER: Document = {
    "type": "object",
    "properties": {"status": {"type": "string"}, "reason": {"type": "string"}},
    "required": ["status"],
}


class Swagger:
    """The documents of one script, made once.

    Args:
        settings: name, version and path prefix of the service; folder of the user's own documents.
        run: the script's ``run()``.
        typed: what a typed ``run()`` takes and returns, or None.
        describe: makes the document of a version, where ``run()`` does not tell what it takes; or None.
    """

    def __init__(
        self,
        settings: Settings,
        run: Callable[..., Any],
        typed: TypedRun | None = None,
        describe: Callable[[Settings, str], Document | None] | None = None,
    ) -> None:
        self._documents: dict[str, Document] = {}
        self._is_typed = typed is not None
        for version in _VERSIONS:
            of_run = functools.partial(_typed_document, typed) if typed else functools.partial(_generated, run)
            generate = describe or of_run
            document = _user_document(settings.app_root, version) or generate(settings, version)
            if document is not None:
                self._documents[version] = document
        _log_versions(list(self._documents))

    @property
    def versions(self) -> list[str]:
        """The versions that there are documents of."""
        return list(self._documents)

    @property
    def usual_version(self) -> str:
        """The version for a client that names none.

        It is 2, as release 1.5.1 has it even where a script cannot be described in it; of a typed script it is the
        first that there is.
        """
        return next(iter(self._documents), "2") if self._is_typed else "2"

    def document(self, version: str) -> Document:
        """Return the document of a version, as a client names it.

        Raises:
            SwaggerVersionError: there is no such version, or the script cannot be described in it.
        """
        supported = f"[{', '.join(self._documents)}]."
        if version not in _ALIASES:
            raise SwaggerVersionError(f"Swagger version [{version}] is not valid. Supported versions: {supported}")
        document = self._documents.get(_ALIASES[version])
        if document is None:
            raise SwaggerVersionError(
                f"Swagger version [{version}] is not supported for the scoring script. "
                f"Supported swagger versions: {supported}"
            )
        return document


def _log_versions(prepared: list[str]) -> None:
    skipped = [version for version in _VERSIONS if version not in prepared]
    if prepared and skipped:
        logger.info(
            "Swaggers are prepared for versions [%s] and skipped for versions [%s].",
            ", ".join(prepared),
            ", ".join(skipped),
        )
    elif prepared:
        logger.info("Swaggers are prepared for the following versions: [%s].", ", ".join(prepared))
    else:
        logger.info("No swagger is prepared.")


def _user_document(app_root: str, version: str) -> Document | None:
    for name in _USER_FILES[version]:
        path = os.path.join(app_root, name)
        try:
            with open(path, encoding="utf-8") as file:
                document: Document = json.load(file)
        except FileNotFoundError:
            continue
        logger.info("Loaded user's swagger file for version [%s] from %s", version, path)
        if document:
            return document
    return None


def _generated(run: Callable[..., Any], settings: Settings, version: str) -> Document | None:
    util = sys.modules.get("inference_schema.schema_util")
    supported = util.get_supported_versions(run) if util else _ALIASES
    if not any(alias in supported for alias, name in _ALIASES.items() if name == version):
        return None
    if util is not None and util.is_schema_decorated(run):
        schemas = util.get_input_schema(run), util.get_output_schema(run)
    else:
        schemas = ({"type": "object", "example": {}}, {"type": "object", "example": {}})
    return plain_document(settings, version, *schemas)


def plain_document(settings: Settings, version: str, given: Document, returned: Document) -> Document:
    """Return the document of a version for what ``run()`` takes and returns, with the released server's endpoints."""
    info, prefix = _info(settings)
    definitions = {"ServiceInput": given, "ServiceOutput": returned, "ErrorResponse": _ERROR}
    if version == "2":
        return _version_2(info, prefix, definitions)
    return _version_3("3.0.3" if version == "3" else "3.1.0", info, prefix, definitions)


def _info(settings: Settings) -> tuple[Document, str]:
    info = {
        "title": settings.service_name,
        "description": f"API specification for the Azure Machine Learning service {settings.service_name}",
        "version": settings.service_version,
    }
    return info, f"/{settings.service_path_prefix.strip('/')}" if settings.service_path_prefix else ""


def _typed_document(typed: TypedRun, settings: Settings, version: str) -> Document | None:
    """Return the document of a typed script: JSON Schema 2020-12, which only OpenAPI 3.1 holds.

    Nothing compares it with the released server's, which has none: it says what this server does.
    """
    if version != "3.1":
        return None
    from azmlinfsrv.binary_inputs import input_types, output_types  # only typed scripts need it

    info, prefix = _info(settings)
    schemas = {
        "ServiceInput": typed.input_schema,
        "ServiceOutput": typed.output_schema,
        "ErrorResponse": _TYPED_ERROR,
        "HealthResponse": _HEALTH_ANSWER,
    }
    document = _version_3("3.1.0", info, prefix, {**schemas, **typed.definitions})
    del document["security"]  # what needs the key says so itself
    for name, endpoint in _typed_endpoints().items():
        document["paths"].setdefault(f"{prefix}/{name}", {}).update(endpoint)
    operation = document["paths"][f"{prefix}/score"]["post"]
    operation["requestBody"]["required"] = True
    output = {"$ref": "#/components/schemas/ServiceOutput"}
    operation["responses"] = {
        "200": {"description": _SCORED, "content": {typed.media_type: {"schema": output}}},
        "400": error_answer("The input is not valid, or no JSON."),
        "415": error_answer("The content type of the body is not JSON."),
        "500": error_answer(_FAILED),
        "default": error_answer(_FAILED),
    }
    # OpenAPI 3.1, "Considerations for File Uploads": bytes of a media type have no schema.
    for content, media_types in (
        (operation["requestBody"]["content"], input_types(typed)),
        (operation["responses"]["200"]["content"], output_types(typed)),
    ):
        content.update({media_type: {} for media_type in media_types})
    if typed.description:
        operation["description"] = typed.description
    if typed.example is not None:
        operation["requestBody"]["content"]["application/json"]["example"] = typed.example
    return document


def error_answer(description: str) -> Document:
    """Return the part of a document that describes the answer for an error, in the later versions."""
    return _answer(description, "application/json", {"$ref": "#/components/schemas/ErrorResponse"})


def _answer(description: str, media_type: str, schema: Document) -> Document:
    return {"description": description, "content": {media_type: {"schema": schema}}}


def _typed_endpoints() -> Document:
    """Return the endpoints beside ``/score`` as they are served, by their names."""
    health = {"$ref": "#/components/schemas/HealthResponse"}
    failed = {"default": error_answer(_FAILED)}
    healthy = _answer(_HEALTHY, "text/html", {"type": "string", "const": "Healthy"})
    live = _answer("The worker answers.", "application/json", health)
    ready = _answer("Requests are taken.", "application/json", health)
    stopping = _answer("The worker is stopping.", "application/json", health)
    swagger = _answer("The OpenAPI document.", "application/json", {"type": "object"})
    version = {"name": "version", "in": "query", "required": False, "schema": {"type": "string", "enum": ["3.1"]}}
    return {
        "": {"get": _operation("ServiceHealthCheck", _HEALTH, responses={"200": healthy, **failed})},
        "live": {"get": _operation("LivenessProbe", "Whether the worker answers.", responses={"200": live, **failed})},
        "ready": {
            "get": _operation(
                "ReadinessProbe",
                "Whether the worker takes requests.",
                responses={"200": ready, "503": stopping, **failed},
            )
        },
        "swagger.json": {
            "get": _operation(
                "GetSwaggerSpec",
                "Get the OpenAPI document.",
                parameters=[version],
                responses={"200": swagger, "404": error_answer("There is no such version."), **failed},
            )
        },
    }


def _operation(name: str, description: str, **rest: Any) -> Document:
    return {"operationId": name, "description": description, **rest}


def _swagger_operation(version: Document, responses: Document) -> Document:
    return _operation("GetSwaggerSpec", "Get the Swagger specification.", parameters=[version], responses=responses)


def _version_2(info: Document, prefix: str, definitions: Document) -> Document:
    def responses(description: str, content: Document) -> Document:
        failed = {"description": _FAILED, "schema": {"$ref": "#/definitions/ErrorResponse"}}
        return {"200": {"description": description, **content}, "default": failed}

    text = {"schema": {"type": "string"}}
    body = {"name": "serviceInputPayload", "in": "body", "description": _INPUT}
    version = {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}
    health = responses(_HEALTHY, {**text, "examples": {"application/json": "Healthy"}})
    score = responses(_SCORED, {"schema": {"$ref": "#/definitions/ServiceOutput"}})
    swagger = responses("The Swagger specification.", text)
    return {
        "swagger": "2.0",
        "info": info,
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": _BEARER},
        "paths": {
            f"{prefix}/": {"get": _operation("ServiceHealthCheck", _HEALTH, responses=health)},
            f"{prefix}/score": {
                "post": _operation(
                    "RunMLService",
                    _SCORE,
                    security=[{"Bearer": []}],
                    parameters=[{**body, "schema": {"$ref": "#/definitions/ServiceInput"}}],
                    responses=score,
                )
            },
            f"{prefix}/swagger.json": {"get": _swagger_operation(version, swagger)},
        },
        "definitions": definitions,
    }


def _version_3(openapi: str, info: Document, prefix: str, schemas: Document) -> Document:
    def content(media_type: str, schema: Document) -> Document:
        return {"content": {media_type: {"schema": schema}}}

    def responses(description: str, of: Document) -> Document:
        error = content("application/json", {"$ref": "#/components/schemas/ErrorResponse"})
        return {"200": {"description": description, **of}, "default": {"description": _FAILED, **error}}

    health = responses(_HEALTHY, content("text/plain", {"type": "string", "example": "Healthy"}))
    score = responses(_SCORED, content("application/json", {"$ref": "#/components/schemas/ServiceOutput"}))
    swagger = responses("The Swagger specification.", content("text/plain", {"type": "string"}))
    body = content("application/json", {"$ref": "#/components/schemas/ServiceInput"})
    version = {
        "name": "version",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "enum": [2, 3]},
    }
    return {
        "openapi": openapi,
        "info": info,
        "security": [{"Bearer": []}],
        "paths": {
            f"{prefix}/": {"get": _operation("ServiceHealthCheck", _HEALTH, responses=health)},
            f"{prefix}/score": {
                "post": _operation(
                    "RunMLService",
                    _SCORE,
                    security=[{"Bearer": []}],
                    requestBody={"description": _INPUT, **body},
                    responses=score,
                )
            },
            f"{prefix}/swagger.json": {"get": _swagger_operation(version, swagger)},
        },
        "components": {"schemas": schemas, "securitySchemes": {"Bearer": _BEARER}},
    }
