"""A server of an MLflow model, without a script."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.ports import ReservedPort
from tests.process.asking import client
from tests.process.conftest import SCRIPTS
from tests.servers import RunningServer, server_environment

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.process, pytest.mark.timeout(180)]

COLUMNS = ["sepal_length", "sepal_width", "petal_length", "petal_width"]
# One flower of each species, as the data set has it.
FLOWERS = [[5.1, 3.5, 1.4, 0.2], [5.7, 2.8, 4.1, 1.3], [7.7, 3.8, 6.7, 2.2]]
KEY = "0123456789abcdef"
START_S = 60.0  # MLflow and scikit-learn are imported


def start(folder: Path, model_dir: Path, port: int, **env: str) -> RunningServer:
    """Start a server that is told the model directory and nothing else."""
    command = [sys.executable, "-m", "azmlinfsrv", "--model_dir", str(model_dir), "--port", str(port)]
    return RunningServer([*command, "--host", "127.0.0.1"], port, folder, server_environment(env))


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model directory as Azure Machine Learning mounts it: the model is a folder in it."""
    folder = tmp_path_factory.mktemp("azureml-models") / "iris" / "1"
    environ = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
    subprocess.run([sys.executable, SCRIPTS / "mlflow_iris.py", folder / "model"], check=True, env=environ)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory of the server."""
    return tmp_path_factory.mktemp("server")


@pytest.fixture(scope="module")
def server(model_dir: Path, folder: Path) -> Iterator[RunningServer]:
    """The server that the tests share: with a key, batches, and the Open Inference Protocol."""
    with ReservedPort() as port:
        env = {"AZMLINFSRV_API_KEY": KEY, "AZMLINFSRV_MAX_BATCH_SIZE": "32", "AZMLINFSRV_V2_ENABLED": "true"}
        running = start(folder, model_dir, port.number, **env)
        try:
            running.wait_ready(START_S)
            yield running
        finally:
            running.stop()


def ask(server: RunningServer, path: str, body: Any, key: str = KEY) -> httpx.Response:
    """Send a body."""
    return client().post(server.url + path, json=body, headers={"Authorization": f"Bearer {key}"})


def ask_v2(server: RunningServer, path: str) -> httpx.Response:
    """Get what the Open Inference Protocol says at a path."""
    return client().get(server.url + path, headers={"Authorization": f"Bearer {KEY}"})


@pytest.mark.parametrize("path", ["/score", "/invocations"])
def test_each_form_has_its_answer(server: RunningServer, path: str) -> None:
    """Azure's form is answered plainly and MLflow's with `predictions`, at both paths, like any script's request."""
    frame = {"columns": COLUMNS, "index": [0, 1, 2], "data": FLOWERS}
    plain = ask(server, path, {"input_data": frame})
    assert (plain.status_code, plain.json()) == (200, [0, 1, 2]), server.output
    assert "x-request-id" in plain.headers and float(plain.headers["x-ms-run-fn-exec-ms"]) >= 0
    records = [dict(zip(COLUMNS, flower, strict=True)) for flower in FLOWERS]
    for body in (
        {"dataframe_split": frame},
        {"dataframe_records": records},
        {"instances": records},
        {"inputs": {name: [flower[name] for flower in records] for name in COLUMNS}},
    ):
        assert ask(server, path, body).json() == {"predictions": [0, 1, 2]}
    text = "\n".join([",".join(COLUMNS), *(",".join(map(str, flower)) for flower in FLOWERS)])
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "text/csv"}
    assert client().post(server.url + path, content=text, headers=headers).json() == {"predictions": [0, 1, 2]}


