"""The script as a model of the Open Inference Protocol, version 2: what it takes and returns, in tensors."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any, NamedTuple

from azmlinfsrv import inference_body, outputs
from azmlinfsrv._version import __version__
from azmlinfsrv.errors import BadInputError, ConfigurationError
from azmlinfsrv.inference_settings import MODELS, PREFIX
from azmlinfsrv.inputs import Parse
from azmlinfsrv.messages import Request, Response
from azmlinfsrv.outputs import Started
from azmlinfsrv.scorer import Context, Scorer, Tell
from azmlinfsrv.script import Script, model_ids
from azmlinfsrv.settings import Settings
from azmlinfsrv.tensor_inputs import ScriptInputs, TensorSpec, script_inputs
from azmlinfsrv.tensor_outputs import described_outputs, is_streamed, result_tensors

logger = logging.getLogger("azmlinfsrv.user_script")

_NO_TENSORS = "run() of this script takes no array and no data frame: call /score, whose input /swagger.json describes"
_STREAM = "run() of this script answers with a stream, which the protocol has not: call /score"


class InferenceModel(NamedTuple):
    """A script as a model.

    Attributes:
        name: its name.
        version: its version.
        inputs: what it takes; None where it cannot be called.
        described: the tensors that it says that it returns.
        obstacle: why it cannot be called, or "".
    """

    name: str
    version: str
    inputs: ScriptInputs | None
    described: list[TensorSpec]
    obstacle: str = ""

    def server_metadata(self) -> dict[str, Any]:
        """Return what the protocol says of the server."""
        return {"name": "azmlinfsrv", "version": __version__, "extensions": ["binary_tensor_data"]}

    def metadata(self) -> dict[str, Any]:
        """Return what the protocol says of the model.

        Raises:
            BadInputError: it cannot be called.
        """
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "python",
            "inputs": [spec.metadata() for spec in self._callable().specs],
            "outputs": [spec.metadata() for spec in self.described],
        }

    def check(self) -> None:
        """Do nothing where it can be called.

        Raises:
            BadInputError: it cannot.
        """
        self._callable()

    def _callable(self) -> ScriptInputs:
        if self.inputs is None:
            raise BadInputError(self.obstacle)
        return self.inputs

    def paths(self) -> list[str]:
        """Return the paths of the model, with its version and without."""
        return [f"{MODELS}{self.name}", f"{MODELS}{self.name}/versions/{self.version}"]

    def parser(self, parse: Parse) -> Parse:
        """Return a parser that also takes the protocol's requests.

        Args:
            parse: takes the others.
        """

        def parse_both(request: Request) -> dict[str, Any]:
            if not request.path.startswith(f"{PREFIX}/"):
                return parse(request)
            found = inference_body.read(request.body, inference_body.length_field(request.headers))
            request.inference = found._replace(inputs={})  # the answer does not need them
            return self._callable().arguments(found)

        return parse_both

    def scorer(self, script: Script, parse: Parse, context: Context | None, tell: Tell | None = None) -> Scorer:
        """Return a scorer that also makes the protocol's answers; see `Scorer`."""
        return InferenceScorer(script, parse, context, tell, write=self.response)

    def response(self, request: Request, found: list[tuple[str, Any]]) -> Response:
        """Return the answer to a request.

        Raises:
            BadInputError: an output is asked for that there is not.
        """
        return inference_body.write(request.inference, (self.name, self.version), found)


class InferenceScorer(Scorer):
    """Also makes the answers of the Open Inference Protocol.

    Args:
        script: the loaded script.
        parse: makes the arguments of ``run()``.
        context: what surrounds the call for scripts that use Flask, or None.
        tell: is told of each exception of the user's code, or None.
        write: makes the answer of the tensors of a result.
    """

    def __init__(
        self,
        script: Script,
        parse: Parse,
        context: Context | None,
        tell: Tell | None = None,
        *,
        write: Callable[[Request, list[tuple[str, Any]]], Response],
    ) -> None:
        super().__init__(script, parse, context, tell)
        self._write = write

    def succeeded(self, request: Request, result: Any, elapsed_s: float) -> Response:
        """See `Scorer.succeeded`."""
        if isinstance(result, Started) and hasattr(request, "inference"):
            close = getattr(result.rest, "close", None)
            if close is not None:
                close()
            request.run_s = elapsed_s
            return self.failure(request, BadInputError(_STREAM))
        return super().succeeded(request, result, elapsed_s)

    def _response(self, request: Request, result: Any) -> Response:
        if not hasattr(request, "inference"):
            return super()._response(request, result)
        if outputs.is_http_response(result) and result.status_code >= 400:
            return super()._response(request, result)
        return self._write(request, result_tensors(self._plain(result)))

    def _plain(self, result: Any) -> Any:
        """Return a typed result as JSON has it; arrays and frames stay what they are."""
        if (
            self._typed is None
            or hasattr(result, "dtype")
            or hasattr(result, "dtypes")
            or outputs.is_http_response(result)
        ):
            return result
        return self._typed.plain(result)


def make_inference(script: Script, settings: Settings) -> InferenceModel:
    """Return the script as a model.

    Raises:
        ConfigurationError: its name cannot be part of a path.
    """
    name, version = model_name(settings)
    obstacle, inputs = "", None
    if is_streamed(script):
        obstacle = _STREAM
    else:
        inputs = script_inputs(script)
        obstacle = "" if inputs is not None else _NO_TENSORS
    described = described_outputs(script) if inputs is not None else []
    if obstacle:
        logger.warning("The Open Inference Protocol cannot call the script: %s", obstacle)
    else:
        logger.info("The Open Inference Protocol is served at %s%s/infer", MODELS, name)
    return InferenceModel(name, version, inputs, described, obstacle)


def model_name(settings: Settings) -> tuple[str, str]:
    """Return name and version of the model, as the settings say, or else the model's folder.

    Raises:
        ConfigurationError: one is empty, or has a slash.
    """
    name, version = "model", "1"
    folder = settings.model_dir
    if folder and os.path.isdir(folder):
        ids = model_ids(folder)
        name = os.path.basename(os.path.abspath(folder)) or name
        if len(ids) == 1:
            name, _, version = ids[0].rpartition(":")
    name = name if settings.v2_model_name is None else settings.v2_model_name
    version = version if settings.v2_model_version is None else settings.v2_model_version
    for variable, value in (("AZMLINFSRV_V2_MODEL_NAME", name), ("AZMLINFSRV_V2_MODEL_VERSION", version)):
        if not value or "/" in value or not value.isprintable():
            raise ConfigurationError(f"{variable} must be a word for a path, and not {value!r}")
    return name, version
