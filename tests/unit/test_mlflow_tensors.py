"""MLflow models behind the Open Inference Protocol: their signature says which tensors they take."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from azmlinfsrv.inference_body import HEADER_LENGTH
from azmlinfsrv.mlflow_signature import Signature
from azmlinfsrv.mlflow_tensors import described_tensors
from tests.unit.inference_stage import INFER, error_of, outputs_of, served_script, tensor
from tests.unit.mlflow_stage import KINDS, WARNINGS, Models, saved_models

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.anyio, pytest.mark.filterwarnings(*WARNINGS)]

A, B = tensor("a", "INT64", [2], [1, 2]), tensor("b", "FP64", [2], [0.5, 1.5])
X, Y = tensor("x", "FP32", [1, 2], [1.5, 2.5]), tensor("y", "INT64", [1], [7])
WHEN = tensor("when", "BYTES", [1], ["2024-01-31T10:00:00"])
BLOB = tensor("blob", "BYTES", [1], [base64.b64encode(b"\x00\xff").decode()])
REST = [tensor("yes", "BOOL", [1], [True]), tensor("f", "FP32", [1], [1.5]), tensor("i", "INT32", [1], [3])]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Models]:
    """The models."""
    with saved_models(tmp_path_factory.mktemp("models")) as models:
        yield models


@asynccontextmanager
async def served_model(models: Models, name: str, **chosen: Any) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server of a model that returns what it gets."""
    async with served_script(models.script(name), **chosen) as client:
        yield client


@pytest.mark.parametrize(
    ("name", "inputs"),
    [
        ("columns", [("a", "INT64", [-1]), ("b", "FP64", [-1]), ("c", "BYTES", [-1])]),
        (
            "kinds",
            [(name, kind, [-1]) for name, kind in zip(KINDS, ["BYTES", "BYTES", "BOOL", "FP32", "INT32"], strict=True)],
        ),
        ("nameless", [("input-0", "FP64", [-1]), ("input-1", "FP64", [-1])]),
        ("tensor", [("input-0", "FP32", [-1, 2])]),
        ("tensors", [("x", "FP32", [-1, 2]), ("y", "INT64", [-1])]),
    ],
)
async def test_the_metadata_is_the_signature(models: Models, name: str, inputs: list[Any]) -> None:
    """A column is a tensor of one dimension, a tensor is itself; MLServer has the same datatypes for them."""
    async with served_model(models, name) as client:
        content = (await client.get("/v2/models/model")).json()
        assert [(each["name"], each["datatype"], each["shape"]) for each in content["inputs"]] == inputs
        assert (await client.get("/v2/models/model/ready")).json() == {"name": "model", "ready": True}


async def test_columns_are_a_frame(models: Models) -> None:
    """The model gets a frame with the columns, and a frame that it returns is a tensor a column of its own datatype."""
    async with served_model(models, "columns") as client:
        answer = await client.post(INFER, json={"inputs": [A, B, tensor("c", "BYTES", [2, 1], [["x"], ["y"]])]})
        assert outputs_of(answer) == {
            "a": ("INT64", [2], [1, 2]),
            "b": ("FP64", [2], [0.5, 1.5]),
            "c": ("BYTES", [2], ["x", "y"]),
        }
        score = await client.post("/score", json={"input_data": [{"a": 1, "b": 2}]})
        assert score.json() == [{"a": 1, "b": 2.0}]
        again = await client.post("/invocations", json={"dataframe_records": [{"a": 1, "b": 2}]})
        assert again.json() == {"predictions": [{"a": 1, "b": 2.0}]}


async def test_parameters_of_the_request_are_the_models(models: Models) -> None:
    """Those of the signature reach the model, the protocol's own do not; one that does not fit is named."""
    async with served_model(models, "columns") as client:
        content = {"inputs": [A, B], "parameters": {"kind": "params", "n": 5, "content_type": "pd"}}
        found = outputs_of(await client.post(INFER, json=content))
        assert found["n"] == ("INT64", [1], [5]) and "content_type" not in found
        content["parameters"] = {"n": "many"}
        answer = await client.post(INFER, json=content)
        assert answer.status_code == 400 and "'n'" in error_of(answer)


