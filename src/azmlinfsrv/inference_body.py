"""Bodies of the Open Inference Protocol: a JSON object, and the bytes of tensors behind it.

Sources: the protocol's "Inference"; its binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from azmlinfsrv import codec, tensors
from azmlinfsrv.errors import BadInputError
from azmlinfsrv.inputs import json_object
from azmlinfsrv.messages import JSON, Body, Response
from azmlinfsrv.outputs import RUN_FAILED_HEADER

HEADER_LENGTH = "Inference-Header-Content-Length"
_LENGTH_FIELD = HEADER_LENGTH.lower().encode()
_BINARY = "application/octet-stream"


class Tensor(NamedTuple):
    """A tensor as it was sent.

    Attributes:
        name: its name.
        datatype: one of `tensors.DATATYPES`.
        shape: its sizes.
        data: a list of JSON, or the bytes.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    data: Any

    def read(self) -> Any:
        """Return the elements as an array.

        Raises:
            BadInputError: the data is not what datatype and shape say.
        """
        read = tensors.read_binary if isinstance(self.data, memoryview) else tensors.read_json
        try:
            return read(self.data, self.datatype, self.shape)
        except (ValueError, TypeError, OverflowError, MemoryError) as error:
            raise BadInputError(f"input {self.name!r}: {error}") from None

    def flat(self) -> Tensor:
        """Return a tensor of one column as one of one dimension."""
        data = self.data
        if isinstance(data, list) and all(isinstance(row, list) and len(row) == 1 for row in data):
            data = [row[0] for row in data]
        return self._replace(shape=self.shape[:1], data=data)


class Wanted(NamedTuple):
    """An output that is asked for."""

    name: str
    is_binary: bool


class Inference(NamedTuple):
    """A request.

    Attributes:
        id: the client's own id, or None.
        inputs: tensors by name.
        parameters: of the request.
        outputs: those that are asked for, or None for all.
        is_binary: whether all outputs are to be binary that do not say otherwise.
    """

    id: str | None
    inputs: dict[str, Tensor]
    parameters: dict[str, Any]
    outputs: list[Wanted] | None
    is_binary: bool


def read(body: Body, header_length: bytes | None) -> Inference:
    """Return the request in a body.

    Args:
        body: the body.
        header_length: value of `HEADER_LENGTH`, or None.

    Raises:
        BadInputError: it is none; says why.
    """
    size = _header_bytes(body, header_length)
    content = json_object(body[:size] if size < len(body) else body)
    parameters = _parameters(content, "the request")
    is_binary = _flag(parameters, "binary_data_output", "the request") or False
    rest = _Rest(memoryview(body)[size:].toreadonly())
    inputs: dict[str, Tensor] = {}
    for found in _objects(content, "inputs"):
        tensor = _tensor(found, rest)
        if tensor.name in inputs:
            raise BadInputError(f"input {tensor.name!r} stands twice")
        inputs[tensor.name] = tensor
    rest.check_empty()
    request_id = content.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise BadInputError("the id is no text")
    return Inference(request_id, inputs, parameters, _wanted(content, is_binary), is_binary)


def length_field(headers: dict[bytes, bytes]) -> bytes | None:
    """Return the value of the field that says how long the JSON is, or None."""
    return headers.get(_LENGTH_FIELD)


def _header_bytes(body: Body, header_length: bytes | None) -> int:
    if header_length is None:
        return len(body)
    if not header_length.isdigit() or len(header_length) > 18:
        raise BadInputError(f"{HEADER_LENGTH} is no number of bytes")
    if int(header_length) > len(body):
        raise BadInputError(f"{HEADER_LENGTH} is {int(header_length)}, but the body has {len(body)} bytes")
    return int(header_length)


