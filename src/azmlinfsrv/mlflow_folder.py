"""Where the MLflow model is that a server without an entry script serves."""

from __future__ import annotations

import importlib.util
import os

from azmlinfsrv.errors import ConfigurationError
from azmlinfsrv.settings import Settings

MODEL_FILE = "MLmodel"


def served_model(settings: Settings) -> str | None:
    """Return the folder of the MLflow model that is served, and None where a script is; the import path is ready.

    Raises:
        ConfigurationError: see `find_model`.
    """
    if settings.entry_script or importlib.util.find_spec("main") is not None:
        return None
    return find_model(settings.model_dir, settings.mlflow_model_folder)


def find_model(root: str | None, name: str | None = None) -> str | None:
    """Return the folder of the MLflow model in the model directory, and None where there is none.

    It is the directory itself or a folder in it, as Azure Machine Learning mounts models.

    Args:
        root: the model directory.
        name: the folder in it, where that is named.

    Raises:
        ConfigurationError: the folder that is named has no model, or none is named and several have one.
    """
    if not root or not os.path.isdir(root):
        return None
    if name:
        folder = os.path.join(root, name)
        if not _has_model(folder):
            raise ConfigurationError(f"MLFLOW_MODEL_FOLDER names {name!r}, but there is no {MODEL_FILE} in {folder}")
        return folder
    if _has_model(root):
        return root
    found = [name for name in sorted(os.listdir(root)) if _has_model(os.path.join(root, name))]
    if len(found) > 1:
        names = ", ".join(found)
        raise ConfigurationError(
            f"Several folders of {root} have an {MODEL_FILE}: {names}. Name one by MLFLOW_MODEL_FOLDER"
        )
    return os.path.join(root, found[0]) if found else None


def _has_model(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, MODEL_FILE))
