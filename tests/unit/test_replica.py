"""A replica of Ray Serve without Ray: its script, its ids, its health."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from azmlinfsrv.app import create_app
from azmlinfsrv.asgi import ScoringApp
from azmlinfsrv.boot import Loaded
from azmlinfsrv.inputs import input_parser
from azmlinfsrv.ray_arguments import parse
from azmlinfsrv.replica import Replica, ReplicaStuckError
from azmlinfsrv.runner import Runner
from azmlinfsrv.schema import Swagger
from azmlinfsrv.scorer import Scorer
from azmlinfsrv.script import Script
from azmlinfsrv.settings import Settings
from tests.telemetry.ingestion import wait_until
from tests.unit.http_fakes import RecordedLog, load_module

PATIENCE_S = 15.0


class Served:
    """A replica of a script that waits where it is told to.

    Attributes:
        module: the script.
        scoring: the ASGI application.
        replica: the replica.
    """

    def __init__(self, **given: Any) -> None:
        self.module = load_module("http_text")
        script, settings = Script(self.module), Settings(**given)
        scorer = Scorer(script, input_parser(script, lambda _: None), None)
        runner = Runner(scorer, settings.scoring_timeout_ms, 60_000)
        swagger = Swagger(settings, script.run)
        app = create_app(swagger, runner.submit, None, "", RecordedLog())
        app.abandon = runner.abandon
        self.scoring = ScoringApp(app, runner, 1000)
        self.replica = Replica(self.scoring, Loaded(script, swagger, lambda: None, 2.5), settings)

    def client(self) -> httpx.AsyncClient:
        """Return a client of the replica."""
        return httpx.AsyncClient(transport=httpx.ASGITransport(self.replica), base_url="http://t", timeout=PATIENCE_S)


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    """A replica whose calls are late after 100 ms, and stuck 100 ms after that."""
    one = Served(scoring_timeout_ms=100, stuck_grace_ms=100)
    yield one
    one.module.go_on.set()
    await asyncio.to_thread(one.scoring.stop)


@pytest.mark.anyio
async def test_the_id_of_the_proxy(served: Served) -> None:
    """The id that the proxy gave a request is left to the proxy to answer; one that cannot be used is not."""
    async with served.client() as client:
        plain = await client.post("/score", content="a", headers={"x-request-id": "from the proxy"})
        assert "x-request-id" not in plain.headers and plain.headers["x-ms-request-id"] == "from the proxy"
        refused = await client.post("/score", content="a", headers={"x-request-id": "i" * 101})
        assert refused.status_code == 431 and refused.headers["x-request-id"] == refused.headers["x-ms-request-id"]


@pytest.mark.anyio
async def test_stuck(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that does not come back makes the replica unhealthy; what waits is refused; then its process ends."""
    ended = threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: ended.set() if code == 70 else None)
    await served.replica.check_health()
    async with served.client() as client:
        assert (await client.post("/score", content="wait")).status_code == 500
        refused = await client.post("/score", content="next")
        assert refused.status_code == 503 and refused.headers["retry-after"] == "4"
        assert (await client.get("/live")).status_code == 503
    for _ in range(2):
        with pytest.raises(ReplicaStuckError, match="does not come back"):
            await served.replica.check_health()
    assert await asyncio.to_thread(ended.wait, PATIENCE_S)


