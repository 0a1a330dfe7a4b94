"""MLflow models that return what they get, saved by MLflow itself."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from azmlinfsrv.identity import RequestIds
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.messages import Request
from azmlinfsrv.mlflow_script import ModelScript
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.settings import Settings

ECHO = Path(__file__).parent / "scripts" / "mlflow_echo.py"
JSON = "application/json"
KINDS = ["when", "blob", "yes", "f", "i"]
# What MLflow and pandas warn each other of.
WARNINGS = ("ignore:.*Add type hints:UserWarning", "ignore::Warning:mlflow.*", "ignore::Warning:pandas.*")


class Answer(NamedTuple):
    """Status and value of an answer; NaN is a text here, so that it is equal to itself."""

    status: int
    value: Any


def value_of(text: str | bytes) -> Any:
    """Return the value of a JSON text."""
    return json.loads(text, parse_constant=str)


class Models:
    """Models that are saved by MLflow when a test first asks for them, by the names of their signatures."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.script = functools.cache(self._script)

    def folder(self, name: str) -> Path:
        """Return the folder of a model."""
        import mlflow

        path = self._folder / name
        if not path.exists():
            options = {"signature": signatures().get(name)} if name != "hints" else {}
            code = ECHO.with_name("mlflow_hints.py" if name == "hints" else ECHO.name)
            mlflow.pyfunc.save_model(path, python_model=str(code), pip_requirements=[], **options)
        return path

    def _script(self, name: str, strict: bool = True) -> ModelScript:
        script = ModelScript(str(self.folder(name)), Settings(mlflow_strict=strict))
        script.init()
        return script

    def ours(self, name: str, body: Any, content_type: str = JSON, *, strict: bool = True) -> Answer:
        """Return what this server answers."""
        script = self.script(name, strict)
        response = Scorer(script, input_parser(script, no_flask), None).score(a_request(body, content_type), call)
        return Answer(response.status, value_of(response.body))

    def theirs(self, name: str, body: Any, content_type: str = JSON) -> Answer:
        """Return what MLflow's scoring server answers."""
        from mlflow.exceptions import MlflowException
        from mlflow.pyfunc import scoring_server

        model = self.script(name)._model
        invocations: Any = scoring_server.invocations
        try:
            result = invocations(text_of(body), content_type, model, model.metadata.get_input_schema())
        except MlflowException as error:
            status: Callable[[], int] = error.get_http_status_code
            return Answer(status(), error.message)
        return Answer(result.status, value_of(result.response) if result.status == 200 else result.response)


def signatures() -> dict[str, Any]:
    """Return the signatures of the models by their names."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema, TensorSpec
    from mlflow.types.schema import Array, Object, Property

    params = ParamSchema(
        [ParamSpec("kind", "string", "same"), ParamSpec("n", "long", 3), ParamSpec("xs", "double", [1.0], shape=(-1,))]
    )
    kinds = ["datetime", "binary", "boolean", "float", "integer"]
    thing = Object([Property("k", "string"), Property("v", "long", required=False)])
    return {
        "columns": ModelSignature(
            Schema([ColSpec("long", "a"), ColSpec("double", "b"), ColSpec("string", "c", required=False)]), None, params
        ),
        "kinds": ModelSignature(Schema([ColSpec(kind, name) for kind, name in zip(kinds, KINDS, strict=True)])),
        "nested": ModelSignature(Schema([ColSpec(Array("double"), "xs"), ColSpec(thing, "o")])),
        "text": ModelSignature(Schema([ColSpec("string", "text")])),
        "vector": ModelSignature(Schema([ColSpec(Array("double"), "xs")])),
        "nameless": ModelSignature(Schema([ColSpec("double"), ColSpec("double")])),
        "tensor": ModelSignature(Schema([TensorSpec(np.dtype("float32"), (-1, 2))])),
        "tensors": ModelSignature(
            Schema([TensorSpec(np.dtype("float32"), (-1, 2), "x"), TensorSpec(np.dtype("int64"), (-1,), "y")])
        ),
    }


@contextmanager
def saved_models(folder: Path) -> Iterator[Models]:
    """The models; MLflow is imported only after it has been told to send nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        patch.setenv("_MLFLOW_IS_IN_SERVING_ENVIRONMENT", "true")
        yield Models(folder)


def text_of(body: Any) -> bytes:
    """Return a body: bytes as they are, all else as JSON."""
    return body if isinstance(body, bytes) else json.dumps(body).encode()


def a_request(body: Any, content_type: str = JSON, method: str = "POST") -> Request:
    """Return a request."""
    headers = {b"content-type": content_type.encode()}
    request = Request(method, b"/score", "/score", b"", headers, text_of(body), "1.1", ("192.0.2.1", 1), 0.0)
    request.ids = RequestIds("id", "id", "")
    return request


def call(function: Callable[..., Any], arguments: dict[str, Any]) -> Any:
    """Call as the deadline does, without one."""
    return function(**arguments)


def no_flask(_: Request) -> None:
    """Stand in for what only scripts that use Flask have."""
    raise AssertionError
