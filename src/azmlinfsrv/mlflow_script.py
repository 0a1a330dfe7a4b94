"""An MLflow model as a script: what ``init()`` and ``run()`` would be for it.

MLflow is imported by ``init()``, so that only who serves such a model has it loaded.
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
import json
import logging
import os
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from azmlinfsrv import codec
from azmlinfsrv.errors import BadInputError, ScriptError
from azmlinfsrv.messages import Request
from azmlinfsrv.mlflow_document import model_document
from azmlinfsrv.mlflow_inputs import Conversions, ModelInput
from azmlinfsrv.mlflow_signature import Signature
from azmlinfsrv.script import Script, Style
from azmlinfsrv.settings import Settings

logger = logging.getLogger("azmlinfsrv.user_script")

_NUMBER_KINDS = "biuf"
_CONFIG_VARIABLE = "SERVING_MODEL_CONFIG"
# Where MLflow holds a caller's input against a signature or type hints; its modules call the model, too.
_CHECKING_MODULES = ("mlflow.models.utils", "mlflow.types")
_CHECKING_FUNCTIONS = ("_validate_prediction_input", "_validate_model_input")
_TYPE_HINTS = "mlflow.pyfunc.utils.data_validation"


class ModelScript(Script):
    """Stands in for an entry script.

    Args:
        folder: the folder with the `MLmodel`.
        settings: the settings.

    Attributes:
        version: the version of MLflow; empty before ``init()``.
        input: makes the arguments of the model's call; None before ``init()``.
    """

    def __init__(self, folder: str, settings: Settings) -> None:
        """Prepare what does not need the model.

        Raises:
            ScriptError: MLflow is not installed.
        """
        if importlib.util.find_spec("mlflow") is None:
            raise ScriptError(
                f"There is an MLflow model at {folder}, which needs MLflow. Run: pip install 'azmlinfsrv[mlflow]'"
            )
        logger.info("Found no entry script, and an MLflow model at %s", folder)
        self._folder = folder
        self._settings = settings
        self._model: Any = None
        self.input: ModelInput | None = None
        self._signature = Signature()
        self.version = ""
        self.init = self._load
        self.run = self._predict
        self.style = Style.MODEL
        self.parameters = list(inspect.signature(self._predict).parameters.values())
        self.takes_headers = False
        self.typed = None
        self.is_async = False
        self.uses_flask = False
        self.parse = self._arguments
        self.encode = encode
        self.describe = self._document

    def _load(self) -> None:
        """Load the model: its ``init()``."""
        os.environ.update(serving_variables(os.environ))
        import mlflow.pyfunc

        options = {}
        if config := os.environ.get(_CONFIG_VARIABLE):
            options["model_config"] = json.loads(config)
        model = mlflow.pyfunc.load_model(self._folder, **options)
        self.version = mlflow.__version__
        self._signature = _signature_of(model.metadata)
        self.input = ModelInput(
            self._signature,
            _conversions(model.metadata.get_input_schema()),
            is_strict=self._settings.mlflow_strict,
            takes_raw=_takes_raw(model.metadata),
        )
        self._model = model

    def _arguments(self, request: Request) -> dict[str, Any]:
        assert self.input is not None  # noqa: S101 - requests come after init()
        return self.input.arguments(request)

    def _predict(self, data: Any, params: dict[str, Any] | None, wrapped: bool) -> Any:
        """Call the model: its ``run()``."""
        result = self._model.predict(data) if params is None else self._model.predict(data, params=params)
        return {"predictions": result} if wrapped else result

    def _document(self, settings: Settings, version: str) -> dict[str, Any] | None:
        return model_document(self._signature, settings, version, _saved_example(self._folder))

    def bad_input(self, error: BaseException) -> BadInputError | None:
        """See `Script.bad_input`: MLflow's checks are made within the call of ``predict()``."""
        return BadInputError(_reason(error)) if _is_from_checks(error) else None


