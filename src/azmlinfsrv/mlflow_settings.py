"""The rows of the table of settings that MLflow models have."""

from __future__ import annotations

from dataclasses import dataclass

from azmlinfsrv.setting import row

_SCRIPT = "Script and model"


@dataclass(frozen=True)
class MlflowSettings:
    """Where an MLflow model is that is served without an entry script, and how strict it is."""

    mlflow_model_folder: str | None = row(
        None,
        _SCRIPT,
        "Folder in AZUREML_MODEL_DIR of the MLflow model that is served where there is no entry script; "
        "without one, the directory itself or the only folder in it that has an `MLmodel`.",
        "MLFLOW_MODEL_FOLDER",
        in_file=True,
    )
    mlflow_strict: bool = row(
        True,
        _SCRIPT,
        "Refuse columns and parameters that the signature of an MLflow model does not have, and values that its types "
        "cannot hold; false leaves them out and changes them, as MLflow's own server does.",
        "AZMLINFSRV_MLFLOW_STRICT",
        in_file=True,
    )
