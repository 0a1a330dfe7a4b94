"""The Open Inference Protocol with Triton's client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.conftest import StartServer
from tests.process.asking import PATIENCE_S
from tests.process.conftest import SharedServer
from tests.servers import RunningServer

pytestmark = pytest.mark.process

ON = {"AZMLINFSRV_V2_ENABLED": "true"}
ARRAYS: dict[str, Any] = {
    "BOOL": np.array([[True, False]]),
    **{f"UINT{bits}": np.array([[0, 2**bits - 1]], f"uint{bits}") for bits in (8, 16, 32, 64)},
    **{f"INT{bits}": np.array([[-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]], f"int{bits}") for bits in (8, 16, 32, 64)},
    **{f"FP{bits}": np.array([[0.1, -65504]], f"float{bits}") for bits in (16, 32, 64)},
    "BYTES": np.array([["é", ""]], object),
}
# Triton's client has no JSON for it.
ONLY_BINARY = {"FP16"}


def inputs(*, binary: bool, **other: Any) -> list[Any]:
    """Return an input of each datatype."""
    sent = []
    for name, array in {**ARRAYS, **other}.items():
        sent.append(triton.InferInput(name, list(array.shape), name))
        sent[-1].set_data_from_numpy(array, binary_data=binary or name in ONLY_BINARY)
    return sent


def asking(server: RunningServer) -> Any:
    """Return a client of a server."""
    return triton.InferenceServerClient(
        f"127.0.0.1:{server.port}", connection_timeout=PATIENCE_S, network_timeout=PATIENCE_S
    )


@pytest.fixture
def server_of_all(shared_server: SharedServer) -> RunningServer:
    """A server of the script that takes every datatype."""
    return shared_server("tensors.py", env=ON)


@pytest.fixture
def client(server_of_all: RunningServer) -> Iterator[Any]:
    """A client of that server."""
    with asking(server_of_all) as client:
        yield client


def test_what_clients_ask_first(client: Any) -> None:
    """Server and model are live and ready, and say what they are; another model is not ready."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("model") and client.is_model_ready("model", "1") and not client.is_model_ready("other")
    assert client.get_server_metadata()["extensions"] == ["binary_tensor_data"]
    metadata = client.get_model_metadata("model")
    assert metadata["inputs"] == [{"name": name, "datatype": name, "shape": [-1, 2]} for name in ARRAYS]


@pytest.mark.parametrize("sent_binary", [True, False])
@pytest.mark.parametrize("wanted_binary", [True, False])
def test_every_datatype_goes_both_ways(client: Any, sent_binary: bool, wanted_binary: bool) -> None:
    """Every datatype arrives and comes back, in JSON and in binary, those outputs that are asked for."""
    names = list(ARRAYS)[::-1]
    wanted = [triton.InferRequestedOutput(n, binary_data=wanted_binary or n in ONLY_BINARY) for n in names]
    result = client.infer("model", inputs(binary=sent_binary), outputs=wanted, request_id="mine")
    assert result.get_response()["id"] == "mine"
    assert [each["name"] for each in result.get_response()["outputs"]] == names
    for name, array in ARRAYS.items():
        found = result.as_numpy(name)
        if name == "BYTES":
            found = np.vectorize(lambda each: each.decode() if isinstance(each, bytes) else each, otypes=[object])(
                found
            )
        np.testing.assert_array_equal(found, array)
        assert found.dtype == array.dtype


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_compressed_request(client: Any, coding: str) -> None:
    """A compressed request is taken, all outputs come in binary."""
    result = client.infer("model", inputs(binary=True), request_compression_algorithm=coding)
    np.testing.assert_array_equal(result.as_numpy("FP64"), ARRAYS["FP64"])


def test_errors_reach_the_client(client: Any) -> None:
    """Errors come with their status and text, those of the script too, and the next request is answered."""
    with pytest.raises(InferenceServerException, match="there is no model 'other'") as unknown:
        client.infer("other", inputs(binary=True))
    assert unknown.value.status() == "400"
    with pytest.raises(InferenceServerException, match="'INT8' has the shape") as wrong:
        client.infer("model", inputs(binary=True, INT8=np.zeros((1, 3), np.int8)))
    assert wrong.value.status() == "400"
    with pytest.raises(InferenceServerException, match="is missing"):
        client.infer("model", inputs(binary=True)[1:])
    with pytest.raises(InferenceServerException, match="there is no output 'x'"):
        client.infer("model", inputs(binary=True), outputs=[triton.InferRequestedOutput("x")])
    with pytest.raises(InferenceServerException, match="An unexpected error occurred in scoring script") as failed:
        client.infer("model", inputs(binary=True), parameters={"fail": True})
    assert failed.value.status() == "500"
    assert client.infer("model", inputs(binary=False)).as_numpy("INT8").tolist() == [[-128, 127]]


@pytest.mark.usefixtures("nginx")
def test_behind_nginx(server: StartServer, scripts: Path, internal: str) -> None:
    """Behind nginx requests are the same, and its own errors have the protocol's form."""
    options = ["--nginx", "--v2_enabled", "--server_address", internal, "--max_body_bytes", "100000"]
    running = server(scripts / "schema.py", *options)
    with asking(running) as client:
        assert client.is_server_ready() and client.is_model_ready("model")
        sent = triton.InferInput("data", [1000, 2], "FP64")
        sent.set_data_from_numpy(np.ones((1000, 2)))
        assert client.infer("model", [sent]).as_numpy("output-0").sum() == 4000.0
        large = triton.InferInput("data", [10_000, 2], "FP64")
        large.set_data_from_numpy(np.ones((10_000, 2)))
        with pytest.raises(InferenceServerException, match="larger than 100000 bytes") as refused:
            client.infer("model", [large])
        assert refused.value.status() == "413"
    too_large = running.client.post("/score", content=b"x" * 100_001)
    assert too_large.status_code == 413 and list(too_large.json()) == ["message"]
