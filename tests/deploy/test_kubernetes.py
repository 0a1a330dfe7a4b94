"""The manifests are valid, fit together, and name only what the server has."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, all_versions, validate

from azmlinfsrv import supervisor
from azmlinfsrv.settings import rows
from azmlinfsrv.telemetry.catalogue import METRICS, PREFIX
from tests.deploy.conftest import Render
from tests.deploy.rendering import COMPONENTS, ENTRIES, KUBERNETES, Manifest, Rendered

# The first in which all fields of the manifests are there without switching anything on.
OLDEST = (1, 27)
VERSIONS = [
    version
    for version in sorted(set(all_versions()), key=lambda text: [int(part) for part in text.split(".")])
    if tuple(map(int, version.split(".")))[:2] >= OLDEST
]
# Kinds that are not Kubernetes' own.
FOREIGN = {"PodMonitor"}
KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "PersistentVolumeClaim",
    "PodDisruptionBudget",
    "Service",
}
# What the container's programs read besides the settings.
OTHER_VARIABLES = {"HOME"}

LABEL = "app.kubernetes.io/"

pytestmark = pytest.mark.process


def selectors(value: object) -> Iterator[dict[str, str]]:
    """Yield every selector of pods in a manifest."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "matchLabels" or (key == "selector" and "matchLabels" not in inner):
                yield inner
            else:
                yield from selectors(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from selectors(inner)


def slots(rendered: Rendered) -> int:
    """Return how many calls of `run()` a pod makes at a time."""
    threads = rendered.variables.get("WORKER_THREADS", rows()["worker_threads"].default)
    return int(rendered.variables["WORKER_COUNT"]) * int(threads)


@pytest.fixture(params=[*ENTRIES, *COMPONENTS])
def each(request: pytest.FixtureRequest, rendered: Render) -> Rendered:
    """What each overlay, and the base with each component, renders to."""
    return rendered(request.param)


def test_several_versions_are_checked() -> None:
    """The schemas of at least five versions of Kubernetes are there."""
    assert len(VERSIONS) >= 5


@pytest.mark.parametrize("version", VERSIONS)
def test_manifests_are_valid(version: str, rendered: Render) -> None:
    """Every manifest of every overlay is one of this version of Kubernetes, without a field that it does not know."""
    found = [manifest for entry in (*ENTRIES, *COMPONENTS) for manifest in rendered(entry).manifests]
    distinct = {json.dumps(manifest): manifest for manifest in found if manifest["kind"] not in FOREIGN}
    assert {manifest["kind"] for manifest in distinct.values()} == KINDS
    for manifest in distinct.values():
        validate(dict(manifest), version, strict=True)


def test_a_field_that_does_not_exist_is_found(rendered: Render) -> None:
    """The check is strict: a misspelt field of a probe fails it."""
    manifest: Any = copy.deepcopy(rendered("base").only("Deployment"))
    probe = manifest["spec"]["template"]["spec"]["containers"][0]["livenessProbe"]
    probe["periodSecond"] = probe.pop("periodSeconds")
    with pytest.raises(ValidationError):
        validate(manifest, VERSIONS[-1], strict=True)


def test_selectors_find_the_pods(each: Rendered) -> None:
    """Every selector matches the labels of the pods."""
    labels = each.pod["metadata"]["labels"]
    found = [selector for manifest in each.manifests for selector in selectors(manifest.get("spec"))]
    assert len(found) >= 2
    for selector in found:
        assert selector
        assert selector.items() <= labels.items()


def test_everything_is_labelled(rendered: Render) -> None:
    """Every manifest has the recommended labels."""
    wanted = {LABEL + name for name in ("name", "instance", "component", "part-of")}
    for manifest in rendered("overlays/production").manifests:
        assert wanted <= set(manifest["metadata"]["labels"])


def test_probes_ask_the_right_endpoints(each: Rendered) -> None:
    """A pod is started and ready by `/ready` and alive by `/live`, all on the health port."""
    probes = {name: each.container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startup": "/ready",
        "liveness": "/live",
        "readiness": "/ready",
    }
    assert {probe["port"] for probe in probes.values()} == {"health"}
    startup = each.container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 600, "what the how-to promises init()"


def test_ports_are_the_servers(each: Rendered) -> None:
    """The container's ports are those that the server listens on, and the Service leads to the clients' one."""
    table = rows()
    assert each.ports == {"http": table["port"].default, "health": table["health_port"].default}
    assert each.variables["SEPERATE_HEALTH_ENDPOINT"] == "true"
    (port,) = each.only("Service")["spec"]["ports"]
    assert port["targetPort"] == "http"


def test_variables_are_settings(each: Rendered) -> None:
    """Every variable is in the table of settings, and the app folder is the image's."""
    known = {variable for row in rows().values() for variable in row.spec.variables}
    assert set(each.variables) - OTHER_VARIABLES <= known
    assert each.variables["AML_APP_ROOT"] == rows()["app_root"].default


def test_a_stop_has_the_time_that_it_takes(each: Rendered) -> None:
    """The pod is not killed before it has slept, finished what runs, and ended what did not finish."""
    command, sleep_s = each.container["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "sleep"
    graceful_s = int(each.variables["AZMLINFSRV_GRACEFUL_TIMEOUT"])
    needed = int(sleep_s) + graceful_s + supervisor._KILL_S
    assert each.pod["spec"]["terminationGracePeriodSeconds"] > needed
    assert int(each.variables["SCORING_TIMEOUT_MS"]) <= graceful_s * 1000


def test_only_the_temporary_folder_can_be_written_to(each: Rendered) -> None:
    """A pod has a read-only root, one volume that can be written to, no user of the system's and no privilege."""
    pod, container = each.pod["spec"], each.container
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 1000
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/tmp"] == [each.variables["HOME"]]  # noqa: S108 - in the container
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    (volume,) = [volume for volume in pod["volumes"] if "emptyDir" in volume]
    assert volume["emptyDir"]["sizeLimit"] == "1Gi"


@pytest.mark.parametrize("entry", ["base", "overlays/production"])
def test_the_autoscaler_counts_what_there_is(entry: str, rendered: Render) -> None:
    """The autoscaler's metric is one of the server's, made by the adapter's rule; its target fits the workers."""
    found = rendered(entry)
    (metric,) = found.only("HorizontalPodAutoscaler")["spec"]["metrics"]
    name = metric["pods"]["metric"]["name"]
    assert name in {PREFIX + each.name for each in METRICS if each.kind == "gauge"}
    (rule,) = yaml.safe_load((KUBERNETES / "prometheus-adapter-rule.yaml").read_text("utf-8"))["rules"]["custom"]
    assert rule["name"]["as"] == name
    assert metric["pods"]["target"] == {"type": "AverageValue", "averageValue": str(slots(found) + 1)}
    assert found.only("HorizontalPodAutoscaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "name": found.only("Deployment")["metadata"]["name"],
    }
    assert "replicas" not in found.only("Deployment")["spec"], "the autoscaler's to set"


@pytest.mark.parametrize("entry", ["base", "overlays/production"])
def test_a_pod_may_be_evicted_and_one_is_left(entry: str, rendered: Render) -> None:
    """At the fewest pods that there can be, the budget lets one go, and another serves on."""
    fewest = rendered(entry).only("HorizontalPodAutoscaler")["spec"]["minReplicas"]
    assert 1 <= rendered(entry).only("PodDisruptionBudget")["spec"]["maxUnavailable"] < fewest
    strategy = rendered(entry).only("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 1, "maxUnavailable": 0}


def test_production_takes_the_users_image(rendered: Render) -> None:
    """The production overlay replaces the image, with a tag that is not `latest`."""
    image = rendered("overlays/production").container["image"]
    assert re.fullmatch(r"registry\.example\.com/scoring:\d[\w.]*", image)
    assert rendered("base").container["image"] == "azmlinfsrv"


def test_the_trial_mounts_the_script(rendered: Render) -> None:
    """The trial is one pod that finds the script beside the overlay where it is told to look for it."""
    trial = rendered("overlays/trial")
    config = trial.only("ConfigMap")
    (volume,) = [volume for volume in trial.pod["spec"]["volumes"] if "configMap" in volume]
    (mount,) = [mount for mount in trial.container["volumeMounts"] if mount["name"] == volume["name"]]
    assert volume["configMap"]["name"] == config["metadata"]["name"] != "scoring-script"
    assert mount["mountPath"] == trial.variables["AML_APP_ROOT"]
    assert trial.variables["AZUREML_ENTRY_SCRIPT"] in config["data"]
    assert trial.only("Deployment")["spec"]["replicas"] == 1
    assert not trial.has("HorizontalPodAutoscaler") and not trial.has("PodDisruptionBudget")


def test_the_model_volume_is_told_to_the_script(rendered: Render) -> None:
    """With the model on a volume, AZUREML_MODEL_DIR is where the claim is mounted."""
    found = rendered("model-volume")
    (volume,) = [volume for volume in found.pod["spec"]["volumes"] if "persistentVolumeClaim" in volume]
    (mount,) = [mount for mount in found.container["volumeMounts"] if mount["name"] == volume["name"]]
    assert mount == {"name": "model", "mountPath": found.variables["AZUREML_MODEL_DIR"], "readOnly": True}
    assert volume["persistentVolumeClaim"]["claimName"] == found.only("PersistentVolumeClaim")["metadata"]["name"]


def test_prometheus_is_led_to_the_metrics(rendered: Render) -> None:
    """The operator's PodMonitor and the annotations name the health port and `/metrics`."""
    found = rendered("pod-monitor")
    monitor: Manifest = found.only("PodMonitor")["spec"]
    (endpoint,) = monitor["podMetricsEndpoints"]
    assert (endpoint["port"], endpoint["path"]) == ("health", "/metrics") and endpoint["port"] in found.ports
    annotated = rendered("scrape-annotations")
    assert annotated.pod["metadata"]["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(annotated.ports["health"]),
        "prometheus.io/path": "/metrics",
    }
