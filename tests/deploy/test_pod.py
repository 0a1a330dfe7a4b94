"""What a pod is told is served as the manifests say: with their environment, read-only root and probes."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.conftest import RequireProgram, StartServer
from tests.dashboard.monitor import Monitor
from tests.deploy.conftest import READ_ONLY, Render
from tests.deploy.rendering import KUBERNETES, Rendered
from tests.ports import ReservedPort
from tests.process.asking import Held
from tests.scraping import Scraped
from tests.servers import RunningServer, server_command, server_environment

STEPS = Path(__file__).parents[1] / "process" / "scripts" / "steps.py"

pytestmark = [pytest.mark.process, pytest.mark.timeout(120)]


class Pod:
    """A server that runs as a pod's container would.

    Args:
        unshare: the program that makes namespaces.
        rendered: the manifests.
        folder: an empty folder.
        stack: holds its ports.

    Attributes:
        server: the server, on the port of the clients.
        ports: the ports that it listens on instead of the container's, by the container's names.
        writable: the folder that stands for the one volume that can be written to.
    """

    def __init__(self, unshare: str, rendered: Rendered, folder: Path, stack: ExitStack) -> None:
        self.ports = {name: stack.enter_context(ReservedPort()).number for name in rendered.ports}
        internal = stack.enter_context(ReservedPort()).number
        self.writable = folder / "tmp"
        app = folder / "app"
        for each in (self.writable, app):
            each.mkdir()
        (app / "score.py").write_text(KUBERNETES.joinpath("overlays/trial/score.py").read_text("utf-8"), "utf-8")
        # The image is told the script where the manifests do not say it.
        told = {"AZUREML_ENTRY_SCRIPT": "score.py"} | rendered.variables
        env = told | {"AML_APP_ROOT": str(app), "HOME": str(self.writable), "TMPDIR": str(self.writable)}
        options = ["--nginx", "--health_port", str(self.ports["health"]), "--server_address", f"127.0.0.1:{internal}"]
        command = [unshare, "--mount", str(READ_ONLY), str(self.writable)]
        command += server_command(None, self.ports["http"], options)
        self.server = RunningServer(command, self.ports["http"], folder, server_environment({}) | env)

    def get(self, probe: dict[str, Any]) -> httpx.Response:
        """Return the answer to a probe of the manifests."""
        return httpx.get(f"http://127.0.0.1:{self.ports[probe['port']]}{probe['path']}", timeout=20, trust_env=False)


@pytest.fixture(params=["overlays/trial", "overlays/production"])
def pod(request: pytest.FixtureRequest, rendered: Render, unshare: str, tmp_path: Path) -> Iterator[Pod]:
    """A pod of an overlay, stopped after the test."""
    with ExitStack() as stack:
        running = Pod(unshare, rendered(request.param), tmp_path, stack)
        stack.callback(running.server.stop)
        running.server.wait_ready(50)
        yield running


def test_a_pod_answers(pod: Pod, request: pytest.FixtureRequest, rendered: Render) -> None:
    """As user 1000 with a read-only root, probes get 200 on their port, clients their answer, Prometheus its metric."""
    manifests = rendered(request.node.callspec.params["pod"])
    for name in ("startup", "liveness", "readiness"):
        probe = manifests.container[f"{name}Probe"]["httpGet"]
        assert pod.get(probe).status_code == 200, f"{probe}\n{pod.server.output}"
    answer = pod.server.client.post("/score", content=b'{"a": 1}')
    assert answer.json() == {"received": {"a": 1}}
    large = b'{"a": "' + b"x" * 4_000_000 + b'"}'
    assert pod.server.client.post("/score", content=large).status_code == 200, "nginx has a folder for large bodies"
    scraped = Scraped(pod.get({"port": "health", "path": "/metrics"}).text)
    assert scraped.values("requests_in_flight"), "the autoscaler's metric"
    assert scraped.total("workers_wanted") == int(manifests.variables["WORKER_COUNT"])


def test_a_pod_cannot_write_elsewhere(pod: Pod) -> None:
    """The server of these tests really has a read-only root, and is neither root nor able to become it."""
    pid = pod.server.process.pid
    mounts = [line.split() for line in Path(f"/proc/{pid}/mountinfo").read_text("utf-8").splitlines()]
    assert [options.split(",")[0] for _, _, _, _, point, options, *_ in mounts if point == "/"] == ["ro"]
    status = Path(f"/proc/{pid}/status").read_text("utf-8")
    assert "CapEff:\t0000000000000000" in status
    assert Path(f"/proc/{pid}/uid_map").read_text("utf-8").split()[0] == "1000"


def test_a_pod_stops_in_order(pod: Pod) -> None:
    """SIGTERM, which follows the sleep, ends the pod with code 0."""
    assert pod.server.stop(signal.SIGTERM) == 0


def test_the_adapters_rule_gives_the_autoscaler_its_number(
    rendered: Render, server: StartServer, require_program: RequireProgram, tmp_path: Path
) -> None:
    """With what Prometheus has scraped, the rule's query answers one number a pod, more than 0 while requests run."""
    metric = rendered("base").only("HorizontalPodAutoscaler")["spec"]["metrics"][0]["pods"]["metric"]["name"]
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter-rule.yaml").read_text("utf-8"))["rules"]["custom"]
    names = {each["resource"]: label for label, each in rule["resources"]["overrides"].items()}
    labels = {names["namespace"]: "default", names["pod"]: "scoring-1"}
    query = rule["metricsQuery"]
    for placeholder, value in {
        "<<.Series>>": metric,
        "<<.LabelMatchers>>": 'namespace="default",pod=~"scoring-1|scoring-2"',
        "<<.GroupBy>>": names["pod"],
    }.items():
        query = query.replace(placeholder, value)
    running = server(STEPS, env={"WORKER_COUNT": "2"})
    for folder in ("prometheus", "held"):
        (tmp_path / folder).mkdir()
    monitor = Monitor(require_program("prometheus"), tmp_path / "prometheus", running.port, "200ms", labels)
    try:
        held = Held(running, tmp_path / "held")
        monitor.wait_until(lambda: monitor.ask(rule["seriesQuery"]))
        monitor.wait_until(lambda: (found := monitor.ask(query)) and found[0].points[0][1] > 0)
        (series,) = monitor.ask(query)
        assert series.labels == {names["pod"]: "scoring-1"}
        held.release()
    finally:
        monitor.stop()