def serving_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that tell MLflow that it serves, and to send nothing to anybody unless the user wants it.

    Args:
        environ: the environment so far.
    """
    variables = {"_MLFLOW_IS_IN_SERVING_ENVIRONMENT": "true", "MLFLOW_DISABLE_TELEMETRY": "true"}
    return {name: value for name, value in variables.items() if name not in environ}


def _signature_of(metadata: Any) -> Signature:
    signature = metadata.signature
    if signature is None:
        logger.info("The model has no signature: its input is not checked, and not described.")
        return Signature()
    parts = (signature.inputs, signature.outputs, getattr(signature, "params", None))
    return Signature(*(None if part is None else json.loads(part.to_json()) for part in parts))


def _takes_raw(metadata: Any) -> bool:
    from_hints = getattr(metadata, "_is_signature_from_type_hint", None)
    return from_hints is not None and bool(from_hints())


def _conversions(schema: Any) -> Conversions:
    from mlflow.exceptions import MlflowException
    from mlflow.utils import proto_json_utils

    json_utils: Any = proto_json_utils
    return Conversions(
        json_utils.dataframe_from_parsed_json,
        lambda value, form: json_utils.parse_tf_serving_input({form: value}, schema=schema),
        lambda frame: frame if schema is None else json_utils.cast_df_types_according_to_schema(frame, schema),
        (MlflowException,),
    )


def _saved_example(folder: str) -> dict[str, Any] | None:
    """Return the request that MLflow has saved with the model, or None."""
    try:
        with open(os.path.join(folder, "serving_input_example.json"), encoding="utf-8") as file:
            example = json.load(file)
    except (OSError, ValueError):
        return None
    return example if isinstance(example, dict) else None


def _is_from_checks(error: BaseException) -> bool:
    """Return whether MLflow refused the input before the model had it: no frame of other code comes earlier."""
    traceback: TracebackType | None = error.__traceback__
    while traceback is not None and traceback.tb_frame.f_code is not ModelScript._predict.__code__:
        traceback = traceback.tb_next
    name = ""
    while traceback is not None:
        name, code = traceback.tb_frame.f_globals.get("__name__", ""), traceback.tb_frame.f_code
        if name.startswith(_CHECKING_MODULES) or code.co_name in _CHECKING_FUNCTIONS:
            return True
        if name != __name__ and not name.startswith(("mlflow.", "contextlib")):
            return False
        traceback = traceback.tb_next
    return name == _TYPE_HINTS  # the reason is raised again around the call


def _reason(error: BaseException) -> str:
    """Return why: MLflow puts the whole input before the reason that it was given."""
    first = error
    while isinstance(first.__context__, Exception) and not first.__suppress_context__:
        first = first.__context__
    message = str(getattr(first, "message", first))
    return f"The input does not fit the model's signature: {message}"


def _jsonable(result: Any) -> Any:
    """Return frames and series as lists of records, as MLflow's server does; all else as it is."""
    pandas = sys.modules["pandas"]
    if isinstance(result, pandas.Series):
        result = pandas.DataFrame(result)
    return result.to_dict(orient="records") if isinstance(result, pandas.DataFrame) else result


def encode(result: Any) -> bytes:
    """Return the JSON text of a result: values that JSON does not have are written as MLflow's server does.

    NaN is ``NaN``, bytes are Base64, dates are ISO 8601.

    Args:
        result: what ``run()`` of a model returned, or the part of it that is a request's.

    Raises:
        TypeError, ValueError: JSON cannot hold the result.
    """
    is_wrapped = type(result) is dict and result.keys() == {"predictions"}
    inner = _jsonable(result["predictions"] if is_wrapped else result)
    if type(inner) is sys.modules["numpy"].ndarray:
        if inner.dtype.kind in _NUMBER_KINDS:
            return codec.dumps(result)
        inner = inner.tolist()
    return json.dumps({"predictions": inner} if is_wrapped else inner, cls=_encoder()).encode()


@functools.cache
def _encoder() -> type[json.JSONEncoder]:
    from mlflow.utils.proto_json_utils import NumpyEncoder

    encoder: type[json.JSONEncoder] = NumpyEncoder
    return encoder
