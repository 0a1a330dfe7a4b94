"""Bodies of the Open Inference Protocol."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from azmlinfsrv import inference_body
from azmlinfsrv.errors import BadInputError
from azmlinfsrv.inference_body import HEADER_LENGTH, Inference, Wanted
from tests.unit.http_fakes import headers_of

TENSOR = {"name": "x", "datatype": "INT16", "shape": [2], "data": [1, 2]}
BINARY = {"name": "x", "datatype": "INT16", "shape": [2], "parameters": {"binary_data_size": 4}}


def read(content: Any, rest: bytes = b"", length: int | str | None = None) -> Inference:
    """Read a request; with binary data, or a length, it has the field."""
    text = json.dumps(content).encode()
    field = None if length is None and not rest else str(len(text) if length is None else length).encode()
    return inference_body.read(text + rest, field)


def test_a_json_request() -> None:
    """A request has its id, tensors, parameters and the outputs that it wants."""
    found = read(
        {
            "id": "7",
            "inputs": [TENSOR],
            "parameters": {"k": 3},
            "outputs": [{"name": "b"}, {"name": "a", "parameters": {"binary_data": True}}],
        }
    )
    assert found.id == "7" and found.parameters == {"k": 3}
    assert found.inputs["x"].read().tolist() == [1, 2]
    assert found.outputs == [Wanted("b", is_binary=False), Wanted("a", is_binary=True)]


def test_binary_tensors_follow_each_other() -> None:
    """Binary data stands behind the JSON in the order of the inputs, those with JSON data left out."""
    second = {**BINARY, "name": "z"}
    found = read({"inputs": [BINARY, {**TENSOR, "name": "y"}, second]}, b"\1\0\2\0\3\0\4\0")
    assert [tensor.read().tolist() for tensor in found.inputs.values()] == [[1, 2], [1, 2], [3, 4]]


def test_the_default_form_of_outputs() -> None:
    """binary_data_output is for all outputs that do not say otherwise."""
    parameters = {"binary_data_output": True}
    plain = {"name": "b", "parameters": {"binary_data": False}}
    found = read({"inputs": [TENSOR], "parameters": parameters, "outputs": [{"name": "a"}, plain]})
    assert found.outputs == [Wanted("a", is_binary=True), Wanted("b", is_binary=False)]
    every = read({"inputs": [TENSOR], "parameters": parameters, "outputs": []})
    assert every.outputs is None and every.is_binary


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({}, "inputs is no list of input tensors"),
        ({"inputs": []}, "inputs is no list of input tensors"),
        ({"inputs": [3]}, "inputs is no list of input tensors"),
        ({"inputs": [TENSOR, TENSOR]}, "input 'x' stands twice"),
        ({"inputs": [{**TENSOR, "name": 3}]}, "an input has no name"),
        ({"inputs": [{**TENSOR, "datatype": "BF16"}]}, "input 'x': the datatype BF16 is not supported"),
        ({"inputs": [{**TENSOR, "shape": [-2]}]}, "input 'x': the shape [-2] is no list of sizes"),
        ({"inputs": [{**TENSOR, "parameters": 1}]}, "the parameters of input 'x' are no object"),
        ({"inputs": [{**TENSOR, **BINARY}]}, "input 'x' has both data and binary_data_size"),
        ({"inputs": [{**TENSOR, "parameters": {"binary_data_size": "4"}, "data": None}]}, "has both data and"),
        ({"inputs": [{"name": "x", "datatype": "INT16", "shape": [2]}]}, "neither data nor binary_data_size"),
        ({"inputs": [{**BINARY, "parameters": {"binary_data_size": -1}}]}, "binary_data_size is no number of bytes"),
        ({"inputs": [BINARY]}, "the body ends after 0 of its 4 bytes of binary data"),
        ({"inputs": [TENSOR], "id": 3}, "the id is no text"),
        ({"inputs": [TENSOR], "parameters": []}, "the parameters of the request are no object"),
        ({"inputs": [TENSOR], "parameters": {"binary_data_output": 1}}, "binary_data_output of the request is neither"),
        ({"inputs": [TENSOR], "outputs": {"name": "a"}}, "outputs is no list of output tensors"),
        ({"inputs": [TENSOR], "outputs": [{}]}, "an output has no name"),
        ({"inputs": [TENSOR], "outputs": [{"name": "a"}, {"name": "a"}]}, "output 'a' stands twice"),
        (
            {"inputs": [TENSOR], "outputs": [{"name": "a", "parameters": {"binary_data": "yes"}}]},
            "binary_data of output 'a' is neither true nor false",
        ),
        ([], "POST body should be a JSON dictionary."),
    ],
    ids=str,
)
def test_bad_requests(content: Any, reason: str) -> None:
    """What is no request is refused, and the message says where it is wrong."""
    with pytest.raises(BadInputError) as caught:
        read(content)
    assert reason in caught.value.message


@pytest.mark.parametrize(
    ("rest", "length", "reason"),
    [
        (b"\1\0\2", None, "input 'x': the body ends after 3 of its 4 bytes of binary data"),
        (b"\1\0\2\0\3", None, "the body has 1 bytes of binary data that no input takes"),
        (b"\1\0\2\0", 10_000, "Inference-Header-Content-Length is 10000, but the body has"),
        (b"\1\0\2\0", "-1", "Inference-Header-Content-Length is no number of bytes"),
        (b"\1\0\2\0", "9" * 40, "Inference-Header-Content-Length is no number of bytes"),
        (b"\1\0\2\0", 0, "POST body is empty."),
        (b"\1\0\2\0", 5, "POST body could not be decoded as JSON"),
    ],
)
def test_bad_binary_parts(rest: bytes, length: int | str | None, reason: str) -> None:
    """Binary data that is cut off or left over is refused, and so is a wrong length of the JSON."""
    with pytest.raises(BadInputError) as caught:
        read({"inputs": [BINARY]}, rest, length)
    assert reason in caught.value.message


def test_wrong_elements_name_their_tensor() -> None:
    """Elements that do not fit are refused under the name of the tensor."""
    with pytest.raises(BadInputError, match=r"input .x.: .*out of range"):
        read({"inputs": [{**TENSOR, "data": [1, 99999]}]}).inputs["x"].read()


OUTPUTS = [("a", np.array([[1.5], [2.5]])), ("b", np.array(["é"], dtype=object))]


def inference(outputs: list[Wanted] | None = None, is_binary: bool = False, request_id: str | None = None) -> Inference:
    """Return a request that wants these outputs."""
    return Inference(request_id, {}, {}, outputs, is_binary)


def test_a_json_answer() -> None:
    """An answer has the model, the id and every output, row by row."""
    response = inference_body.write(inference(request_id=""), ("m", "2"), OUTPUTS)
    assert headers_of(response)["content-type"] == "application/json"
    assert json.loads(response.body) == {
        "model_name": "m",
        "model_version": "2",
        "id": "",
        "outputs": [
            {"name": "a", "datatype": "FP64", "shape": [2, 1], "data": [1.5, 2.5]},
            {"name": "b", "datatype": "BYTES", "shape": [1], "data": ["é"]},
        ],
    }


def test_outputs_in_the_order_and_form_that_was_asked_for() -> None:
    """Only wanted outputs are sent, in their order, each in its form, and the field tells the length of the JSON."""
    wanted = [Wanted("b", is_binary=True), Wanted("a", is_binary=True)]
    response = inference_body.write(inference(wanted), ("m", "2"), OUTPUTS)
    fields = headers_of(response)
    size = int(fields[HEADER_LENGTH.lower()])
    assert fields["content-type"] == "application/octet-stream"
    content = json.loads(response.body[:size])
    assert "id" not in content
    assert [(each["name"], each["parameters"]) for each in content["outputs"]] == [
        ("b", {"binary_data_size": 6}),
        ("a", {"binary_data_size": 16}),
    ]
    assert response.body[size:] == b"\2\0\0\0\xc3\xa9" + np.array([1.5, 2.5]).tobytes()
    mixed = inference_body.write(inference([Wanted("a", is_binary=False)], is_binary=True), ("m", "2"), OUTPUTS)
    assert json.loads(mixed.body)["outputs"][0]["data"] == [1.5, 2.5]


def test_outputs_that_there_are_not() -> None:
    """An unknown output is refused with those that there are, and so are bytes as JSON."""
    with pytest.raises(BadInputError, match="there is no output 'c', but 'a', 'b'"):
        inference_body.write(inference([Wanted("c", is_binary=False)]), ("m", "2"), OUTPUTS)
    raw = [("a", np.array([b"\xff"], dtype=object))]
    with pytest.raises(BadInputError, match="output 'a' can only be had as binary data"):
        inference_body.write(inference(), ("m", "2"), raw)
    assert inference_body.write(inference(is_binary=True), ("m", "2"), raw).body.endswith(b"\1\0\0\0\xff")