async def test_dates_and_bytes(models: Models) -> None:
    """Dates are texts; bytes are Base64 in JSON and themselves in binary data."""
    async with served_model(models, "kinds") as client:
        found = outputs_of(
            await client.post(INFER, json={"inputs": [WHEN, BLOB, *REST], "outputs": [{"name": n} for n in KINDS[::2]]})
        )
        assert found["when"][2][0].startswith("2024-01-31T10:00:00") and found["yes"] == ("BOOL", [1], [True])
        element = b"\x02\x00\x00\x00\x00\xff"
        sent = {**BLOB, "parameters": {"binary_data_size": len(element)}}
        del sent["data"]
        wanted = [{"name": "blob", "parameters": {"binary_data": True}}]
        for blob, rest in ((BLOB, b""), (sent, element)):
            text = json.dumps({"inputs": [WHEN, blob, *REST], "outputs": wanted}).encode()
            answer = await client.post(INFER, content=text + rest, headers={HEADER_LENGTH: str(len(text))})
            assert answer.status_code == 200, answer.text
            assert answer.content.endswith(element)


async def test_tensors_are_arrays(models: Models) -> None:
    """Named tensors are an object of arrays, one without a name is the array; binary data goes in and out."""
    async with served_model(models, "tensors") as client:
        assert outputs_of(await client.post(INFER, json={"inputs": [X, Y]})) == {
            "x": ("FP32", [1, 2], [1.5, 2.5]),
            "y": ("INT64", [1], [7]),
        }
    rows = np.array([[1.5, 2.5], [3.5, 4.5]], "float32")
    sent = {"name": "input-0", "datatype": "FP32", "shape": [2, 2], "parameters": {"binary_data_size": rows.nbytes}}
    text = json.dumps({"inputs": [sent], "parameters": {"binary_data_output": True}}).encode()
    async with served_model(models, "tensor") as client:
        answer = await client.post(INFER, content=text + rows.tobytes(), headers={HEADER_LENGTH: str(len(text))})
        assert answer.status_code == 200, answer.text
        assert answer.content.endswith(rows.tobytes())


async def test_columns_without_names(models: Models) -> None:
    """They are called by their number."""
    pair = [tensor("input-0", "FP64", [1], [1.5]), tensor("input-1", "FP64", [1], [2.5])]
    async with served_model(models, "nameless") as client:
        found = outputs_of(await client.post(INFER, json={"inputs": pair}))
        assert found == {"0": ("FP64", [1], [1.5]), "1": ("FP64", [1], [2.5])}


async def test_a_datatype_that_loses_nothing(models: Models) -> None:
    """A column takes numbers that its type can hold, as MLflow says."""
    async with served_model(models, "columns") as client:
        small = tensor("a", "INT32", [1], [1]), tensor("b", "FP32", [1], [0.5])
        found = outputs_of(await client.post(INFER, json={"inputs": list(small)}))
        assert found == {"a": ("INT64", [1], [1]), "b": ("FP64", [1], [0.5])}


