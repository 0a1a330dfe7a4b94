"""The rows of the table of settings of the Open Inference Protocol, and the paths that it is served at."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row

_SERVICE = "Service"

PREFIX = "/v2"
LIVE, READY = f"{PREFIX}/health/live", f"{PREFIX}/health/ready"
MODELS = f"{PREFIX}/models/"


@dataclass(frozen=True)
class InferenceSettings:
    """Whether the Open Inference Protocol is served, and under which name."""

    v2_enabled: bool = row(
        False,
        _SERVICE,
        "Serve the Open Inference Protocol (V2) over REST, under `/v2`, besides `/score`.",
        "AZMLINFSRV_V2_ENABLED",
        flag="--v2_enabled",
        in_file=True,
    )
    v2_model_name: str | None = row(
        None,
        _SERVICE,
        "Name of the model under `/v2/models/`; without one, the name that AZUREML_MODEL_DIR tells, else `model`.",
        "AZMLINFSRV_V2_MODEL_NAME",
        flag="--v2_model_name",
        in_file=True,
    )
    v2_model_version: str | None = row(
        None,
        _SERVICE,
        "Version of the model under `/v2/models/`; without one, the version that AZUREML_MODEL_DIR tells, else `1`.",
        "AZMLINFSRV_V2_MODEL_VERSION",
        flag="--v2_model_version",
        in_file=True,
    )


def is_inference(path: str) -> bool:
    """Return whether a path is one of the protocol's, known or not."""
    return path == PREFIX or path.startswith(f"{PREFIX}/")


def is_probe(path: str) -> bool:
    """Return whether a path of the protocol only says how server or model are."""
    return path in (LIVE, READY) or (path.startswith(MODELS) and path.endswith("/ready"))
