"""The configuration file for Ray Serve, and the command that prints it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from azmlinfsrv import cli
from azmlinfsrv.errors import UsageError
from azmlinfsrv.ray_arguments import DEFAULTS
from azmlinfsrv.ray_config import Wishes, render

SCRIPT = "def init(): ...\ndef run(data): ...\n"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A user's folder."""
    (tmp_path / "score.py").write_text(SCRIPT, "utf-8")
    (tmp_path / "model").mkdir()
    return tmp_path


def made(folder: Path, *arguments: str, **wishes: str) -> dict[str, Any]:
    """Return what the file means."""
    content = yaml.safe_load(render(arguments, Wishes(**wishes), str(folder)))
    assert isinstance(content, dict)
    return content


def test_found(folder: Path) -> None:
    """Without arguments the folder's script and model are served, by absolute paths."""
    config = made(folder)
    (application,) = config["applications"]
    assert application["import_path"] == "azmlinfsrv.ray:build" and application["route_prefix"] == "/"
    assert application["args"] == {
        "app_root": str(folder),
        "entry_script": str(folder / "score.py"),
        "model_dir": str(folder / "model"),
    }
    assert application["deployments"] == [{"name": "scoring", "num_replicas": 1, **DEFAULTS}]
    assert config["http_options"] == {"host": Wishes().host, "port": 8000}


def test_arguments(folder: Path) -> None:
    """Settings become arguments of the builder, and Ray's options those of the deployment."""
    text = ["entry_script=score.py", "scoring_timeout_ms=500", "service_name=my: service", "docs_enabled=no"]
    (application,) = made(folder, *text, "num_gpus=1", "min_replicas=1", "max_replicas=4")["applications"]
    assert application["args"]["scoring_timeout_ms"] == 500 and application["args"]["docs_enabled"] is False
    assert application["args"]["service_name"] == "my: service"
    (deployment,) = application["deployments"]
    assert deployment["ray_actor_options"] == {"num_gpus": 1}
    assert deployment["autoscaling_config"] == {"min_replicas": 1, "max_replicas": 4}
    assert "num_replicas" not in deployment


def test_working_dir(folder: Path) -> None:
    """Where Ray brings the folder, paths are relative to it."""
    wishes = {"working_dir": "https://example.com/app.zip", "name": "iris", "route_prefix": "/iris", "port": "80"}
    (application,) = made(folder, **wishes)["applications"]
    assert application["runtime_env"]["working_dir"] == "https://example.com/app.zip"
    assert application["args"] == {"entry_script": "score.py", "model_dir": "model"}
    assert application["name"] == "iris" and application["route_prefix"] == "/iris"


def test_config_json(folder: Path) -> None:
    """A config.json that names the script is served."""
    (folder / "config.json").write_text('{"AZUREML_ENTRY_SCRIPT": "score.py"}', "utf-8")
    (application,) = made(folder)["applications"]
    assert application["args"]["config_file"] == str(folder / "config.json")
    assert "entry_script" not in application["args"]


def test_an_mlflow_model(folder: Path) -> None:
    """Where there is no script, an MLflow model needs none; without a model it is missed."""
    (folder / "score.py").write_text("import mlflow\n", "utf-8")
    with pytest.raises(UsageError, match="init"):
        made(folder)
    (folder / "model" / "MLmodel").touch()
    (application,) = made(folder, "v2_enabled=true")["applications"]
    expected = {"app_root": str(folder), "model_dir": str(folder / "model"), "v2_enabled": True}
    assert application["args"] == expected


@pytest.mark.parametrize(
    ("arguments", "wishes", "message"),
    [
        (["entry_script"], {}, "'entry_script' is not NAME=VALUE"),
        ([], {"port": "many"}, "'many' is not a port"),
    ],
)
def test_what_cannot_be_used(folder: Path, arguments: list[str], wishes: dict[str, str], message: str) -> None:
    """What is wrong with the command line is told."""
    with pytest.raises(UsageError, match=message):
        made(folder, *arguments, **wishes)


def test_command(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`azmlinfsrv ray-config` prints the file; what is wrong ends it with 1 and one line."""
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit) as ended:
        cli.main(["ray-config", "num_replicas=2"])
    assert ended.value.code == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["applications"][0]["deployments"][0]["num_replicas"] == 2
    with pytest.raises(SystemExit) as ended:
        cli.main(["ray-config", "worker_count=2"])
    assert ended.value.code == 1
    assert capsys.readouterr().err.startswith("azmlinfsrv ray-config: error: worker_count has no effect under Ray.")
