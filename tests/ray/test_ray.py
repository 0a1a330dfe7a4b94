"""Scripts as deployments on a real Ray cluster."""

from __future__ import annotations

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.ray.cluster import Cluster
from tests.ray.conftest import SCRIPTS, Deploy
from tests.ray.load import Clients

if TYPE_CHECKING:
    import httpx

pytestmark = [pytest.mark.ray, pytest.mark.timeout(300)]

ADDING = """
class Adding:
    def predict(self, data):
        return data.sum(axis=1).to_numpy()


def _load_pyfunc(path):
    return Adding()
"""


def test_routes(deploy: Deploy, client: httpx.Client) -> None:
    """Every endpoint is there, below the prefix of the application, and what is none is a 404 of the server's."""
    name = deploy("facts.py")
    for path in ("/", "/live", "/ready", "/swagger.json", "/docs", "/metrics"):
        assert client.get(f"/{name}{path}").status_code == 200, path
    missing = client.get(f"/{name}/nothing")
    assert missing.status_code == 404 and "not found on the server" in missing.json()["message"]
    assert client.get(f"/{name}/swagger.json").json()["paths"]["/score"]
    wrong = client.put(f"/{name}/score")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "GET, HEAD, OPTIONS, POST"
    client.post(f"/{name}/score", json=1)
    assert 'route="/score"' in client.get(f"/{name}/metrics").text


def test_init_runs_once_in_the_thread_that_scores(deploy: Deploy, client: httpx.Client, tmp_path: Path) -> None:
    """A replica calls init() once, in the thread that calls run(); the script finds its model's folder."""
    name = deploy("facts.py", model_dir=str(tmp_path))
    for _ in range(3):
        facts = client.post(f"/{name}/score", json={"a": 1}).json()
        assert facts["inits"] == 1 and facts["same_thread"] and facts["model_dir"] == str(tmp_path)
        assert facts["input"] == {"a": 1}


def test_ids_and_errors(deploy: Deploy, client: httpx.Client) -> None:
    """Ids are echoed or made, once each, and a script that raises gets the documented answer."""
    name = deploy("facts.py")
    failed = client.post(f"/{name}/score", json="fail", headers={"x-request-id": "mine", "x-ms-request-id": "old"})
    assert failed.status_code == 500 and failed.headers["x-ms-run-function-failed"] == "True"
    assert failed.json() == {"message": "An unexpected error occurred in scoring script. Check the logs for more info."}
    assert failed.headers.get_list("x-request-id") == ["mine"]
    assert failed.headers["x-ms-request-id"] == failed.headers["x-ms-client-request-id"] == "old"
    plain = client.post(f"/{name}/score", json=1)
    assert plain.headers.get_list("x-request-id") == [plain.headers["x-ms-request-id"]]


def test_settings(deploy: Deploy, client: httpx.Client) -> None:
    """Settings work as arguments of the builder and as environment variables."""
    name = deploy("facts.py", env={"AZMLINFSRV_MAX_BODY_BYTES": "10"}, scoring_timeout_ms=300, service_name="mine")
    assert client.get(f"/{name}/swagger.json").json()["info"]["title"] == "mine"
    assert client.post(f"/{name}/score", content=b"0" * 11).status_code == 413
    assert client.post(f"/{name}/score", json="hang").json() == {"message": "Scoring timeout after 300 ms"}


def test_limits(deploy: Deploy, client: httpx.Client) -> None:
    """A replica refuses what is more than its own limit, as a worker does."""
    name = deploy("facts.py", max_concurrent_requests=1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: client.post(f"/{name}/score", json="sleep"), range(8)))
    statuses = {answer.status_code for answer in answers}
    assert 200 in statuses and statuses & {429, 503}
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code != 200)


def test_batches(deploy: Deploy, client: httpx.Client) -> None:
    """Requests that wait at a replica make a batch."""
    name = deploy("batches.py")
    with ThreadPoolExecutor(8) as pool:
        sizes = [int(each.json()) for each in pool.map(lambda _: client.post(f"/{name}/score", json=1), range(32))]
    assert max(sizes) > 1


def test_stream(deploy: Deploy, client: httpx.Client) -> None:
    """A generator's chunks arrive."""
    name = deploy("chunks.py")
    assert client.post(f"/{name}/score", json=1).text == "0,1,2,"


