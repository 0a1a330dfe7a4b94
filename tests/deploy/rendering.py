"""The manifests under `deploy/kubernetes`, as kubectl renders them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
ENTRIES = ("base", "overlays/production", "overlays/trial")
COMPONENTS = ("model-volume", "pod-monitor", "scrape-annotations")

Manifest = Mapping[str, Any]


class Rendered:
    """What one entry renders to.

    Args:
        text: YAML documents.

    Attributes:
        manifests: the documents.
    """

    def __init__(self, text: str) -> None:
        self.manifests: list[Manifest] = list(yaml.safe_load_all(text))

    def has(self, kind: str) -> bool:
        """Return whether there is a manifest of this kind."""
        return any(manifest["kind"] == kind for manifest in self.manifests)

    def only(self, kind: str) -> Manifest:
        """Return the one manifest of this kind."""
        (found,) = [manifest for manifest in self.manifests if manifest["kind"] == kind]
        return found

    @property
    def pod(self) -> Manifest:
        """The Deployment's template of a pod."""
        template: Manifest = self.only("Deployment")["spec"]["template"]
        return template

    @property
    def container(self) -> Manifest:
        """The one container of the pod."""
        (container,) = self.pod["spec"]["containers"]
        return dict(container)

    @property
    def variables(self) -> dict[str, str]:
        """The environment that the container is given."""
        return {each["name"]: each["value"] for each in self.container["env"]}

    @property
    def ports(self) -> dict[str, int]:
        """The container's ports by name."""
        return {each["name"]: each["containerPort"] for each in self.container["ports"]}


def render(kubectl: str, folder: Path) -> Rendered:
    """Return what a folder with a kustomization renders to.

    Args:
        kubectl: path of the program.
        folder: the folder.
    """
    result = subprocess.run(
        [kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False, timeout=50
    )
    assert result.returncode == 0, result.stderr
    assert not result.stderr, "what kustomize warns of will be an error"
    return Rendered(result.stdout)


def render_with(kubectl: str, folder: Path, component: str) -> Rendered:
    """Return what the base renders to with one component.

    Args:
        kubectl: path of the program.
        folder: an empty folder, for the kustomization.
        component: name of the component.
    """
    folder = folder.resolve()
    content = {
        "resources": [os.path.relpath(KUBERNETES / "base", folder)],
        "components": [os.path.relpath(KUBERNETES / "components" / component, folder)],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(content), "utf-8")
    return render(kubectl, folder)