def test_clients_of_the_open_inference_protocol(server: RunningServer) -> None:
    """The model is named as its folder, takes a tensor a column, and what does not fit is 400 in that form."""
    about = ask_v2(server, "/v2/models/iris").json()
    assert about["inputs"] == [{"name": name, "datatype": "FP64", "shape": [-1]} for name in COLUMNS]
    assert about["outputs"] == [{"name": "output-0", "datatype": "INT64", "shape": [-1]}]
    tensors = [
        {"name": name, "datatype": "FP64", "shape": [3], "data": [flower[at] for flower in FLOWERS]}
        for at, name in enumerate(COLUMNS)
    ]
    answer = ask(server, "/v2/models/iris/versions/1/infer", {"inputs": tensors})
    assert answer.status_code == 200 and answer.json()["outputs"][0]["data"] == [0, 1, 2], answer.text
    wrong = ask(server, "/v2/models/iris/infer", {"inputs": tensors[1:]})
    assert (wrong.status_code, wrong.json()) == (400, {"error": "input 'sepal_length' is missing"})


def test_a_violation_is_the_clients_fault(server: RunningServer) -> None:
    """What does not fit the signature is 400 with the column's name, and no failure of `run()`."""
    wrong = ask(server, "/score", {"input_data": {"columns": COLUMNS, "data": [["long", 1, 1, 1]]}})
    assert wrong.status_code == 400 and "sepal_length" in wrong.json()["message"]
    assert wrong.headers["x-ms-run-function-failed"] == "False"
    missing = ask(server, "/invocations", {"dataframe_records": [{"petal_width": 1}]})
    assert missing.status_code == 400 and "'sepal_length'" in missing.json()["message"]


def test_both_paths_need_the_key(server: RunningServer) -> None:
    """A key that is not valid opens neither path."""
    for path in ("/score", "/invocations"):
        assert ask(server, path, {"input_data": FLOWERS}, "wrong").status_code == 401


def test_mlflows_probes(server: RunningServer) -> None:
    """What asks MLflow's server whether it is there, and which it is, is answered by this one."""
    for path in ("/ping", "/health"):
        answer = client().get(server.url + path)
        assert (answer.status_code, answer.text) == (200, "\n")
    assert client().get(f"{server.url}/version").text == metadata.version("mlflow-skinny")


def test_the_model_is_described_and_counted(server: RunningServer) -> None:
    """The document has the columns and both paths, the page is there, and the metrics have the path."""
    assert ask(server, "/invocations", {"input_data": FLOWERS}).json() == [0, 1, 2]
    with_key = {"Authorization": f"Bearer {KEY}"}
    document = client().get(f"{server.url}/swagger.json", headers=with_key).json()
    assert {"/score", "/invocations"} <= document["paths"].keys()
    data = document["definitions"]["ServiceInput"]["properties"]["input_data"]
    assert data["properties"]["columns"]["items"]["enum"] == COLUMNS
    assert client().get(f"{server.url}/docs").status_code == 200
    assert 'route="/invocations"' in client().get(f"{server.url}/metrics", headers=with_key).text


def test_requests_together_get_their_own_answers(server: RunningServer) -> None:
    """Requests that may be scored in one call get the answers to their own rows."""
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda at: ask(server, "/score", {"input_data": FLOWERS[at % 3 :]}), range(24)))
    assert [answer.json() for answer in answers] == [[0, 1, 2][at % 3 :] for at in range(24)]


def test_nothing_is_left_in_the_working_directory(server: RunningServer, folder: Path, model_dir: Path) -> None:
    """MLflow makes no folder of runs where the server is started, and the log says what is served."""
    assert f"an MLflow model at {model_dir / 'model'}" in server.output
    assert sorted(path.name for path in folder.iterdir()) == ["stderr", "stdout"]


def test_a_model_that_cannot_be_loaded(tmp_path: Path) -> None:
    """It is reported as a script's `init()` that raises, with its traceback, and ends with 3."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {python_function: {loader_module: no_such_module}}")
    with ReservedPort() as port:
        running = start(tmp_path, tmp_path, port.number)
        assert running.wait_exit(START_S) == 3, running.output
    assert "User's init function failed" in running.output
    assert "No module named 'no_such_module'" in running.output
    assert "MLmodel" in running.output