def test_open_inference_protocol(deploy: Deploy, client: httpx.Client) -> None:
    """The Open Inference Protocol is below the application's prefix; a wrong model, datatype or shape is 400."""
    name = deploy("sums.py", v2_enabled=True, v2_model_name="sums")
    prefix = f"/{name}/v2"
    assert client.get(f"{prefix}/health/ready").json() == {"ready": True}
    assert client.get(f"{prefix}/models/sums").json()["inputs"] == [
        {"name": "data", "datatype": "FP64", "shape": [-1, 2]}
    ]
    tensor = {"name": "data", "datatype": "FP64", "shape": [2, 2], "data": [1, 2.5, 3, 4]}
    answer = client.post(f"{prefix}/models/sums/infer", json={"inputs": [tensor]}).json()
    assert [each["data"] for each in answer["outputs"]] == [[3.5, 7.0]]
    mistakes: list[tuple[str, dict[str, object]]] = [
        ("other", {}),
        ("sums", {"datatype": "FP32"}),
        ("sums", {"shape": [2, 3]}),
    ]
    for model, wrong in mistakes:
        refused = client.post(f"{prefix}/models/{model}/infer", json={"inputs": [{**tensor, **wrong}]})
        assert refused.status_code == 400 and list(refused.json()) == ["error"]


def test_mlflow_model(deploy: Deploy, client: httpx.Client, tmp_path: Path) -> None:
    """An MLflow model needs no script; a column that is missing is 400, and named."""
    columns = json.dumps([{"type": "double", "name": "a"}, {"type": "long", "name": "b"}])
    model = {"flavors": {"python_function": {"loader_module": "adding"}}, "signature": {"inputs": columns}}
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text(json.dumps(model), "utf-8")  # which is YAML, too
    (tmp_path / "adding.py").write_text(ADDING, "utf-8")
    name = deploy(None, app_root=str(tmp_path), model_dir="model")
    assert client.post(f"/{name}/score", json={"input_data": [{"a": 1, "b": 2}]}).json() == [3.0]
    wrapped = client.post(f"/{name}/invocations", json={"dataframe_records": [{"a": 1, "b": 2}]})
    assert wrapped.json() == {"predictions": [3.0]}
    refused = client.post(f"/{name}/score", json={"input_data": [{"a": 1}]})
    assert refused.status_code == 400 and "'b'" in refused.json()["message"]


def test_scale_under_load(cluster: Cluster, deploy: Deploy) -> None:
    """Ray's autoscaling brings replicas where there is load, and no request fails."""
    scaling = {"min_replicas": 1, "max_replicas": 3, "target_ongoing_requests": 1, "upscale_delay_s": 0.5}
    name = deploy("facts.py", **scaling)
    assert len(cluster.pids(name)) == 1
    clients = Clients(f"{cluster.address}/{name}/score", '"sleep"', 9)
    with clients.busy():
        cluster.wait(lambda: len(cluster.pids(name)) == 3, "there are no three replicas")
        clients.wait_for(20)
    assert not clients.others


def test_killed_replica_is_replaced(cluster: Cluster, deploy: Deploy) -> None:
    """Where the process of a replica is killed, another takes over and Ray starts a new one."""
    name = deploy("facts.py", num_replicas=2)
    before = cluster.pids(name)
    clients = Clients(f"{cluster.address}/{name}/score", '"version"')
    with clients.busy():
        os.kill(before[0], signal.SIGKILL)
        cluster.wait(lambda: len({*cluster.pids(name)} - {before[0]}) == 2, "the replica is not replaced")
        clients.wait_for(20)
    assert before[1] in cluster.pids(name)


def test_roll_out(cluster: Cluster, deploy: Deploy) -> None:
    """A changed environment brings new replicas while the old ones serve on: no request fails."""
    name = deploy("facts.py", env={"SERVICE_VERSION": "1"})
    clients = Clients(f"{cluster.address}/{name}/score", '"version"')
    with clients.busy():
        deploy("facts.py", env={"SERVICE_VERSION": "2", "PREPARE_S": "2"})
        cluster.wait(lambda: clients.bodies['"2"'], "the new version does not answer")
        clients.wait_for(20)
    assert not clients.others and clients.bodies['"1"']