class _Rest:
    """The bytes behind the JSON, of which each tensor takes its own."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at = data, 0

    def take(self, name: str, size: Any) -> memoryview:
        if type(size) is not int or size < 0:
            raise BadInputError(f"input {name!r}: binary_data_size is no number of bytes")
        at, self._at = self._at, self._at + size
        if self._at > len(self._data):
            left = max(len(self._data) - at, 0)
            raise BadInputError(f"input {name!r}: the body ends after {left} of its {size} bytes of binary data")
        return self._data[at : self._at]

    def check_empty(self) -> None:
        left = len(self._data) - self._at
        if left:
            raise BadInputError(f"the body has {left} bytes of binary data that no input takes")


def _tensor(found: dict[str, Any], rest: _Rest) -> Tensor:
    name = _name(found, "an input")
    parameters = _parameters(found, f"input {name!r}")
    try:
        datatype = tensors.check_datatype(found.get("datatype"))
        shape = tensors.check_shape(found.get("shape"))
    except ValueError as error:
        raise BadInputError(f"input {name!r}: {error}") from None
    if "binary_data_size" in parameters:
        if "data" in found:
            raise BadInputError(f"input {name!r} has both data and binary_data_size")
        return Tensor(name, datatype, shape, rest.take(name, parameters["binary_data_size"]))
    if "data" not in found:
        raise BadInputError(f"input {name!r} has neither data nor binary_data_size")
    return Tensor(name, datatype, shape, found["data"])


def _wanted(content: dict[str, Any], is_binary: bool) -> list[Wanted] | None:
    if not content.get("outputs"):
        return None
    wanted: list[Wanted] = []
    for found in _objects(content, "outputs"):
        name = _name(found, "an output")
        if any(name == each.name for each in wanted):
            raise BadInputError(f"output {name!r} stands twice")
        own = _flag(_parameters(found, f"output {name!r}"), "binary_data", f"output {name!r}")
        wanted.append(Wanted(name, is_binary if own is None else own))
    return wanted


def _objects(content: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = content.get(key)
    if not isinstance(found, list) or not found or not all(isinstance(each, dict) for each in found):
        raise BadInputError(f"{key} is no list of {key[:-1]} tensors")
    return found


def _name(found: dict[str, Any], what: str) -> str:
    name = found.get("name")
    if not isinstance(name, str) or not name:
        raise BadInputError(f"{what} has no name")
    return name


def _parameters(found: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = found.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadInputError(f"the parameters of {where} are no object")
    return parameters


def _flag(parameters: dict[str, Any], name: str, where: str) -> bool | None:
    value = parameters.get(name)
    if value is not None and not isinstance(value, bool):
        raise BadInputError(f"{name} of {where} is neither true nor false")
    return value


def write(inference: Inference, model: tuple[str, str], outputs: Sequence[tuple[str, Any]]) -> Response:
    """Return the answer.

    Args:
        inference: the request.
        model: name and version of the model.
        outputs: names and arrays of all that there is.

    Raises:
        BadInputError: an output is asked for that there is not, or in a form that it has not.
    """
    wanted = inference.outputs
    found = dict(outputs)
    if wanted is None:
        wanted = [Wanted(name, inference.is_binary) for name in found]
    missing = [each.name for each in wanted if each.name not in found]
    if missing:
        raise BadInputError(f"there is no output {missing[0]!r}, but {_listed(list(found))}")
    described: list[dict[str, Any]] = []
    pieces: list[bytes] = []
    for name, is_binary in wanted:
        array = found[name]
        output: dict[str, Any] = {
            "name": name,
            "datatype": tensors.datatype_of(array.dtype),
            "shape": list(array.shape),
        }
        if is_binary:
            pieces.append(tensors.binary_elements(array))
            output["parameters"] = {"binary_data_size": len(pieces[-1])}
        else:
            try:
                output["data"] = tensors.json_elements(array)
            except ValueError as error:
                raise BadInputError(f"output {name!r} can only be had as binary data: {error}") from None
        described.append(output)
    content: dict[str, Any] = {"model_name": model[0], "model_version": model[1]}
    if inference.id is not None:
        content["id"] = inference.id
    text = codec.dumps({**content, "outputs": described})
    if not pieces:
        return Response(200, text, [("Content-Type", JSON), (RUN_FAILED_HEADER, "False")])
    fields = [("Content-Type", _BINARY), (RUN_FAILED_HEADER, "False"), (HEADER_LENGTH, str(len(text)))]
    return Response(200, b"".join([text, *pieces]), fields)


def _listed(names: list[str]) -> str:
    return ", ".join(map(repr, names)) or "none at all"
