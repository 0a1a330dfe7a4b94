"""Scripts that collect data themselves, with the packages of Azure ML and without them."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.kept import CACHE, kept_package
from tests.process.test_model_data import environment, rows_of, score

pytestmark = pytest.mark.process

COLLECTING = """
    import json

    import pandas as pd
    from azureml.ai.monitoring import Collector
    from azureml.monitoring import ModelDataCollector


    def init():
        global inputs, outputs, older
        inputs = Collector(name="model_inputs")
        outputs = Collector(name="model_outputs")
        older = ModelDataCollector("red", designation="inputs", feature_names=["x"])
        Collector(name="start").collect(pd.DataFrame({"started": [True]}))


    def run(data):
        frame = pd.DataFrame(json.loads(data))
        context = inputs.collect(frame)
        outputs.collect(frame * 2, context)
        older.collect([7])
        return {"module": Collector.__module__, "context": str(context)}
"""


def test_off_imports_nothing(server: StartServer) -> None:
    """Without a folder nothing of the collection is imported, whatever the switch says; collectors do no harm."""
    source = """
        import sys

        from azureml.ai.monitoring import Collector


        def init():
            global collector
            collector = Collector(name="x")


        def run(data):
            import pandas as pd

            collector.collect(pd.DataFrame({"a": [1]}))
            unwanted = ("azmlinfsrv.telemetry.model_data", "pyarrow.parquet", "azure")
            return [name for name in unwanted if name in sys.modules]
    """
    running = server(source, env={"AML_MODEL_DC_STORAGE_ENABLED": "true"})
    assert score(running, {}).json() == []
    assert "What the collector x gets is dropped" in running.output


@pytest.mark.parametrize("preload", ["false", "true"])
def test_collectors_of_scripts(server: StartServer, tmp_path: Path, preload: str) -> None:
    """What a script collects, in init() and in run(), is in the same files with the id of its request."""
    folder = tmp_path / "data"
    running = server(COLLECTING, env=environment(folder, WORKER_PRELOAD=preload))
    answers = {name: score(running, {"a": [1]}, x_request_id=name).json() for name in ("one", "two")}
    running.stop()
    rows = rows_of(folder)
    for name, answer in answers.items():
        collected = {row["collection"]: row for row in rows if row["request_id"] == name and row["kind"] == "collected"}
        assert set(collected) == {"model_inputs", "model_outputs", "red/inputs"}
        assert collected["model_inputs"]["data"] == '[{"a":1}]'
        assert collected["model_outputs"]["data"] == '[{"a":2}]'
        ids = {collected[each]["correlation_id"] for each in ("model_inputs", "model_outputs")}
        assert ids == {answer["context"]}
    (start,) = [row for row in rows if row.get("collection") == "start"]
    assert (start["data"], start["request_id"]) == ('[{"started":true}]', "00000000-0000-0000-0000-000000000000")
    assert len([row for row in rows if row["kind"] == "run"]) == 2


@pytest.fixture(scope="module")
def original() -> Path:
    """The folder of the original package, azureml-ai-monitoring, beside the environment: it would hide our packages."""
    name = "azureml-ai-monitoring"
    return kept_package(CACHE / f"{name}-1.0.0", f"{name}==1.0.0")


class Sidecar(http.server.BaseHTTPRequestHandler):
    """Stands in for the collector of Azure ML."""

    received: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        """Keep what is sent."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append((self.path, {name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as the base class has it
        """Say nothing."""


@pytest.fixture
def sidecar() -> Iterator[http.server.ThreadingHTTPServer]:
    """The collector of Azure ML, listening."""
    Sidecar.received = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sidecar) as listening:
        thread = threading.Thread(target=listening.serve_forever)
        thread.start()
        yield listening
        listening.shutdown()
        thread.join()


def test_the_original_package_gives_way(server: StartServer, tmp_path: Path, original: Path) -> None:
    """With the original package installed a script collects into our files, and without collection it serves."""
    folder = tmp_path / "data"
    running = server(COLLECTING, env=environment(folder, AML_SERVER_ROOT=str(original)))
    assert score(running, {"a": [1]}).status_code == 200
    running.stop()
    assert {row.get("collection") for row in rows_of(folder)} > {"model_inputs", "model_outputs"}
    off = server(COLLECTING, env={"AML_SERVER_ROOT": str(original)})
    assert score(off, {"a": [1]}).status_code == 200


def test_the_original_package_reaches_its_sidecar(
    server: StartServer, original: Path, sidecar: http.server.ThreadingHTTPServer
) -> None:
    """Where Azure ML runs its own collector the original package sends to it, as under the released server."""
    env = {
        "AML_SERVER_ROOT": str(original),
        "AZUREML_MDC_ENABLED": "true",
        "AZUREML_MDC_HOST": "127.0.0.1",
        "AZUREML_MDC_PORT": str(sidecar.server_address[1]),
    }
    running = server(COLLECTING, env=env)
    answer = score(running, {"a": [1]}).json()
    running.wait_until(lambda: len(Sidecar.received) == 3)
    outputs = [headers for _, headers, body in Sidecar.received if body == b'[{"a":2}]']
    assert [headers["ce-x-request-id"] for headers in outputs] == [answer["context"]]
    assert {path for path, _, _ in Sidecar.received} == {"/modeldata/log"}