def test_failed_roll_out(cluster: Cluster, deploy: Deploy) -> None:
    """Where the new init() fails, the old replicas serve on and Serve's status has the user's traceback."""
    name = deploy("facts.py", env={"SERVICE_VERSION": "1"})
    clients = Clients(f"{cluster.address}/{name}/score", '"version"')
    with clients.busy():
        deploy("facts.py", wait=False, env={"SERVICE_VERSION": "broken"}, max_constructor_retry_count=2)
        cluster.wait(lambda: "the model cannot be read" in cluster.messages(name), "the status does not tell the cause")
        clients.wait_for(20)
        assert "RuntimeError: the model cannot be read" in cluster.messages(name)
        assert 'raise RuntimeError("the model cannot be read")' in cluster.messages(name)
    assert not clients.others and set(clients.bodies) == {'"1"'}


def test_first_start_fails(cluster: Cluster, deploy: Deploy) -> None:
    """A script that cannot be loaded fails the deployment, with the user's traceback."""
    name = deploy("facts.py", wait=False, env={"SERVICE_VERSION": "broken"}, max_constructor_retry_count=1)
    cluster.wait(lambda: cluster.status(name) == "DEPLOY_FAILED", "the deployment does not fail")
    assert "RuntimeError: the model cannot be read" in cluster.messages(name)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [({"worker_cuont": 2}, "did you mean worker_count?"), ({"worker_count": 2}, "use num_replicas")],
    ids=["unknown", "without effect"],
)
def test_wrong_arguments(cluster: Cluster, deploy: Deploy, arguments: dict[str, object], says: str) -> None:
    """An argument that cannot be used fails the deployment, and the status says what to do."""
    name = deploy("facts.py", wait=False, **arguments)
    cluster.wait(lambda: cluster.status(name) == "DEPLOY_FAILED", "the deployment does not fail")
    assert says in cluster.messages(name)


def test_stuck_replica_is_replaced(cluster: Cluster, deploy: Deploy, client: httpx.Client) -> None:
    """A call that does not come back is answered at its deadline; beyond its grace Ray replaces the replica."""
    name = deploy("facts.py", scoring_timeout_ms=300, stuck_grace_ms=300)
    (before,) = cluster.pids(name)
    assert client.post(f"/{name}/score", json="hang").status_code == 500
    cluster.wait(lambda: cluster.pids(name) not in ([], [before]), "the replica is not replaced")
    assert not psutil.pid_exists(before)
    clients = Clients(f"{cluster.address}/{name}/score", '"version"', 1)
    with clients.busy():
        clients.wait_for(3)


def test_serve_run(cluster: Cluster, client: httpx.Client, tmp_path: Path) -> None:
    """`serve run` deploys the script of the working directory, with the folder that it runs in."""
    (tmp_path / "score.py").write_bytes((SCRIPTS / "facts.py").read_bytes())
    command = ["serve", "run", "--non-blocking", "--name", "by-hand", "--route-prefix", "/by-hand"]
    done = cluster.serve(*command, "azmlinfsrv.ray:build", "entry_script=score.py", "num_cpus=0.1", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert client.post("/by-hand/score", json=1).json()["folder"] == str(tmp_path)


def test_ray_config(cluster: Cluster, client: httpx.Client, tmp_path: Path) -> None:
    """What `azmlinfsrv ray-config` prints can be deployed as it is."""
    (tmp_path / "score.py").write_bytes((SCRIPTS / "facts.py").read_bytes())
    (tmp_path / "model").mkdir()
    command = ["azmlinfsrv", "ray-config", "--name", "made", "--route_prefix", "/made"]
    address = ["--host", "127.0.0.1", "--port", str(cluster.port)]
    made = cluster.serve(*command, *address, "num_cpus=0.1", "scoring_timeout_ms=5000", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "serve.yaml").write_text(made.stdout, "utf-8")
    deployed = cluster.serve("serve", "deploy", "serve.yaml", cwd=tmp_path)
    assert deployed.returncode == 0, deployed.stderr
    try:
        cluster.wait_running("made")
        facts = client.post("/made/score", json=1).json()
        assert facts["model_dir"] == str(tmp_path / "model")
    finally:
        cluster.remove("made")