@pytest.mark.parametrize(
    ("name", "inputs", "part"),
    [
        ("columns", [A], "input 'b' is missing"),
        ("columns", [A, B, tensor("d", "FP64", [2], [1, 2])], "there is no input 'd'"),
        ("columns", [A, tensor("b", "FP64", [1], [1])], "same length"),
        ("columns", [A, tensor("b", "FP64", [2, 2], [1, 2, 3, 4])], "'b' has the shape"),
        ("columns", [A, tensor("b", "FP64", [2], [1])], "'b'"),
        ("columns", [tensor("a", "FP64", [2], [1.5, 2]), B], "column a"),
        ("columns", [A, tensor("b", "BYTES", [2], ["x", "y"])], "column b"),
        ("kinds", [{**WHEN, "data": ["soon"]}, BLOB, *REST], "column when"),
        ("kinds", [WHEN, {**BLOB, "data": ["a"]}, *REST], "column blob"),
        ("tensors", [X], "input 'y' is missing"),
        ("tensors", [tensor("x", "FP32", [1, 3], [1, 2, 3]), Y], "'x' has the shape"),
        ("tensors", [tensor("x", "FP64", [1, 2], [1, 2]), Y], "'x' has the datatype FP64, expected FP32"),
    ],
)
async def test_what_does_not_fit(models: Models, name: str, inputs: list[Any], part: str) -> None:
    """It is 400 in the protocol's form, and names the input or column."""
    async with served_model(models, name) as client:
        answer = await client.post(INFER, json={"inputs": inputs})
        assert answer.status_code == 400 and part in error_of(answer)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("free", "no signature"),
        ("hints", "type hints"),
        ("nested", "'xs' of the model's signature is of the type array"),
    ],
)
async def test_models_without_tensors(models: Models, name: str, part: str) -> None:
    """Infer and metadata say why the model cannot be called."""
    async with served_model(models, name) as client:
        for answer in (await client.get("/v2/models/model"), await client.post(INFER, json={"inputs": [A]})):
            assert answer.status_code == 400 and part in error_of(answer)


async def test_keys_and_errors_of_both_protocols(models: Models) -> None:
    """Each path that calls the model needs the key, and each protocol has its own form of errors."""
    async with served_model(models, "columns", api_key="secret-key") as client:
        assert "error" in (await client.post(INFER, json={})).json()
        assert "message" in (await client.post("/invocations", json={})).json()
        for path in (INFER, "/invocations", "/score"):
            assert (await client.post(path, json={})).status_code == 401
        for path in ("/ping", "/v2/health/ready"):
            assert (await client.get(path)).status_code == 200


async def test_rows_of_both_protocols_in_batches(models: Models) -> None:
    """Requests that may be scored in one call get the answers to their own rows, in their own form."""
    async with served_model(models, "columns", max_batch_size=8) as client:

        async def infer(number: int) -> None:
            inputs = [tensor("a", "INT64", [1], [number]), tensor("b", "FP64", [1], [0.5])]
            found = outputs_of(await client.post(INFER, json={"inputs": inputs}))
            assert found == {"a": ("INT64", [1], [number]), "b": ("FP64", [1], [0.5])}

        async def score(number: int) -> None:
            answer = await client.post("/score", json={"input_data": [{"a": number, "b": 2}]})
            assert answer.json() == [{"a": number, "b": 2.0}]

        await asyncio.gather(*(ask(number) for number in range(6) for ask in (infer, score)))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (None, []),
        ([{"type": "tensor", "tensor-spec": {"dtype": "int64", "shape": [-1]}}], [("output-0", "INT64", [-1])]),
        (
            [{"type": "tensor", "name": "p", "tensor-spec": {"dtype": "float32", "shape": [-1, 3]}}],
            [("p", "FP32", [-1, 3])],
        ),
        (
            [{"type": "long", "name": "y"}, {"type": "string", "name": "s"}],
            [("y", "INT64", [-1]), ("s", "BYTES", [-1])],
        ),
        ([{"type": "double"}], [("output-0", "FP64", [-1])]),
        ([{"type": "double"}, {"type": "double"}], []),
        ([{"type": "map", "name": "m"}], []),
    ],
)
def test_outputs_are_described(outputs: list[dict[str, Any]] | None, expected: list[Any]) -> None:
    """The metadata has the outputs of the signature, where it names them and they are tensors."""
    specs = described_tensors(Signature(None, outputs))
    assert [(spec.name, spec.datatype, list(spec.shape)) for spec in specs] == expected
