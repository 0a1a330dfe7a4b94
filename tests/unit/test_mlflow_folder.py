"""Which folder has the MLflow model that is served where there is no entry script."""

from __future__ import annotations

from pathlib import Path

import pytest

from azmlinfsrv import cli
from azmlinfsrv.configuration import Configuration
from azmlinfsrv.errors import ConfigurationError, UsageError
from azmlinfsrv.mlflow_folder import find_model, served_model
from azmlinfsrv.settings import Settings


def with_models(root: Path, *folders: str) -> Path:
    """Make an `MLmodel` in each of these folders, and return the root."""
    for folder in folders:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "MLmodel").touch()
    return root


def found(root: Path, folder: str | None = None) -> str | None:
    """Return what is found in a model directory."""
    return find_model(str(root), folder)


def test_the_directory_itself(tmp_path: Path) -> None:
    """A directory with an `MLmodel` is the model, whatever else lies in it."""
    assert found(with_models(tmp_path, ".", "other")) == str(tmp_path)


def test_the_only_folder_below(tmp_path: Path) -> None:
    """Azure Machine Learning mounts the model's folder below the directory."""
    (tmp_path / "data").mkdir()
    assert found(with_models(tmp_path, "model")) == str(tmp_path / "model")


@pytest.mark.parametrize("folders", [(), ("one/two",)])
def test_none(tmp_path: Path, folders: tuple[str, ...]) -> None:
    """A directory without one, or with one further down, has no model."""
    assert found(with_models(tmp_path, *folders)) is None
    assert found(tmp_path / "missing") is None
    assert find_model(None) is None


def test_several_need_a_name(tmp_path: Path) -> None:
    """Of several models none is chosen, unless MLFLOW_MODEL_FOLDER names one."""
    with_models(tmp_path, "a", "b")
    with pytest.raises(ConfigurationError, match=r"a, b\. Name one by MLFLOW_MODEL_FOLDER"):
        found(tmp_path)
    assert found(tmp_path, "b") == str(tmp_path / "b")


def test_a_name_without_a_model(tmp_path: Path) -> None:
    """A folder that is named must have a model; an empty name is none."""
    with_models(tmp_path, "a")
    with pytest.raises(ConfigurationError, match="'c'"):
        found(tmp_path, "c")
    assert found(tmp_path, "") == str(tmp_path / "a")


def test_a_script_is_served_rather(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is an entry script, or a main.py, the model is its own business, as in the released server."""
    settings = Settings(model_dir=str(with_models(tmp_path, "model")))
    assert served_model(settings) == str(tmp_path / "model")
    assert served_model(Settings(entry_script="score.py", model_dir=str(tmp_path))) is None
    (tmp_path / "main.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert served_model(settings) is None


def test_the_command_line_takes_a_model_for_a_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an entry script a model directory with a model is enough, and one without is the old error."""
    monkeypatch.chdir(tmp_path)
    settings = Settings(model_dir=str(tmp_path), app_root=str(tmp_path))
    with pytest.raises(UsageError, match="Either provide an entry_script"):
        cli._check_script(Configuration(settings, {}, "", ()))
    with_models(tmp_path, "model")
    cli._check_script(Configuration(settings, {}, "", ()))