@pytest.mark.anyio
async def test_scoring_that_has_ended(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A replica whose scoring thread ended is unhealthy; one that was stopped is not."""
    monkeypatch.setattr(os, "_exit", lambda _: None)
    async with served.client() as client:
        await client.post("/score", content="a")
        served.scoring.runner.stop()
        await asyncio.to_thread(wait_until, lambda: served.scoring.has_broken)
    with pytest.raises(ReplicaStuckError, match="has ended"):
        await served.replica.check_health()
    await asyncio.to_thread(served.scoring.stop)
    await served.replica.check_health()


REPORT = "import json, sys; report = lambda value: print(json.dumps(value), file=open(sys.argv[1], 'w', buffering=1))"


def reported(code: str, **options: Any) -> tuple[Any, str]:
    """Run code in a process of its own, and return what it reports and what it prints: lines of the log at any time."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        command = [sys.executable, "-c", f"{REPORT}\n{textwrap.dedent(code)}", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(path.read_text("utf-8")), done.stdout


def started(folder: Path, **arguments: Any) -> tuple[str, str]:
    """Start a replica in a process of its own, and return what its error says and what it printed."""
    code = f"""
        from azmlinfsrv.replica import ReplicaStartError, start
        said = ""
        try:
            replica = start({arguments!r}, {str(folder)!r})
        except ReplicaStartError as error:
            said = str(error)
        report(said)
    """
    return reported(code, cwd="/")


def test_start(tmp_path: Path) -> None:
    """The script is loaded in the folder where the application was built, with its settings in the environment."""
    (tmp_path / "score.py").write_text(
        "import os, threading\n"
        "def init(): print('in', os.getcwd(), threading.current_thread().name, os.environ['AZUREML_MODEL_DIR'])\n"
        "def run(data): return data\n",
        "utf-8",
    )
    said, printed = started(tmp_path, entry_script="score.py", model_dir="model")
    assert not said and f"in {tmp_path} scoring model" in printed and "ready for serving traffic" in printed
    absolute = {"entry_script": str(tmp_path / "score.py"), "app_root": str(tmp_path), "model_dir": "/model"}
    assert f"in {tmp_path} scoring /model" in started(Path("/nowhere"), **absolute)[1]


SIGNATURE = json.dumps([{"type": "double", "name": "a"}, {"type": "long", "name": "b"}])
MLMODEL = {"flavors": {"python_function": {"loader_module": "sums"}}, "signature": {"inputs": SIGNATURE}}
SUMS = """
class Sums:
    def predict(self, data):
        return data.sum(axis=1).to_numpy()

def _load_pyfunc(path):
    return Sums()
"""
ASK = """
    import asyncio
    import httpx
    from azmlinfsrv.replica import start

    async def ask(replica):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(replica), base_url="http://t") as client:
            for method, path, body in REQUESTS:
                answer = await client.request(method, path, json=body, headers={"Authorization": "Bearer key"})
                yield answer.status_code, answer.text
            yield (await client.post("/v2/models/sums/infer")).status_code, ""

    async def main():
        replica = start(ARGUMENTS, ".")
        report([answer async for answer in ask(replica)])

    asyncio.run(main())
"""


def test_an_mlflow_model_and_another_protocol(tmp_path: Path) -> None:
    """An MLflow model, V2 and keys are settings as elsewhere: the replica is the same app, with nothing of its own."""
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(json.dumps(MLMODEL), "utf-8")  # which is YAML, too
    (tmp_path / "sums.py").write_text(SUMS, "utf-8")
    given = {"model_dir": "model", "v2_enabled": "true", "v2_model_name": "sums", "scoring_timeout_ms": "60000"}
    arguments = parse({**given, "app_root": str(tmp_path)}).settings
    tensors = [
        {"name": "a", "datatype": "FP64", "shape": [2], "data": [0.5, 1.5]},
        {"name": "b", "datatype": "INT64", "shape": [2], "data": [1, 2]},
    ]
    requests = [
        ("GET", "/v2/models/sums", None),
        ("POST", "/v2/models/sums/infer", {"inputs": tensors}),
        ("POST", "/v2/models/sums/infer", {"inputs": tensors[1:]}),
        ("POST", "/score", {"input_data": [{"a": 0.5, "b": 1}]}),
        ("POST", "/invocations", {"dataframe_records": [{"a": 0.5, "b": 1}]}),
        ("GET", "/ping", None),
    ]
    code = f"ARGUMENTS, REQUESTS = {arguments!r}, {requests!r}\n{textwrap.dedent(ASK)}"
    answers, _ = reported(code, cwd=tmp_path, env={**os.environ, "AZMLINFSRV_API_KEY": "key"})
    about, inferred, refused, scored, invoked, pinged, without_key = answers
    assert [(each["name"], each["datatype"]) for each in json.loads(about[1])["inputs"]] == [
        ("a", "FP64"),
        ("b", "INT64"),
    ]
    assert json.loads(inferred[1])["outputs"] == [
        {"name": "output-0", "datatype": "FP64", "shape": [2], "data": [1.5, 3.5]}
    ]
    assert refused == [400, json.dumps({"error": "input 'a' is missing"}, separators=(",", ":"))]
    assert (scored, invoked, pinged) == ([200, "[1.5]"], [200, '{"predictions":[1.5]}'], [200, "\n"])
    assert without_key[0] == 401


@pytest.mark.parametrize(
    ("script", "arguments", "says"),
    [
        ("def init(): raise ValueError('no model')\ndef run(data): ...\n", {}, "ValueError: no model"),
        ("import not_there\n", {}, "ModuleNotFoundError: No module named 'not_there'"),
        ("def init(): ...\n", {}, "does not have a run() function"),
        ("def init(): ...\ndef run(data): ...\n", {"app_root": "/not/there"}, "app_root cannot be used"),
        ("def init(): ...\ndef run(data): ...\n", {"syslog_address": "/not/there"}, "cannot be reached"),
    ],
)
def test_failed_start(tmp_path: Path, script: str, arguments: dict[str, str], says: str) -> None:
    """What Serve's status is to show is the cause: the end of the user's traceback, without the server's frames."""
    (tmp_path / "score.py").write_text(script, "utf-8")
    said, _ = started(tmp_path, entry_script="score.py", **arguments)
    assert says in said and "azmlinfsrv/" not in said
