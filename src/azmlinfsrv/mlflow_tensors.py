"""An MLflow model's inputs and outputs as tensors of the Open Inference Protocol, as its signature has them.

A column is a tensor, named as the column; a tensor of the signature is itself. The datatypes of columns are those of
MLServer's runtime for MLflow.
"""

from __future__ import annotations

from typing import Any

from azmlinfsrv import tensors
from azmlinfsrv.errors import BadInputError
from azmlinfsrv.inference_body import Inference, Tensor
from azmlinfsrv.mlflow_inputs import ModelInput
from azmlinfsrv.mlflow_signature import Signature, Spec
from azmlinfsrv.tensor_inputs import TensorSpec, check_names, frame_of, texts_of

_DATATYPES = {
    "boolean": "BOOL",
    "integer": "INT32",
    "long": "INT64",
    "float": "FP32",
    "double": "FP64",
    "string": tensors.BYTES,
    "binary": tensors.BYTES,
    "datetime": tensors.BYTES,
}
# Columns whose texts MLflow converts: Base64, and dates.
_CONVERTED = ("binary", "datetime")
_INPUT, _OUTPUT = "input-{}", "output-0"


class ModelTensors:
    """What a model takes, as tensors.

    Args:
        model: makes a model's arguments.

    Attributes:
        specs: the tensors.
    """

    def __init__(self, model: ModelInput) -> None:
        self._model = model
        self._signature = model.signature
        inputs = list(model.signature.inputs or ())
        make = _tensor_spec if model.signature.is_tensor else _column_spec
        self.specs = [make(given, _INPUT.format(number)) for number, given in enumerate(inputs)]
        self._inputs = list(zip(self.specs, inputs, strict=True))

    def arguments(self, inference: Inference) -> dict[str, Any]:
        """Return the arguments of the model's call.

        Raises:
            BadInputError: a tensor is missing, unknown, or another than it should be.
        """
        sent = inference.inputs
        check_names(sent, [spec.name for spec in self.specs])
        required = self._signature.required or [spec.name for spec in self.specs if not self._signature.names]
        missing = [name for name in required if name not in sent]
        if missing:
            raise BadInputError(f"input {missing[0]!r} is missing")
        params = {name: value for name, value in inference.parameters.items() if name in self._signature.params}
        data = self._arrays(sent) if self._signature.is_tensor else self._frame(sent)
        return {"data": data, "params": params or None, "wrapped": False}

    def _arrays(self, sent: dict[str, Tensor]) -> Any:
        arrays = {
            given.get("name"): _array(spec, given["tensor-spec"]["dtype"], sent[spec.name])
            for spec, given in self._inputs
            if spec.name in sent
        }
        return arrays if self._signature.names else arrays[None]

    def _frame(self, sent: dict[str, Tensor]) -> Any:
        values: dict[Any, Any] = {}
        converted = []
        for number, (spec, given) in enumerate(self._inputs):
            if spec.name not in sent:
                continue
            column = given["name"] if self._signature.names else number
            array = spec.read(sent[spec.name])
            is_bytes = given["type"] == "binary" and isinstance(sent[spec.name].data, memoryview)
            if array.dtype.kind == "O":
                array = list(array if is_bytes else texts_of(spec, array))
                if given["type"] in _CONVERTED and not is_bytes:
                    converted.append(column)
            values[column] = array
        frame = frame_of(values)
        if converted:
            frame[converted] = self._model.cast(frame[converted])
        return frame


def model_tensors(model: ModelInput) -> ModelTensors | str:
    """Return what a model takes as tensors, or why that is not possible."""
    signature = model.signature
    if not signature.inputs:
        return "the model has no signature that says which tensors it takes: call /score"
    if model.takes_raw:
        return "the model's type hints say what it takes, which are no tensors: call /score"
    for number, spec in enumerate(signature.inputs):
        kind = spec["tensor-spec"]["dtype"] if signature.is_tensor else spec["type"]
        is_known = _is_array(kind) if signature.is_tensor else kind in _DATATYPES
        if not is_known or (kind in _CONVERTED and not signature.names):
            name = _name(spec, _INPUT.format(number))
            return (
                f"the input {name!r} of the model's signature is of the type {kind}, which no tensor has: call /score"
            )
    return ModelTensors(model)


def described_tensors(signature: Signature) -> list[TensorSpec]:
    """Return the tensors that a signature says that the model returns; none where it does not, or they are none."""
    outputs = list(signature.outputs or ())
    if len(outputs) > 1 and any(spec.get("name") is None for spec in outputs):
        return []
    if all(spec["type"] == "tensor" for spec in outputs):
        return [_tensor_spec(spec, _OUTPUT) for spec in outputs]
    return [_column_spec(spec, _OUTPUT) for spec in outputs] if all(s["type"] in _DATATYPES for s in outputs) else []


def _column_spec(spec: Spec, name: str) -> TensorSpec:
    """Return the tensor of a column, of any datatype: MLflow takes those that lose nothing, and refuses the others."""
    return TensorSpec(_name(spec, name), _DATATYPES[spec["type"]], (-1,), is_strict=False)


def _tensor_spec(spec: Spec, name: str) -> TensorSpec:
    tensor = spec["tensor-spec"]
    return TensorSpec(_name(spec, name), tensors.datatype_of(tensor["dtype"]), tuple(tensor["shape"]))


def _name(spec: Spec, otherwise: str) -> str:
    return otherwise if spec.get("name") is None else str(spec["name"])


def _is_array(dtype: str) -> bool:
    import numpy as np

    return np.dtype(dtype).kind in "biufOUS"


def _array(spec: TensorSpec, dtype: str, tensor: Tensor) -> Any:
    import numpy as np

    array = spec.read(tensor)
    if array.dtype.kind != "O":
        return array
    kind = np.dtype(dtype).kind
    return texts_of(spec, array).astype(kind if kind in "US" else object)
