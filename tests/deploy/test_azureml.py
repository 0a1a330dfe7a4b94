"""The Azure ML documents are taken by Azure's own SDK, and lead to what the server has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from azmlinfsrv.settings import rows
from tests.conftest import StartServer
from tests.deploy.rendering import DEPLOY
from tests.kept import CACHE, kept_environment

LOAD = Path(__file__).parent / "scripts" / "load_azureml.py"
# Azure's own limit.
LONGEST_REQUEST_MS = 180_000
SDK = "azure-ai-ml==1.35.2"

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]


class Loaded(NamedTuple):
    """What the SDK made of the documents.

    Attributes:
        endpoint: the endpoint.
        deployment: the deployment, with its environment.
        code: folder of the script.
        local: the variables that the SDK gives a container by itself.
    """

    endpoint: dict[str, Any]
    deployment: dict[str, Any]
    code: Path
    local: dict[str, str]


def sdk_python() -> Path:
    """Return the interpreter of an environment of its own that has the SDK."""
    folder = CACHE / "azureml" / f"{SDK}-py{sys.version_info.major}.{sys.version_info.minor}"
    return kept_environment(folder, [SDK]) / "python"


def load(folder: Path) -> subprocess.CompletedProcess[str]:
    """Have the SDK load the documents of a folder, without a workspace or a network."""
    return subprocess.run(
        [sdk_python(), str(LOAD), str(folder)], capture_output=True, text=True, check=False, timeout=100
    )


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    """The documents, as the SDK takes them."""
    result = load(DEPLOY / "azureml")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["routes"] == found["environment"]["inference_config"], "both name the same environment"
    return Loaded(found["endpoint"], found["deployment"], Path(found["code"]), found["local"])


def test_the_sdk_takes_the_documents(loaded: Loaded) -> None:
    """Endpoint and deployment belong together, and name a script that is there."""
    deployment = loaded.deployment
    assert (deployment["type"], deployment["endpoint_name"]) == ("managed", loaded.endpoint["name"])
    assert (loaded.code / deployment["code_configuration"]["scoring_script"]).is_file()
    assert deployment["app_insights_enabled"] is True


@pytest.mark.parametrize(
    ("name", "line", "wrong"),
    [
        ("deployment.yml", "request_timeout_ms: 30000", "request_timeout: 30000"),
        ("deployment.yml", "period: 10", "period: often"),
        ("environment.yml", "liveness_route:", "livenes_route:"),
        ("endpoint.yml", "auth_mode: key", "auth_mode: none"),
    ],
)
def test_the_sdk_refuses_mistakes(name: str, line: str, wrong: str, tmp_path: Path) -> None:
    """The check can fail: a key or value that the schema does not have is refused."""
    shutil.copytree(DEPLOY / "azureml", tmp_path / "azureml")
    path = tmp_path / "azureml" / name
    text = path.read_text("utf-8")
    assert line in text
    path.write_text(text.replace(line, wrong), "utf-8")
    result = load(tmp_path / "azureml")
    assert result.returncode != 0
    assert re.search(r"validation", result.stderr, re.IGNORECASE), result.stderr
    assert wrong.partition(":")[0] in result.stderr, result.stderr


def test_variables_are_settings(loaded: Loaded) -> None:
    """Every variable that the deployment sets, and that the SDK adds for the script, is one of ours."""
    known = {variable for row in rows().values() for variable in row.spec.variables}
    assert set(loaded.deployment["environment_variables"]) <= known
    assert {"AZUREML_MODEL_DIR", "AML_APP_ROOT", "AZUREML_ENTRY_SCRIPT"} <= set(loaded.local) & known


def test_limits_fit_together(loaded: Loaded) -> None:
    """An instance is sent what it can compute, and computes nothing that nobody waits for."""
    variables, request = loaded.deployment["environment_variables"], loaded.deployment["request_settings"]
    threads = int(variables.get("WORKER_THREADS", rows()["worker_threads"].default))
    assert request["max_concurrent_requests_per_instance"] == int(variables["WORKER_COUNT"]) * threads
    probe = loaded.deployment["liveness_probe"]
    assert probe["initial_delay"] + probe["period"] * probe["failure_threshold"] == 330, (
        "what the how-to promises init()"
    )
    assert int(variables["SCORING_TIMEOUT_MS"]) == request["request_timeout_ms"] <= LONGEST_REQUEST_MS


def test_the_routes_are_the_servers(loaded: Loaded, server: StartServer, project: Path, tmp_path: Path) -> None:
    """Served with the deployment's variables, the example answers on every route as Azure will ask it."""
    example = tmp_path / "diabetes"
    shutil.copytree(project / "examples" / "diabetes", example, ignore=shutil.ignore_patterns("model", "__pycache__"))
    subprocess.run([sys.executable, example / "train.py"], check=True, stdout=subprocess.DEVNULL)
    assert loaded.deployment["model"]["path"].endswith("examples/diabetes/model/model.joblib")
    assert (example / "model" / "model.joblib").is_file()
    told = loaded.deployment["environment_variables"] | loaded.local
    places = {"AML_APP_ROOT": str(example), "AZUREML_MODEL_DIR": str(example / "model")}
    running = server(None, env={**told, **places}, wait=False)
    running.wait_ready(100)  # four workers import scikit-learn at a time
    routes = loaded.deployment["environment"]["inference_config"]
    assert {route["port"] for route in routes.values()} == {rows()["port"].default}
    for probe in ("liveness_route", "readiness_route"):
        assert running.client.get(routes[probe]["path"]).status_code == 200
    request = (example / "request.json").read_bytes()
    answer = running.client.post(
        routes["scoring_route"]["path"], content=request, headers={"Content-Type": "application/json"}
    )
    assert answer.json() == {"progression": [210.4, 69.2]}
